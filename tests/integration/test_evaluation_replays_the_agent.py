"""The harness and the agent it scores: by command, on a recording of its own."""

from pathlib import Path

import numpy as np
import pytest

from models.datasets.physionet import wfdb  # imported without its warnings
from models.evaluation.agent_replay import AgentReplay, UnreadableRecordError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:The inplace keyword"),
]

RATE_HZ = 250


def _write_arrest(folder: Path) -> Path:
    lead = np.random.default_rng(0).normal(0, 0.01, 45 * RATE_HZ)
    t = np.arange(-30, 31)
    for beat in np.arange(0.5, 25.0, 0.8):
        at = int(beat * RATE_HZ)
        lead[at - 30 : at + 31] += np.exp(-((t / 5.0) ** 2))
    wfdb.wrsamp("arrest", RATE_HZ, ["mV"], ["II"], lead[:, None], fmt=["16"], write_dir=str(folder))
    return folder / "arrest"


def test_an_arrest_is_replayed_once_and_then_remembered(tmp_path: Path) -> None:
    record = _write_arrest(tmp_path)
    agent = AgentReplay(cache_dir=tmp_path / "cache")
    events = agent.events(record)
    onsets = [e for e in events if e.is_high_onset and e.condition == "asystole"]
    assert len(onsets) == 1
    assert 28.0 <= onsets[0].time_s <= 30.5  # the last beat stands at 24.5 s
    kept = list((tmp_path / "cache").rglob("*.jsonl"))
    assert len(kept) == 1
    kept[0].write_bytes(b"")
    assert AgentReplay(cache_dir=tmp_path / "cache").events(record) == []


def test_what_the_agent_says_of_a_bad_record_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "bad.hea").write_text("nonsense\n")
    with pytest.raises(UnreadableRecordError, match="65"):
        AgentReplay(cache_dir=tmp_path / "cache").events(tmp_path / "bad")
