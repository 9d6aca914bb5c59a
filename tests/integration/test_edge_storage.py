"""A disk that is full, read-only or gone: the bed alarms, says so, and recovers.

The faults are the kernel's own: a small tmpfs that is filled, or mounted anew read-only.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.edge_cloud import CloudSide
from fakes.edge_process import AgentProcess, agent_environment, outbox_counters

from deploy.local.servers.mosquitto import MosquittoServer
from wardstream.contracts.identity import Lane

VF = "ventricular_fibrillation"
FAILING = "storage_failing"


class SmallDisk:
    """A file system of 3 MB of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> bool:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def fill(self) -> None:
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def drain(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    small = SmallDisk(folder)
    if os.geteuid() != 0 or not small.mount("size=3M"):
        pytest.skip("mounting a small file system needs root")
    yield small
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def cloud(mosquitto: MosquittoServer) -> Iterator[CloudSide]:
    side = CloudSide({u: mosquitto.url(u) for u in ("cloud", "bridge", "worker")}, "bed-01")
    yield side
    side.close()


def environment(mosquitto: MosquittoServer, disk: SmallDisk) -> dict[str, str]:
    # The arrest comes 10 s after the start.
    return agent_environment(
        disk.folder, EDGE_MQTT__URL=mosquitto.url("bed-01"), EDGE_SOURCE__START_S="0"
    )


@pytest.mark.timeout(120)
def test_a_full_disk_is_an_alert_and_the_arrest_reaches_the_station_all_the_same(
    mosquitto: MosquittoServer, cloud: CloudSide, disk: SmallDisk
) -> None:
    with AgentProcess(environment(mosquitto, disk)) as agent:
        agent.wait_for(lambda a: a.events("link_connected"))
        assert cloud.wait_for(lambda c: c.numbers(Lane.FRAME), 30)
        disk.fill()
        agent.wait_for(lambda a: a.alerts(FAILING), 30)
        agent.wait_for(lambda a: a.alerts(VF), 60)
        assert cloud.wait_for(lambda c: any(e.condition == VF for e in c.alerts), 5)
        assert cloud.wait_for(lambda c: any(e.condition == FAILING for e in c.alerts), 5)
        disk.drain()
        agent.wait_for(lambda a: a.events("storage_back"), 30)
        agent.wait_for(lambda a: a.alerts(FAILING)[-1]["transition"] in ("cleared", "ended"), 30)
        agent.wait_for(lambda _: outbox_counters(disk.folder)["waiting"]["alert"] == 0, 30)
        assert agent.stop() == 0
    assert len(agent_lines(agent, "storage_failing")) == 1, "said once when it was lost"
    assert cloud.wait_for(lambda c: not c.holes(), 5)
    assert outbox_counters(disk.folder)["gaps"] == 0
    assert not cloud.conflicts


def agent_lines(agent: AgentProcess, event: str) -> list[dict[str, object]]:
    return [line for line in agent.last_lines if line.get("event") == event]


@pytest.mark.timeout(120)
def test_on_a_read_only_disk_a_bed_starts_alarms_and_stores_once_it_may(
    mosquitto: MosquittoServer, cloud: CloudSide, disk: SmallDisk
) -> None:
    assert disk.mount("remount,ro")
    with AgentProcess(environment(mosquitto, disk)) as agent:
        agent.wait_for(lambda a: a.alerts(FAILING), 30)
        agent.wait_for(lambda a: a.alerts(VF), 60)
        assert cloud.wait_for(lambda c: any(e.condition == VF for e in c.alerts), 5)
        assert not cloud.numbers(Lane.FRAME)
        assert disk.mount("remount,rw")
        agent.wait_for(lambda a: a.events("storage_back"), 30)
        assert cloud.wait_for(lambda c: c.numbers(Lane.FRAME), 20)
        time.sleep(1.0)
        assert agent.stop() == 0
    assert cloud.wait_for(lambda c: not c.holes(), 5), "what waited in memory is there"
