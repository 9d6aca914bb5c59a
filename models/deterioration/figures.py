"""How well a probability of dying orders stays, and whether it means what it says."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.evaluation.outcome import present, rounded
from models.evaluation.statistics import LEVEL, Interval, precision_recall_curve, roc_curve

N_DRAWS: Final = 1000
N_BINS: Final = 10

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def area(score: Floats, truth: Bools) -> float:
    """Area under the ROC curve; NaN unless both outcomes occur."""
    if truth.all() or not truth.any():
        return math.nan
    return roc_curve(score, truth).area


def area_interval(score: Floats, truth: Bools, *, seed: int = 0) -> Interval:
    """95 % percentile interval of the area, stays drawn with replacement."""
    if truth.all() or not truth.any():
        return Interval(math.nan, math.nan)
    draws = _draws(len(truth), seed)
    ranked = _ranked(score, truth)
    return _percentiles(np.array([_weighted_area(w, *ranked) for w in draws]))


def area_difference(first: Floats, second: Floats, truth: Bools, *, seed: int = 0) -> Interval:
    """95 % interval of the area of `first` less that of `second`, the same stays drawn for both."""
    if truth.all() or not truth.any():
        return Interval(math.nan, math.nan)
    a, b = _ranked(first, truth), _ranked(second, truth)
    draws = _draws(len(truth), seed)
    return _percentiles(np.array([_weighted_area(w, *a) - _weighted_area(w, *b) for w in draws]))


def figures_of(probability: Floats, truth: Bools, decision: Bools) -> dict[str, float]:
    """Figures of one hour; the interval of ``auroc`` is `area_interval`."""
    found = int((decision & truth).sum())
    slope, intercept = _recalibration(probability, truth)
    sensitivity = found / max(int(truth.sum()), 1)
    predictivity = found / max(int(decision.sum()), 1)
    return present(
        {
            "auroc": area(probability, truth),
            "auprc": precision_recall_curve(probability, truth).area,
            "brier": float(np.mean((probability - truth) ** 2)),
            "calibration_error": calibration_error(probability, truth),
            "calibration_slope": slope,
            "calibration_intercept": intercept,
            "se": sensitivity,
            "ppv": predictivity,
            "min_se_ppv": min(sensitivity, predictivity),
            "deaths_expected": float(probability.sum()),
            "deaths": float(truth.sum()),
        }
    )


def calibration_error(probability: Floats, truth: Bools) -> float:
    """Mean distance of said and seen shares over ten bins of equally many stays."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, N_BINS) if len(part)]
    gaps = [abs(float(probability[p].mean() - truth[p].mean())) * len(p) for p in parts]
    return sum(gaps) / len(order)


def with_interval(value: float, interval: Interval) -> list[float]:
    """``[value, low, high]`` for a table."""
    return [rounded(value), rounded(interval.low), rounded(interval.high)]


def _recalibration(probability: Floats, truth: Bools) -> tuple[float, float]:
    # What the log odds would have to be multiplied by and moved by: 1 and 0 are right.
    if truth.all() or not truth.any():
        return math.nan, math.nan
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    regression: Any = LogisticRegression(C=1e6)
    regression.fit(np.log(inside / (1 - inside))[:, None], truth)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


def _draws(n: int, seed: int) -> NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    return np.array(
        [np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(N_DRAWS)]
    )


def _ranked(score: Floats, truth: Bools) -> tuple[NDArray[np.intp], Bools, NDArray[np.intp]]:
    order = np.argsort(score, kind="stable")
    _, tie = np.unique(score[order], return_inverse=True)
    return order, truth[order], tie


def _weighted_area(
    weights: NDArray[np.int64], order: NDArray[np.intp], truth: Bools, tie: NDArray[np.intp]
) -> float:
    w = weights[order].astype(np.float64)
    dead = np.bincount(tie, weights=w * truth)
    alive = np.bincount(tie, weights=w * ~truth)
    below = np.cumsum(alive) - alive
    pairs = dead.sum() * alive.sum()
    return float((dead * (below + alive / 2)).sum() / pairs) if pairs else math.nan


def _percentiles(values: Floats) -> Interval:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
