"""All ECG leads of one group: beats, whether they can be believed, windows for the model."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.lead_witness import LeadWitness
from edge_agent.core.tracks import OFF_BINS, USABLE_SCORE, Track
from wardstream.alerting.detection import (
    ASYSTOLE_S,
    BRADYCARDIA_INTERVALS,
    BRADYCARDIA_PER_MIN,
    TACHYCARDIA_INTERVALS,
    TACHYCARDIA_PER_MIN,
)
from wardstream.alerting.lead_signs import LeadSigns
from wardstream.contracts.timebase import TimestampNs
from wardstream.kernels.beats import MAX_BEATS
from wardstream.kernels.derived_respiration import DerivedRespiration
from wardstream.kernels.ecg import EcgLimits, EcgWatch
from wardstream.kernels.ectopic_beats import EctopicBeats
from wardstream.kernels.quality import BIN_SAMPLES
from wardstream.kernels.resample import TARGET_PERIOD_NS, TARGET_RATE_HZ

_LIMITS: Final = EcgLimits(
    usable_score=USABLE_SCORE,
    silent_samples=round(ASYSTOLE_S * TARGET_RATE_HZ),
    off_bins=OFF_BINS,
    slow_ms=60_000.0 / BRADYCARDIA_PER_MIN,
    n_slow=BRADYCARDIA_INTERVALS,
    fast_ms=60_000.0 / TACHYCARDIA_PER_MIN,
    n_fast=TACHYCARDIA_INTERVALS,
)


class EcgTrack(Track):
    """All ECG leads of one group."""

    def __init__(self, codes: tuple[str, ...], sampling_rate_hz: float, block: int) -> None:
        self._watch = EcgWatch(len(codes), sampling_rate_hz, block, _LIMITS)
        super().__init__(codes, self._watch.quality)
        self._beats: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._rr_ms: NDArray[np.float64] = np.zeros(0)
        self._key = (0, 0)
        self._witness = LeadWitness()
        self._witnessed: tuple[int, tuple[LeadSigns, ...]] = (-1, ())

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._watch.reset()
        self._beats, self._rr_ms = np.zeros(0, dtype=np.int64), np.zeros(0)
        self._key = (0, 0)
        self._witnessed = (-1, ())

    @property
    def n_out(self) -> int:
        """250 Hz samples since the last restart."""
        return self._watch.n_out

    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples of every lead, in mV."""
        begin = 0
        while begin < samples.shape[1]:
            begin = self.advance_to_event(samples, begin, every_block=False)

    def advance_to_event(
        self, samples: NDArray[np.float32], begin: int, *, every_block: bool
    ) -> int:
        """How many of `samples` have been taken in when there is something to judge.

        That is after each block, or else when a window is due, when something is not steady,
        and at the end (`EcgWatch.push`).
        """
        return self._watch.push(samples, begin, every_block=every_block)

    def due_windows(self) -> Iterator[tuple[TimestampNs, list[NDArray[np.float32]]]]:
        """Windows of every lead whose end has been passed, with that end."""
        for end, leads in self.due_hops():
            yield self.time_of(end), leads

    def due_hops(self) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """The same with the sample before which each ends, for `time_of` and `window_until`."""
        while self._watch.hop_is_due:
            end, leads = self._watch.take_hop()
            yield end, list(leads)

    def window_until(self, end: int) -> NDArray[np.float32] | None:
        """The window of every lead that ends at sample `end`; None where it is not kept."""
        return self._watch.window_until(end)

    @property
    def hop_is_due(self) -> bool:
        """Whether the end of a window has been passed."""
        return self._watch.hop_is_due

    @property
    def is_quiet(self) -> bool:
        """Fit to be judged, beating, attached, at no extreme rate: nothing can raise an alert."""
        return self._watch.quiet

    @property
    def n_missing(self) -> int:
        """Samples that were missing since the last restart, over all leads."""
        return self._watch.n_missing

    def tell_breathing(self, respiration: DerivedRespiration) -> None:
        """Give the beats to `respiration` where a lead can be judged."""
        if self._watch.usable:
            beats = self._watch.beats
            respiration.take_beats(
                beats.beat_index, beats.features, beats.n_beats, self._watch.n_out
            )

    @property
    def may_be_off(self) -> bool:
        """Whether a lead has been off for about as long as matters."""
        return self._watch.may_be_off

    @property
    def weights(self) -> NDArray[np.float64]:
        """Quality of each lead now, 0 where it is not to be judged."""
        return np.where(self.quality.score >= USABLE_SCORE, self.quality.score, 0.0)

    def leads_alone(self) -> tuple[LeadSigns, ...]:
        """What each lead that can be judged shows by itself; looked at five times a second."""
        fifth = self._watch.n_out // BIN_SAMPLES
        if fifth != self._witnessed[0]:
            self._witnessed = (fifth, self._witness.signs(self._watch.latest(), self.weights))
        return self._witnessed[1]

    @property
    def is_usable(self) -> bool:
        """Whether a lead is fit to be judged."""
        return self._watch.usable

    @property
    def usable_since_ns(self) -> TimestampNs | None:
        """Since when a lead has been fit to judge without a break."""
        return self._time_of(self._watch.usable_since)

    @property
    def flat_since_ns(self) -> TimestampNs | None:
        """Since when every lead has been flat."""
        return self._time_of(self._watch.flat_since)

    @property
    def last_beat_ns(self) -> TimestampNs | None:
        """R peak of the last beat."""
        return self._time_of(self._watch.last_beat)

    @property
    def n_beats(self) -> int:
        """Beats since the last restart."""
        return self._watch.beats.n_beats

    @property
    def unbroken_from(self) -> int:
        """Number of the first beat after the last time that no lead was usable."""
        return self._watch.unbroken_from

    def beats_from(self, first: int) -> NDArray[np.int64]:
        """250 Hz samples of the R peaks from number `first` on, as far back as they are kept."""
        return self._watch.beats.last_beats(max(self.n_beats - first, 0))

    def ventricular_from(
        self, first: int, judge: EctopicBeats
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """`beats_from` number `first` on, and which of them `judge` holds to be ventricular."""
        beats = self._watch.beats
        first = max(first, self.n_beats - MAX_BEATS)
        return self.beats_from(first), judge.push(
            beats.beat_index, beats.features, first, self.n_beats
        )

    def rr_ms(self) -> NDArray[np.float64]:
        """Intervals, oldest first, none across an interruption."""
        self._follow_beats()
        return self._rr_ms

    def recent_rr_ms(self, reach_s: float) -> NDArray[np.float64]:
        """Those of them whose second beat lies within the last `reach_s`."""
        rr_ms = self.rr_ms()
        beats = self._beats[self._beats.size - rr_ms.size :]
        return rr_ms[beats >= self.n_out - reach_s * TARGET_RATE_HZ]

    def n_beats_between(self, start_ns: int, end_ns: int) -> int:
        """R peaks in ``[start_ns, end_ns)`` that are known by now."""
        self._follow_beats()
        low = (start_ns - self._start_ns) / TARGET_PERIOD_NS
        high = (end_ns - self._start_ns) / TARGET_PERIOD_NS
        return int(((self._beats >= low) & (self._beats < high)).sum())

    def _follow_beats(self) -> None:
        key = (self._watch.beats.n_beats, self._watch.unbroken_from)
        if key != self._key:
            self._beats = self._watch.beats.last_beats(MAX_BEATS)
            n = min(key[0] - key[1], self._beats.size)
            unbroken = self._beats[self._beats.size - n :]
            self._rr_ms = np.diff(unbroken) * (1000.0 / TARGET_RATE_HZ)
            self._key = key

    def _time_of(self, index: int | None) -> TimestampNs | None:
        return None if index is None else self.time_of(index)
