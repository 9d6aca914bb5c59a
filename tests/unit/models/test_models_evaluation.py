"""Figures: what counts for what, and how sure one may be."""

import math

import numpy as np
import pytest

from models.datasets.labels import LabelledSpan, admissible_bits, everything_but
from models.datasets.windows import ROW, WindowTable
from models.evaluation.class_windows import auc, evaluate_class_windows
from models.evaluation.gates import Gates, Limit, limit_reasons, load_gates
from models.evaluation.intervals import rate_by_patient
from models.evaluation.judgement import Judgement
from models.evaluation.operating_points import (
    choose_points,
    negatives,
    point_at_specificity,
    points_for_windows,
)
from models.evaluation.shockable import rate_per_min
from models.evaluation.shockable_judging import window_labels
from wardstream.contracts.model_manifest import RHYTHM_CLASSES


def judgement(labels: list[tuple[str, ...]], probability: np.ndarray, fold: list[int]) -> Judgement:
    rows = np.zeros(len(labels), dtype=ROW)
    rows["recording"] = np.arange(len(labels))
    rows["admissible"] = [admissible_bits(classes) for classes in labels]
    rows["weight"] = 1
    names = tuple(f"p{i}" for i in range(len(labels)))
    table = WindowTable(
        filtered_mv=np.zeros((len(labels), 1000), np.float16),
        rows=rows,
        datasets=("vfdb",) * len(labels),
        records=names,
        patients=names,
        rhythms=("N",),
        digests={},
    )
    return Judgement(
        table=table,
        probability=probability.astype(np.float32),
        fold=np.array(fold),
        fold_lists=[],
    )


def test_the_point_keeps_the_specificity_asked_for() -> None:
    scores = np.random.default_rng(0).random(1000).astype(np.float32)
    point = point_at_specificity(scores, 0.95)
    assert (scores < point).mean() == pytest.approx(0.95, abs=0.002)
    assert (scores < point).mean() >= 0.95


def test_tachycardia_is_no_false_fibrillation_and_a_denied_alarm_is_a_negative() -> None:
    labels = [
        ("vf",),
        ("vt",),
        ("sinus_like",),
        everything_but("vt", "vf"),
        everything_but("asystole"),
    ]
    found = judgement(labels, np.zeros((5, 7)), [0] * 5)
    assert negatives(found, "vf").tolist() == [False, False, True, True, False]
    assert negatives(found, "asystole").tolist() == [True, True, True, False, True]


def test_a_fold_has_no_say_in_its_own_point() -> None:
    # Fold 0 holds the high-scoring negatives: only fold 1's point may know of them.
    probability = np.zeros((200, 7))
    vf = RHYTHM_CLASSES.index("vf")
    probability[:100, vf] = 0.9
    probability[100:, vf] = 0.1
    found = judgement([("sinus_like",)] * 200, probability, [0] * 100 + [1] * 100)
    points = points_for_windows(found, {"vf": 0.99})["vf"]
    assert points[0] == pytest.approx(0.1, abs=1e-3)
    assert points[-1] == pytest.approx(0.9, abs=1e-3)
    assert choose_points(found, {"vf": 0.99})["vf"] == pytest.approx(0.9, abs=1e-3)


def test_the_interval_of_one_patient_is_unknown_not_narrow() -> None:
    rate = rate_by_patient(np.ones(1000, bool), np.array(["a"] * 1000))
    assert rate.value == 1.0
    assert math.isnan(rate.low)


def test_windows_of_one_patient_do_not_narrow_the_interval() -> None:
    hits = np.array([True] * 500 + [False] * 500)
    few = rate_by_patient(hits, np.array(["a"] * 500 + ["b"] * 500))
    many = rate_by_patient(hits, np.array([f"p{i}" for i in range(1000)]))
    assert few.high - few.low > 5 * (many.high - many.low)


def test_the_auc_counts_ties_half() -> None:
    ones = np.ones(4, np.float32)
    assert auc(ones, ones) == 0.5
    assert auc(ones, ones - 1) == 1.0


def test_a_class_without_windows_has_no_figure() -> None:
    found = judgement([("vf",), ("sinus_like",)], np.zeros((2, 7)), [0, 1])
    report = evaluate_class_windows(found, {"af": np.full(2, 0.5)}, "m")
    assert "af.se" not in report.metrics
    assert report.metrics["af.sp"] == 1.0


@pytest.mark.parametrize("per_min", [110, 150, 200, 300])
def test_the_rate_of_a_regular_window_is_found(per_min: int) -> None:
    time_s = np.arange(1000) / 250
    curve = np.sin(2 * np.pi * per_min / 60 * time_s) + 0.4 * np.sin(
        4 * np.pi * per_min / 60 * time_s
    )
    assert rate_per_min(curve[None].astype(np.float32))[0] == pytest.approx(per_min, rel=0.03)


def test_windows_near_a_change_of_rhythm_do_not_count_as_shockable_or_not() -> None:
    spans = [
        LabelledSpan(start_s=0.0, end_s=20.0, rhythm="N", admissible=("sinus_like",), opens=False),
        LabelledSpan(start_s=20.0, end_s=40.0, rhythm="VF", admissible=("vf",), closes=False),
    ]
    labels = window_labels(spans, np.arange(0.0, 37.0))
    assert labels[:13].tolist() == ["N"] * 13  # ends at 16 s at the latest
    assert not any(labels[13:24])
    assert labels[24:].tolist() == ["VF"] * 13


def test_a_gate_refuses_a_figure_that_is_not_stated() -> None:
    limits = {"shockable.se": Limit(at_least=0.9), "loss": Limit(at_most=1.0)}
    assert len(limit_reasons({}, limits, "manifest")) == 2
    assert limit_reasons({"shockable.se": 0.95, "loss": 0.5}, limits, "manifest") == []
    (reason,) = limit_reasons({"shockable.se": float("nan"), "loss": 0.5}, limits, "manifest")
    assert "shockable.se" in reason


def test_the_shipped_gates_are_readable() -> None:
    gates = load_gates()
    assert isinstance(gates, Gates)
    assert gates.max_artifact_bytes == 300_000
