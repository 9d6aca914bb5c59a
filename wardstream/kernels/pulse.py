"""Pulses in arterial pressure or a photoplethysmogram, at 250 Hz, causal and streaming.

After Zong et al. (Computers in Cardiology 30:259-262, 2003): the slope-sum function rises with
each upstroke; its threshold follows the last upstrokes. A pulse is known as soon as the curve
has turned down from its systolic peak.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import kernel
from wardstream.kernels.filters import CascadeFilter, butterworth_lowpass
from wardstream.kernels.resample import TARGET_RATE_HZ

MAX_PULSES: Final = 64

_RING: Final = 512
_MASK: Final = _RING - 1
_SLOPE_SUM: Final = 32  # 128 ms, one upstroke
_REFRACTORY: Final = 60  # 240 ms: up to 250 /min
_ONSET_REACH: Final = 75  # 300 ms before the threshold was passed
_PEAK_REACH: Final = 100  # 400 ms after it
_LEARNING: Final = 750  # the first 3 s
_THRESHOLD: Final = 0.5
_GAIN: Final = 0.2
_QUIET: Final = 500  # 2 s without a pulse: the level fades by a third a second ...
_FADE: Final = 0.9984
_FADE_FLOOR: Final = 0.3  # ... to this share of what it was: noise is no pulse
_TURNED: Final = 0.05  # of the amplitude: the curve has turned down
_FOREVER: Final = -1_000_000

_STATE: Final = np.dtype(
    [
        ("n", "i8"), ("n_pulses", "i8"), ("last_at", "i8"), ("crossed_at", "i8"),
        ("armed", "i8"), ("held", "f8"), ("sum", "f8"), ("level", "f8"), ("long_level", "f8"),
        ("top", "f8"), ("area", "f8"), ("area_n", "i8"),
    ]
)  # fmt: skip

ONSET, PEAK, DIASTOLIC, SYSTOLIC, MEAN, KNOWN = range(6)
"""Columns of `PulseDetector.pulses`."""


class PulseDetector:
    """Pulses of one channel.

    Attributes
    ----------
    pulses : ndarray of float64, shape (MAX_PULSES, 6)
        Pulse k at row ``k % MAX_PULSES``: sample of the onset, sample of the systolic peak,
        value at onset (diastolic), value at peak (systolic), mean over the pulse before (NaN
        for the first after silence), sample at which it was known.
    """

    def __init__(self, *, min_amplitude: float) -> None:
        """Detector that never takes less than `min_amplitude`, in the channel's unit, for a pulse."""
        self._min_amplitude = min_amplitude
        self._filter = CascadeFilter(
            1, butterworth_lowpass(12.0, TARGET_RATE_HZ, 2), TARGET_RATE_HZ
        )
        self._smooth = np.empty((1, 64), dtype=np.float32)
        self._ring = np.zeros(_RING)
        self._state = np.zeros(1, dtype=_STATE)
        self.pulses = np.full((MAX_PULSES, 6), np.nan)
        self.reset()

    @property
    def n_pulses(self) -> int:
        """Pulses since the start or the last `reset`."""
        return int(self._state["n_pulses"][0])

    def reset(self) -> None:
        """Forget everything: the next sample pushed is sample 0."""
        self._filter.reset()
        self._ring[:] = 0.0
        self._state[:] = 0
        self._state["held"] = math.nan
        self._state["last_at"] = _FOREVER
        self._state["crossed_at"] = -1
        self._state["armed"] = 1

    def push(self, samples: NDArray[np.float32]) -> int:
        """Number of pulses that became known with the next samples, shape (1, n_samples).

        NaN = missing, and counts as the sample before. O(n), no allocation.
        """
        if samples.shape[1] > self._smooth.shape[1]:
            self._smooth = np.empty((1, 2 * samples.shape[1]), dtype=np.float32)
        smooth = self._smooth[:, : samples.shape[1]]
        self._filter.push(samples, smooth)
        before = self.n_pulses
        _find(smooth[0], self._min_amplitude, self._ring, self._state[0], self.pulses)
        return self.n_pulses - before

    def last_pulses(self, n: int) -> NDArray[np.float64]:
        """The last `n` rows of `pulses`, oldest first; fewer if there were fewer."""
        n = min(n, self.n_pulses, MAX_PULSES)
        return self.pulses[np.arange(self.n_pulses - n, self.n_pulses) % MAX_PULSES]


@kernel
def _find(
    samples: NDArray[np.float32],
    min_amplitude: float,
    ring: NDArray[np.float64],
    state: Any,
    pulses: NDArray[np.float64],
) -> None:
    for i in range(samples.size):
        n = state.n
        _feed(float(samples[i]), ring, state, n)
        state.n = n + 1
        if math.isnan(state.held):
            continue
        if n < _LEARNING:
            state.level = state.long_level = max(state.level, state.sum)
        threshold = max(_THRESHOLD * state.level, 0.5 * min_amplitude)
        if state.crossed_at < 0:
            if state.sum < threshold:
                state.armed = 1
            elif state.armed and n - state.last_at > _REFRACTORY and n > _SLOPE_SUM:
                state.crossed_at, state.armed, state.top = n, 0, 0.0
        else:
            _follow(n, min_amplitude, ring, state, pulses)
        if n - state.last_at > _QUIET and n >= _LEARNING:
            state.level = max(state.level * _FADE, _FADE_FLOOR * state.long_level)


@kernel
def _feed(x: float, ring: NDArray[np.float64], state: Any, n: int) -> None:
    if math.isnan(x):
        if math.isnan(state.held):
            return
        x = state.held
    elif math.isnan(state.held):
        for k in range(_RING):
            ring[k] = x
    state.held = x
    ring[n & _MASK] = x
    state.area += x
    state.area_n += 1
    if n & _MASK == 0:  # summed anew now and then, so that rounding never adds up
        state.sum = 0.0
        for k in range(_SLOPE_SUM):
            state.sum += max(ring[(n - k) & _MASK] - ring[(n - k - 1) & _MASK], 0.0)
    else:
        old = n - _SLOPE_SUM
        state.sum += max(x - ring[(n - 1) & _MASK], 0.0)
        state.sum -= max(ring[old & _MASK] - ring[(old - 1) & _MASK], 0.0)


@kernel
def _follow(
    n: int, min_amplitude: float, ring: NDArray[np.float64], state: Any, pulses: NDArray[np.float64]
) -> None:
    # After the threshold was passed at `crossed_at`: wait for the curve to turn down.
    crossed = state.crossed_at
    state.top = max(state.top, state.sum)
    peak_at = crossed
    for j in range(crossed, n + 1):
        if ring[j & _MASK] > ring[peak_at & _MASK]:
            peak_at = j
    onset_at = crossed
    for k in range(_ONSET_REACH):
        if ring[(crossed - k) & _MASK] < ring[onset_at & _MASK]:
            onset_at = crossed - k
    low, high = ring[onset_at & _MASK], ring[peak_at & _MASK]
    turned = ring[n & _MASK] < high - _TURNED * (high - low)
    if not turned and n - crossed < _PEAK_REACH:
        return
    state.crossed_at = -1
    if high - low < min_amplitude or not turned:
        return
    row = pulses[state.n_pulses % MAX_PULSES]
    near = onset_at - state.last_at < _RING
    row[ONSET], row[PEAK], row[DIASTOLIC], row[SYSTOLIC] = onset_at, peak_at, low, high
    row[MEAN] = state.area / state.area_n if near and state.n_pulses > 0 else math.nan
    row[KNOWN] = n
    state.area, state.area_n = 0.0, 0
    state.n_pulses += 1
    state.last_at = onset_at
    rise = min(state.top, 2 * state.level) if state.level > 0 else state.top
    state.level += _GAIN * (rise - state.level)
    state.long_level += _GAIN * (rise - state.long_level)
