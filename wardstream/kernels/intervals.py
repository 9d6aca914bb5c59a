"""What a run of beats says: rate, variability, irregularity."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel

MIN_RR_MS: Final = 200.0
MAX_RR_MS: Final = 3000.0
"""Intervals outside are a lost or a doubled beat, or a pause, and enter no statistic."""

RATE_INTERVALS: Final = 8
_MIN_PAIRS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RrStatistics:
    """Statistics of intervals; NaN where there are too few.

    Attributes
    ----------
    rate_per_min : float
        From the mean of the last 8 intervals.
    mean_ms, sdnn_ms, rmssd_ms : float
        Over all intervals given.
    irregularity : float
        Median of ``|RR[i] - RR[i-1]|`` over the mean RR: below 0.05 regular, above 0.1
        irregular; a single early beat does not move it.
    """

    rate_per_min: float
    mean_ms: float
    sdnn_ms: float
    rmssd_ms: float
    irregularity: float


def rr_statistics(rr_ms: NDArray[np.float64]) -> RrStatistics:
    """Statistics of successive intervals.

    Parameters
    ----------
    rr_ms : ndarray of float64, shape (n_intervals,)
        In ms, oldest first. Those outside 200 to 3000 ms are left out, and no difference is
        taken across them.

    Raises
    ------
    OutOfRangeError
        `rr_ms` is not one-dimensional.

    Notes
    -----
    Task Force of the ESC and NASPE, Circulation 93:1043-1065 (1996), table 1; SDNN with n - 1.
    """
    if rr_ms.ndim != 1:
        raise OutOfRangeError(f"rr_ms has shape {rr_ms.shape}, expected (n_intervals,)")
    scratch = np.empty(rr_ms.size)
    rate, mean, sdnn, rmssd, irregularity = _statistics(rr_ms, scratch)
    return RrStatistics(
        rate_per_min=rate,
        mean_ms=mean,
        sdnn_ms=sdnn,
        rmssd_ms=rmssd,
        irregularity=irregularity,
    )


@kernel
def _statistics(
    rr: NDArray[np.float64], scratch: NDArray[np.float64]
) -> tuple[float, float, float, float, float]:
    n, total, recent, n_recent = 0, 0.0, 0.0, 0
    for i in range(rr.size):
        if MIN_RR_MS <= rr[i] <= MAX_RR_MS:
            total += rr[i]
            n += 1
            if i >= rr.size - RATE_INTERVALS:
                recent += rr[i]
                n_recent += 1
    mean = total / n if n > 0 else math.nan
    spread, steps, n_pairs = 0.0, 0.0, 0
    for i in range(rr.size):
        if MIN_RR_MS <= rr[i] <= MAX_RR_MS:
            spread += (rr[i] - mean) ** 2
            if i > 0 and MIN_RR_MS <= rr[i - 1] <= MAX_RR_MS:
                step = abs(rr[i] - rr[i - 1])
                steps += step * step
                scratch[n_pairs] = step
                n_pairs += 1
    enough = n_pairs >= _MIN_PAIRS
    return (
        60_000.0 * n_recent / recent if n_recent > 0 else math.nan,
        mean,
        math.sqrt(spread / (n - 1)) if enough else math.nan,
        math.sqrt(steps / n_pairs) if enough else math.nan,
        float(np.median(scratch[:n_pairs])) / mean if enough else math.nan,
    )
