"""Rates, what they rest on, and how far they may be off. Pure: arrays in, numbers out.

Windows, beats and alarms of one patient are alike, so intervals of figures pooled over
patients resample *patients* (or blocks of records that stand for them), never windows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError

N_RESAMPLES: Final = 2000
LEVEL: Final = 0.95
"""Two-sided coverage of the intervals of a report, unless it says otherwise."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure may lie.

    Attributes
    ----------
    low, high : float
        Ends; NaN where there is too little to say.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A two by two table.

    Attributes
    ----------
    tp, fp, tn, fn : int
        True and false positives and negatives. A beat detector has no true negatives.
    """

    tp: int = 0
    fp: int = 0
    tn: int = 0
    fn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            tn=self.tn + other.tn,
            fn=self.fn + other.fn,
        )

    @property
    def sensitivity(self) -> float:
        """Share of what is there that was found (Se, TPR); NaN without any."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of what is not there that was left alone (Sp, TNR); NaN without any."""
        return ratio(self.tn, self.tn + self.fp)

    @property
    def positive_predictivity(self) -> float:
        """Share of what was found that is there (+P); NaN if nothing was found."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and positive predictivity; NaN without either."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def challenge_score(self) -> float:
        """Score of the PhysioNet/CinC Challenge 2015: a missed true alarm weighs five times."""
        right = self.tp + self.tn
        return ratio(right, right + self.fp + 5 * self.fn)

    def row(self) -> list[int]:
        """``[tp, fp, tn, fn]``, the order in which `rates_of` reads a table of counts."""
        return [self.tp, self.fp, self.tn, self.fn]


def count(decision: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Counts:
    """The table of decisions against the truth, both of shape (n,)."""
    return Counts(
        tp=int((decision & truth).sum()),
        fp=int((decision & ~truth).sum()),
        tn=int((~decision & ~truth).sum()),
        fn=int((~decision & truth).sum()),
    )


def ratio(part: float, whole: float) -> float:
    """`part` of `whole`; NaN, not an error, where the whole is nothing."""
    return part / whole if whole else math.nan


def wilson_interval(n_hits: int, n_trials: int, *, level: float = LEVEL) -> Interval:
    """Two-sided Wilson score interval of a share of independent trials.

    Raises
    ------
    OutOfRangeError
        `level` is not in (0, 1), or there are more hits than trials.

    Notes
    -----
    Wilson, J. Am. Stat. Assoc. 22:209-212 (1927); no continuity correction. For trials of many
    patients it is too narrow: use `cluster_bootstrap` there.
    """
    if not 0 < level < 1 or not 0 <= n_hits <= n_trials:
        raise OutOfRangeError(f"{n_hits} of {n_trials} at level {level}")
    if not n_trials:
        return Interval(math.nan, math.nan)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = n_hits / n_trials
    denominator = 1 + z * z / n_trials
    centre = (share + z * z / (2 * n_trials)) / denominator
    spread = share * (1 - share) / n_trials + z * z / (4 * n_trials * n_trials)
    half = z * math.sqrt(spread) / denominator
    # At 0 and at n the formula is exact up to rounding, which must not leave [0, 1].
    low = 0.0 if n_hits == 0 else max(0.0, centre - half)
    high = 1.0 if n_hits == n_trials else min(1.0, centre + half)
    return Interval(low, high)


def lower_bound_90(n_hits: int, n_trials: int) -> float:
    """One-sided 90 % lower confidence bound of a share, as the AHA goals are stated.

    Notes
    -----
    Kerber et al., Circulation 95:1677-1682 (1997), table 2. Wilson's bound.
    """
    return wilson_interval(n_hits, n_trials, level=0.80).low


def cluster_bootstrap(
    per_cluster: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a figure made of summed counts, drawing whole clusters.

    Parameters
    ----------
    per_cluster : ndarray of float64, shape (n_clusters, n_counts)
        What each patient or block contributes; columns are summed over the clusters drawn.
    statistic : callable
        From sums of shape (n_resamples, n_counts) to figures of shape (n_resamples,).
    level : float
        Coverage in (0, 1).
    n_resamples : int
        Draws, at least 1.
    seed : int
        Of the draws; the same arguments give the same interval.

    Returns
    -------
    Interval
        NaN ends with fewer than two clusters, or where the figure never exists.
    """
    n_clusters = len(per_cluster)
    if n_clusters < 2:
        return Interval(math.nan, math.nan)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), n_resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = statistic(weights @ per_cluster.astype(np.float64))
    return _percentiles(figures, level)


def cluster_bootstrap_of_values(
    values: Sequence[Floats],
    statistic: Callable[[Floats], float],
    *,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a figure of pooled values (a median delay), drawing whole clusters.

    Parameters
    ----------
    values : sequence of ndarray of float64
        Values of each patient or block; may be empty.
    statistic : callable
        From the pooled values, shape (n,), to the figure; never called with none.
    """
    if len(values) < 2:
        return Interval(math.nan, math.nan)
    generator = np.random.default_rng(seed)
    figures = np.full(n_resamples, np.nan)
    for i, drawn in enumerate(generator.integers(len(values), size=(n_resamples, len(values)))):
        pooled = np.concatenate([values[index] for index in drawn])
        if len(pooled):
            figures[i] = statistic(pooled)
    return _percentiles(figures, level)


def _percentiles(figures: Floats, level: float) -> Interval:
    finite = figures[np.isfinite(figures)]
    if not len(finite):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def sum_by_cluster(clusters: Sequence[str], counts: Floats) -> tuple[list[str], Floats]:
    """Names of the clusters in order, and `counts`, shape (n, n_counts), summed over each."""
    names, owner = np.unique(np.asarray(clusters), return_inverse=True)
    summed = np.zeros((len(names), counts.shape[1]))
    np.add.at(summed, owner, counts)
    return [str(name) for name in names], summed


# Figures of summed rows ``[tp, fp, tn, fn]``, for `cluster_bootstrap`.


def sensitivity_of(sums: Floats) -> Floats:
    """Sensitivity of each row."""
    return sums[:, 0] / (sums[:, 0] + sums[:, 3])


def specificity_of(sums: Floats) -> Floats:
    """Specificity of each row."""
    return sums[:, 2] / (sums[:, 2] + sums[:, 1])


def f1_of(sums: Floats) -> Floats:
    """F1 of each row."""
    return 2 * sums[:, 0] / (2 * sums[:, 0] + sums[:, 1] + sums[:, 3])


def challenge_score_of(sums: Floats) -> Floats:
    """Challenge 2015 score of each row."""
    right = sums[:, 0] + sums[:, 2]
    return right / (right + sums[:, 1] + 5 * sums[:, 3])


def per_hour_of(sums: Floats) -> Floats:
    """Events an hour of each row ``[n_events, hours]``."""
    return sums[:, 0] / sums[:, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points of a curve, in order of falling threshold."""

    x: Floats
    y: Floats
    area: float


def roc_curve(scores: Floats, truth: NDArray[np.bool_]) -> Curve:
    """False against true positive rate, with the area under it (ties counted half)."""
    tp, fp = _cumulated(scores, truth)
    x = np.concatenate([[0.0], fp / max(int((~truth).sum()), 1)])
    y = np.concatenate([[0.0], tp / max(int(truth.sum()), 1)])
    return Curve(x, y, float(np.trapezoid(y, x)))


def precision_recall_curve(scores: Floats, truth: NDArray[np.bool_]) -> Curve:
    """Recall against precision; the area is the average precision (a step function's)."""
    tp, fp = _cumulated(scores, truth)
    recall = tp / max(int(truth.sum()), 1)
    precision = tp / np.maximum(tp + fp, 1)
    steps = np.diff(np.concatenate([[0.0], recall]))
    return Curve(recall, precision, float((steps * precision).sum()))


def _cumulated(scores: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    # Positives found and false ones, at each distinct score from the highest down.
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_tie = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    tp = np.cumsum(truth[order])[last_of_tie].astype(np.float64)
    return tp, (last_of_tie + 1) - tp
