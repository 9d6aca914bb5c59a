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

# Slow below this rate and regular above this strength, each with a soft edge.
_SLOW_PER_MIN: Final = 145.0
_SLOW_EDGE_PER_MIN: Final = 4.0
_REGULAR: Final = 0.6
_REGULAR_EDGE: Final = 0.05


def repetition_per_min(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rate of the strongest repetition of each of `windows`, shape (n, n_samples); NaN: none.

    The first result of `repetition` for each window.
    """
    meter = RepetitionMeter(windows.shape[1])
    return np.array([meter.of(window)[0] for window in windows], dtype=np.float64)


def repetition(window: NDArray[np.float32]) -> tuple[float, float]:
    """Rate a minute and strength of the strongest repetition within one window.

    As `RepetitionMeter.of`, with working space of its own.
    """
    return RepetitionMeter(window.size).of(window)


class RepetitionMeter:
    """The strongest repetition of one window after the other, without allocation.

    Parameters
    ----------
    n_samples : int
        Length of each window at 250 Hz, at least 2 s.
    """

    def __init__(self, n_samples: int) -> None:
        self._coarse = np.empty(n_samples // _DECIMATION)
        self._correlation = np.empty(_LAST_LAG + 1)

    def of(self, window: NDArray[np.float32]) -> tuple[float, float]:
        """Rate a minute and strength of the strongest repetition within `window`.

        Parameters
        ----------
        window : ndarray of float32, shape (n_samples,)
            At 250 Hz, in any unit; NaN counts as 0.

        Returns
        -------
        rate : float
            40 to 375 a minute; NaN where nothing repeats itself.
        strength : float
            Autocorrelation at that period, up to about 1; 0 where nothing repeats itself.

        Notes
        -----
        First lag between 0.16 and 1.5 s whose autocorrelation (unbiased, of means of four
        samples) is a local maximum and at least 0.85 of the highest there: a repetition at twice
        the period is never preferred.
        """
        return _repetition(window, self._coarse, self._correlation)

    def slow_and_regular(self, window: NDArray[np.float32]) -> float:
        """How clearly `window` repeats itself regularly, and more slowly than 150 a minute.

        Returns
        -------
        float
            0 to 1: the product of two logistic curves, of strength (half at 0.6) and of rate
            (half at 145 a minute, for a rate is known to one lag in 25 there). No such rhythm is
            shockable, however wide its beats.
        """
        rate, strength = self.of(window)
        return _slow_and_regular(rate, strength)


@kernel
def _slow_and_regular(rate: float, strength: float) -> float:
    if np.isnan(rate):
        return 0.0
    slow = 1.0 / (1.0 + np.exp((rate - _SLOW_PER_MIN) / _SLOW_EDGE_PER_MIN))
    return slow / (1.0 + np.exp((_REGULAR - strength) / _REGULAR_EDGE))


@kernel
def _repetition(
    window: NDArray[np.float32],
    coarse: NDArray[np.float64],
    correlation: NDArray[np.float64],
) -> tuple[float, float]:
    n = coarse.size
    mean = 0.0
    for i in range(n):
        coarse[i] = 0.0
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
