"""Respiration rate from what breathing does to heart beats, where no respiration curve is.

Breathing moves the height of the R peak, the height and the foot of the pulse, and the interval
between beats (Charlton et al., Physiol. Meas. 37:610-626, 2016). Each series is looked at where
its beats lie (Lomb's periodogram: nothing is resampled); series are fused by their spectra, each
weighted by how much of its power lies in one place.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.beats import AMPLITUDE
from wardstream.kernels.compile import kernel
from wardstream.kernels.pulse import DIASTOLIC, ONSET, SYSTOLIC
from wardstream.kernels.resample import TARGET_RATE_HZ

REACH_S: Final = 32.0
"""Beats older than this say nothing of now."""

MAX_PULSE_CHANNELS: Final = 2
MAX_SERIES: Final = 2 + 3 * MAX_PULSE_CHANNELS
MAX_POINTS: Final = 128

_LOWEST_PER_MIN: Final = 5.0
_STEP_PER_MIN: Final = 0.5
_N_RATES: Final = 81  # up to 45 a minute
_MIN_POINTS: Final = 16
_MIN_SPAN_S: Final = 20.0
_NEAR: Final = 4  # steps to each side of the peak that belong to it: what a window of 32 s blurs
_MIN_SHARE: Final = 0.25  # of the fused power that must lie at the peak
_CLIP: Final = 3.0  # times the median deviation: an ectopic beat is no breath
_HIGHEST_SHARE: Final = 0.45  # of the beats' own rate: what is faster cannot be seen in them


class DerivedRespiration:
    """Respiration rate from beats and pulses, as known when it is asked for.

    It keeps nothing between answers: detectors that say the same give the same rate.
    """

    def __init__(self) -> None:
        self._points = np.zeros((MAX_SERIES, 2, MAX_POINTS))
        self._sizes = np.zeros(MAX_SERIES, dtype=np.int64)
        self._power = np.zeros((2, _N_RATES))
        self._n = 0

    def begin(self) -> None:
        """Forget the series taken so far."""
        self._n = 0

    def take_beats(
        self,
        beat_index: NDArray[np.int64],
        features: NDArray[np.float64],
        n_beats: int,
        now: int,
    ) -> None:
        """Take the heights and intervals of the beats of a `QrsDetector` at sample `now`."""
        self._room(2)
        _take_beats(
            beat_index, features, n_beats, now, self._points[self._n :], self._sizes, self._n
        )
        self._n += 2

    def take_pulses(self, pulses: NDArray[np.float64], n_pulses: int, now: int) -> None:
        """Take heights, feet and intervals of the pulses of a `PulseDetector` at sample `now`."""
        self._room(3)
        _take_pulses(pulses, n_pulses, now, self._points[self._n :], self._sizes, self._n)
        self._n += 3

    def rate_per_min(self) -> float:
        """Breaths a minute, 5 to 45, from the series taken; NaN where they do not agree on one."""
        return _fuse(self._points[: self._n], self._sizes[: self._n], self._power)

    def _room(self, n: int) -> None:
        if self._n + n > MAX_SERIES:
            raise OutOfRangeError(f"{self._n + n} series, expected at most {MAX_SERIES}")


@kernel
def _take_beats(
    beat_index: NDArray[np.int64],
    features: NDArray[np.float64],
    n_beats: int,
    now: int,
    points: NDArray[np.float64],
    sizes: NDArray[np.int64],
    at: int,
) -> None:
    sizes[at : at + 2] = 0
    n_kept = beat_index.size
    for k in range(max(n_beats - n_kept + 1, 1), n_beats):
        here, before = beat_index[k % n_kept], beat_index[(k - 1) % n_kept]
        if now - here > REACH_S * TARGET_RATE_HZ or here <= before:
            continue
        time_s = (here - now) / TARGET_RATE_HZ
        _add(points[0], sizes, at, time_s, abs(features[k % n_kept, AMPLITUDE]))
        _add(points[1], sizes, at + 1, time_s, float(here - before))


@kernel
def _take_pulses(
    pulses: NDArray[np.float64],
    n_pulses: int,
    now: int,
    points: NDArray[np.float64],
    sizes: NDArray[np.int64],
    at: int,
) -> None:
    sizes[at : at + 3] = 0
    n_kept = pulses.shape[0]
    for k in range(max(n_pulses - n_kept + 1, 1), n_pulses):
        here, before = pulses[k % n_kept], pulses[(k - 1) % n_kept]
        if now - here[ONSET] > REACH_S * TARGET_RATE_HZ or here[ONSET] <= before[ONSET]:
            continue
        time_s = (here[ONSET] - now) / TARGET_RATE_HZ
        _add(points[0], sizes, at, time_s, here[SYSTOLIC] - here[DIASTOLIC])
        _add(points[1], sizes, at + 1, time_s, here[DIASTOLIC])
        _add(points[2], sizes, at + 2, time_s, here[ONSET] - before[ONSET])


@kernel
def _add(
    series: NDArray[np.float64], sizes: NDArray[np.int64], at: int, time_s: float, value: float
) -> None:
    n = sizes[at]
    if n < series.shape[1] and not math.isnan(value):
        series[0, n], series[1, n] = time_s, value
        sizes[at] = n + 1


@kernel
def _fuse(
    points: NDArray[np.float64], sizes: NDArray[np.int64], power: NDArray[np.float64]
) -> float:
    fused, own = power[0], power[1]
    fused[:] = 0.0
    weight_sum, beat_rate = 0.0, 0.0
    for s in range(points.shape[0]):
        n = sizes[s]
        if n < _MIN_POINTS or points[s, 0, n - 1] - points[s, 0, 0] < _MIN_SPAN_S:
            continue
        if not _flatten(points[s, 0, :n], points[s, 1, :n]):
            continue
        beat_rate = max(beat_rate, 60.0 * (n - 1) / (points[s, 0, n - 1] - points[s, 0, 0]))
        share = _spectrum(points[s, 0, :n], points[s, 1, :n], own)
        for f in range(_N_RATES):
            fused[f] += share * share * own[f]
        weight_sum += share * share
    if weight_sum == 0.0:
        return math.nan
    last = min(_N_RATES, int((_HIGHEST_SHARE * beat_rate - _LOWEST_PER_MIN) / _STEP_PER_MIN))
    best = 0
    for f in range(1, last):
        if fused[f] > fused[best]:
            best = f
    near = 0.0
    for f in range(max(best - _NEAR, 0), min(best + _NEAR + 1, _N_RATES)):
        near += fused[f]
    if best in (0, last - 1) or near < _MIN_SHARE * weight_sum:
        return math.nan
    left, middle, right = fused[best - 1], fused[best], fused[best + 1]
    curvature = left - 2 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return _LOWEST_PER_MIN + _STEP_PER_MIN * (best + shift)


@kernel
def _flatten(times: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    # Takes out the straight line and cuts what stands out; whether anything is left.
    n = times.size
    middle = float(np.median(values))
    deviation = float(np.median(np.abs(values - middle)))
    if not deviation > 0:
        return False
    for i in range(n):
        values[i] = min(max(values[i] - middle, -_CLIP * deviation), _CLIP * deviation)
    time_mean, value_mean, product, square = times.mean(), values.mean(), 0.0, 0.0
    for i in range(n):
        product += (times[i] - time_mean) * (values[i] - value_mean)
        square += (times[i] - time_mean) ** 2
    for i in range(n):
        values[i] -= value_mean + product / square * (times[i] - time_mean)
    return True


@kernel
def _spectrum(
    times: NDArray[np.float64], values: NDArray[np.float64], power: NDArray[np.float64]
) -> float:
    # Power at each rate, of sum 1, and the share of it around its highest.
    first, last = times[0], times[times.size - 1]
    power[:] = 0.0
    real, imaginary = np.zeros(_N_RATES), np.zeros(_N_RATES)
    for i in range(times.size):
        window = 0.5 - 0.5 * math.cos(2 * math.pi * (times[i] - first + 0.5) / (last - first + 1.0))
        value = values[i] * window
        turn = 2 * math.pi * times[i] / 60.0
        c, s = math.cos(turn * _LOWEST_PER_MIN), math.sin(turn * _LOWEST_PER_MIN)
        dc, ds = math.cos(turn * _STEP_PER_MIN), math.sin(turn * _STEP_PER_MIN)
        for f in range(_N_RATES):
            real[f] += value * c
            imaginary[f] += value * s
            c, s = c * dc - s * ds, c * ds + s * dc
    total, best = 0.0, 0
    for f in range(_N_RATES):
        power[f] = real[f] * real[f] + imaginary[f] * imaginary[f]
        total += power[f]
        if power[f] > power[best]:
            best = f
    if total <= 0:
        return 0.0
    near = 0.0
    for f in range(_N_RATES):
        power[f] /= total
        if abs(f - best) <= _NEAR:
            near += power[f]
    return near
