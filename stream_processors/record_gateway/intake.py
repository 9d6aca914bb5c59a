"""What a message of a record system said, in our words, before it is known whom it concerns."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from stream_processors.core.observation import PatientFacts
from stream_processors.core.occupancy import Movement
from stream_processors.record_gateway.pseudonym import pseudonym_of
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_id
from wardstream.contracts.record import PatientContext, Problem
from wardstream.contracts.timebase import TimestampNs

NAMESPACE: Final = UUID("8a5e35a1-1f0c-5a39-b9f5-2f3d0a7c9b44")
NOTHING_KNOWN: Final = PatientFacts()
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """How one hospital writes its messages.

    Attributes
    ----------
    site_secret : bytes
        Key of pseudonyms.
    bed_template : str
        How a bed id is made of PV1-3: ``{point_of_care}``, ``{room}``, ``{bed}``, ``{facility}``;
        in lower case.
    bed_names : mapping of str to str
        ``point_of_care^room^bed`` -> bed id, where no template fits.
    authorities : mapping of str to str
        Assigning authority of an HL7 identifier (CX-4) -> FHIR identifier system, so that both
        give one pseudonym.
    time_zone : ZoneInfo or None
        Of HL7 times that state none.
    processing_id : str
        MSH-11 that is taken: P, T or D.
    """

    site_secret: bytes
    bed_template: str = "{point_of_care}-{room}-{bed}"
    bed_names: Mapping[str, str] = field(default_factory=dict[str, str])
    authorities: Mapping[str, str] = field(default_factory=dict[str, str])
    time_zone: ZoneInfo | None = None
    processing_id: str = "P"

    def pseudonym(self, authority: str, identifier: str) -> str:
        """Of the patient with that identifier."""
        system = self.authorities.get(authority, authority)
        return pseudonym_of(self.site_secret, system, identifier)

    def encounter(self, authority: str, identifier: str) -> str | None:
        """Pseudonym of a stay, None where it has no number."""
        if not identifier:
            return None
        system = self.authorities.get(authority, authority)
        return "e" + pseudonym_of(self.site_secret, f"encounter|{system}", identifier)[1:]

    def bed(self, **parts: str) -> str | None:
        """Id of the bed at a location; None if that is no bed of ours."""
        place = "^".join(
            (parts.get("point_of_care", ""), parts.get("room", ""), parts.get("bed", ""))
        )
        if place in self.bed_names:
            return self.bed_names[place]
        used = re.findall(r"{(\w+)}", self.bed_template)
        if not all(parts.get(name) for name in used):
            return None
        try:
            return check_id(self.bed_template.format_map(parts).lower(), "bed_id")
        except OutOfRangeError:
            return None


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
    return str(uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts)))


def strict_number(text: str) -> float:
    """A decimal number as HL7's NM has it.

    Raises
    ------
    OutOfRangeError
        It is none: empty, with a comma, a unit, an exponent or not finite.
    """
    if not _NUMBER.fullmatch(text):
        raise OutOfRangeError("a value is not a decimal number")
    value = float(text)
    if not math.isfinite(value):
        raise OutOfRangeError("a value is beyond every number")
    return value
