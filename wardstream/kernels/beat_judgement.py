"""Whether a peak of the feature is a beat, found at once or by search-back, and where its R is."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.beat_feature import sum_before
from wardstream.kernels.beat_memory import (
    AMPLITUDE,
    BASELINE_HALF,
    MASK,
    MEAN_WIDTH,
    MIN_LEVEL,
    R_BEFORE,
)
from wardstream.kernels.beat_shape import learn_shape, likeness
from wardstream.kernels.compile import joint_kernel, kernel

_REFRACTORY: Final = 50  # 200 ms
_T_WAVE: Final = 90  # 360 ms: a peak within may be a T wave
_T_WAVE_SLOPE: Final = 0.5  # and is one if less than half as steep as the beat before
_SHAPE_BEATS: Final = 8  # beats before the shape has a say
_SHAPE_SAY: Final = 4.0  # times the share of noise in the signal
_SHAPE_USUAL: Final = 0.7  # correlation that neither speaks for a beat nor against it
_SHAPE_FLOOR: Final = 0.4  # of the height is left to what looks like no beat: some beats do
_MOST_ALIKE: Final = 1.0 + 1e-6  # no correlation is higher, rounding included
_SHAPE_SILENT: Final = 375  # 1.5 s without a beat: the beats may look otherwise now
_THRESHOLD: Final = 0.37  # between the noise and the signal level
_EXTRA: Final = 0.5  # added right after a beat, fading with
_EXTRA_FADE: Final = 50.0
_SEARCH_BACK_THRESHOLD: Final = 0.5
_SEARCH_BACK_SLOPE: Final = 0.45
_SIGNAL_GAIN: Final = 0.125
_SEARCH_BACK_GAIN: Final = 0.25
_NOISE_GAIN: Final = 0.125
_LEVEL_GAIN: Final = 0.1
_R_EARLIER: Final = 30
_R_LATER: Final = 18
_REFERENCE_SHARE: Final = 0.1  # R is located in the first lead with this share of the best


@joint_kernel
def judge_peak(leads: Any, state: Any) -> int:
    """Sample of the feature's peak if it is a beat, else -1."""
    gap = state.peak_at - state.last_at
    if gap <= _REFRACTORY:
        return -1
    span = state.signal - state.noise
    threshold = state.noise + _THRESHOLD * span
    threshold += _EXTRA * span * math.exp((_REFRACTORY - gap) / _EXTRA_FADE)
    say = _SHAPE_SAY * state.noise / state.signal
    # Most peaks could be neither a beat nor the best one passed over, whatever they look like.
    highest = state.peak * max(1.0 + say * (_MOST_ALIKE - _SHAPE_USUAL), _SHAPE_FLOOR)
    if not (highest > threshold or (gap > _T_WAVE and highest > state.missed)):
        _learn_noise(state)
        return -1
    steepness = _steepness(state.peak_at, leads)
    t_wave = gap < _T_WAVE and steepness < _T_WAVE_SLOPE * state.slope
    alike = -1.0 if t_wave else likeness(state.peak_at, leads, state)
    state.alike = alike
    if gap > _SHAPE_SILENT or state.shaped < _SHAPE_BEATS:
        alike = _SHAPE_USUAL
    height = state.peak * max(1.0 + say * (alike - _SHAPE_USUAL), _SHAPE_FLOOR)
    if height > threshold and not t_wave and _moves(state.peak_at, leads):
        _accept(state.peak_at, state.peak, steepness, _SIGNAL_GAIN, leads, state)
        learn_shape(state.peak_at, leads, state)
        return state.last_at
    if height > state.missed and gap > _T_WAVE:
        state.missed, state.missed_slope = height, steepness
        state.missed_at = state.peak_at
    _learn_noise(state)
    return -1


@kernel
def _learn_noise(state: Any) -> None:
    state.noise += _NOISE_GAIN * (min(state.peak, state.signal) - state.noise)


@joint_kernel
def search_back(leads: Any, state: Any) -> int:
    """The best peak passed over since the last beat, which is overdue, or -1."""
    threshold = state.noise + _THRESHOLD * (state.signal - state.noise)
    found = (
        state.missed > _SEARCH_BACK_THRESHOLD * threshold
        and state.missed_slope > _SEARCH_BACK_SLOPE * state.slope
        and _moves(state.missed_at, leads)
    )
    if found:
        state.alike = likeness(state.missed_at, leads, state)
        _accept(
            state.missed_at, state.missed, state.missed_slope, _SEARCH_BACK_GAIN,
            leads, state,
        )  # fmt: skip
        return state.last_at
    state.missed, state.missed_at = 0.0, -1
    return -1


@kernel
def _accept(
    at: int,
    height: float,
    steepness: float,
    gain: float,
    leads: Any,
    state: Any,
) -> None:
    gap = at - state.last_at
    if gap < 400:
        state.rr += 0.2 * (min(max(gap, 75), 375) - state.rr)
    state.signal += gain * (height - state.signal)
    state.slope = steepness
    for c in range(leads.size):
        mean = sum_before(leads[c], at) / MEAN_WIDTH
        leads[c].level = max(leads[c].level + _LEVEL_GAIN * (mean - leads[c].level), MIN_LEVEL)
    state.last_at = at
    state.missed, state.missed_at = 0.0, -1


@kernel
def _moves(at: int, leads: Any) -> bool:
    # Whether any lead that has a say moves as much as the smallest QRS.
    for c in range(leads.size):
        if leads[c].weight > 0 and sum_before(leads[c], at) > MIN_LEVEL * MEAN_WIDTH:
            return True
    return False


@kernel
def _steepness(at: int, leads: Any) -> float:
    total, weight_sum = 0.0, 0.0
    for c in range(leads.size):
        steepest = 0.0
        for k in range(MEAN_WIDTH + 5):
            steepest = max(steepest, leads[c].slope[(at - k) & MASK])
        total += leads[c].weight * steepest / leads[c].level
        weight_sum += leads[c].weight
    return total / weight_sum if weight_sum > 0 else 0.0


@kernel
def locate_r_peak(at: int, n: int, leads: Any, feature: NDArray[np.float64]) -> int:
    # Farthest from the baseline, in the first lead that is good enough: one lead, so that
    # intervals do not jitter between the peaks of two.
    best = 0.0
    for c in range(leads.size):
        best = max(best, leads[c].weight)
    chosen = 0
    while leads[chosen].weight < _REFERENCE_SHARE * best:
        chosen += 1
    raw = leads[chosen].raw
    centre = at - R_BEFORE
    first, last = max(centre - BASELINE_HALF, 0), min(centre + BASELINE_HALF, n)
    baseline = 0.0
    for j in range(first, last + 1):
        baseline += raw[j & MASK]
    baseline /= last + 1 - first
    where, farthest = max(centre, 0), -1.0
    for j in range(max(centre - _R_EARLIER, 0), min(centre + _R_LATER, n) + 1):
        distance = abs(raw[j & MASK] - baseline)
        if distance > farthest:
            where, farthest = j, distance
    feature[AMPLITUDE] = raw[where & MASK] - baseline
    return where
