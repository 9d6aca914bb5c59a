"""All that is done to the leads of one ECG with each packet, in one call.

Resampling, filtering, quality and beats are the kernels of their own modules; here they are
called one after the other without coming back to Python in between, because at 40 ms a packet
the calls cost more than the arithmetic. What follows from them is kept beside: since when the
ECG is usable, when its last beat was, whether anything in it could raise an alert.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.kernels.beats import LEARNING_SAMPLES, MAX_BEATS, QrsDetector, detect
from wardstream.kernels.compile import joint_kernel, kernel
from wardstream.kernels.filters import CascadeFilter, cascade
from wardstream.kernels.quality import BIN_SAMPLES, LIMITS, Flaw, QualityMeter, measure
from wardstream.kernels.resample import TARGET_RATE_HZ, Resampler, resample
from wardstream.kernels.windows import HOP_S, WINDOW_SAMPLES, ecg_sections

_CAPACITY: Final = 2 * WINDOW_SAMPLES
_HOP_SAMPLES: Final = HOP_S * TARGET_RATE_HZ
_RR_MS: Final = 1000.0 / TARGET_RATE_HZ
_FLAT: Final = int(Flaw.FLAT)
_SECOND: Final = round(TARGET_RATE_HZ)
_NEVER: Final = -1

BRIDGED_S: Final = 0.2
"""A shorter gap is judged as a straight line between its ends: a held value would end in a step,
which looks like a beat, and zeros in a window change what a model says. It still counts as
missing. From here on the beat detector knows of gaps itself."""

# What is kept, by position.
_N_OUT, _FIFTH, _USABLE_SINCE, _FLAT_SINCE, _UNBROKEN_FROM = range(5)
_LAST_BEAT, _HOP, _NEXT_END, _EXTREME, _MAY_BE_OFF, _QUIET, _MISSING = range(5, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcgLimits:
    """Where an ECG ceases to be quiet.

    Attributes
    ----------
    usable_score : float
        Quality, 0 to 1, from which a lead may be judged.
    silent_samples : int
        Silence, at 250 Hz, that may raise an alert.
    off_bins : int
        Fifths of a second for which a lead may have been off.
    slow_ms, n_slow : float, int
        Each of the last `n_slow` intervals is longer: extreme.
    fast_ms, n_fast : float, int
        The mean of the last `n_fast` intervals is no longer: extreme.
    """

    usable_score: float = 0.3
    silent_samples: int = 1000
    off_bins: int = 14
    slow_ms: float = 1500.0
    n_slow: int = 4
    fast_ms: float = 60_000.0 / 140.0
    n_fast: int = 16


class EcgWatch:
    """The leads of one ECG group.

    Parameters
    ----------
    n_leads : int
        Leads that share a clock.
    sampling_rate_hz : float
        Rate at which they arrive.
    block_samples : int
        Longest run of input samples that is judged at once.
    limits : EcgLimits
        Where it ceases to be quiet.

    Attributes
    ----------
    quality : QualityMeter
        Of every lead.
    beats : QrsDetector
        Of all leads together.
    """

    def __init__(
        self, n_leads: int, sampling_rate_hz: float, block_samples: int, limits: EcgLimits
    ) -> None:
        self.quality = QualityMeter(n_leads, LIMITS[Modality.ECG])
        self.beats = QrsDetector(n_leads)
        self._resampler = Resampler(n_leads, sampling_rate_hz)
        self._band = CascadeFilter(n_leads, ecg_sections(), TARGET_RATE_HZ)
        self._ring = np.full((n_leads, 2 * _CAPACITY), math.nan, dtype=np.float32)
        longest = math.ceil(block_samples * TARGET_RATE_HZ / sampling_rate_hz) + 3
        self._work = np.empty((2, n_leads, longest), dtype=np.float32)
        self._kept = np.zeros(12, dtype=np.int64)
        self._before = np.full(n_leads, math.nan, dtype=np.float32)
        bridged = math.ceil(BRIDGED_S * sampling_rate_hz) - 1
        self._state: list[int] = []
        self._limits = np.array(
            [
                limits.usable_score, limits.silent_samples, limits.off_bins, limits.slow_ms,
                limits.fast_ms, limits.n_slow, limits.n_fast,
            ],
            dtype=np.float64,
        )  # fmt: skip
        self._arguments = (
            block_samples, self._limits, self._resampler.parts, self._band.parts, self.quality.parts,
            self.beats.parts, self._ring, self._work, self._kept, self._before, bridged,
        )  # fmt: skip
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample pushed is sample 0."""
        self.quality.reset()
        self.beats.reset()
        self.beats.weights[:] = 0.0
        self._resampler.reset()
        self._band.reset()
        self._ring[:] = math.nan
        self._before[:] = math.nan
        self._kept[:] = 0
        self._kept[[_USABLE_SINCE, _FLAT_SINCE, _LAST_BEAT]] = _NEVER
        self._kept[_NEXT_END] = WINDOW_SAMPLES
        self._state = self._kept.tolist()

    def push(self, samples_mv: NDArray[np.float32], begin: int, *, every_block: bool) -> int:
        """Number of the first samples that are taken in now.

        Parameters
        ----------
        samples_mv : ndarray of float32, shape (n_leads, n_samples), contiguous
            In mV; NaN = missing. A short gap (`BRIDGED_S`) that ends in them is bridged.
        begin : int
            How many of them were taken in before.
        every_block : bool
            Stop after each block. Else blocks follow one another until the end, the end of a
            window, or something that is not steady.

        Notes
        -----
        Any division into packets that divides no gap gives the same state at the same sample.
        O(n); nothing is allocated while nothing is missing.
        """
        begin = _advance(samples_mv, begin, every_block, *self._arguments)
        self._state = self._kept.tolist()  # asked for many times before it changes again
        return begin

    @property
    def n_out(self) -> int:
        """250 Hz samples since the last `reset`."""
        return self._state[_N_OUT]

    @property
    def n_missing(self) -> int:
        """Input samples that were missing since the last `reset`, over all leads."""
        return self._state[_MISSING]

    @property
    def usable(self) -> bool:
        """Whether a lead is fit to be judged."""
        return self._state[_USABLE_SINCE] != _NEVER

    @property
    def usable_since(self) -> int | None:
        """Sample since which a lead has been fit to be judged without a break."""
        return _known(self._state[_USABLE_SINCE])

    @property
    def flat_since(self) -> int | None:
        """Sample since which every lead has been flat."""
        return _known(self._state[_FLAT_SINCE])

    @property
    def last_beat(self) -> int | None:
        """Sample of the last R peak."""
        return _known(self._state[_LAST_BEAT])

    @property
    def unbroken_from(self) -> int:
        """Number of the first beat after the last time that no lead was usable."""
        return self._state[_UNBROKEN_FROM]

    @property
    def may_be_off(self) -> bool:
        """Whether a lead has been off for about as long as matters."""
        return bool(self._state[_MAY_BE_OFF])

    @property
    def quiet(self) -> bool:
        """Usable, beating, attached, at no extreme rate: nothing here can raise an alert."""
        return bool(self._state[_QUIET])

    @property
    def hop_is_due(self) -> bool:
        """Whether the end of a window has been passed that `take_hop` has not given out."""
        return self._state[_NEXT_END] <= self._state[_N_OUT]

    def take_hop(self) -> tuple[int, NDArray[np.float32]]:
        """End (half open) of the window that is due, and a view on it, shape (n_leads, 1000)."""
        end = self._state[_NEXT_END]
        self._kept[_HOP] += 1
        self._kept[_NEXT_END] = WINDOW_SAMPLES + int(self._kept[_HOP] * _HOP_SAMPLES)
        self._state = self._kept.tolist()
        at = (end - WINDOW_SAMPLES) % _CAPACITY
        return end, self._ring[:, at : at + WINDOW_SAMPLES]

    def window_until(self, end: int) -> NDArray[np.float32] | None:
        """A view on the 4 s that end (half open) at sample `end`, shape (n_leads, 1000).

        None where they are no longer kept, or not yet there: 8 s are kept.
        """
        begin = end - WINDOW_SAMPLES
        if not self._state[_N_OUT] - _CAPACITY <= begin <= end <= self._state[_N_OUT]:
            return None
        at = begin % _CAPACITY
        return self._ring[:, at : at + WINDOW_SAMPLES]

    def latest(self) -> NDArray[np.float32]:
        """A view on the newest 8 s of every lead, filtered, as far as there are any."""
        n = min(self._state[_N_OUT], _CAPACITY)
        at = (self._state[_N_OUT] - n) % _CAPACITY
        return self._ring[:, at : at + n]


def _known(value: int) -> int | None:
    return None if value == _NEVER else value


@joint_kernel
def _advance(
    samples: NDArray[np.float32],
    begin: int,
    every_block: bool,
    block: int,
    limits: NDArray[np.float64],
    resampler: Any,
    band: Any,
    meter: Any,
    qrs: Any,
    ring: NDArray[np.float32],
    work: NDArray[np.float32],
    kept: NDArray[np.int64],
    before: NDArray[np.float32],
    bridged: int,
) -> int:
    fresh_out, filtered_out = work[0], work[1]
    whole = samples
    while begin < samples.shape[1]:
        end = min(begin + block, samples.shape[1])
        n_missing = 0
        for c in range(samples.shape[0]):
            for i in range(begin, end):
                if math.isnan(samples[c, i]):
                    n_missing += 1
        if n_missing > 0:
            kept[_MISSING] += n_missing
            whole = _bridge(samples, before, bridged)
        part = whole[:, begin:end]
        begin = end
        if resampler[1].shape[1] == 0:  # at 250 Hz samples pass as they are
            n = part.shape[1]
            resampler[3][:] += n
            for c in range(part.shape[0]):
                for i in range(n):
                    fresh_out[c, i] = part[c, i]
        else:
            n = resample(part, *resampler, fresh_out)  # pyright: ignore[reportCallIssue]
        fresh, filtered = fresh_out[:, :n], filtered_out[:, :n]
        cascade(fresh, *band, filtered)  # pyright: ignore[reportCallIssue]
        for i in range(n):
            at = (kept[_N_OUT] + i) % _CAPACITY
            for c in range(ring.shape[0]):
                ring[c, at] = ring[c, at + _CAPACITY] = filtered[c, i]
        kept[_N_OUT] += n
        measure(fresh, *meter)
        judged_anew = kept[_N_OUT] // BIN_SAMPLES != kept[_FIFTH]
        if judged_anew:
            kept[_FIFTH] = kept[_N_OUT] // BIN_SAMPLES
            for c in range(ring.shape[0]):
                qrs[1][c] = meter[4][c]
        n_found = detect(fresh, qrs[0])
        if judged_anew:
            _follow_quality(limits, meter[4], meter[5][0], meter[6], qrs[2], kept)
        if n_found > 0 or judged_anew:
            _follow_beats(limits, qrs[2], qrs[3], kept)
        kept[_QUIET] = _is_quiet(limits, kept)
        if every_block or kept[_NEXT_END] <= kept[_N_OUT] or not kept[_QUIET]:
            break
    if 0 < begin == samples.shape[1]:
        before[:] = samples[:, begin - 1]
    return begin


@kernel
def _bridge(
    samples: NDArray[np.float32], before: NDArray[np.float32], longest: int
) -> NDArray[np.float32]:
    # A copy in which straight lines take the place of gaps of at most `longest` samples.
    # `before` is the sample before the first; a gap whose begin or end is not here stays.
    out = samples.copy()
    for c in range(samples.shape[0]):
        last, at = before[c], -1
        for i in range(samples.shape[1]):
            x = samples[c, i]
            if math.isnan(x):
                continue
            gap = i - at - 1
            if 0 < gap <= longest and not math.isnan(last):
                for k in range(1, gap + 1):
                    out[c, at + k] = last + (x - last) * k / (gap + 1)
            last, at = x, i
    return out


@joint_kernel
def _is_quiet(limits: NDArray[np.float64], kept: NDArray[np.int64]) -> bool:
    since = kept[_USABLE_SINCE]
    if since == _NEVER or kept[_EXTREME] or kept[_MAY_BE_OFF]:
        return False
    return kept[_N_OUT] - max(since, kept[_LAST_BEAT]) < limits[1]


@joint_kernel
def _follow_quality(
    limits: NDArray[np.float64],
    score: NDArray[np.float64],
    flaw: NDArray[np.int64],
    flawed_bins: NDArray[np.int64],
    states: Any,
    kept: NDArray[np.int64],
) -> None:
    usable, flat, off = False, True, False
    for c in range(score.size):
        usable = usable or score[c] >= limits[0]
        flat = flat and flaw[c] == _FLAT
        off = off or flawed_bins[c] >= limits[2]
    usable = usable and states[0].n >= LEARNING_SAMPLES
    if not usable:
        if kept[_USABLE_SINCE] != _NEVER:
            kept[_UNBROKEN_FROM] = states[0].n_beats
        kept[_USABLE_SINCE] = _NEVER
    elif kept[_USABLE_SINCE] == _NEVER:
        kept[_USABLE_SINCE] = kept[_N_OUT]
        kept[_UNBROKEN_FROM] = states[0].n_beats
    if not flat:
        kept[_FLAT_SINCE] = _NEVER
    elif kept[_FLAT_SINCE] == _NEVER:
        kept[_FLAT_SINCE] = max(0, kept[_N_OUT] - _SECOND)
    kept[_MAY_BE_OFF] = off


@joint_kernel
def _follow_beats(
    limits: NDArray[np.float64], states: Any, beats: NDArray[np.int64], kept: NDArray[np.int64]
) -> None:
    n = states[0].n_beats
    kept[_LAST_BEAT] = beats[0, (n - 1) % MAX_BEATS] if n > 0 else _NEVER
    n_intervals = min(n - kept[_UNBROKEN_FROM], MAX_BEATS) - 1
    n_slow, n_fast = int(limits[5]), int(limits[6])
    slow = n_intervals >= n_slow
    if slow:
        for k in range(n - n_slow, n):
            rr_ms = (beats[0, k % MAX_BEATS] - beats[0, (k - 1) % MAX_BEATS]) * _RR_MS
            slow = slow and rr_ms > limits[3]
    fast = False
    if n_intervals >= n_fast:
        span = beats[0, (n - 1) % MAX_BEATS] - beats[0, (n - 1 - n_fast) % MAX_BEATS]
        fast = span * _RR_MS / n_fast <= limits[4]
    kept[_EXTREME] = slow or fast
