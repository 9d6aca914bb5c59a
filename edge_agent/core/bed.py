"""All channels of one bed together: what the conditions and the frames are made of."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from edge_agent.core.ecg_track import EcgTrack
from edge_agent.core.groups import ChannelGroup
from edge_agent.core.rhythm import RhythmJudge, RhythmMemory
from edge_agent.core.tracks import USABLE_SCORE, BreathTrack, PulseTrack, Track
from wardstream.alerting.detection import BedSigns
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import convert
from wardstream.contracts.waveform import NumericObservation
from wardstream.kernels.derived_respiration import MAX_PULSE_CHANNELS, DerivedRespiration
from wardstream.kernels.intervals import rr_statistics

LIVE_NS: Final = 2 * NS_PER_S
"""A group that is this much behind the newest is not waited for, nor believed."""

NUMERIC_KEPT_NS: Final = 60 * NS_PER_S
"""How long a monitor's numeric stands when none follows."""

_STATISTICS_S: Final = 30.0
_SPO2: Final = "MDC_PULS_OXIM_SAT_O2"
_TEMPERATURE: Final = "MDC_TEMP"
_NUMERIC_FEATURES: Final = {_SPO2: "spo2_percent", _TEMPERATURE: "temperature_celsius"}


class Bed:
    """Groups by their codes, and the latest numerics."""

    def __init__(self) -> None:
        self._respiration = DerivedRespiration()
        self.groups: dict[tuple[str, ...], ChannelGroup] = {}
        self.quarantined_numerics: dict[str, str] = {}
        self._numerics: dict[str, tuple[float, TimestampNs]] = {}
        self._chosen: EcgTrack | None = None

    def put(self, group: ChannelGroup) -> None:
        """Let `group` take the place of the one with the same codes."""
        self.groups[group.codes] = group
        self._chosen = None

    @property
    def quarantined(self) -> dict[str, str]:
        """Channels and numerics that are not judged, with the reason."""
        found = dict(self.quarantined_numerics)
        for group in self.groups.values():
            found |= group.quarantined
        return found

    def note(self, observation: NumericObservation) -> float:
        """Keep a monitor's numeric; its value in the code's unit, NaN if it is refused."""
        code = code_by_mdc(observation.code)
        try:
            value = convert(observation.value, observation.unit, code.unit)
        except OutOfRangeError as error:
            self.quarantined_numerics[observation.code] = str(error)
            return math.nan
        self._numerics[observation.code] = (value, observation.determination_time_ns)
        return value

    def complete_until(self, now_ns: TimestampNs) -> TimestampNs:
        """Until when every live group has delivered."""
        ends = [group.end_time_ns for group in self.groups.values()]
        live = [end_ns for end_ns in ends if end_ns >= now_ns - LIVE_NS]
        return min(live, default=now_ns)

    def ecg(self, now_ns: TimestampNs) -> EcgTrack | None:
        """The ECG group that is judged: the chosen one while it serves, else the first that does."""
        chosen = self._chosen
        if chosen is not None and self.judges(chosen, now_ns):
            return chosen
        oldest_ns = now_ns - LIVE_NS
        tracks = [group.ecg for group in self.groups.values() if group.ecg is not None]
        live = [track for track in tracks if track.time_ns >= oldest_ns]
        usable = [track for track in live if track.is_usable]
        self._chosen = next(iter(usable or live or tracks), None)
        return self._chosen

    def judges(self, ecg: EcgTrack, now_ns: TimestampNs) -> bool:
        """Whether `ecg` is the one that is judged at `now_ns`, without looking at the others."""
        return ecg is self._chosen and ecg.is_usable and now_ns - ecg.time_ns <= LIVE_NS

    def is_attached(self, now_ns: TimestampNs) -> bool:
        """Whether no live channel may have been off for long."""
        for group in self.groups.values():
            if group.may_be_off and group.intake.end_time_ns >= now_ns - LIVE_NS:
                return False
        return True

    def signs(self, now_ns: TimestampNs, judge: RhythmJudge, memory: RhythmMemory) -> BedSigns:
        """What is known at `now_ns`."""
        ecg = self.ecg(now_ns)
        live = self._live_tracks(now_ns)
        off_s = {label: s for track in live for label, s in track.off_s.items()}
        pulses = [track.signs() for track in live if isinstance(track, PulseTrack)]
        if ecg is None or ecg not in live:
            return BedSigns(
                time_ns=now_ns,
                has_ecg=ecg is not None,
                usable_since_ns=None,
                all_leads_flat_since_ns=None,
                last_beat_ns=None,
                rr_ms=np.zeros(0),
                pulses=pulses,
                rhythm=None,
                model_available=judge.runtime is not None,
                channels_off_s=off_s,
            )
        return BedSigns(
            time_ns=ecg.time_ns,
            has_ecg=True,
            usable_since_ns=ecg.usable_since_ns,
            all_leads_flat_since_ns=ecg.flat_since_ns,
            last_beat_ns=ecg.last_beat_ns,
            rr_ms=ecg.rr_ms(),
            pulses=pulses,
            rhythm=memory.signs,
            model_available=judge.runtime is not None,
            channels_off_s=off_s,
            leads_alone=ecg.leads_alone,
        )

    def breath_age_s(self, now_ns: TimestampNs) -> float:
        """Seconds since the last breath; NaN where no curve tells."""
        tracks = (one for one in self._live_tracks(now_ns) if isinstance(one, BreathTrack))
        return next((track.since_breath_s() for track in tracks), math.nan)

    def frame_values(self, second_ns: TimestampNs, now_ns: TimestampNs) -> dict[str, float]:
        """Features of the second that begins at `second_ns`, as known at `now_ns`."""
        live = self._live_tracks(now_ns)
        values = self._numeric_values(second_ns)
        values |= self._ecg_values(second_ns, now_ns, live)
        values |= _pulse_values([track for track in live if isinstance(track, PulseTrack)])
        breaths = [track for track in live if isinstance(track, BreathTrack)]
        if breaths:
            values["respiration_rate_per_min"] = breaths[0].rate_per_min()
            values["quality_resp"] = float(breaths[0].quality.score[0])
        told = not math.isnan(values.get("respiration_rate_per_min", math.nan))
        if not told and not any(one.quality.score[0] >= USABLE_SCORE for one in breaths):
            # No curve can be believed, and no `quality_resp` that would do says so. An
            # apnoea on a good curve is never overruled.
            rate = self._derived_rate_per_min(live, now_ns)
            if not math.isnan(rate):
                values["respiration_rate_per_min"] = rate
        values |= self._sample_counts(second_ns)
        return values

    def _derived_rate_per_min(self, live: list[Track], now_ns: TimestampNs) -> float:
        respiration = self._respiration
        respiration.begin()
        ecg = self.ecg(now_ns)
        if ecg is not None and ecg in live:
            ecg.tell_breathing(respiration)
        for track in [one for one in live if isinstance(one, PulseTrack)][:MAX_PULSE_CHANNELS]:
            track.tell_breathing(respiration)
        return respiration.rate_per_min()

    def _live_tracks(self, now_ns: TimestampNs) -> list[Track]:
        for group in self.groups.values():
            group.catch_up()
        return [
            track
            for group in self.groups.values()
            if group.end_time_ns >= now_ns - LIVE_NS
            for track in group.tracks
        ]

    def _numeric_values(self, second_ns: TimestampNs) -> dict[str, float]:
        return {
            feature: self._numerics[code][0]
            for code, feature in _NUMERIC_FEATURES.items()
            if code in self._numerics and second_ns - self._numerics[code][1] <= NUMERIC_KEPT_NS
        }

    def _ecg_values(
        self, second_ns: TimestampNs, now_ns: TimestampNs, live: list[Track]
    ) -> dict[str, float]:
        ecg = self.ecg(now_ns)
        if ecg is None or ecg not in live:
            return {}
        scores = ecg.quality.score
        values = {f"quality_ecg{i + 1}": float(scores[i]) for i in range(min(2, scores.size))}
        values["n_beats"] = float(ecg.n_beats_between(second_ns, second_ns + NS_PER_S))
        if ecg.last_beat_ns is not None:
            values["time_since_beat_s"] = max(0.0, (ecg.time_ns - ecg.last_beat_ns) / NS_PER_S)
        if ecg.usable_since_ns is None:
            return values
        statistics = rr_statistics(ecg.recent_rr_ms(_STATISTICS_S))
        values["rr_mean_ms"] = statistics.mean_ms
        values["rr_sdnn_ms"] = statistics.sdnn_ms
        values["rr_rmssd_ms"] = statistics.rmssd_ms
        values["rr_irregularity"] = statistics.irregularity
        values["heart_rate_per_min"] = _slowed(
            statistics.rate_per_min, values.get("time_since_beat_s", math.nan)
        )
        return values

    def _sample_counts(self, second_ns: TimestampNs) -> dict[str, float]:
        second = second_ns // NS_PER_S
        expected = sum(
            len(group.codes) * group.intake.sampling_rate_hz for group in self.groups.values()
        )
        missing = sum(group.take_missing(second) for group in self.groups.values())
        return {"n_samples_expected": expected, "n_samples_missing": float(missing)}


def _slowed(rate_per_min: float, since_beat_s: float) -> float:
    # Without a beat for two intervals the rate sinks as it would if one came now.
    if math.isnan(rate_per_min) or not since_beat_s * rate_per_min > 120.0:
        return rate_per_min
    return 60.0 / since_beat_s


def _pulse_values(tracks: list[PulseTrack]) -> Mapping[str, float]:
    values: dict[str, float] = {}
    for track in reversed(tracks):  # the first of a kind has the last word
        systolic, diastolic, mean = track.pressures()
        rate = track.rate_per_min() if track.usable else math.nan
        score = float(track.quality.score[0])
        if track.modality is Modality.PPG:
            values |= {
                "pulse_rate_ppg_per_min": rate,
                "quality_ppg": score,
                "ppg_amplitude": systolic - diastolic,
            }
        else:
            values |= {
                "pulse_rate_abp_per_min": rate,
                "quality_abp": score,
                "abp_systolic_mmhg": systolic,
                "abp_diastolic_mmhg": diastolic,
                "abp_mean_mmhg": mean,
            }
    since = [track.since_pulse_s() for track in tracks]
    known = [s for s in since if not math.isnan(s)]
    if known:
        values["time_since_pulse_s"] = min(known)
    return values
