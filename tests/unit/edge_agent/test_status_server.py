"""What the agent answers over HTTP: metrics, whether it is alive, whether the bed is watched."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from deploy.local.servers.ports import free_port
from edge_agent.adapters.metrics import AgentCollector
from edge_agent.adapters.status_server import StatusServer
from edge_agent.core.outbox_port import OutboxStats
from edge_agent.core.ports import JudgeReport, Measurements
from edge_agent.services.pulse import STUCK_AFTER_S, Pulse
from wardstream.contracts.timebase import TimestampNs

LANES = {"alert": 1, "frame": 2, "strip": 0}


@dataclass
class Bed:
    port: int = field(default_factory=free_port)
    now_s: float = 100.0
    measurements: Measurements = field(default_factory=Measurements)

    def __post_init__(self) -> None:
        self.pulse = Pulse(
            self.measurements, {"storage_failing": lambda: False}, lambda: self.now_s
        )

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def bed() -> Iterator[Bed]:
    one = Bed()
    server = StatusServer(
        "127.0.0.1",
        one.port,
        AgentCollector(
            one.measurements,
            lambda: OutboxStats(rows=LANES, n_bytes=LANES, numbered=LANES, gaps=0),
            lambda: JudgeReport(
                n_windows_judged=7, n_windows_unjudged=0, last_sample_time_ns=TimestampNs(1)
            ),
            lambda: True,
        ),
        health=lambda: (one.pulse.vitals().alive, one.pulse.vitals().details),
        ready=lambda: (one.pulse.vitals().watched, one.pulse.vitals().details),
    )
    server.start()
    yield one
    server.stop()


def test_a_bed_is_ready_once_packets_are_judged_and_no_longer_when_none_are(bed: Bed) -> None:
    assert bed.ask("/health")[0] == 200
    assert bed.ask("/ready")[0] == 503
    bed.measurements.note_packet(1.0, 0.0)
    bed.pulse.beat()
    status, body = bed.ask("/ready")
    assert status == 200
    assert json.loads(body)["storage_failing"] is False
    bed.now_s += 6.0
    bed.pulse.beat()
    assert bed.ask("/ready")[0] == 503
    assert bed.ask("/health")[0] == 200, "silence of a source is no reason to restart"


def test_a_loop_that_does_not_turn_is_not_healthy(bed: Bed) -> None:
    bed.now_s += STUCK_AFTER_S + 0.1
    status, body = bed.ask("/health")
    assert status == 503
    assert json.loads(body)["loop_turned_before_s"] > STUCK_AFTER_S


def test_metrics_are_there_and_nothing_else_is(bed: Bed) -> None:
    status, body = bed.ask("/metrics")
    assert status == 200
    assert "wardstream_edge_windows_judged_total 7.0" in body
    assert bed.ask("/waveforms")[0] == 404
    assert bed.ask("/metrics", "POST")[0] == 405
