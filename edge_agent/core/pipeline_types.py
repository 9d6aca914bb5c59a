"""What goes into a pipeline beside samples, and what can be asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wardstream.alerting.conditions import RULES, ConditionRule
from wardstream.alerting.numerics import DEFAULT_LIMITS, Limits, Measure, with_limits
from wardstream.contracts.alert import AlertEvent, Condition
from wardstream.contracts.authority import LimitPair
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.identity import check_boot_id, check_id
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import AlertStrip, GenerationMode

_NEVER: Final = TimestampNs(0)

PipelineOutput = AlertEvent | FeatureFrame | AlertStrip


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineIdentity:
    """Who speaks.

    Attributes
    ----------
    device_id, boot_id : str
        Stamped on every output; numbering starts at 0 with each boot.
    generation_mode : GenerationMode
        Whether the curves are a patient's.
    """

    device_id: str
    boot_id: str
    generation_mode: GenerationMode

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """What a site may set.

    Attributes
    ----------
    spo2_lower_percent : float
        Limit of desaturation, 50 to 100.
    strip_before_s, strip_after_s : float
        Reach of an alert's strip around the moment it was raised; both 0: no strip leaves.
    no_data_after_s : float
        Silence after which no data is raised, at least 1.
    rules : mapping of Condition to ConditionRule
        The table in force at the site.
    limits : Limits
        Of the site, but for SpO2.
    """

    spo2_lower_percent: float = 90.0
    strip_before_s: float = 10.0
    strip_after_s: float = 5.0
    no_data_after_s: float = 5.0
    rules: Mapping[Condition, ConditionRule] = field(default_factory=lambda: RULES)
    limits: Limits = field(default_factory=lambda: DEFAULT_LIMITS)

    @property
    def all_limits(self) -> Limits:
        """Of the site, SpO2 among them."""
        pair = LimitPair(lower=self.spo2_lower_percent)
        return with_limits(self.limits, {Measure.SPO2.value: pair})

    def __post_init__(self) -> None:
        if not 50 <= self.spo2_lower_percent <= 100:
            raise OutOfRangeError(
                f"spo2_lower_percent is {self.spo2_lower_percent}, expected 50 to 100"
            )
        if not (0 <= self.strip_before_s <= 30 and 0 <= self.strip_after_s <= 30):
            raise OutOfRangeError("a strip reaches 0 to 30 s before and after")
        if not self.no_data_after_s >= 1:
            raise OutOfRangeError(f"no_data_after_s is {self.no_data_after_s}, expected >= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """Counters since the pipeline was made.

    Attributes
    ----------
    n_chunks, n_samples : int
        Taken in.
    n_windows_judged, n_windows_unjudged : int
        Hops at which the model judged, and at which there was no model to do it.
    n_windows_unusable : int
        Hops at which no lead had enough of its samples.
    n_chunks_repeated, n_chunks_late : int
        Ignored: seen before, or so late that their place had been passed.
    n_samples_missing : int
        Samples a gap in time swallowed, by the sampling rate of their group.
    n_clock_jumps : int
        Times that the clock of the data was set.
    last_sample_time_ns : TimestampNs
        End of the newest sample; 0 before the first.
    last_frame_time_ns : TimestampNs
        Start of the newest frame; 0 before the first.
    model_version : str
        Name and version of the model that judges, ``none`` without one.
    quarantined : dict of code to str
        Channels that are not judged, with the reason.
    channels : tuple of str
        Reference ids of the channels that are judged.
    """

    n_chunks: int = 0
    n_samples: int = 0
    n_windows_judged: int = 0
    n_windows_unjudged: int = 0
    n_windows_unusable: int = 0
    n_chunks_repeated: int = 0
    n_chunks_late: int = 0
    n_samples_missing: int = 0
    n_clock_jumps: int = 0
    last_sample_time_ns: TimestampNs = _NEVER
    last_frame_time_ns: TimestampNs = _NEVER
    model_version: str = "none"
    quarantined: dict[str, str] = field(default_factory=dict[str, str])
    channels: tuple[str, ...] = ()
