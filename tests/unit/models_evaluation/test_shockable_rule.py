"""The weight of slowness and the point are learned, from other folds only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.shockable import SPECIFICITY
from models.evaluation.shockable_rule import odds_by, rule_of, rules_of_folds


@dataclass(frozen=True)
class Windows:
    patient: str
    means: NDArray[np.float64]
    truth: NDArray[np.bool_]
    counts: NDArray[np.bool_]


def windows(patient: str, seed: int, n: int = 2000) -> Windows:
    # Wide slow beats look shockable, by log odds alone, as often as what is.
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 0
    slow = np.where(truth, 0.0, generator.uniform(0.0, 1.0, n))
    log_odds = generator.normal(np.where(truth, 2.0, -3.0 + 4.0 * slow), 1.0)
    return Windows(patient, np.column_stack([log_odds, slow]), truth, np.ones(n, dtype=np.bool_))


def test_slowness_is_weighed_and_the_point_keeps_the_specificity() -> None:
    one = windows("a", 0)
    rule = rule_of([one])
    assert rule is not None
    assert rule.slow_and_regular > 2
    odds = odds_by(rule, one.means)
    assert SPECIFICITY <= (odds[~one.truth] < 0).mean() < SPECIFICITY + 0.002
    without = np.quantile(one.means[~one.truth, 0], SPECIFICITY)
    assert (odds[one.truth] >= 0).mean() > (one.means[one.truth, 0] >= without).mean() + 0.2


def test_no_fold_has_a_say_in_its_own_rule() -> None:
    folds = {"a": 0, "b": 1}
    first = rules_of_folds([windows("a", 0), windows("b", 1)], folds.__getitem__)
    other = rules_of_folds([windows("a", 2), windows("b", 1)], folds.__getitem__)
    assert first[0] == other[0]
    assert first[1] != other[1]


def test_one_kind_alone_teaches_no_rule_and_unjudged_windows_none() -> None:
    one = windows("a", 0)
    assert rule_of([]) is None
    assert rule_of([Windows("a", one.means, np.ones_like(one.truth), one.counts)]) is None
    holed = one.means.copy()
    holed[::5] = np.nan
    assert rule_of([Windows("a", holed, one.truth, one.counts)]) == rule_of(
        [Windows("a", one.means, one.truth, np.arange(len(one.truth)) % 5 != 0)]
    )
