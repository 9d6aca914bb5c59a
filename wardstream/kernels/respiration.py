"""Breaths in a respiration curve at 250 Hz, causal and streaming.

The curve is limited to 0.08-1 Hz; a breath is a crossing from below to above a band around
zero whose width follows the depth of the last breaths.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import kernel
from wardstream.kernels.filters import CascadeFilter, butterworth_highpass, butterworth_lowpass
from wardstream.kernels.resample import TARGET_RATE_HZ

MAX_BREATHS: Final = 64

_SETTLING: Final = 500  # 2 s for the high-pass
_BAND: Final = 0.35  # of the mean absolute value
_DEPTH_GAIN: Final = 0.0004  # time constant 10 s
_SHORTEST: Final = 188  # 0.75 s: 80 /min
_RATE_REACH_S: Final = 40.0
_MIN_INTERVALS: Final = 2

_STATE: Final = np.dtype(
    [("n", "i8"), ("n_breaths", "i8"), ("below", "i8"), ("last_at", "i8"), ("depth", "f8")]
)


class BreathDetector:
    """Breaths of one channel.

    Attributes
    ----------
    breaths : ndarray of int64, shape (MAX_BREATHS,)
        Sample at which inspiration k was seen, at ``k % MAX_BREATHS``.
    """

    def __init__(self) -> None:
        sections = np.concatenate(
            [
                butterworth_highpass(0.08, TARGET_RATE_HZ, 2),
                butterworth_lowpass(1.0, TARGET_RATE_HZ, 2),
            ]
        )
        self._filter = CascadeFilter(1, sections, TARGET_RATE_HZ)
        self._smooth = np.empty((1, 64), dtype=np.float32)
        self._state = np.zeros(1, dtype=_STATE)
        self.breaths = np.zeros(MAX_BREATHS, dtype=np.int64)

    @property
    def n_breaths(self) -> int:
        """Breaths since the start or the last `reset`."""
        return int(self._state["n_breaths"][0])

    def reset(self) -> None:
        """Forget everything: the next sample pushed is sample 0."""
        self._filter.reset()
        self._state[:] = 0

    def push(self, samples: NDArray[np.float32]) -> int:
        """Number of breaths in the next samples, shape (1, n_samples); NaN = missing."""
        if samples.shape[1] > self._smooth.shape[1]:
            self._smooth = np.empty((1, 2 * samples.shape[1]), dtype=np.float32)
        smooth = self._smooth[:, : samples.shape[1]]
        self._filter.push(samples, smooth)
        before = self.n_breaths
        _breathe(smooth[0], self._state[0], self.breaths)
        return self.n_breaths - before

    def rate_per_min(self) -> float:
        """Breaths a minute over the last 40 s, NaN where there are fewer than three."""
        n = min(self.n_breaths, MAX_BREATHS)
        last = self.breaths[np.arange(self.n_breaths - n, self.n_breaths) % MAX_BREATHS]
        now = int(self._state["n"][0])
        recent = last[last >= now - _RATE_REACH_S * TARGET_RATE_HZ]
        if recent.size <= _MIN_INTERVALS:
            return math.nan
        interval = float(np.median(np.diff(recent)))
        # A breath that is overdue slows the rate before it comes.
        return 60.0 * TARGET_RATE_HZ / max(interval, (now - int(recent[-1])) / 1.5)


@kernel
def _breathe(samples: NDArray[np.float32], state: Any, breaths: NDArray[np.int64]) -> None:
    for i in range(samples.size):
        n = state.n
        state.n = n + 1
        x = float(samples[i])
        if math.isnan(x):
            state.below = 0
            continue
        gain = max(_DEPTH_GAIN, 1.0 / (n + 1))
        state.depth += gain * (abs(x) - state.depth)
        if x < -_BAND * state.depth:
            state.below = 1
        elif x > _BAND * state.depth and state.below:
            state.below = 0
            if n >= _SETTLING and (state.n_breaths == 0 or n - state.last_at >= _SHORTEST):
                breaths[state.n_breaths % MAX_BREATHS] = n
                state.n_breaths += 1
                state.last_at = n
