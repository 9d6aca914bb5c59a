"""Atrial fibrillation from intervals alone: how irregular, and irregular in which way.

Ectopic beats on a regular rhythm are irregular too; what tells them apart is whether most
intervals still agree (modal share) and whether patterns repeat (sample entropy).
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel

MIN_RR_MS: Final = 200.0
MAX_RR_MS: Final = 3000.0
MIN_INTERVALS: Final = 8
AF_WINDOW_S: Final = 30.0
"""Reach of the intervals to ask about; a quarter more or less does not matter."""

FEATURES: Final = (
    "entropy",
    "modal_share",
    "mean_step",
    "share_of_large_steps",
    "turning_points",
    "spread",
    "rate_per_min",
    "correlation",
)
_MATCH_MS: Final = 30.0  # two intervals this near match (Lake and Moorman)
_NEAR: Final = 0.05  # of the median: intervals that agree
_LARGE_STEP: Final = 0.12  # of the mean

# Logistic regression on the features, fitted by ``models.training.atrial`` on mitdb (detected
# beats), afdb_rr, nsrdb and vitaldb_rhythm_labels; intercept first.
AF_WEIGHTS: Final = np.array(
    [-1.25196408, 4.18298862, -6.15871461, -24.2473808, 12.61064501, 7.65708955, -2.38663314,
     0.03318277, 1.64477679]
)  # fmt: skip

AF_POINT: Final = 0.6
"""From here on it is held to be atrial fibrillation: 98 % specificity on every set, held out."""


def rr_features(rr_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the intervals of about 30 s say of atrial fibrillation, in the order of `FEATURES`.

    Parameters
    ----------
    rr_ms : ndarray of float64, shape (n_intervals,)
        In ms, oldest first. Those outside 200 to 3000 ms (a lost or doubled beat) are left out.

    Returns
    -------
    ndarray of float64, shape (8,)
        All NaN with fewer than `MIN_INTERVALS` intervals.

    Raises
    ------
    OutOfRangeError
        `rr_ms` is not one-dimensional.

    Notes
    -----
    Entropy is the coefficient of sample entropy, m = 1, r = 30 ms: Lake and Moorman, Am. J.
    Physiol. Heart Circ. Physiol. 300:H319-H325 (2011). O(n^2) of at most some 100 intervals.
    """
    if rr_ms.ndim != 1:
        raise OutOfRangeError(f"rr_ms has shape {rr_ms.shape}, expected (n_intervals,)")
    out = np.empty(len(FEATURES))
    _features(rr_ms, out)
    return out


def af_probability(rr_ms: NDArray[np.float64], weights: NDArray[np.float64] = AF_WEIGHTS) -> float:
    """Probability, 0 to 1, that the intervals of about 30 s are of atrial fibrillation.

    NaN with fewer than `MIN_INTERVALS` usable intervals.

    Raises
    ------
    OutOfRangeError
        `rr_ms` is not one-dimensional.
    """
    features = rr_features(rr_ms)
    return 1.0 / (1.0 + math.exp(-min(max(weights[0] + float(weights[1:] @ features), -50), 50)))


@kernel
def _features(rr_ms: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    rr = rr_ms[(rr_ms >= MIN_RR_MS) & (rr_ms <= MAX_RR_MS)]
    n = rr.size
    if n < MIN_INTERVALS:
        out[:] = math.nan
        return
    mean = rr.mean()
    step = np.abs(np.diff(rr)) / mean
    turns = 0
    for i in range(1, n - 1):
        if (rr[i + 1] - rr[i]) * (rr[i] - rr[i - 1]) < 0:
            turns += 1
    ordered = np.sort(rr)
    out[0] = _sample_entropy(rr) + math.log(2 * _MATCH_MS / mean)
    out[1] = _modal_share(rr, _NEAR * np.median(rr))
    out[2] = np.sort(step)[: max(int(0.9 * step.size), 1)].mean()
    out[3] = (step > _LARGE_STEP).mean()
    out[4] = turns / (n - 2)
    out[5] = (ordered[int(0.9 * (n - 1))] - ordered[int(0.1 * (n - 1))]) / mean
    out[6] = 60_000.0 / mean
    out[7] = _correlation(rr)


@kernel
def _sample_entropy(rr: NDArray[np.float64]) -> float:
    alone, paired = 0, 0
    for i in range(rr.size - 1):
        for j in range(i + 1, rr.size - 1):
            if abs(rr[i] - rr[j]) < _MATCH_MS:
                alone += 1
                if abs(rr[i + 1] - rr[j + 1]) < _MATCH_MS:
                    paired += 1
    return math.log(max(alone, 1) / max(paired, 1))


@kernel
def _modal_share(rr: NDArray[np.float64], near: float) -> float:
    best = 0
    for i in range(rr.size):
        agree = 0
        for j in range(rr.size):
            if abs(rr[i] - rr[j]) < near:
                agree += 1
        best = max(best, agree)
    return best / rr.size


@kernel
def _correlation(rr: NDArray[np.float64]) -> float:
    # Of each interval with the next; 0 where all are alike.
    earlier, later = rr[:-1] - rr[:-1].mean(), rr[1:] - rr[1:].mean()
    scale = math.sqrt((earlier * earlier).sum() * (later * later).sum())
    return (earlier * later).sum() / scale if scale > 1e-9 else 0.0
