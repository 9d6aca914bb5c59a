"""How fast and how regularly a curve repeats itself, whatever its beats look like."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import kernel
from wardstream.kernels.resample import TARGET_RATE_HZ

_DECIMATION: Final = 4
_RATE_HZ: Final = TARGET_RATE_HZ / _DECIMATION
_FIRST_LAG: Final = 10
"""0.16 s: 375 a minute."""

_LAST_LAG: Final = 94
"""1.5 s: 40 a minute."""

_STRONG: Final = 0.85


def repetition_per_min(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rate of the strongest repetition of each of `windows`, shape (n, n_samples); NaN: none.

    The first column of `repetition` for each window.
    """
    return np.array([repetition(window)[0] for window in windows], dtype=np.float64)


@kernel
def repetition(window: NDArray[np.float32]) -> tuple[float, float]:
    """Rate a minute and strength of the strongest repetition within a window.

    Parameters
    ----------
    window : ndarray of float32, shape (n_samples,)
        At 250 Hz, at least 2 s, in any unit; NaN counts as 0.

    Returns
    -------
    rate : float
        40 to 375 a minute; NaN where nothing repeats itself.
    strength : float
        Autocorrelation at that period, up to about 1; 0 where nothing repeats itself.

    Notes
    -----
    First lag between 0.16 and 1.5 s whose autocorrelation (unbiased, of means of four samples) is
    a local maximum and at least 0.85 of the highest there: a repetition at twice the period is
    never preferred.
    """
    n = window.size // _DECIMATION
    coarse = np.zeros(n)
    mean = 0.0
    for i in range(n):
        for j in range(_DECIMATION):
            value = window[i * _DECIMATION + j]
            if not np.isnan(value):
                coarse[i] += value
        mean += coarse[i]
    mean /= n
    power = 0.0
    for i in range(n):
        coarse[i] -= mean
        power += coarse[i] * coarse[i]
    if power <= 0.0:
        return np.nan, 0.0
    power /= n
    correlation = np.zeros(_LAST_LAG + 1)
    for lag in range(_FIRST_LAG - 1, _LAST_LAG + 1):
        total = 0.0
        for i in range(n - lag):
            total += coarse[i] * coarse[i + lag]
        correlation[lag] = total / (n - lag) / power
    highest = 0.0
    for lag in range(_FIRST_LAG, _LAST_LAG):
        here = correlation[lag]
        if here >= correlation[lag - 1] and here >= correlation[lag + 1] and here > highest:
            highest = here
    if highest <= 0.0:
        return np.nan, 0.0
    for lag in range(_FIRST_LAG, _LAST_LAG):
        here = correlation[lag]
        if (
            here >= correlation[lag - 1]
            and here >= correlation[lag + 1]
            and here >= _STRONG * highest
        ):
            return 60.0 * _RATE_HZ / lag, here
    return np.nan, 0.0
