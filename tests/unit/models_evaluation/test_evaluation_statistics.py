"""Figures and intervals against scipy, scikit-learn and tables worked by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.evaluation.statistics import (
    Counts,
    challenge_score_of,
    cluster_bootstrap,
    cluster_bootstrap_of_values,
    count,
    f1_of,
    lower_bound_90,
    precision_recall_curve,
    roc_curve,
    sensitivity_of,
    sum_by_cluster,
    wilson_interval,
)
from wardstream.contracts.errors import OutOfRangeError


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (95, 100), (1, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_wilson_interval_is_scipys(hits: int, n: int, level: float) -> None:
    expected = binomtest(hits, n).proportion_ci(confidence_level=level, method="wilson")
    found = wilson_interval(hits, n, level=level)
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_the_one_sided_bound_leaves_a_tenth_below() -> None:
    expected = binomtest(90, 100, alternative="greater").proportion_ci(0.90, method="wilson")
    assert lower_bound_90(90, 100) == pytest.approx(expected.low, abs=1e-12)


def test_no_trials_give_no_interval_and_impossible_ones_are_refused() -> None:
    assert math.isnan(wilson_interval(0, 0).low)
    with pytest.raises(OutOfRangeError):
        wilson_interval(8, 7)


def test_a_missed_true_alarm_weighs_five_times() -> None:
    counts = Counts(tp=10, fp=4, tn=20, fn=2)
    assert counts.challenge_score == pytest.approx(30 / (30 + 4 + 10))
    assert counts.sensitivity == pytest.approx(10 / 12)
    assert counts.specificity == pytest.approx(20 / 24)
    assert counts.f1 == pytest.approx(20 / 26)
    rows = np.array([counts.row()], dtype=float)
    assert challenge_score_of(rows)[0] == pytest.approx(counts.challenge_score)
    assert f1_of(rows)[0] == pytest.approx(counts.f1)


def test_counting_is_a_table_of_all_four_cells() -> None:
    decision = np.array([True, True, False, False, True])
    truth = np.array([True, False, True, False, True])
    assert count(decision, truth) == Counts(tp=2, fp=1, tn=1, fn=1)
    assert count(decision, truth) + Counts(tp=1) == Counts(tp=3, fp=1, tn=1, fn=1)


def test_the_bootstrap_of_many_like_clusters_is_near_the_normal_interval() -> None:
    generator = np.random.default_rng(1)
    hits = generator.binomial(20, 0.8, size=400).astype(float)
    rows = np.stack([hits, np.zeros(400), np.zeros(400), 20 - hits], axis=1)
    interval = cluster_bootstrap(rows, sensitivity_of)
    share = hits.sum() / 8000
    half = 1.96 * math.sqrt(np.var(hits / 20) / 400)
    assert interval.low == pytest.approx(share - half, abs=0.002)
    assert interval.high == pytest.approx(share + half, abs=0.002)


def test_clusters_that_differ_widen_the_interval() -> None:
    even = np.tile([8.0, 0.0, 0.0, 2.0], (20, 1))
    even[:, 0] += np.tile([-1.0, 1.0], 10)
    even[:, 3] -= np.tile([-1.0, 1.0], 10)
    uneven = np.array([[10.0, 0, 0, 0]] * 16 + [[0.0, 0, 0, 10]] * 4)
    narrow, wide = (
        cluster_bootstrap(even, sensitivity_of),
        cluster_bootstrap(uneven, sensitivity_of),
    )
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_one_cluster_gives_no_interval() -> None:
    assert math.isnan(cluster_bootstrap(np.ones((1, 4)), sensitivity_of).low)


def test_the_bootstrap_of_a_median_draws_whole_clusters() -> None:
    values = [np.full(50, float(i)) for i in range(9)]
    interval = cluster_bootstrap_of_values(values, lambda x: float(np.median(x)))
    assert interval.low <= 4.0 <= interval.high
    assert interval.high - interval.low >= 2.0  # 450 values, but only nine patients


def test_sums_by_cluster_keep_every_count() -> None:
    names, sums = sum_by_cluster(["b", "a", "b"], np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert names == ["a", "b"]
    np.testing.assert_array_equal(sums, [[3.0, 4.0], [6.0, 8.0]])


def test_the_areas_are_scikit_learns_ties_included() -> None:
    generator = np.random.default_rng(3)
    truth = generator.random(500) < 0.3
    scores = np.round(generator.random(500) + 0.4 * truth, 1)
    assert roc_curve(scores, truth).area == pytest.approx(roc_auc_score(truth, scores))
    expected = average_precision_score(truth, scores)
    assert precision_recall_curve(scores, truth).area == pytest.approx(expected)
