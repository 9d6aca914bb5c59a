"""kill -9 of the agent, again and again: nothing stored is lost, no number is used twice."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes.edge_cloud import CloudSide
from fakes.edge_process import SCENARIOS, AgentProcess, agent_environment, outbox_counters

from deploy.local.servers.mosquitto import MosquittoServer
from wardstream.contracts.codec import decode
from wardstream.contracts.identity import Lane
from wardstream.contracts.waveform import AlertStrip

VF = "ventricular_fibrillation"
N_KILLS = 6


@pytest.fixture
def cloud(mosquitto: MosquittoServer) -> Iterator[CloudSide]:
    side = CloudSide({u: mosquitto.url(u) for u in ("cloud", "bridge", "worker")}, "bed-01")
    yield side
    side.close()


@pytest.mark.timeout(240)
def test_killed_again_and_again_it_loses_nothing_and_goes_on_where_wall_time_says(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    environment = agent_environment(tmp_path, EDGE_MQTT__URL=mosquitto.url("bed-01"))
    chance = random.Random(7)
    starts: set[int] = set()
    for _ in range(N_KILLS):
        with AgentProcess(environment) as agent:
            agent.wait_for(lambda a: a.events("link_connected"))
            time.sleep(chance.uniform(0.5, 5.0))
            agent.kill()
        starts.add(int((tmp_path / "playback.json").read_text().split(": ")[-1].rstrip("}\n")))
    with AgentProcess(environment) as agent:
        agent.wait_for(lambda _: outbox_counters(tmp_path)["waiting"]["frame"] < 5, 60)
        agent.wait_for(lambda _: outbox_counters(tmp_path)["waiting"]["alert"] == 0, 60)
        agent.stop()
    assert cloud.wait_for(
        lambda c: (
            sum(map(len, c.numbers(Lane.FRAME).values()))
            == outbox_counters(tmp_path)["numbered"]["frame"]
            - outbox_counters(tmp_path)["waiting"]["frame"]
        ),
        20,
    )
    counters = outbox_counters(tmp_path)
    assert counters["gaps"] == 0
    assert counters["numbered"]["alert"] == sum(map(len, cloud.numbers(Lane.ALERT).values()))
    assert len(cloud.numbers(Lane.FRAME)) > N_KILLS - 3, "a life of half a second has no frame"
    assert len(starts) == 1, "one patient, one anchor"
    assert not cloud.conflicts
    assert not cloud.holes()


@pytest.mark.timeout(120)
def test_an_alert_keeps_its_id_over_a_kill(tmp_path: Path) -> None:
    environment = agent_environment(
        tmp_path, EDGE_SOURCE__START_S="8", EDGE_SOURCE__SCRIPT=str(SCENARIOS / "arrest.yaml")
    )
    with AgentProcess(environment) as agent:
        agent.wait_for(lambda a: a.alerts(VF), 60)
        first = agent.alerts(VF)[0]
        time.sleep(0.5)
        agent.kill()
    with AgentProcess(environment) as agent:
        agent.wait_for(lambda a: a.alerts(VF), 60)
        again = {line["alert_id"] for line in agent.alerts(VF)}
        agent.stop()
    assert again == {first["alert_id"]}


@pytest.mark.timeout(120)
def test_a_damaged_outbox_is_set_aside_and_the_bed_goes_on(tmp_path: Path) -> None:
    with AgentProcess(agent_environment(tmp_path)) as agent:
        agent.wait_for(lambda _: (tmp_path / "outbox.sqlite3").exists())
        agent.wait_for(lambda _: outbox_counters(tmp_path)["numbered"]["frame"] > 2)
        agent.kill()
    file = tmp_path / "outbox.sqlite3"
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    file.write_bytes(b"this is no database" * 500)
    with AgentProcess(agent_environment(tmp_path)) as agent:
        agent.wait_for(lambda a: a.events("outbox_replaced"))
        agent.wait_for(lambda _: outbox_counters(tmp_path)["numbered"]["frame"] > 2)
        agent.stop()
    assert (tmp_path / "outbox.corrupt-1.sqlite3").exists()


@pytest.mark.timeout(120)
def test_a_strip_that_a_kill_left_open_is_cut_by_the_next_life(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    environment = agent_environment(
        tmp_path, EDGE_MQTT__URL=mosquitto.url("bed-01"), EDGE_SOURCE__START_S="8"
    )
    with AgentProcess(environment) as agent:
        agent.wait_for(lambda a: a.alerts(VF), 60)
        alert = agent.alerts(VF)[0]
        time.sleep(1.5)
        agent.kill()
    assert not cloud.numbers(Lane.STRIP), "the strip reaches five seconds beyond the onset"
    with AgentProcess(environment) as agent:
        assert cloud.wait_for(lambda c: c.numbers(Lane.STRIP), 40)
        agent.stop()
    strips = [
        decode(p, AlertStrip) for (_, lane, _), p in cloud.payloads.items() if lane is Lane.STRIP
    ]
    (strip,) = [s for s in strips if s.alert_id == alert["alert_id"]]
    before_s = (alert["event_time_ns"] - min(c.start_time_ns for c in strip.chunks)) / 1e9
    assert 5 < before_s <= 20, "it begins in the life before"
    known = [np.isfinite(c.samples).mean() for c in strip.chunks]
    assert all(share > 0.3 for share in known)
