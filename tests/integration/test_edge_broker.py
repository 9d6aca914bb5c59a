"""The agent and a real broker: without it, with it, and when it comes and goes."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import pytest
from fakes.edge_cloud import CloudSide
from fakes.edge_process import AgentProcess, agent_environment, outbox_counters
from fakes.relay import Relay

from deploy.local.servers.mosquitto import MosquittoServer
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.core.outbox_port import OutboxBatch, OutboxLimits, OutgoingMessage
from wardstream.contracts.alert import AcknowledgeCommand, Transition
from wardstream.contracts.codec import encode
from wardstream.contracts.device import Connectivity
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame
from wardstream.contracts.identity import Lane
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

VF = "ventricular_fibrillation"


@pytest.fixture
def cloud(mosquitto: MosquittoServer) -> Iterator[CloudSide]:
    side = CloudSide({u: mosquitto.url(u) for u in ("cloud", "bridge", "worker")}, "bed-01")
    yield side
    side.close()


def environment(mosquitto: MosquittoServer, state_dir: Path, **more: str) -> dict[str, str]:
    return agent_environment(state_dir, EDGE_MQTT__URL=mosquitto.url("bed-01"), **more)


def acknowledgement(alert_id: str) -> AcknowledgeCommand:
    now_ns = time.time_ns()
    return AcknowledgeCommand(
        command_id=str(uuid4()),
        device_id="bed-01",
        alert_id=alert_id,
        author="nurse",
        issued_time_ns=TimestampNs(now_ns),
        expires_time_ns=TimestampNs(now_ns + 120 * 10**9),
    )


def frame(boot_id: str, number: int) -> OutgoingMessage:
    values = np.full(len(BEDSIDE_V1.features), np.nan, dtype=np.float32)
    values[0] = 60 + number % 60
    made = FeatureFrame(
        device_id="bed-01",
        boot_id=boot_id,
        sequence_number=number,
        start_time_ns=TimestampNs(1_700_000_000_000_000_000 + number * 10**9),
        monotonic_ns=number,
        generation_mode=GenerationMode.DEMO,
        values=values,
    )
    return OutgoingMessage(boot_id, Lane.FRAME, number, encode(made))


def test_without_a_broker_it_alarms_and_when_one_comes_everything_arrives_alerts_first(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    # The cloud must be listening before the bed speaks: a broker drops what nobody subscribes to.
    port = urlsplit(mosquitto.url("bed-01")).port or 0
    relay = Relay(port)
    url = mosquitto.url("bed-01").replace(f":{port}", f":{relay.port}")
    with (
        closing(relay),
        AgentProcess(agent_environment(tmp_path, EDGE_MQTT__URL=url)) as agent,
    ):
        agent.wait_for(lambda a: a.alerts(VF), 60)
        assert not cloud.arrivals
        relay.open()
        assert cloud.wait_for(lambda c: any(e.condition == VF for e in c.alerts))
        assert cloud.wait_for(lambda c: len(c.numbers(Lane.FRAME)) == 1)
        assert cloud.wait_for(lambda c: set(c.order) == {Lane.ALERT, Lane.FRAME})
        assert cloud.order[0] is Lane.ALERT
        logged = {line["alert_id"] for line in agent.alerts(VF)}
        assert {e.alert_id for e in cloud.alerts if e.condition == VF} <= logged
        assert agent.stop() == 0
    assert not cloud.holes()
    time.sleep(0.5)
    assert cloud.statuses[-1].connectivity is Connectivity.STOPPED


def test_a_backlog_drains_fast_and_the_watermark_empties_the_outbox(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    n_frames, boot_id = 20_000, str(uuid4())
    box = SqliteOutbox(tmp_path, "bed-01", OutboxLimits())
    box.append(OutboxBatch(messages=tuple(frame(boot_id, n) for n in range(n_frames))), 1)
    box.close()
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        assert cloud.wait_for(lambda c: c.arrivals, 30)
        begun_s = time.monotonic()
        assert cloud.wait_for(lambda c: len(c.numbers(Lane.FRAME).get(boot_id, [])) == n_frames, 60)
        took_s = time.monotonic() - begun_s
        print(f"drained {n_frames} frames in {took_s:.2f} s: {n_frames / took_s:.0f} a second")
        # Thirty minutes of one bed are 1800 frames: ten times real time is 10 a second.
        assert n_frames / took_s > 1000
        assert cloud.messages["frame"] < n_frames / 30
        agent.wait_for(lambda _: outbox_counters(tmp_path)["waiting"]["frame"] < 10, 20)
        agent.stop()
    assert not cloud.conflicts


def test_an_acknowledgement_is_applied_once_and_survives_a_restart(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        assert cloud.wait_for(lambda c: any(e.condition == VF for e in c.alerts), 60)
        onset = next(e for e in cloud.alerts if e.condition == VF)
        command = acknowledgement(onset.alert_id)
        cloud.say(command)
        cloud.say(command)
        agent.wait_for(lambda a: [x for x in a.alerts(VF) if x["transition"] == "acknowledged"])
        assert cloud.wait_for(
            lambda c: any(e.transition is Transition.ACKNOWLEDGED for e in c.alerts)
        )
        agent.kill()
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        agent.wait_for(lambda a: a.events("link_connected"))
        cloud.say(command)
        time.sleep(2)
        agent.stop()
    acknowledged = {
        (e.boot_id, e.sequence_number)
        for e in cloud.alerts
        if e.transition is Transition.ACKNOWLEDGED and e.alert_id == onset.alert_id
    }
    assert len(acknowledged) == 1


def test_the_broker_tells_when_the_device_is_lost(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        assert cloud.wait_for(lambda c: len(c.statuses) >= 2, 30)
        assert cloud.statuses[-1].connectivity is Connectivity.ONLINE
        assert "MDC_ECG_ELEC_POTL_II" in cloud.statuses[-1].channels
        agent.kill()
        assert cloud.wait_for(lambda c: c.statuses[-1].connectivity is Connectivity.LOST, 30)


def test_a_malformed_or_misaddressed_command_is_refused_and_the_link_lives_on(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        agent.wait_for(lambda a: a.events("link_connected"))
        cloud.say_raw("acknowledgement", b"\xff\xfe not json")
        cloud.say_raw("watermark/alert", b"{}")
        other = acknowledgement(str(uuid4()))
        cloud.say_raw("acknowledgement", encode(other).replace(b"bed-01", b"bed-02"))
        agent.wait_for(lambda a: a.text.count("refused a message") == 3)
        before = len(cloud.statuses)
        assert cloud.wait_for(lambda c: len(c.statuses) > before + 1)
        agent.stop()


def test_frames_that_no_watermark_covers_are_sent_again(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    cloud.committing = False
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        assert cloud.wait_for(lambda c: len(c.arrivals) > len(set(c.arrivals)) + 3, 40)
        cloud.committing = True
        agent.wait_for(lambda _: outbox_counters(tmp_path)["waiting"]["frame"] < 5, 40)
        agent.stop()
    assert not cloud.conflicts
    assert not cloud.holes()


def test_a_broker_killed_again_and_again_costs_nothing(
    mosquitto: MosquittoServer, cloud: CloudSide, tmp_path: Path
) -> None:
    with AgentProcess(environment(mosquitto, tmp_path)) as agent:
        assert cloud.wait_for(lambda c: c.arrivals, 30)
        for _ in range(3):
            mosquitto.kill()
            time.sleep(1.5)
            mosquitto.start()
            time.sleep(3)
        agent.wait_for(lambda _: outbox_counters(tmp_path)["waiting"]["frame"] < 5, 40)
        # A broker's death takes what no one had confirmed; it is sent again after a deadline.
        assert cloud.wait_for(lambda c: not c.holes(), 60)
        agent.stop()
    numbered = outbox_counters(tmp_path)["numbered"]
    (frames,) = cloud.numbers(Lane.FRAME).values()
    on_their_way = range(numbered["frame"] - 3, numbered["frame"])
    assert set(range(numbered["frame"])) <= {*frames, *on_their_way}
