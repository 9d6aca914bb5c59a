"""The card claims what a kept evaluation shows, by folds, with its strips; and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.datasets.physionet import wfdb  # imported without its warnings
from models.evaluation.keeping import MOST_BYTES, keep
from models.evaluation.outcome import Outcome, PredictionTable, Strip
from models.evaluation.report import ProtocolReport
from models.registry.card import CARD_FILE, write_card
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.errors import RefusedError

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(SHIPPED_BUNDLE / "manifest.json", folder)
    return folder


def outcome(tmp_path: Path, *, by_folds: bool = True, n_strips: int = 5) -> Outcome:
    lead = np.sin(np.arange(30 * 250) / 20)[:, None]
    wfdb.wrsamp("some", 250, ["mV"], ["II"], lead, fmt=["16"], write_dir=str(tmp_path))
    strips = tuple(
        Strip(record=tmp_path / "some", start_s=k, end_s=k + 16.0, caption=f"worst case {k}")
        for k in range(n_strips)
    )
    report = ProtocolReport(
        protocol="cinc2015",
        model="verifier on x",
        cross_validated=by_folds,
        n_records=40,
        metrics={
            "score": 0.8123, "tpr": 0.9, "tnr": 0.7, "tp": 9, "fn": 1, "fp": 9, "tn": 21,
            "per_type": {"Asystole": {"score": 0.5, "tpr": 1.0, "tp": 2, "fn": 0, "fp": 2, "tn": 0}},
        },
        confidence={"score": [0.75, 0.8611]},
        folds=[["a"], ["b"]],
    )  # fmt: skip
    return Outcome(report=report, predictions=PredictionTable(("record",), ()), worst=strips)


def test_the_card_holds_the_figures_and_the_worst_strips(tmp_path: Path, bundle: Path) -> None:
    keep(outcome(tmp_path), bundle)
    text = write_card(bundle)
    assert text == (bundle / CARD_FILE).read_text()
    assert "| **all** | 81.2 [75.0, 86.1] | 90.0 | 70.0 | 9 / 1 / 9 / 21 |" in text
    assert "worst case 0" in text
    assert "worst case 3" not in text  # three are kept
    shown = [line.split("(")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(shown) == 3
    assert all((bundle / image).read_bytes().startswith(b"\x89PNG") for image in shown)
    assert sum((bundle / image).stat().st_size for image in shown) < MOST_BYTES / 3
    # Nothing of what was not evaluated.
    for claim in ("an hour", "within 10 s", "INT8 against FP32", "fibrillation from intervals"):
        assert claim not in text


def test_what_was_not_held_out_is_no_evidence(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(RefusedError, match="by folds"):
        keep(outcome(tmp_path, by_folds=False), bundle)
    assert not list(bundle.glob("evaluation-*"))
    smuggled = replace(outcome(tmp_path).report, cross_validated=False)
    (bundle / "evaluation-cinc2015.json").write_bytes(smuggled.to_json())
    with pytest.raises(RefusedError, match="without evidence"):
        write_card(bundle)
    assert not (bundle / CARD_FILE).exists()


def test_a_strip_that_is_gone_is_not_shown(tmp_path: Path, bundle: Path) -> None:
    kept = keep(outcome(tmp_path), bundle)
    (bundle / kept.failures[1].image).unlink()
    with pytest.raises(RefusedError, match="does not hold"):
        write_card(bundle)


def test_keeping_again_replaces_what_was_kept(tmp_path: Path, bundle: Path) -> None:
    keep(outcome(tmp_path), bundle)
    keep(outcome(tmp_path, n_strips=1), bundle)
    assert len(list((bundle / "failures").glob("*.png"))) == 1
    path = bundle / "evaluation-cinc2015.json"
    found = msgspec.json.decode(path.read_bytes(), type=ProtocolReport)
    assert [failure.caption for failure in found.failures] == ["worst case 0"]
