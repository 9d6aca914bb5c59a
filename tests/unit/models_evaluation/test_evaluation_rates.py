"""Respiration and atrial fibrillation on recordings of their own, and the page that shows them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb

from models.datasets.labels import LabelledSpan
from models.datasets.rr_windows import RrWindow, mitdb_windows
from models.evaluation.af_protocol import fold_of, scores
from models.evaluation.harness import EvaluationRequest, load_protocol
from models.evaluation.html_report import html_report
from models.evaluation.outcome import Confusion, Outcome, PredictionTable, Scored, Strip
from models.evaluation.report import ProtocolReport
from models.evaluation.respiration_protocol import annotated_rate
from models.evaluation.shockable_judging import window_labels
from models.training.atrial import features_of, fit_weights
from wardstream.kernels.atrial import (
    AF_POINT,
    AF_WEIGHTS,
    af_probability,
    fused_probability,
    rr_features,
)

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def _write_breathing(folder: Path, name: str, per_min: float, n_s: int = 180) -> None:
    folder.mkdir(exist_ok=True)
    time_s = np.arange(n_s * 125) / 125
    curve = np.sin(2 * np.pi * per_min / 60 * time_s)[:, None]
    wfdb.wrsamp(name, 125, ["pm"], ["RESP"], curve, fmt=["16"], write_dir=str(folder))
    breaths = np.arange(0, n_s, 60 / per_min)
    rows = [f"{round(b * 125)},{round(b * 125) + 5}" for b in breaths]
    header = "breaths ann1 [signal sample no], breaths ann2 [signal sample no]"
    (folder / f"{name}_breaths.csv").write_text("\n".join([header, *rows]) + "\n")
    numerics = [f"{s},80,80,{per_min:.0f},97" for s in range(n_s + 1)]
    lines = ["Time [s], HR, PULSE, RESP, SpO2", *numerics]
    (folder / f"{name}_numerics.csv").write_text("\n".join(lines) + "\n")


def test_a_steady_breath_is_counted_to_the_tenth(tmp_path: Path) -> None:
    _write_breathing(tmp_path / "bidmc", "bidmc01", 15)
    _write_breathing(tmp_path / "bidmc", "bidmc03", 24)
    outcome = load_protocol("respiration")(EvaluationRequest(data_dir=tmp_path))
    metrics = outcome.report.metrics
    assert metrics["mae_per_min"] < 0.2
    assert metrics["against_monitor"]["mae_per_min"] < 0.3
    assert metrics["coverage"] > 0.95
    assert outcome.predictions.columns == ("record", "time_s", "rate_per_min")
    assert outcome.predictions.rows[-1][0] == "bidmc03"


def test_the_reference_rate_looks_back_and_needs_three_breaths() -> None:
    breaths = [np.arange(0.0, 100.0, 4.0), np.arange(1.0, 100.0, 4.0)]
    rate = annotated_rate(breaths, np.array([20.0, 40.0, 98.0, 125.0, 140.0]))
    assert math.isnan(rate[0])  # no 32 s have passed
    np.testing.assert_allclose(rate[1:3], 15.0)
    assert math.isnan(rate[4])


def _af(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(12.0, 620 / 12.0, 45)


def _sinus(seed: int) -> np.ndarray:
    return 800 + np.random.default_rng(seed).normal(0, 15, 37)


def _window(rr_ms: np.ndarray, share: float, patient: int) -> RrWindow:
    return RrWindow(
        dataset="mitdb",
        record=str(patient),
        patient=f"mitdb/{patient}",
        start_s=0.0,
        rr_ms=rr_ms,
        af_share=share,
    )


def test_what_is_learned_from_some_patients_holds_on_others() -> None:
    windows = [_window(_af(i), 1.0, i) for i in range(40)]
    windows += [_window(_sinus(i), 0.0, 100 + i) for i in range(40)]
    windows.append(_window(_sinus(3), 0.5, 7))  # mixed: teaches nothing
    windows.append(_window(_sinus(3), float("nan"), 7))
    weights = fit_weights(windows, features_of(windows))
    held_out = [rr_features(_af(1000 + i)) for i in range(20)]
    held_out += [rr_features(_sinus(1000 + i)) for i in range(20)]
    strangers = [_window(_sinus(0), 0.0, 1000 + i) for i in range(len(held_out))]
    found = scores(strangers, np.stack(held_out), weights) >= AF_POINT
    assert found[:20].mean() > 0.9
    assert not found[20:].any()


def test_the_table_of_scores_is_the_kernels_own() -> None:
    rr_ms = _af(5)
    alone = scores([_window(rr_ms, 1.0, 5)], rr_features(rr_ms)[None, :], AF_WEIGHTS)[0]
    logit = math.log(af_probability(rr_ms) / (1 - af_probability(rr_ms)))
    assert alone == pytest.approx(fused_probability([logit]))


def test_a_window_leans_on_those_that_led_up_to_it_and_on_no_other_patient() -> None:
    def at(record: int, start_s: float) -> RrWindow:
        return replace(_window(_sinus(1), 0.0, record), start_s=start_s)

    windows = [at(1, 0.0), at(1, 30.0), at(1, 60.0), at(2, 60.0), at(2, 600.0)]
    features = np.zeros((5, 8))
    features[:, 0] = [2.0, -1.0, 9.0, 9.0, -1.0]
    weights = np.array([0.0, 1.0, *([0.0] * 7)])
    found = scores(windows, features, weights)
    assert found[0] == pytest.approx(fused_probability([2.0]))
    assert found[1] == pytest.approx(fused_probability([-1.0, 2.0]))
    assert found[2] == pytest.approx(fused_probability([9.0, -1.0, 2.0]))
    assert found[3] == pytest.approx(fused_probability([9.0]))
    assert found[4] == pytest.approx(fused_probability([-1.0]))


def test_a_patient_keeps_its_fold_whoever_else_takes_part() -> None:
    assert fold_of("mitdb/101") == fold_of("mitdb/101")
    assert len({fold_of(f"mitdb/{n}") for n in range(50)}) == 5


def test_windows_know_how_much_of_them_fibrillates(tmp_path: Path) -> None:
    rate_hz, n_s = 360, 90
    wfdb.wrsamp(
        "900", rate_hz, ["mV"], ["MLII"], np.zeros((n_s * rate_hz, 1)), fmt=["16"],
        write_dir=str(tmp_path),
    )  # fmt: skip
    marks = np.array([0, 40, 75]) * rate_hz + 10
    wfdb.wrann(
        "900", "atr", marks, symbol=["+"] * 3, aux_note=["(N", "(AFIB", "(AFL"],
        fs=rate_hz, write_dir=str(tmp_path),
    )  # fmt: skip
    found = list(mitdb_windows(tmp_path, lambda recording: np.arange(0.0, 90.0, 0.8)))
    assert [window.start_s for window in found] == [0.0, 30.0, 60.0]
    assert found[0].af_share == 0.0
    assert found[1].af_share == pytest.approx(20 / 30, abs=0.01)
    assert math.isnan(found[2].af_share)  # half of it is flutter
    np.testing.assert_allclose(found[0].rr_ms, 800.0)


def test_a_window_has_a_label_only_away_from_changes() -> None:
    spans = [
        LabelledSpan(start_s=0, end_s=40, rhythm="N", admissible=("sinus_like",), opens=False),
        LabelledSpan(start_s=40, end_s=100, rhythm="VFL", admissible=("vf",), closes=False),
    ]
    start_s = np.arange(0.0, 97.0)
    labels = window_labels(spans, start_s)
    assert labels[0] == "N"
    assert labels[32] == "N"
    assert labels[33] == ""
    assert labels[43] == ""
    assert labels[44] == "VFL"
    assert labels[96] == "VFL"


def test_the_page_stands_alone_and_says_when_nothing_was_held_out(tmp_path: Path) -> None:
    _write_breathing(tmp_path, "bidmc01", 15, n_s=40)
    generator = np.random.default_rng(0)
    truth = generator.random(200) < 0.3
    report = ProtocolReport(
        protocol="demo",
        model="m/1",
        cross_validated=False,
        n_records=3,
        metrics={"se": 0.9, "per": {"<x>": 0.5}},
        confidence={"se": [0.8, 0.95]},
        folds=[["a", "b"], ["c"]],
    )
    outcome = Outcome(
        report=report,
        predictions=PredictionTable(("record",), [("a",)]),
        confusions={"beats": Confusion(("yes", "no"), ("yes", "no"), ((5, 1), (2, 9)))},
        scored={"all": Scored(generator.random(200) + truth, truth)},
        worst=(
            Strip(
                record=tmp_path / "bidmc01",
                start_s=5.0,
                end_s=20.0,
                caption="<worst>",
                marks=(("missed", (8.0,)), ("nothing", ())),
            ),
        ),
    )
    page = html_report(outcome, "A question?", "models evaluate demo")
    assert "may have learned from these" in page
    assert "0.8000 to 0.9500" in page
    assert page.count("<svg") == 2
    assert "&lt;worst&gt;" in page
    assert "per.&lt;x&gt;" in page
    for outside in ("<script", "<link", "src="):
        assert outside not in page
    assert page == html_report(outcome, "A question?", "models evaluate demo")
