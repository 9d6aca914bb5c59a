"""What a message of a record system said, in our words, before it is known whom it concerns."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from stream_processors.core.observation import PatientFacts
from stream_processors.core.occupancy import Movement
from wardstream.contracts.record import PatientContext, Problem
from wardstream.contracts.timebase import TimestampNs

_NAMESPACE: Final = UUID("8a5e35a1-1f0c-5a39-b9f5-2f3d0a7c9b44")
NOTHING_KNOWN: Final = PatientFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One observation as stated; who it is about is in its `Intake`."""

    part: str
    """Which segment or resource, for people."""
    identity: str
    time_ns: TimestampNs
    code_system: str
    code: str
    code_text: str
    value: float | str | None
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A part of a message that cannot be taken, while the rest can."""

    part: str
    reason_code: str
    text: str
    kept: str
    """The part as it came, without identifiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Everything one message says of one patient.

    Attributes
    ----------
    source : str
        Kind and sender of the message.
    pseudonym : str or None
        The patient it names; None: it names only a bed.
    facts : PatientFacts
        What it says of the patient.
    encounter_id, bed_id : str or None
        The stay and place it names.
    movements : tuple of Movement
        Who went where.
    context : PatientContext or None
        Charted values and problems of a whole record.
    problems : tuple of Problem
        Diagnoses, to be added to those known.
    statements : tuple of Statement
        Observations.
    refusals : tuple of Refusal
        What could not be taken.
    updates_facts : bool
        Its facts correct what was known (ADT, Patient); else they have to agree with it.
    """

    source: str
    pseudonym: str | None
    facts: PatientFacts = NOTHING_KNOWN
    encounter_id: str | None = None
    bed_id: str | None = None
    movements: tuple[Movement, ...] = ()
    context: PatientContext | None = None
    problems: tuple[Problem, ...] = ()
    statements: tuple[Statement, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    updates_facts: bool = False


def identity(*parts: object) -> str:
    """UUID version 5 of `parts`: the same parts give the same one."""
    return str(uuid5(_NAMESPACE, "\x1f".join(str(part) for part in parts)))
