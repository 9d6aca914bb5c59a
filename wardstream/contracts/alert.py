"""An alert from its birth at the edge to the last acknowledgement in the cloud.

The *condition* is the fact, the *signal* its showing (IEC 60601-1-8, IEEE 11073-10207).
Every change is an `AlertEvent`, numbered on the alert lane; the alert's own id never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID, uuid5

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_boot_id, check_id, check_sequence_number
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

_ALERT_NAMESPACE: Final = UUID("5f0ab1f6-62a4-5d5e-9a52-9ad1a1e3c0d7")


class AlertPriority(StrEnum):
    """How urgent, IEC 60601-1-8."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class AlertKind(StrEnum):
    """Whether the patient or the equipment is meant."""

    PHYSIOLOGICAL = "physiological"
    TECHNICAL = "technical"


class Presence(StrEnum):
    """Whether the alert shows, in the words of IEEE 11073-10207."""

    OFF = "off"
    ON = "on"
    LATCHED = "latch"
    ACKED = "ack"


class SignalState(StrEnum):
    """One manifestation (sound, light) of an alert: IEC 60601-1-8 keeps paused and off apart."""

    ON = "on"
    PAUSED = "paused"
    OFF = "off"


class Transition(StrEnum):
    """What happened to the alert."""

    ONSET = "onset"
    CLEARED = "cleared"
    REACTIVATED = "reactivated"
    ACKNOWLEDGED = "acknowledged"
    ACKNOWLEDGEMENT_EXPIRED = "acknowledgement_expired"
    AUDIO_PAUSED = "audio_paused"
    AUDIO_OFF = "audio_off"
    AUDIO_RESUMED = "audio_resumed"
    SHELVED = "shelved"
    """A person keeps the whole alert from showing (alarm paused or off); the condition stands."""
    UNSHELVED = "unshelved"
    LEASE_LOST = "lease_lost"
    """A silence is without a live lease of its station: the bed sounds."""
    LEASE_HELD = "lease_held"
    REMINDED = "reminded"
    """A silence without an end still holds."""
    ESCALATED = "escalated"
    """The cloud called the next in line; a note, which moves no alert."""
    DELIVERED = "delivered"
    """The station of somebody who was called has shown it; a note, which moves no alert."""
    ENDED = "ended"
    """The alert is over: condition gone and, where it latches, acknowledged."""


NOTES: Final = frozenset({Transition.ESCALATED, Transition.DELIVERED})
"""Said about an alert by the cloud, without changing how it stands."""


class Condition(StrEnum):
    """What can be alerted on. The full table stands in `wardstream.alerting.conditions`."""

    ASYSTOLE = "asystole"
    VENTRICULAR_FIBRILLATION = "ventricular_fibrillation"
    VENTRICULAR_TACHYCARDIA = "ventricular_tachycardia"
    EXTREME_BRADYCARDIA = "extreme_bradycardia"
    EXTREME_TACHYCARDIA = "extreme_tachycardia"
    ATRIAL_FIBRILLATION = "atrial_fibrillation"
    ATRIAL_FIBRILLATION_ENDED = "atrial_fibrillation_ended"
    HIGH_HEART_RATE = "high_heart_rate"
    LOW_HEART_RATE = "low_heart_rate"
    PAUSE = "pause"
    FREQUENT_PVC = "frequent_pvc"
    VENTRICULAR_RUN = "ventricular_run"
    DESATURATION = "desaturation"
    HYPOTENSION = "hypotension"
    HYPERTENSION = "hypertension"
    APNOEA = "apnoea"
    HIGH_RESPIRATION_RATE = "high_respiration_rate"
    LOW_RESPIRATION_RATE = "low_respiration_rate"
    LEAD_OFF = "lead_off"
    NO_DATA = "no_data"
    ARTEFACT = "artefact"
    MODEL_UNAVAILABLE = "model_unavailable"
    CLOCK_SKEW = "clock_skew"
    STORAGE_FAILING = "storage_failing"
    LINK_LOST = "link_lost"
    DEVICE_SILENT = "device_silent"
    AUDIO_PAUSED = "audio_paused"
    AUDIO_OFF = "audio_off"
    ALARM_PAUSED = "alarm_paused"
    ALARM_OFF = "alarm_off"
    PATIENT_LIMITS = "patient_limits"


SILENCES: Final = frozenset(
    {Condition.AUDIO_PAUSED, Condition.AUDIO_OFF, Condition.ALARM_PAUSED, Condition.ALARM_OFF}
)
"""What a person did to the alarm system of a bed, told like an alert so that nobody misses it."""

DISCLOSURES: Final = SILENCES | {Condition.PATIENT_LIMITS}
"""What is told of people's orders; no condition of patient or equipment."""


def alert_id_for(device_id: str, boot_id: str, condition: Condition, onset_time_ns: int) -> str:
    """The alert's id for life: the same onset seen twice is the same alert (UUID version 5)."""
    return str(uuid5(_ALERT_NAMESPACE, f"{device_id}/{boot_id}/{condition}/{onset_time_ns}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSignal:
    """How the alert shows at the bed now."""

    audible: SignalState
    visible: SignalState


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What a person ordered at a bed: a silence, or limits of this patient.

    Attributes
    ----------
    author : str
        Staff user name.
    station_id : str
        UUID of the station it was given at; empty where it came from the record.
    scope : Condition or None
        The condition meant; None: the whole bed.
    expires_time_ns : TimestampNs or None
        When it ends by itself, wall clock of the device; None: not by itself.
    held : bool
        Whether it works now: a silence only under a live lease of its station.
    """

    author: str
    station_id: str = ""
    scope: Condition | None = None
    expires_time_ns: TimestampNs | None = None
    held: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One change of one alert.

    Attributes
    ----------
    device_id, boot_id, sequence_number
        Identity on the alert lane: who says this, and as which number.
    alert_id : str
        UUID; the same from onset to end, on the device and in the cloud.
    condition, kind, priority
        What, whose, how urgent.
    transition : Transition
        What happened.
    presence : Presence
        How the alert stands after it.
    signal : AlertSignal
        How it shows at the bed after it.
    onset_time_ns : TimestampNs
        When the condition began, on the clock of the data.
    event_time_ns : TimestampNs
        When this change happened, on the clock of the data (the last sample judged).
    received_time_ns : TimestampNs
        When the last sample that decided it reached the agent, wall clock of the device.
    decided_time_ns : TimestampNs
        When the decision was made, same clock; never before `received_time_ns`.
    model_version : str
        Model that judged, ``none`` where a rule alone did.
    rule_version : str
        Version of the condition table in force.
    generation_mode : GenerationMode
        Real patient, test or demonstration.
    evidence : mapping of str to float
        The figures that decided it, with the unit in the name, for example ``silence_s``.
    acknowledged_by : str or None
        Staff user name (never a patient) of a live acknowledgement.
    acknowledgement_expires_ns : TimestampNs or None
        When that acknowledgement lapses.
    revision : int
        1, 2, ... over the changes of this alert, restarts included: the greatest is how it
        stands. 0 in events of agents that did not count, and in notes.
    actor : str or None
        Who brought this change about, where a person did.
    reason : str or None
        What that person, or the agent, gave as the reason.
    terms : OrderTerms or None
        Of a silence or of patient limits (`DISCLOSURES`).

    Raises
    ------
    OutOfRangeError
        An id is malformed, the revision is negative, or the times run backwards.
    """

    SCHEMA: ClassVar[str] = "alert_event/1"

    device_id: str
    boot_id: str
    sequence_number: int
    alert_id: str
    condition: Condition
    kind: AlertKind
    priority: AlertPriority
    transition: Transition
    presence: Presence
    signal: AlertSignal
    onset_time_ns: TimestampNs
    event_time_ns: TimestampNs
    received_time_ns: TimestampNs
    decided_time_ns: TimestampNs
    model_version: str
    rule_version: str
    generation_mode: GenerationMode
    evidence: Mapping[str, float] = field(default_factory=dict[str, float])
    acknowledged_by: str | None = None
    acknowledgement_expires_ns: TimestampNs | None = None
    revision: int = 0
    actor: str | None = None
    reason: str | None = None
    terms: OrderTerms | None = None

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_boot_id(self.alert_id)
        check_sequence_number(self.sequence_number)
        check_sequence_number(self.revision)
        if self.event_time_ns < self.onset_time_ns:
            raise OutOfRangeError("event_time_ns lies before onset_time_ns")
        if self.decided_time_ns < self.received_time_ns:
            raise OutOfRangeError("decided_time_ns lies before received_time_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeCommand:
    """A clinician saw the alert; sent from the cloud to the device, applied once.

    Attributes
    ----------
    command_id : str
        UUID; a repeat is recognised and changes nothing.
    device_id, alert_id : str
        Which alert of which device.
    author : str
        Staff user name.
    reason : str or None
        Why, where the alert was dismissed rather than seen.
    issued_time_ns, expires_time_ns : TimestampNs
        From when until when the acknowledgement holds.
    seen_revision : int or None
        Revision of the alert the author saw. An activation that came after it is not
        acknowledged by it. None: whatever stands when the command arrives.
    signature : str
        See `wardstream.contracts.authority`; empty where the site signs nothing.

    Raises
    ------
    OutOfRangeError
        An id is malformed, the author is empty, or it expires before it was issued.
    """

    SCHEMA: ClassVar[str] = "acknowledge_command/1"

    command_id: str
    device_id: str
    alert_id: str
    author: str
    issued_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    reason: str | None = None
    seen_revision: int | None = None
    signature: str = ""

    def __post_init__(self) -> None:
        check_boot_id(self.command_id)
        check_id(self.device_id, "device_id")
        check_boot_id(self.alert_id)
        if not self.author:
            raise OutOfRangeError("an acknowledgement has an author")
        if self.expires_time_ns <= self.issued_time_ns:
            raise OutOfRangeError("an acknowledgement expires after it was issued")
