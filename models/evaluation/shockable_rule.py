"""The weight and the point of `ShockableRule`, learned from windows that models have judged."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.evaluation.shockable import SPECIFICITY
from wardstream.contracts.model_manifest import ShockableRule
from wardstream.inference.leads import decided_odds

ALARM_SPECIFICITY: Final = 0.9925
"""Of the windows of other rhythms, the share below the alarm point. Chosen in view of vfdb and
cudb, by folds: from 0.98 to 0.9925 false alerts fall by a third and no episode is lost; from
0.995 on episodes are."""


class Judged(Protocol):
    """What is known of the windows of one record, arrays along them."""

    @property
    def patient(self) -> str:
        """Whose."""
        ...

    @property
    def means(self) -> NDArray[np.float64]:
        """Of `ShockableOdds.push`, shape (n_windows, 2); NaN where no lead was present."""
        ...

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each is shockable."""
        ...

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which are scored."""
        ...


def rule_of(records: Sequence[Judged]) -> ShockableRule | None:
    """The rule learned from the scored windows of `records`; None where one kind is missing.

    Notes
    -----
    Logistic regression on mean log odds and mean slowness, both kinds of window weighing the
    same in all; what slowness weighs against log odds is kept, at least 0. The points are the
    lowest that keep `SPECIFICITY` and, for alerts, `ALARM_SPECIFICITY` on the same windows.
    """
    known = [record.counts & np.isfinite(record.means).all(axis=1) for record in records]
    if not known:
        return None
    means = np.concatenate([r.means[mask] for r, mask in zip(records, known, strict=True)])
    truth = np.concatenate([r.truth[mask] for r, mask in zip(records, known, strict=True)])
    if truth.all() or not truth.any():
        return None
    fitted = LogisticRegression(C=1e6, class_weight="balanced", max_iter=300).fit(means, truth)
    log_odds, slowness = fitted.coef_[0].tolist()
    weight = max(-slowness / log_odds, 0.0) if log_odds > 0 else 0.0
    odds = np.sort((means[:, 0] - weight * means[:, 1])[~truth])
    return ShockableRule(
        point=_point(odds, SPECIFICITY),
        slow_and_regular=weight,
        alarm_point=_point(odds, ALARM_SPECIFICITY),
    )


def _point(odds: NDArray[np.float64], specificity: float) -> float:
    # The lowest that so many of the sorted `odds` stay below.
    position = min(int(np.ceil(specificity * len(odds))), len(odds) - 1)
    return float(np.nextafter(odds[position - 1], np.inf))


def rules_of_folds(
    records: Sequence[Judged], fold_of: Callable[[str], int]
) -> dict[int, ShockableRule | None]:
    """The rule of each fold, learned from the records of the others."""
    folds = [fold_of(record.patient) for record in records]
    return {
        fold: rule_of([r for r, own in zip(records, folds, strict=True) if own != fold])
        for fold in sorted(set(folds))
    }


def odds_by(rule: ShockableRule, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds above the point of `rule` of `means`, shape (n, 2): shockable from 0 on."""
    return np.array([decided_odds((row[0], row[1]), rule) for row in means.tolist()]) - rule.point


def belief_by(rule: ShockableRule, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Belief in shockable, 0 to 1 and half at the point of `rule`, of `means`, shape (n, 2)."""
    return 1.0 / (1.0 + np.exp(-odds_by(rule, means)))
