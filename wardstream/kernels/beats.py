"""Causal QRS detection on one or several leads at 250 Hz, streaming.

After Pan and Tompkins (IEEE Trans. Biomed. Eng. 32:230-236, 1985): band-pass, slope, moving
mean, adaptive threshold, search-back, T-wave rejection. Ours: each lead is measured by its
own level; leads are weighted by quality and by how far their QRS stand out of what lies
between; where there is noise, a peak that looks like the beats so far counts for more, and
another for less; the threshold falls with the time since the last beat; after silence the detector
grows more sensitive and at last learns anew. A beat is known about 0.2 s after its peak.

The constants were chosen with all of mitdb in view: its figures there are not held out.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.beat_shape import MASK, RING, learn_shape, likeness, width
from wardstream.kernels.compile import inlined, joint_kernel, kernel
from wardstream.kernels.filters import butterworth_highpass, butterworth_lowpass
from wardstream.kernels.resample import TARGET_RATE_HZ

MAX_BEATS: Final = 128
"""Beats kept: half a minute at 250 /min."""

AMPLITUDE, WIDTH, LIKENESS = range(3)
"""Columns of `QrsDetector.features`."""


# Samples at 250 Hz unless said otherwise.
_MEAN_WIDTH: Final = 28  # moving mean: 112 ms, about one QRS
_LEARNING: Final = 500
_REFRACTORY: Final = 50  # 200 ms
_T_WAVE: Final = 90  # 360 ms: a peak within may be a T wave
_T_WAVE_SLOPE: Final = 0.5  # and is one if less than half as steep as the beat before
_CONFIRM: Final = 10  # a peak stands once the feature has fallen for 40 ms
_FALL: Final = 0.9
_SHAPE_BEATS: Final = 8  # beats before the shape has a say
_SHAPE_SAY: Final = 4.0  # times the share of noise in the signal
_SHAPE_USUAL: Final = 0.7  # correlation that neither speaks for a beat nor against it
_SHAPE_FLOOR: Final = 0.4  # of the height is left to what looks like no beat: some beats do
_SHAPE_SILENT: Final = 375  # 1.5 s without a beat: the beats may look otherwise now
_THRESHOLD: Final = 0.37  # between the noise and the signal level
_EXTRA: Final = 0.5  # added right after a beat, fading with
_EXTRA_FADE: Final = 50.0
_SEARCH_BACK_RR: Final = 1.66
_SEARCH_BACK_THRESHOLD: Final = 0.5
_SEARCH_BACK_SLOPE: Final = 0.45
_SIGNAL_GAIN: Final = 0.125
_SEARCH_BACK_GAIN: Final = 0.25
_NOISE_GAIN: Final = 0.125
_LEVEL_GAIN: Final = 0.1
_MEAN_GAIN: Final = 0.004  # mean between beats, time constant 1 s
_MIN_LEVEL: Final = 0.004  # mV a sample: what moves less than a QRS of about 0.1 mV is no beat
_QUIET: Final = 750  # 3 s without a beat: the signal level fades by 30 % a second ...
_FADE: Final = 0.9986
_FADE_FLOOR: Final = 0.25  # ... to this
_RELEARN: Final = 2000  # 8 s without a beat: learn anew
_GAP: Final = 50  # 200 ms of missing samples: a gap, which is no silence

# The R peak lies about 22 samples (filter and half the mean) before the peak of the feature;
# wide and paced complexes have it earlier.
_R_BEFORE: Final = 22
_R_EARLIER: Final = 30
_R_LATER: Final = 18
_BASELINE: Final = 50
_REFERENCE_SHARE: Final = 0.1  # R is located in the first lead with this share of the best

_STATE: Final = np.dtype(
    [
        ("n", "i8"), ("n_beats", "i8"), ("last_at", "i8"), ("learn_until", "i8"),
        ("peak_at", "i8"), ("peak", "f8"), ("missed_at", "i8"), ("missed", "f8"),
        ("missed_slope", "f8"), ("signal", "f8"), ("noise", "f8"), ("rr", "f8"), ("slope", "f8"),
        ("lag", "i8"), ("shaped", "i8"), ("alike", "f8"),
    ]
)  # fmt: skip
_LEAD: Final = np.dtype(
    [("held", "f8"), ("sum", "f8"), ("level", "f8"), ("mean", "f8"), ("weight", "f8"),
     ("a0", "f8"), ("a1", "f8"), ("b0", "f8"), ("b1", "f8"), ("gap", "i8")]
)  # fmt: skip

_SECTIONS: Final = np.concatenate(
    [butterworth_highpass(7.0, TARGET_RATE_HZ), butterworth_lowpass(20.0, TARGET_RATE_HZ, 2)]
)


class QrsDetector:
    """Beats of one patient from all leads that share a clock.

    Any division of the same samples into packets gives the same beats, bit for bit.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_leads,)
        Quality of each lead, 0 to 1; the caller sets it. A lead of weight 0 has no say.
    beat_index, known_index : ndarray of int64, shape (MAX_BEATS,)
        Sample of the R peak of beat k, and sample at which it was known, at ``k % MAX_BEATS``.
    features : ndarray of float64, shape (MAX_BEATS, 3)
        Of beat k at row ``k % MAX_BEATS``: height of the R peak over the 0.4 s around it in mV,
        signed; width in ms (how long it is steep, in the band of 7-20 Hz: some 30 ms more than
        the QRS); correlation with the shape of the beats so far, -1 to 1.

    Raises
    ------
    OutOfRangeError
        There is no lead.
    """

    def __init__(self, n_leads: int) -> None:
        if n_leads < 1:
            raise OutOfRangeError(f"n_leads is {n_leads}, expected at least 1")
        self._leads = np.zeros(n_leads, dtype=_LEAD)
        # One array for what five would do: each more costs a tenth of a call.
        self._history = np.zeros(
            (5, n_leads, RING)
        )  # as sampled, in the band, its slope, shapes, features
        self._state = np.zeros(1, dtype=_STATE)
        self.weights = np.ones(n_leads)
        self.features = self._history[4, 0, : 3 * MAX_BEATS].reshape(MAX_BEATS, 3)
        self._beats = np.zeros((2, MAX_BEATS), dtype=np.int64)
        self.beat_index, self.known_index = self._beats
        self.reset()

    @property
    def n_beats(self) -> int:
        """Beats since the start or the last `reset`."""
        return int(self._state["n_beats"][0])

    @property
    def learning(self) -> bool:
        """Whether the first seconds are still being measured and no beat can be found.

        Learning anew after a silence does not count: the silence was real.
        """
        return bool(self._state["n"][0] < _LEARNING)

    def reset(self) -> None:
        """Forget everything: the next sample pushed is sample 0."""
        for array in (self._leads, self._history, self._state):
            array[:] = 0
        self._leads["held"] = math.nan
        self._leads["level"] = _MIN_LEVEL
        self._state["rr"] = 200.0
        self._state["last_at"] = -_RELEARN
        self._state["missed_at"] = -1
        self._state["learn_until"] = _LEARNING

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `detect` takes after the samples, for kernels that call it themselves."""
        return (
            _SECTIONS,
            self.weights,
            self._leads,
            self._history,
            self._state,
            self._beats,
        )

    def push(self, samples_mv: NDArray[np.float32]) -> int:
        """Number of beats that became known with the next samples.

        Parameters
        ----------
        samples_mv : ndarray of float32, shape (n_leads, n_samples)
            Resampled, not filtered, in mV; NaN = missing, and counts as the sample before.

        Raises
        ------
        OutOfRangeError
            `samples_mv` has another number of leads.
        """
        if samples_mv.ndim != 2 or samples_mv.shape[0] != self._leads.size:
            raise OutOfRangeError(
                f"samples_mv has shape {samples_mv.shape}, expected ({self._leads.size}, n)"
            )
        # Few arguments, and none made for the call: at 40 ms a packet the call is what costs.
        return _detect(
            samples_mv, _SECTIONS, self.weights, self._leads, self._history, self._state,
            self._beats,
        )  # fmt: skip

    def last_beats(self, n: int) -> NDArray[np.int64]:
        """Sample indices of the last `n` beats, oldest first; fewer if there were fewer."""
        n = min(n, self.n_beats, MAX_BEATS)
        return self.beat_index[np.arange(self.n_beats - n, self.n_beats) % MAX_BEATS]


@joint_kernel
def _detect(
    samples: NDArray[np.float32],
    sections: NDArray[np.float64],
    weights: NDArray[np.float64],
    leads: Any,
    history: NDArray[np.float64],
    states: Any,
    beats: NDArray[np.int64],
) -> int:
    state = states[0]
    raw, band, slope, shapes = history[0], history[1], history[2], history[3]
    before = state.n_beats
    for i in range(samples.shape[1]):
        n = state.n
        feature = _feature(samples, i, sections, weights, leads, raw, band, slope, state)
        state.n = n + 1
        if _is_gap(leads):
            # Nothing is learned from what is not there, and nobody has been silent.
            if n < state.learn_until:
                state.learn_until += 1
            continue
        if n < state.learn_until:
            state.signal, state.noise = 1.0, 0.1
            continue
        beat_at = -1
        if feature > state.peak:
            state.peak, state.peak_at = feature, n
        elif n - state.peak_at >= _CONFIRM and feature < _FALL * state.peak:
            beat_at = _judge_peak(leads, band, slope, shapes, state)
            state.peak, state.peak_at = feature, n
        overdue = n - state.last_at > _SEARCH_BACK_RR * state.rr
        if beat_at < 0 and overdue and state.missed_at >= 0:
            beat_at = _search_back(leads, band, slope, shapes, state)
        if beat_at >= 0:
            k = state.n_beats % beats.shape[1]
            beats[0, k] = _r_peak(beat_at, n, leads, raw, history[4, 0, 3 * k : 3 * k + 3])
            history[4, 0, 3 * k + WIDTH] = width(beat_at, leads, slope)
            history[4, 0, 3 * k + LIKENESS] = state.alike
            beats[1, k] = n
            state.n_beats += 1
        _grow_sensitive(leads, state)
    return state.n_beats - before


@inlined
def _is_gap(leads: Any) -> bool:
    missing = True
    for c in range(leads.size):
        missing = missing and leads[c].gap >= _GAP
    return missing


@inlined
def _feature(
    samples: NDArray[np.float32],
    i: int,
    sections: NDArray[np.float64],
    weights: NDArray[np.float64],
    leads: Any,
    raw: NDArray[np.float64],
    band: NDArray[np.float64],
    slope: NDArray[np.float64],
    state: Any,
) -> float:
    # Weighted mean over leads of the moving mean of |slope|, each in units of its own QRS.
    total, weight_sum = 0.0, 0.0
    for c in range(leads.size):
        lead = leads[c]
        mean = _feed(float(samples[c, i]), sections, lead, raw, band, slope, c, state.n)
        if state.n < state.learn_until:
            lead.level = max(lead.level, mean)
        lead.mean += _MEAN_GAIN * (mean - lead.mean)
        # A lead in which nothing has ever moved stands out of nothing: it gets no say.
        prominence = max(lead.level / (lead.mean + 1e-9), 1.0) if lead.level > _MIN_LEVEL else 0.0
        lead.weight = weights[c] * prominence * prominence
        total += lead.weight * mean / lead.level
        weight_sum += lead.weight
    return total / weight_sum if weight_sum > 0 else 0.0


@inlined
def _feed(
    x: float,
    sections: NDArray[np.float64],
    lead: Any,
    raw: NDArray[np.float64],
    band: NDArray[np.float64],
    slope: NDArray[np.float64],
    c: int,
    n: int,
) -> float:
    # Whole arrays and a lead's number, not views of its rows: making a view costs more than
    # all the arithmetic here.
    if math.isnan(x):
        x = 0.0 if math.isnan(lead.held) else lead.held
        lead.gap += 1
    else:
        if math.isnan(lead.held) or lead.gap >= _GAP:
            # The first sample, or the first after a gap: as if it had always been there, for a
            # step would ring for longer than a beat. The high-pass comes first and holds such a
            # level back, so only its own state is not zero.
            lead.a0 = -sections[0, 0] * x
            lead.a1 = sections[0, 2] * x
            lead.b0 = lead.b1 = 0.0
            for k in range(1, 5):
                band[c, (n - k) & MASK] = 0.0
            for k in range(1, _R_BEFORE + 2 * _BASELINE):  # as far as an R peak is looked for
                raw[c, (n - k) & MASK] = x
        if math.isnan(lead.held):
            for k in range(raw.shape[1]):
                raw[c, k] = x
        lead.held = x
        lead.gap = 0
    raw[c, n & MASK] = x
    y = sections[0, 0] * x + lead.a0
    z0 = sections[0, 1] * x - sections[0, 3] * y + lead.a1
    z1 = sections[0, 2] * x - sections[0, 4] * y
    lead.a0 = z0 if abs(z0) > 1e-30 else 0.0
    lead.a1 = z1 if abs(z1) > 1e-30 else 0.0
    x = sections[1, 0] * y + lead.b0
    z0 = sections[1, 1] * y - sections[1, 3] * x + lead.b1
    z1 = sections[1, 2] * y - sections[1, 4] * x
    lead.b0 = z0 if abs(z0) > 1e-30 else 0.0
    lead.b1 = z1 if abs(z1) > 1e-30 else 0.0
    band[c, n & MASK] = x
    rise = 2 * x + band[c, (n - 1) & MASK]
    rise = rise - band[c, (n - 3) & MASK] - 2 * band[c, (n - 4) & MASK]
    slope[c, n & MASK] = abs(rise) / 8
    if n & MASK == 0:  # summed anew now and then, so that rounding never adds up
        lead.sum = _sum_before(slope, c, n)
    else:
        lead.sum += slope[c, n & MASK] - slope[c, (n - _MEAN_WIDTH) & MASK]
    return lead.sum / _MEAN_WIDTH


@kernel
def _sum_before(slope: NDArray[np.float64], c: int, n: int) -> float:
    total = 0.0
    for k in range(_MEAN_WIDTH):
        total += slope[c, (n - k) & MASK]
    return total


@joint_kernel
def _judge_peak(
    leads: Any,
    band: NDArray[np.float64],
    slope: NDArray[np.float64],
    shapes: NDArray[np.float64],
    state: Any,
) -> int:
    # Position of the feature's peak if it is a beat, else -1.
    gap = state.peak_at - state.last_at
    if gap <= _REFRACTORY:
        return -1
    span = state.signal - state.noise
    threshold = state.noise + _THRESHOLD * span
    threshold += _EXTRA * span * math.exp((_REFRACTORY - gap) / _EXTRA_FADE)
    steepness = _steepness(state.peak_at, leads, slope)
    t_wave = gap < _T_WAVE and steepness < _T_WAVE_SLOPE * state.slope
    alike = -1.0 if t_wave else likeness(state.peak_at, leads, band, shapes, state)
    state.alike = alike
    if gap > _SHAPE_SILENT or state.shaped < _SHAPE_BEATS:
        alike = _SHAPE_USUAL
    say = _SHAPE_SAY * state.noise / state.signal
    height = state.peak * max(1.0 + say * (alike - _SHAPE_USUAL), _SHAPE_FLOOR)
    if height > threshold and not t_wave and _moves(state.peak_at, leads, slope):
        _accept(state.peak_at, state.peak, steepness, _SIGNAL_GAIN, leads, slope, state)
        learn_shape(state.peak_at, leads, band, shapes, state)
        return state.last_at
    if height > state.missed and gap > _T_WAVE:
        state.missed, state.missed_slope = height, steepness
        state.missed_at = state.peak_at
    state.noise += _NOISE_GAIN * (min(state.peak, state.signal) - state.noise)
    return -1


@joint_kernel
def _search_back(
    leads: Any,
    band: NDArray[np.float64],
    slope: NDArray[np.float64],
    shapes: NDArray[np.float64],
    state: Any,
) -> int:
    # After 1.66 mean intervals without a beat, the best peak passed over, or -1.
    threshold = state.noise + _THRESHOLD * (state.signal - state.noise)
    found = (
        state.missed > _SEARCH_BACK_THRESHOLD * threshold
        and state.missed_slope > _SEARCH_BACK_SLOPE * state.slope
        and _moves(state.missed_at, leads, slope)
    )
    if found:
        state.alike = likeness(state.missed_at, leads, band, shapes, state)
        _accept(
            state.missed_at, state.missed, state.missed_slope, _SEARCH_BACK_GAIN,
            leads, slope, state,
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
    slope: NDArray[np.float64],
    state: Any,
) -> None:
    gap = at - state.last_at
    if gap < 400:
        state.rr += 0.2 * (min(max(gap, 75), 375) - state.rr)
    state.signal += gain * (height - state.signal)
    state.slope = steepness
    for c in range(leads.size):
        mean = _sum_before(slope, c, at) / _MEAN_WIDTH
        leads[c].level = max(leads[c].level + _LEVEL_GAIN * (mean - leads[c].level), _MIN_LEVEL)
    state.last_at = at
    state.missed, state.missed_at = 0.0, -1


@kernel
def _moves(at: int, leads: Any, slope: NDArray[np.float64]) -> bool:
    # Whether any lead that has a say moves as much as the smallest QRS.
    for c in range(leads.size):
        if leads[c].weight > 0 and _sum_before(slope, c, at) > _MIN_LEVEL * _MEAN_WIDTH:
            return True
    return False


@kernel
def _steepness(at: int, leads: Any, slope: NDArray[np.float64]) -> float:
    total, weight_sum = 0.0, 0.0
    for c in range(leads.size):
        steepest = 0.0
        for k in range(_MEAN_WIDTH + 5):
            steepest = max(steepest, slope[c, (at - k) & MASK])
        total += leads[c].weight * steepest / leads[c].level
        weight_sum += leads[c].weight
    return total / weight_sum if weight_sum > 0 else 0.0


@kernel
def _r_peak(
    at: int, n: int, leads: Any, raw: NDArray[np.float64], feature: NDArray[np.float64]
) -> int:
    # Farthest from the baseline, in the first lead that is good enough: one lead, so that
    # intervals do not jitter between the peaks of two.
    best = 0.0
    for c in range(leads.size):
        best = max(best, leads[c].weight)
    chosen = 0
    while leads[chosen].weight < _REFERENCE_SHARE * best:
        chosen += 1
    centre = at - _R_BEFORE
    first, last = max(centre - _BASELINE, 0), min(centre + _BASELINE, n)
    baseline = 0.0
    for j in range(first, last + 1):
        baseline += raw[chosen, j & MASK]
    baseline /= last + 1 - first
    where, farthest = max(centre, 0), -1.0
    for j in range(max(centre - _R_EARLIER, 0), min(centre + _R_LATER, n) + 1):
        distance = abs(raw[chosen, j & MASK] - baseline)
        if distance > farthest:
            where, farthest = j, distance
    feature[AMPLITUDE] = raw[chosen, where & MASK] - baseline
    return where


@inlined
def _grow_sensitive(leads: Any, state: Any) -> None:
    n = state.n - 1
    quiet = n - state.last_at
    if quiet > _QUIET and state.signal > _FADE_FLOOR:
        state.signal *= _FADE
        state.slope *= _FADE
    if quiet > _RELEARN and n >= state.learn_until + _RELEARN:
        state.learn_until = n + _LEARNING
        state.peak, state.slope = 0.0, 0.0
        state.shaped = 0
        for c in range(leads.size):
            leads[c].level = _MIN_LEVEL


detect = _detect
"""For kernels of other modules (`wardstream.kernels.compile.joint_kernel`)."""

LEARNING_SAMPLES: Final = _LEARNING
"""From the first sample on: no beat can be found while they are being measured."""
