"""The kernels of each kind of channel, and what they know at their newest sample."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.ring import SampleRing
from wardstream.alerting.detection import ASYSTOLE_S, OFF_AFTER_S, PulseSigns, is_rate_extreme
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.timebase import TimestampNs
from wardstream.kernels.beats import MAX_BEATS, QrsDetector
from wardstream.kernels.pulse import DIASTOLIC, MEAN, ONSET, SYSTOLIC, PulseDetector
from wardstream.kernels.quality import BIN_SAMPLES, LIMITS, Flaw, QualityMeter
from wardstream.kernels.resample import TARGET_PERIOD_NS, TARGET_RATE_HZ, Resampler
from wardstream.kernels.respiration import BreathDetector
from wardstream.kernels.windows import HOP_S, WINDOW_SAMPLES, LeadPreprocessor, window_end_index

USABLE_SCORE: Final = 0.3
"""Signal quality from which a channel may be judged."""

_OFF_BINS: Final = round(OFF_AFTER_S / (BIN_SAMPLES / TARGET_RATE_HZ)) - 1
"""One less than it takes, so that rounding never decides whether a channel is looked at."""

_SILENT_SAMPLES: Final = round(ASYSTOLE_S * TARGET_RATE_HZ)

_RING_SAMPLES: Final = 2 * WINDOW_SAMPLES
_BIN_S: Final = BIN_SAMPLES / TARGET_RATE_HZ
_PULSE_RECENT_SAMPLES: Final = 1000
_PULSES_FOR_RATE: Final = 6
_REGULAR: Final = 0.2  # largest deviation of an interval from the median, as its share
_STALE_PULSE_SAMPLES: Final = 1250  # 5 s: an older pulse says nothing of now

# Smallest pulse: PPG has no scale, but no device shows pulses below a hundredth of a unit.
_MIN_AMPLITUDE: Final = {Modality.PPG: 0.01, Modality.ARTERIAL_PRESSURE: 5.0}


class Track(ABC):
    """What every kind of channel has: a clock at 250 Hz and a quality.

    Attributes
    ----------
    may_be_off : bool
        A channel has been flat, at its rail or missing for about as long as matters.
    """

    def __init__(self, codes: tuple[str, ...], modality: Modality) -> None:
        self.codes = codes
        self.labels = tuple(code_by_mdc(code).label for code in codes)
        self.quality = QualityMeter(len(codes), LIMITS[modality])
        self.may_be_off = False
        self._start_ns = TimestampNs(0)
        self._n_out = 0
        self._fifth = 0

    @property
    def time_ns(self) -> TimestampNs:
        """End of the newest 250 Hz sample."""
        return self.time_of(self._n_out)

    def time_of(self, index: int) -> TimestampNs:
        """Time of 250 Hz sample `index`."""
        return TimestampNs(self._start_ns + index * TARGET_PERIOD_NS)

    @property
    def n_out(self) -> int:
        """250 Hz samples since the last restart."""
        return self._n_out

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve: the next sample is the first of a new one."""
        self._start_ns = start_time_ns
        self._n_out = self._fifth = 0
        self.may_be_off = False
        self.quality.reset()

    @abstractmethod
    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (n_channels, n), in the unit of the code."""

    def _take_note(self, resampled: NDArray[np.float32]) -> bool:
        # Counts and rates the samples; True where the quality was judged anew, five times a
        # second: between those moments nothing that follows from it can change.
        self._n_out += resampled.shape[1]
        self.quality.push(resampled)
        fifth = self._n_out // BIN_SAMPLES
        if fifth == self._fifth:
            return False
        self._fifth = fifth
        self.may_be_off = int(self.quality.flawed_bins.max()) >= _OFF_BINS
        return True

    @property
    def off_s(self) -> dict[str, float]:
        """Channels flat, at their rail or missing, by label, and for how long."""
        return {
            label: float(bins) * _BIN_S
            for label, bins in zip(self.labels, self.quality.flawed_bins, strict=True)
            if bins > 0
        }


class EcgTrack(Track):
    """All ECG leads of one group: beats, and windows for the model."""

    def __init__(self, codes: tuple[str, ...], sampling_rate_hz: float) -> None:
        super().__init__(codes, Modality.ECG)
        self._leads = LeadPreprocessor(len(codes), sampling_rate_hz)
        self._filtered = SampleRing(len(codes), _RING_SAMPLES)
        self._qrs = QrsDetector(len(codes))
        self._next_hop = 0
        self._next_end = window_end_index(0, HOP_S)
        self._last_beat: int | None = None
        self.rate_is_extreme = False
        self._usable_since: int | None = None
        self._flat_since: int | None = None
        self._unbroken_from = 0
        self._beats: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._rr_ms: NDArray[np.float64] = np.zeros(0)
        self._rr_key = (0, 0)

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._leads.reset()
        self._filtered.clear()
        self._qrs.reset()
        self._qrs.weights[:] = 0.0
        self._next_hop = 0
        self._next_end = window_end_index(0, HOP_S)
        self._last_beat = None
        self.rate_is_extreme = False
        self._usable_since = self._flat_since = None
        self._unbroken_from = 0
        self._beats = np.zeros(0, dtype=np.int64)
        self._rr_key = (-1, 0)

    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples of every lead, in mV."""
        resampled, filtered = self._leads.push(samples)
        self._filtered.push(filtered)
        judged_anew = self._take_note(resampled)
        if judged_anew:
            self._qrs.weights[:] = self.quality.score
        found = self._qrs.push(resampled)
        if found:
            self._beats = self._qrs.last_beats(MAX_BEATS)
            self._last_beat = int(self._beats[-1])
        if judged_anew:
            self._follow_usability()
        if found or judged_anew:
            self.rate_is_extreme = is_rate_extreme(self.rr_ms())

    def _follow_usability(self) -> None:
        usable = bool((self.quality.score >= USABLE_SCORE).any()) and not self._qrs.learning
        if not usable:
            if self._usable_since is not None:
                self._unbroken_from = self._qrs.n_beats
            self._usable_since = None
        elif self._usable_since is None:
            self._usable_since = self._n_out
            self._unbroken_from = self._qrs.n_beats
        flat = bool((self.quality.flaw == Flaw.FLAT).all())
        if not flat:
            self._flat_since = None
        elif self._flat_since is None:
            self._flat_since = max(0, self._n_out - round(TARGET_RATE_HZ))

    def due_windows(self) -> Iterator[tuple[TimestampNs, list[NDArray[np.float32]]]]:
        """Windows of every lead whose end has been passed, with that end."""
        while (end := self._next_end) <= self._n_out:
            self._next_hop += 1
            self._next_end = window_end_index(self._next_hop, HOP_S)
            yield self.time_of(end), list(self._filtered.last(WINDOW_SAMPLES, end))

    @property
    def weights(self) -> NDArray[np.float64]:
        """Quality of each lead now, 0 where it is not to be judged."""
        return np.where(self.quality.score >= USABLE_SCORE, self.quality.score, 0.0)

    @property
    def is_usable(self) -> bool:
        """Whether a lead is fit to be judged."""
        return self._usable_since is not None

    @property
    def usable_since_ns(self) -> TimestampNs | None:
        """Since when a lead has been fit to judge without a break."""
        return None if self._usable_since is None else self.time_of(self._usable_since)

    @property
    def flat_since_ns(self) -> TimestampNs | None:
        """Since when every lead has been flat."""
        return None if self._flat_since is None else self.time_of(self._flat_since)

    @property
    def hop_is_due(self) -> bool:
        """Whether the end of a window has been passed."""
        return self._next_end <= self._n_out

    @property
    def is_steady(self) -> bool:
        """Fit to be judged, beating, and at no extreme rate: nothing in it can raise an alert."""
        since = self._usable_since
        if since is None or self.rate_is_extreme:
            return False
        last = self._last_beat
        return self._n_out - (since if last is None or last < since else last) < _SILENT_SAMPLES

    @property
    def last_beat_ns(self) -> TimestampNs | None:
        """R peak of the last beat."""
        return None if self._last_beat is None else self.time_of(self._last_beat)

    def rr_ms(self) -> NDArray[np.float64]:
        """Intervals, oldest first, none across an interruption."""
        key = (self._qrs.n_beats, self._unbroken_from)
        if key != self._rr_key:
            n = min(key[0] - key[1], self._beats.size)
            beats = self._beats[self._beats.size - n :]
            self._rr_ms = np.diff(beats) * (1000.0 / TARGET_RATE_HZ)
            self._rr_key = key
        return self._rr_ms

    def recent_rr_ms(self, reach_s: float) -> NDArray[np.float64]:
        """Those of them whose second beat lies within the last `reach_s`."""
        rr_ms = self.rr_ms()
        beats = self._beats[self._beats.size - rr_ms.size :]
        return rr_ms[beats >= self._n_out - reach_s * TARGET_RATE_HZ]

    def n_beats_between(self, start_ns: int, end_ns: int) -> int:
        """R peaks in ``[start_ns, end_ns)`` that are known by now."""
        low = (start_ns - self._start_ns) / TARGET_PERIOD_NS
        high = (end_ns - self._start_ns) / TARGET_PERIOD_NS
        return int(((self._beats >= low) & (self._beats < high)).sum())


class PulseTrack(Track):
    """One PPG or arterial pressure channel."""

    def __init__(self, code: str, modality: Modality, sampling_rate_hz: float) -> None:
        super().__init__((code,), modality)
        self.modality = modality
        self._resampler = Resampler(1, sampling_rate_hz)
        self._detector = PulseDetector(min_amplitude=_MIN_AMPLITUDE[modality])

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._resampler.reset()
        self._detector.reset()

    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (1, n)."""
        resampled = self._resampler.push(samples)
        self._take_note(resampled)
        self._detector.push(resampled)

    @property
    def usable(self) -> bool:
        """Whether it can be believed now, its silence included."""
        return bool(self.quality.score[0] >= USABLE_SCORE)

    def rate_per_min(self) -> float:
        """Pulses a minute now, NaN without three recent ones."""
        onsets = self._recent_onsets(2 * _PULSE_RECENT_SAMPLES)
        if onsets.size < 3 or self._n_out - onsets[-1] > _STALE_PULSE_SAMPLES:
            return math.nan
        return 60.0 * TARGET_RATE_HZ / float(np.median(np.diff(onsets)))

    def signs(self) -> PulseSigns:
        """What it says to the alert conditions."""
        onsets = self._recent_onsets(2 * _PULSE_RECENT_SAMPLES)
        intervals = np.diff(onsets)
        regular = False
        if intervals.size >= 2:
            middle = float(np.median(intervals))
            regular = float(np.abs(intervals - middle).max()) <= _REGULAR * middle
        n_recent = int((onsets >= self._n_out - _PULSE_RECENT_SAMPLES).sum())
        return PulseSigns(
            usable=self.usable,
            seen_before=self._detector.n_pulses >= 3,
            last_pulse_ns=self.time_of(int(onsets[-1])) if onsets.size else None,
            n_recent=n_recent,
            rate_per_min=self.rate_per_min(),
            regular=regular,
        )

    def since_pulse_s(self) -> float:
        """Seconds since the last pulse began, NaN before the first."""
        last = self._detector.last_pulses(1)
        return (self._n_out - float(last[0, ONSET])) / TARGET_RATE_HZ if len(last) else math.nan

    def pressures(self) -> tuple[float, float, float]:
        """Systolic, diastolic, mean of the recent pulses; NaN without any."""
        last = self._detector.last_pulses(_PULSES_FOR_RATE)
        last = last[last[:, ONSET] >= self._n_out - 2 * _PULSE_RECENT_SAMPLES]
        if not len(last) or not self.usable:
            return math.nan, math.nan, math.nan
        means = last[np.isfinite(last[:, MEAN]), MEAN]
        mean = float(np.median(means)) if means.size else math.nan
        return float(np.median(last[:, SYSTOLIC])), float(np.median(last[:, DIASTOLIC])), mean

    def _recent_onsets(self, reach: int) -> NDArray[np.float64]:
        onsets = self._detector.last_pulses(_PULSES_FOR_RATE)[:, ONSET]
        return onsets[onsets >= self._n_out - reach]


class BreathTrack(Track):
    """One respiration channel."""

    def __init__(self, code: str, sampling_rate_hz: float) -> None:
        super().__init__((code,), Modality.RESPIRATION)
        self._resampler = Resampler(1, sampling_rate_hz)
        self._detector = BreathDetector()

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._resampler.reset()
        self._detector.reset()

    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (1, n)."""
        resampled = self._resampler.push(samples)
        self._take_note(resampled)
        self._detector.push(resampled)

    def rate_per_min(self) -> float:
        """Breaths a minute, NaN where the curve cannot be believed."""
        if self.quality.score[0] < USABLE_SCORE:
            return math.nan
        return self._detector.rate_per_min()

    def since_breath_s(self) -> float:
        """Seconds since the last breath began; NaN before the first, or without a curve."""
        n = self._detector.n_breaths
        if not n or self.quality.score[0] < USABLE_SCORE:
            return math.nan
        last = int(self._detector.breaths[(n - 1) % self._detector.breaths.size])
        return (self._n_out - last) / TARGET_RATE_HZ


class PlainTrack(Track):
    """A channel of which only the quality is followed."""

    def __init__(self, code: str, modality: Modality, sampling_rate_hz: float) -> None:
        super().__init__((code,), modality)
        self._resampler = Resampler(1, sampling_rate_hz)

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._resampler.reset()

    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (1, n)."""
        self._take_note(self._resampler.push(samples))


def make_track(code: str, modality: Modality, sampling_rate_hz: float) -> Track:
    """The track for one channel that is no ECG."""
    match modality:
        case Modality.PPG | Modality.ARTERIAL_PRESSURE:
            return PulseTrack(code, modality, sampling_rate_hz)
        case Modality.RESPIRATION:
            return BreathTrack(code, sampling_rate_hz)
        case _:
            return PlainTrack(code, modality, sampling_rate_hz)
