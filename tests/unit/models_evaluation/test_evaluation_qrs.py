"""The protocol on small recordings of its own, from files to predictions."""

import json
from pathlib import Path

import numpy as np
import pytest
import wfdb

from models.evaluation.harness import EvaluationRequest, load_protocol
from models.evaluation.qrs_peers import run_peer
from wardstream.contracts.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

RATE_HZ = 360


def _write_record(folder: Path, name: str, rr_s: float, n_s: int = 60) -> int:
    folder.mkdir(exist_ok=True)
    beats = np.round(np.arange(0.5, n_s - 0.5, rr_s) * RATE_HZ).astype(np.int64)
    t = np.arange(-40, 41)
    lead = np.zeros(n_s * RATE_HZ)
    for beat in beats:
        lead[beat - 40 : beat + 41] += np.exp(-((t / 7.0) ** 2))
    lead += np.random.default_rng(1).normal(0, 0.01, len(lead))
    samples = np.stack([lead, -0.6 * lead], axis=1)
    wfdb.wrsamp(
        name, RATE_HZ, ["mV"] * 2, ["MLII", "V1"], samples, fmt=["16"] * 2, write_dir=str(folder)
    )
    wfdb.wrann(name, "atr", beats, symbol=["N"] * len(beats), fs=RATE_HZ, write_dir=str(folder))
    return len(beats)


def test_a_clean_rhythm_is_found_whole_and_written_beat_by_beat(tmp_path: Path) -> None:
    n_beats = _write_record(tmp_path / "mitdb", "900", 0.8)
    _write_record(tmp_path / "mitdb", "901", 0.6)
    outcome = load_protocol("qrs")(EvaluationRequest(data_dir=tmp_path))
    metrics = outcome.report.metrics
    assert outcome.report.n_records == 2
    assert metrics["f1_150ms"] == 1.0
    assert metrics["f1_50ms"] == 1.0
    assert metrics["realtime_factor"] > 100
    assert 0 < metrics["detection_delay_p50_s"] < 0.5
    assert outcome.predictions.columns == ("record", "sample")
    assert abs(sum(row[0] == "900" for row in outcome.predictions.rows) - n_beats) <= 5
    json.loads(outcome.report.to_json())


def test_the_table_of_decisions_is_plain_csv(tmp_path: Path) -> None:
    _write_record(tmp_path / "mitdb", "900", 0.8)
    outcome = load_protocol("qrs")(EvaluationRequest(data_dir=tmp_path))
    outcome.predictions.write(tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "record,sample"
    assert lines[1].startswith("900,")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mitdb"):
        load_protocol("qrs")(EvaluationRequest(data_dir=tmp_path))


def test_an_unknown_protocol_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="qrs"):
        load_protocol("qsr")


def test_a_peer_sees_no_gaps_and_gives_each_beat_once() -> None:
    lead = np.array([np.nan, 1.0, np.nan, 3.0])
    seen: list[np.ndarray] = []

    def detect(samples: np.ndarray, sampling_rate_hz: float) -> np.ndarray:
        seen.append(samples)
        return np.array([3, 1, 3])

    np.testing.assert_array_equal(run_peer(detect, lead, 250.0), [1, 3])
    np.testing.assert_array_equal(seen[0], [1.0, 1.0, 1.0, 3.0])


def test_records_without_marks_are_written_down_and_are_in_no_figure(tmp_path: Path) -> None:
    n_beats = _write_record(tmp_path / "mitdb", "900", 0.8)
    (tmp_path / "mitdb" / "900.atr").unlink()
    outcome = load_protocol("qrs")(EvaluationRequest(data_dir=tmp_path, cache_dir=tmp_path))
    assert outcome.report.n_records == 0
    assert "f1_150ms" not in outcome.report.metrics
    assert abs(len(outcome.predictions.rows) - n_beats) <= 5
    _write_record(tmp_path / "mitdb", "901", 0.7)
    outcome = load_protocol("qrs")(EvaluationRequest(data_dir=tmp_path, cache_dir=tmp_path))
    assert outcome.report.n_records == 1
    assert {row[0] for row in outcome.predictions.rows} == {"900", "901"}


def test_a_folder_without_records_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mitdb").mkdir()
    with pytest.raises(ConfigurationError, match="no record"):
        load_protocol("qrs")(EvaluationRequest(data_dir=tmp_path, cache_dir=tmp_path))
