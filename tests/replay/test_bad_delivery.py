"""Real recordings that reach the bed badly: late, lost, twice begun. The campaigns run for longer."""

from pathlib import Path

import pytest

from edge_agent.adapters.wfdb_record import WfdbReader
from edge_agent.bootstrap.campaign import (
    Restart,
    compare_delivery,
    disturbed,
    false_alarms,
    judge,
)
from edge_agent.bootstrap.deliveries import Faults, read_packets, undisturbed
from edge_agent.core.pipeline import BedPipeline
from wardstream.inference.port import RhythmRuntime

pytestmark = pytest.mark.data

TOLERANCE_S = 15.0
"""More than 10 s lost begins the judgement anew: 4 s until a window is full, 5 s until it is
confirmed, and the same once more where a loss falls into it. A clock that is set costs nothing."""


def test_five_minutes_with_loss_jitter_overtaking_and_clock_steps(
    recordings: Path, runtime: RhythmRuntime
) -> None:
    packets = read_packets(WfdbReader(recordings / "cudb" / "cu12"), 150, 450)
    faults = Faults(lost_share=0.02, burst_every_s=60, step_every_s=100)
    found = compare_delivery(packets, runtime, faults, seed=5, tolerance_s=TOLERANCE_S)
    assert found["n_alerts"] >= 3
    assert found["missed"] == []
    assert found["added"] == []
    assert found["n_samples_lost"] > 1000
    # To within a few packets: one that came after it was given up is missing as well, and where
    # the clock is set beside a lost one, nobody can tell how much was lost.
    assert abs(found["n_samples_recorded_missing"] - found["n_samples_lost"]) <= 50
    assert found["n_clock_steps"] >= 2
    assert found["n_clock_jumps_recorded"] == found["n_clock_steps"]


@pytest.mark.parametrize("name", ["cu01", "cu09", "cu10", "cu22"])
def test_a_whole_record_raises_the_same_alerts_and_every_lost_sample_is_recorded(
    recordings: Path, runtime: RhythmRuntime, name: str
) -> None:
    packets = read_packets(WfdbReader(recordings / "cudb" / name), 0, 510)
    found = compare_delivery(packets, runtime, Faults(), seed=12, tolerance_s=TOLERANCE_S)
    assert found["n_alerts"] >= 1
    assert found["missed"] == []
    assert found["added"] == []
    assert found["n_samples_recorded_missing"] == found["n_samples_lost"] > 2000


@pytest.mark.parametrize(
    ("name", "at_s", "gap_s"),
    [
        # Once a false asystole: the detector had learned from the gap, and from its ringing end.
        ("mitdb/217", 362.66, 9.72),
        ("mitdb/203", 700.0, 6.8),
        ("bidmc/bidmc01", 200.0, 3.0),
        ("cinc2015/v102s", 150.0, 6.8),
    ],
)
def test_a_restart_raises_no_false_alarm(
    recordings: Path, runtime: RhythmRuntime, name: str, at_s: float, gap_s: float
) -> None:
    packets = read_packets(WfdbReader(recordings / name), at_s - 20, at_s + gap_s + 25)
    variants = [
        disturbed(packets, at_s, kind, gap_s=gap_s, run_in_s=run_in_s)
        for kind in Restart
        for run_in_s in ((0.5, 4.0) if kind in (Restart.STALL, Restart.GAP_AFTER_START) else (0.0,))
    ]
    assert false_alarms(packets, runtime, variants) == [[] for _ in variants]


@pytest.mark.parametrize(
    ("name", "begin_s", "end_s"), [("cudb/cu12", 200, 320), ("vfdb/418", 600, 760), ("cinc2015/t112s", 180, 300)]
)  # fmt: skip
def test_what_is_not_looked_at_would_not_have_been_found(
    recordings: Path,
    runtime: RhythmRuntime,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    begin_s: float,
    end_s: float,
) -> None:
    packets = read_packets(WfdbReader(recordings / name), begin_s, end_s, packet_ms=120)
    quick, _ = judge(undisturbed(packets), runtime)
    # Every condition found on, after every block; nothing put off.
    monkeypatch.setattr(BedPipeline, "_is_calm", lambda *_: False)
    monkeypatch.setattr(BedPipeline, "_only_informs", lambda *_: False)
    thorough, _ = judge(undisturbed(packets), runtime)
    assert quick
    assert quick == thorough
