"""What INT8 loses, and whether that is more than chance."""

import numpy as np
import pytest
from fakes.small_network import sines, table_of

from models.evaluation.agreement import (
    SensitivityLoss,
    evaluate_agreement,
    sensitivity_losses,
    specificities_at,
)
from models.evaluation.judgement import Judgement
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

VF = RHYTHM_CLASSES.index("vf")


def judged(n_lost: int, n_gained: int, n: int = 200) -> tuple[Judgement, np.ndarray]:
    """`n` windows of vf and as many of sinus rhythm; FP32 finds 3 of 4, INT8 others."""
    table = table_of(sines(2 * n), np.repeat([VF, 0], n))
    fp32 = np.zeros((2 * n, len(RHYTHM_CLASSES)), dtype=np.float32)
    fp32[: 3 * n // 4, VF] = 0.9
    fp32[n:, VF] = np.linspace(0.1, 0.5, n)  # no negative above 0.5
    int8 = fp32.copy()
    int8[:n_lost, VF] = 0.0
    int8[3 * n // 4 : 3 * n // 4 + n_gained, VF] = 0.9
    judgement = Judgement(table=table, probability=int8, fold=np.full(2 * n, -1), fold_lists=[])
    return judgement, fp32


@pytest.mark.parametrize(("n_lost", "n_gained"), [(0, 0), (6, 2), (1, 5)])
def test_the_loss_is_the_windows_lost_less_those_gained(n_lost: int, n_gained: int) -> None:
    judgement, fp32 = judged(n_lost, n_gained)
    loss = sensitivity_losses(judgement, fp32, {"vf": 0.99})["vf"]
    assert loss.points == pytest.approx(100 * (n_lost - n_gained) / 200)
    assert loss.standard_error == pytest.approx(100 * np.sqrt(n_lost + n_gained) / 200)


@pytest.mark.parametrize(
    ("points", "standard_error", "too_much"),
    [(0.4, 0.01, False), (0.6, 0.5, False), (0.6, 0.1, True), (5.0, 2.0, True), (-3.0, 0.1, False)],
)
def test_a_loss_counts_when_chance_does_not_explain_it(
    points: float, standard_error: float, too_much: bool
) -> None:
    assert SensitivityLoss(points, standard_error).exceeds(0.5) is too_much


def test_specificities_are_those_of_the_points_in_force() -> None:
    judgement, fp32 = judged(0, 0)
    points = {"vf": np.full(400, 0.3), "asystole": np.full(400, 0.5)}
    found = specificities_at(judgement, fp32, points)
    assert found["vf"] == pytest.approx(0.5, abs=0.01)
    assert found["asystole"] == 1.0


def test_a_report_names_every_class_and_how_graphs_were_made() -> None:
    judgement, fp32 = judged(6, 2)
    points = {"vf": np.full(400, 0.7)}
    report = evaluate_agreement(
        judgement,
        fp32,
        points,
        {"vf": 0.99},
        "m/1",
        choices=[{"method": "static"}],
        shockable_points=np.full(400, 0.7),
    )
    assert report.metrics["vf.se_loss_points"] == report.metrics["max_se_loss_points"] == 2.0
    assert report.metrics["vf.agreement"] == report.metrics["shockable.agreement"] == 0.98
    assert report.metrics["decision_agreement"] == 0.98
    low, high = report.confidence["vf.se_loss_points"]
    assert low < 2.0 < high
    assert report.support["choices"] == [{"method": "static"}]
