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
from wardstream.kernels.beat_feature import feature_at, is_gap
from wardstream.kernels.beat_judgement import judge_peak, locate_r_peak, search_back
from wardstream.kernels.beat_memory import (
    AMPLITUDE,
    LIKENESS,
    MAX_BEATS,
    MIN_LEVEL,
    WIDTH,
    leads_in,
    leads_of,
    new_memory,
    state_in,
    state_of,
)
from wardstream.kernels.beat_shape import width
from wardstream.kernels.compile import inlined, joint_kernel

__all__ = [
    "AMPLITUDE",
    "LEARNING_SAMPLES",
    "LIKENESS",
    "MAX_BEATS",
    "WIDTH",
    "QrsDetector",
    "detect",
]

# Samples at 250 Hz unless said otherwise.
_LEARNING: Final = 500
_CONFIRM: Final = 10  # a peak stands once the feature has fallen for 40 ms
_FALL: Final = 0.9
_SEARCH_BACK_RR: Final = 1.66
_QUIET: Final = 750  # 3 s without a beat: the signal level fades by 30 % a second ...
_FADE: Final = 0.9986
_FADE_FLOOR: Final = 0.25  # ... to this
_RELEARN: Final = 2000  # 8 s without a beat: learn anew


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
        self._memory = new_memory(n_leads)
        self._n_leads = n_leads
        self._state, self._leads = state_in(self._memory), leads_in(self._memory)
        self.weights: NDArray[np.float64] = self._leads["quality"]
        self.weights[:] = 1.0
        self.features: NDArray[np.float64] = self._state["features"][0]
        self._found: NDArray[np.int64] = self._state["found"][0]
        self.beat_index, self.known_index = self._found
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
        weights = self.weights.copy()
        self._memory[:] = 0.0
        self.weights[:] = weights
        leads, state = self._leads, self._state
        leads["held"] = math.nan
        leads["level"] = MIN_LEVEL
        state["rr"] = 200.0
        state["last_at"] = -_RELEARN
        state["missed_at"] = -1
        state["learn_until"] = _LEARNING

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `detect` takes after the samples, and weights, state and beats in it, for kernels."""
        return self._memory, self.weights, self._state, self._found

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
        if samples_mv.ndim != 2 or samples_mv.shape[0] != self._n_leads:
            raise OutOfRangeError(
                f"samples_mv has shape {samples_mv.shape}, expected ({self._n_leads}, n)"
            )
        return _detect(samples_mv, self._memory)

    def last_beats(self, n: int) -> NDArray[np.int64]:
        """Sample indices of the last `n` beats, oldest first; fewer if there were fewer."""
        n = min(n, self.n_beats, MAX_BEATS)
        return self.beat_index[np.arange(self.n_beats - n, self.n_beats) % MAX_BEATS]


@joint_kernel
def _detect(samples: NDArray[np.float32], memory: NDArray[np.float64]) -> int:
    state, leads = state_of(memory)[0], leads_of(memory)
    found, features = state.found, state.features
    before = state.n_beats
    for i in range(samples.shape[1]):
        n = state.n
        feature = feature_at(samples, i, leads, state)
        state.n = n + 1
        if is_gap(leads):
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
            beat_at = judge_peak(leads, state)
            state.peak, state.peak_at = feature, n
        overdue = n - state.last_at > _SEARCH_BACK_RR * state.rr
        if beat_at < 0 and overdue and state.missed_at >= 0:
            beat_at = search_back(leads, state)
        if beat_at >= 0:
            k = state.n_beats % MAX_BEATS
            found[0, k] = locate_r_peak(beat_at, n, leads, features[k])
            features[k, WIDTH] = width(beat_at, leads)
            features[k, LIKENESS] = state.alike
            found[1, k] = n
            state.n_beats += 1
        _grow_sensitive(leads, state)
    return state.n_beats - before


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
            leads[c].level = MIN_LEVEL


detect = _detect
"""For kernels of other modules (`wardstream.kernels.compile.joint_kernel`)."""

LEARNING_SAMPLES: Final = _LEARNING
"""From the first sample on: no beat can be found while they are being measured."""
