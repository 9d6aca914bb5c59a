"""What the record (EHR) tells the streams: who is in a bed, and what is known of them.

These messages travel inside the hospital's own tier only (Kafka `record-events`), never to
a device and never over MQTT. A patient is a pseudonym here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_id
from wardstream.contracts.timebase import TimestampNs


class RecordEventKind(StrEnum):
    """What changed."""

    ASSIGNED = "assigned"
    """The patient is in the bed from `effective_time_ns` on."""
    RELEASED = "released"
    """The bed is empty from `effective_time_ns` on."""
    CONTEXT = "context"
    """What is known of the patient changed at `effective_time_ns`."""


class Consciousness(StrEnum):
    """ACVPU, as NEWS2 asks for it."""

    ALERT = "alert"
    CONFUSION = "confusion"
    VOICE = "voice"
    PAIN = "pain"
    UNRESPONSIVE = "unresponsive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An active condition of the problem list.

    Attributes
    ----------
    code : str
        Code in `system`, as the record gave it.
    system : str
        URI of the code system.
    display : str
        The record's own words.
    onset_time_ns : TimestampNs or None
        When it began, if the record says so.
    abatement_time_ns : TimestampNs or None
        When it ended; None while active.
    """

    code: str
    system: str
    display: str
    onset_time_ns: TimestampNs | None = None
    abatement_time_ns: TimestampNs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientContext:
    """What fusion may know of a patient. No name, no address, no record number.

    Attributes
    ----------
    birth_year : int or None
        Calendar year; the day would identify.
    sex : str
        FHIR administrative gender: ``male``, ``female``, ``other``, ``unknown``.
    problems : tuple of Problem
        The problem list with its times.
    consciousness : Consciousness or None
        Last ACVPU, None if the record has none.
    supplemental_oxygen : bool or None
        Whether oxygen is given, None if the record does not say.
    hypercapnic_target : bool
        True only where the record states a target of 88-92 %: NEWS2 then uses scale 2.
    temperature_celsius, systolic_noninvasive_mmhg : float or None
        Last charted values.
    observed_time_ns : TimestampNs or None
        When those were determined; a value that is too old is not used.
    """

    birth_year: int | None
    sex: str
    problems: tuple[Problem, ...] = ()
    consciousness: Consciousness | None = None
    supplemental_oxygen: bool | None = None
    hypercapnic_target: bool = False
    temperature_celsius: float | None = None
    systolic_noninvasive_mmhg: float | None = None
    observed_time_ns: TimestampNs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """One change on the record side, ordered by `effective_time_ns` within a bed.

    Attributes
    ----------
    event_id : str
        Idempotency key of the sender.
    kind : RecordEventKind
        What changed.
    bed_id : str
        The bed it is about.
    pseudonym : str
        Stable pseudonym of the patient; empty for `RELEASED`.
    effective_time_ns : TimestampNs
        From when it holds: joins are made at event time.
    recorded_time_ns : TimestampNs
        When the record system said so.
    context : PatientContext or None
        What is known from then on.

    Raises
    ------
    OutOfRangeError
        The bed id is malformed, or an assignment names no patient.
    """

    SCHEMA: ClassVar[str] = "record_event/1"

    event_id: str
    kind: RecordEventKind
    bed_id: str
    pseudonym: str
    effective_time_ns: TimestampNs
    recorded_time_ns: TimestampNs
    context: PatientContext | None = None

    def __post_init__(self) -> None:
        check_id(self.bed_id, "bed_id")
        if self.kind is not RecordEventKind.RELEASED and not self.pseudonym:
            raise OutOfRangeError(f"{self.kind} of bed {self.bed_id} names no patient pseudonym")
