"""What people are shown, as values: rows of the store go in, JSON comes out.

The field names are the HTTP contract; OpenAPI is made from these types.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from wardstream.alerting.conditions import RULES
from wardstream.contracts.alert import Condition

AcknowledgementState = Literal["none", "sent", "confirmed"]
Verdict = Literal["true", "false", "unsure"]

NUMERIC_FEATURES: Final = (
    "heart_rate_per_min",
    "pulse_rate_ppg_per_min",
    "pulse_rate_abp_per_min",
    "spo2_percent",
    "abp_systolic_mmhg",
    "abp_diastolic_mmhg",
    "abp_mean_mmhg",
    "respiration_rate_per_min",
    "temperature_celsius",
    "quality_ecg1",
    "quality_ecg2",
    "quality_ppg",
    "quality_abp",
    "quality_resp",
    "n_alerts_active",
)
"""Features of a frame that a bed tile shows."""


def condition_label(condition: str) -> str:
    """Short English name of `condition`, for a banner."""
    try:
        return RULES[Condition(condition)].label
    except (KeyError, ValueError):
        return condition.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsView:
    """What a person ordered at a bed: a silence, or limits."""

    author: str
    station_id: str
    scope: str | None
    expires_time_ns: int | None
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationView:
    """Who was called last about an alert, and whose station has shown it."""

    level: int
    role: str
    called_time_ns: int
    delivered_to: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """An alert as it stood after one event.

    Attributes
    ----------
    event_time_ns, onset_time_ns : int
        On the clock of the data.
    decided_time_ns : int
        Wall clock of the device.
    stored_time_ns : int
        Wall clock of the cloud when the event was committed.
    bed_id, unit_id : str
        Empty while the device has not said where it stands.
    evidence : dict
        The figures that decided it, unit in the name.
    event_id : int
        Position in the journal; what ``Last-Event-ID`` means.
    revision : int
        Counts its changes at the bed; what a person saw is named by it.
    audible, visible : str
        How it shows at the bed: ``on``, ``paused`` or ``off``.
    actor, reason : str or None
        Who brought the last change about, and why, where a person did.
    terms : TermsView or None
        Of a silence or of patient limits.
    escalation : EscalationView or None
        The last call about it.
    """

    alert_id: str
    device_id: str
    bed_id: str
    unit_id: str
    condition: str
    label: str
    kind: str
    priority: str
    presence: str
    transition: str
    onset_time_ns: int
    event_time_ns: int
    decided_time_ns: int
    stored_time_ns: int
    model_version: str
    generation_mode: str
    evidence: dict[str, float]
    acknowledged_by: str | None
    acknowledgement_expires_ns: int | None
    acknowledgement_state: AcknowledgementState
    has_strip: bool
    sequence_number: int
    event_id: int
    revision: int = 0
    audible: str = "on"
    visible: str = "on"
    actor: str | None = None
    reason: str | None = None
    terms: TermsView | None = None
    escalation: EscalationView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgementView:
    """What one member of staff said, and whether the bed has confirmed it."""

    command_id: str
    author: str
    reason: str | None
    issued_time_ns: int
    expires_time_ns: int
    state: Literal["sent", "confirmed", "void"]
    confirmed_time_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """Whether the alert was right, in one clinician's view."""

    verdict_id: str
    verdict: Verdict
    comment: str | None
    author: str
    given_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDetailView(AlertView):
    """An alert with its history."""

    events: list[AlertView] = field(default_factory=list[AlertView])
    acknowledgements: list[AcknowledgementView] = field(default_factory=list[AcknowledgementView])
    verdicts: list[VerdictView] = field(default_factory=list[VerdictView])


@dataclass(frozen=True, slots=True, kw_only=True)
class StripChannelView:
    """One curve of a strip; null where the device delivered no sample."""

    code: str
    label: str
    unit: str
    sampling_rate_hz: float
    start_time_ns: int
    samples: list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StripView:
    """The curves around one alert."""

    alert_id: str
    onset_time_ns: int
    channels: list[StripChannelView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """Which model judges at a bed, and why an offered one does not."""

    state: str
    version: int
    reason: str
    refused_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericsView:
    """The newest second of a bed.

    Attributes
    ----------
    time_ns : int or None
        When that second began, on the clock of the data; None before the first.
    age_s : float or None
        Seconds since it was stored.
    values : dict
        Feature to value, null where it was not measured.
    """

    time_ns: int | None
    age_s: float | None
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientView:
    """What fusion knows of who is in the bed; a pseudonym, never a name."""

    pseudonym: str
    age_years: int | None
    problems: list[str]
    news2_low: int | None
    news2_high: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BedView:
    """One tile of the central station."""

    bed_id: str
    unit_id: str
    site_id: str
    device_id: str
    connectivity: str
    generation_mode: str
    source: str
    last_seen_time_ns: int
    silent: bool
    model: ModelView
    numerics: NumericsView
    patient: PatientView | None
    alerts: list[AlertView] = field(default_factory=list[AlertView])


@dataclass(frozen=True, slots=True, kw_only=True)
class BedNumericsView:
    """A bed's newest values on the live stream."""

    bed_id: str
    time_ns: int
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """One stored second of a bed."""

    device_id: str
    boot_id: str
    sequence_number: int
    time_ns: int
    generation_mode: str
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSeries:
    """A feature over the buckets of a trend; null where nothing was measured."""

    minimum: list[float | None]
    mean: list[float | None]
    maximum: list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendView:
    """A bed's roll-ups column by column: a row a bucket and patient, oldest first."""

    bed_id: str
    bucket_s: int
    time_ns: list[int]
    pseudonym: list[str]
    n_frames: list[int]
    features: dict[str, TrendSeries]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuarantineView:
    """What a device acquires and does not judge."""

    channel: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device, for biomedical engineers."""

    device_id: str
    site_id: str
    unit_id: str
    bed_id: str
    boot_id: str
    connectivity: str
    generation_mode: str
    source: str
    agent_version: str
    reported_time_ns: int
    last_sample_time_ns: int
    last_seen_time_ns: int
    silent: bool
    model: ModelView
    model_sha256: str
    n_windows_judged: int
    n_windows_unjudged: int
    outbox_rows: dict[str, int]
    outbox_bytes: dict[str, int]
    channels: list[str]
    quarantined: list[DeviceQuarantineView] = field(default_factory=list[DeviceQuarantineView])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """A message that broke a contract, kept whole."""

    letter_id: str
    origin: str
    device_id: str
    reason: str
    received_time_ns: int
    payload_bytes: int
    payload_base64: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionView:
    """A signed model version of the repository."""

    name: str
    version: int
    created_time_ns: int | None
    sha256: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceModelView:
    """What one device runs."""

    device_id: str
    site_id: str
    bed_id: str
    connectivity: str
    state: str
    version: int
    sha256: str
    refused_version: int | None
    reason: str
    n_windows_judged: int
    n_windows_unjudged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCommandView:
    """What operations asked for."""

    command_id: str
    site_id: str
    device_id: str | None
    action: str
    version: int
    author: str
    issued_time_ns: int
    published_time_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsView:
    """The fleet's models: what is offered, what runs, what was asked for."""

    versions: list[ModelVersionView]
    devices: list[DeviceModelView]
    commands: list[ModelCommandView]
