"""What the device says of itself, every two seconds."""

from uuid import UUID

import pytest

from edge_agent.core.outbox_port import OutboxStats
from edge_agent.core.ports import JudgeReport, Quarantined
from edge_agent.services.heartbeat import StatusParts, reported
from wardstream.contracts.codec import decode
from wardstream.contracts.device import (
    MAX_QUARANTINE_REPORTS,
    Connectivity,
    DeviceStatus,
    ModelReport,
    ModelState,
    QuarantineReport,
)
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import Lane
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

MODEL = ModelReport(state=ModelState.RUNNING, version=2, sha256="ab")
FIXED = DeviceStatus(
    site_id="s1",
    unit_id="icu",
    bed_id="bed-1",
    device_id="d1",
    boot_id=str(UUID(int=1, version=4)),
    connectivity=Connectivity.LOST,
    generation_mode=GenerationMode.TEST,
    source="serial",
    agent_version="1",
    reported_time_ns=TimestampNs(0),
    last_sample_time_ns=TimestampNs(0),
    model=MODEL,
)


def test_what_comes_later_is_in_the_next_status() -> None:
    channels: list[str] = []
    refused: list[Quarantined] = []
    parts = StatusParts(
        fixed=FIXED,
        judged=lambda: JudgeReport(
            n_windows_judged=1, n_windows_unjudged=0, last_sample_time_ns=TimestampNs(9)
        ),
        model=lambda: MODEL,
        outbox=lambda: OutboxStats(
            rows={Lane.ALERT: 3}, n_bytes={Lane.ALERT: 700}, numbered={}, gaps=0
        ),
        channels=lambda: tuple(channels),
        quarantined=lambda: refused,
        clock_ns=lambda: 5,
        correct_clock=lambda: 0,
    )
    before = decode(parts.status(Connectivity.ONLINE), DeviceStatus)
    channels.append("MDC_ECG_ELEC_POTL_II")
    refused.append(Quarantined("obx 4711", "no unit is stated", 12))
    after = decode(parts.status(Connectivity.ONLINE), DeviceStatus)
    assert (before.channels, before.quarantined) == ((), ())
    assert after.channels == ("MDC_ECG_ELEC_POTL_II",)
    assert after.quarantined == (
        QuarantineReport(channel="obx 4711", reason="no unit is stated", count=12),
    )


def test_a_long_list_is_cut_and_says_how_much_is_not_told() -> None:
    kinds = [Quarantined(f"channel {n}", "unknown code", n) for n in range(1, 101)]
    told = reported(kinds)
    assert len(told) == MAX_QUARANTINE_REPORTS
    assert sum(one.count for one in told) == sum(one.count for one in kinds)
    assert [one.count for one in told[:3]] == [100, 99, 98]
    assert told[-1].reason == "69 more kinds of refused input"


def test_nothing_is_refused_no_times() -> None:
    with pytest.raises(OutOfRangeError):
        QuarantineReport(channel="c", reason="r", count=0)
