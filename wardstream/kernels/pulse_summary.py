"""What the last pulses of one channel come to: rate, regularity, pressures."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import kernel
from wardstream.kernels.pulse import DIASTOLIC, MEAN, ONSET, SYSTOLIC
from wardstream.kernels.resample import TARGET_RATE_HZ

N_PULSES: Final = 6
REACH_SAMPLES: Final = 2000
"""8 s: older pulses say nothing of now."""

RECENT_SAMPLES: Final = 1000
_STALE_SAMPLES: Final = 1250  # 5 s without a pulse: there is no rate
_REGULAR: Final = 0.2  # largest deviation of an interval from the median, as its share

N_RECENT, RATE, REGULAR, LAST_ONSET, SYSTOLIC_MEDIAN, DIASTOLIC_MEDIAN, MEAN_MEDIAN = range(7)
"""Positions in the answer of `summarise`."""


def summarise(pulses: NDArray[np.float64], n_pulses: int, now: int) -> NDArray[np.float64]:
    """What the last six pulses within 8 s say.

    Parameters
    ----------
    pulses : ndarray of float64, shape (MAX_PULSES, 6)
        Of a `PulseDetector`.
    n_pulses : int
        How many it has found.
    now : int
        250 Hz samples so far.

    Returns
    -------
    ndarray of float64, shape (7,)
        Pulses over the last 4 s; rate a minute from the median interval (NaN without three
        pulses, the last within 5 s); 1 if no interval differs from the median by more than a
        fifth, else 0; sample of the last onset; medians of systolic, diastolic and mean
        pressure, each NaN where there is none.
    """
    out = np.empty(7)
    _summarise(pulses, n_pulses, now, out)
    return out


@kernel
def _summarise(
    pulses: NDArray[np.float64], n_pulses: int, now: int, out: NDArray[np.float64]
) -> None:
    last = np.empty((N_PULSES, pulses.shape[1]))
    n, n_recent = 0, 0
    for k in range(max(n_pulses - min(N_PULSES, pulses.shape[0]), 0), n_pulses):
        row = pulses[k % pulses.shape[0]]
        if row[ONSET] >= now - REACH_SAMPLES:
            last[n] = row
            n += 1
            if row[ONSET] >= now - RECENT_SAMPLES:
                n_recent += 1
    out[:] = math.nan
    out[N_RECENT], out[REGULAR] = n_recent, 0.0
    if n == 0:
        return
    out[LAST_ONSET] = last[n - 1, ONSET]
    out[SYSTOLIC_MEDIAN] = np.median(last[:n, SYSTOLIC])
    out[DIASTOLIC_MEDIAN] = np.median(last[:n, DIASTOLIC])
    means = last[:n, MEAN]
    means = means[np.isfinite(means)]
    if means.size:
        out[MEAN_MEDIAN] = np.median(means)
    if n < 3:
        return
    intervals = last[1:n, ONSET] - last[: n - 1, ONSET]
    middle = np.median(intervals)
    if middle <= 0:  # noise: several upstrokes found one lowest sample, and that is no rate
        return
    if now - last[n - 1, ONSET] <= _STALE_SAMPLES:
        out[RATE] = 60.0 * TARGET_RATE_HZ / middle
    out[REGULAR] = 1.0 if np.abs(intervals - middle).max() <= _REGULAR * middle else 0.0
