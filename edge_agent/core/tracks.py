"""The kernels of each kind of channel, and what they know at their newest sample."""

import math
from abc import ABC, abstractmethod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.detection import OFF_AFTER_S, PulseSigns
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.timebase import TimestampNs
from wardstream.kernels.derived_respiration import DerivedRespiration
from wardstream.kernels.pulse import ONSET, PulseDetector
from wardstream.kernels.pulse_summary import (
    DIASTOLIC_MEDIAN,
    LAST_ONSET,
    MEAN_MEDIAN,
    N_RECENT,
    RATE,
    REGULAR,
    SYSTOLIC_MEDIAN,
    summarise,
)
from wardstream.kernels.quality import BIN_SAMPLES, LIMITS, QualityMeter
from wardstream.kernels.resample import TARGET_PERIOD_NS, TARGET_RATE_HZ, Resampler
from wardstream.kernels.respiration import BreathDetector

USABLE_SCORE: Final = 0.3
"""Signal quality from which a channel may be judged."""

OFF_BINS: Final = round(OFF_AFTER_S / (BIN_SAMPLES / TARGET_RATE_HZ)) - 1
"""One less than it takes, so that rounding never decides whether a channel is looked at."""

_BIN_S: Final = BIN_SAMPLES / TARGET_RATE_HZ

# Smallest pulse: PPG has no scale, but no device shows pulses below a hundredth of a unit.
_MIN_AMPLITUDE: Final = {Modality.PPG: 0.01, Modality.ARTERIAL_PRESSURE: 5.0}


class Track(ABC):
    """What every kind of channel has: a clock at 250 Hz and a quality."""

    def __init__(self, codes: tuple[str, ...], quality: QualityMeter) -> None:
        self.codes = codes
        self.labels = tuple(code_by_mdc(code).label for code in codes)
        self.quality = quality
        self._start_ns = TimestampNs(0)
        self.n_restarts = 0

    @property
    def time_ns(self) -> TimestampNs:
        """End of the newest 250 Hz sample."""
        return TimestampNs(self._start_ns + self.n_out * TARGET_PERIOD_NS)

    def time_of(self, index: int) -> TimestampNs:
        """Time of 250 Hz sample `index`."""
        return TimestampNs(self._start_ns + index * TARGET_PERIOD_NS)

    @property
    @abstractmethod
    def n_out(self) -> int:
        """250 Hz samples since the last restart."""

    @property
    @abstractmethod
    def may_be_off(self) -> bool:
        """Whether a channel has been flat, at its rail or missing for about as long as matters."""

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve: the next sample is the first of a new one."""
        self._start_ns = start_time_ns
        self.n_restarts += 1

    def move(self, by_ns: int) -> None:
        """The clock was set by `by_ns`; the curve goes on."""
        self._start_ns = TimestampNs(self._start_ns + by_ns)

    @abstractmethod
    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (n_channels, n), in the unit of the code."""

    @property
    def off_s(self) -> dict[str, float]:
        """Channels flat, at their rail or missing, by label, and for how long."""
        return {
            label: float(bins) * _BIN_S
            for label, bins in zip(self.labels, self.quality.flawed_bins, strict=True)
            if bins > 0
        }


class PlainTrack(Track):
    """One channel: its samples at 250 Hz and its quality."""

    def __init__(self, code: str, modality: Modality, sampling_rate_hz: float) -> None:
        super().__init__((code,), QualityMeter(1, LIMITS[modality]))
        self.modality = modality
        self._resampler = Resampler(1, sampling_rate_hz)
        self._n_out = self._fifth = 0
        self._may_be_off = False

    @property
    def n_out(self) -> int:
        """250 Hz samples since the last restart."""
        return self._n_out

    @property
    def may_be_off(self) -> bool:
        """Whether it has been flat, at its rail or missing for about as long as matters."""
        return self._may_be_off

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self.quality.reset()
        self._resampler.reset()
        self._n_out = self._fifth = 0
        self._may_be_off = False

    def advance(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (1, n)."""
        resampled = self._resampler.push(samples)
        self._n_out += resampled.shape[1]
        self.quality.push(resampled)
        # Five times a second the quality is judged anew; in between it stands.
        fifth = self._n_out // BIN_SAMPLES
        if fifth != self._fifth:
            self._fifth = fifth
            self._may_be_off = int(self.quality.flawed_bins[0]) >= OFF_BINS
        self._detect(resampled)

    def _detect(self, resampled: NDArray[np.float32]) -> None:
        """Look for what this kind of channel shows; nothing in a plain one."""


class PulseTrack(PlainTrack):
    """One PPG or arterial pressure channel."""

    def __init__(self, code: str, modality: Modality, sampling_rate_hz: float) -> None:
        super().__init__(code, modality, sampling_rate_hz)
        self._detector = PulseDetector(min_amplitude=_MIN_AMPLITUDE[modality])

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._detector.reset()

    def _detect(self, resampled: NDArray[np.float32]) -> None:
        self._detector.push(resampled)

    @property
    def usable(self) -> bool:
        """Whether it can be believed now, its silence included."""
        return bool(self.quality.score[0] >= USABLE_SCORE)

    def rate_per_min(self) -> float:
        """Pulses a minute now, NaN without three recent ones."""
        return float(self._summary()[RATE])

    def signs(self) -> PulseSigns:
        """What it says to the alert conditions."""
        summary = self._summary()
        onset = float(summary[LAST_ONSET])
        return PulseSigns(
            usable=self.usable,
            seen_before=self._detector.n_pulses >= 3,
            last_pulse_ns=None if math.isnan(onset) else self.time_of(int(onset)),
            n_recent=int(summary[N_RECENT]),
            rate_per_min=float(summary[RATE]),
            regular=bool(summary[REGULAR]),
        )

    def since_pulse_s(self) -> float:
        """Seconds since the last pulse began, NaN before the first."""
        last = self._detector.last_pulses(1)
        return (self._n_out - float(last[0, ONSET])) / TARGET_RATE_HZ if len(last) else math.nan

    def tell_breathing(self, respiration: DerivedRespiration) -> None:
        """Give the pulses to `respiration` where the channel can be used."""
        if self.usable:
            detector = self._detector
            respiration.take_pulses(detector.pulses, detector.n_pulses, self._n_out)

    def pressures(self) -> tuple[float, float, float]:
        """Systolic, diastolic, mean of the recent pulses; NaN without any."""
        if not self.usable:
            return math.nan, math.nan, math.nan
        systolic, diastolic, mean = self._summary()[
            [SYSTOLIC_MEDIAN, DIASTOLIC_MEDIAN, MEAN_MEDIAN]
        ].tolist()
        return systolic, diastolic, mean

    def _summary(self) -> NDArray[np.float64]:
        return summarise(self._detector.pulses, self._detector.n_pulses, self._n_out)


class BreathTrack(PlainTrack):
    """One respiration channel."""

    def __init__(self, code: str, sampling_rate_hz: float) -> None:
        super().__init__(code, Modality.RESPIRATION, sampling_rate_hz)
        self._detector = BreathDetector()

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve."""
        super().restart(start_time_ns)
        self._detector.reset()

    def _detect(self, resampled: NDArray[np.float32]) -> None:
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


def make_track(code: str, modality: Modality, sampling_rate_hz: float) -> Track:
    """The track for one channel that is no ECG."""
    match modality:
        case Modality.PPG | Modality.ARTERIAL_PRESSURE:
            return PulseTrack(code, modality, sampling_rate_hz)
        case Modality.RESPIRATION:
            return BreathTrack(code, sampling_rate_hz)
        case _:
            return PlainTrack(code, modality, sampling_rate_hz)
