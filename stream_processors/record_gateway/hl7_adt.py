"""HL7 v2 ADT: who came, went and moved, and what it says of them."""

from datetime import date
from typing import Any, Final

from stream_processors.core.intake import Intake, Refusal, Statement, identity
from stream_processors.core.observation import PatientFacts
from stream_processors.core.occupancy import Movement, MovementKind
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.hl7_text import (
    REQUIRED_FIELD,
    UNKNOWN_KEY,
    UNSUPPORTED_EVENT,
    Header,
    Hl7Error,
    field_text,
    n_repetitions,
    parse_time,
    repetition_text,
)
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.record import Problem
from wardstream.contracts.timebase import TimestampNs

_KINDS: Final = {
    "A01": MovementKind.ADMIT,
    "A02": MovementKind.TRANSFER,
    "A03": MovementKind.DISCHARGE,
    "A08": None,  # an update moves nobody
    "A11": MovementKind.CANCEL_ADMIT,
    "A12": MovementKind.CANCEL_TRANSFER,
    "A13": MovementKind.CANCEL_DISCHARGE,
}
MERGE_EVENT: Final = "A40"
_CANCELS: Final = ("A11", "A12", "A13")
_SEXES: Final = {"M": "male", "F": "female", "O": "other", "A": "other"}
_SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "I9": "http://hl7.org/fhir/sid/icd-9",
}


def read_adt(message: Any, header: Header, conventions: Conventions) -> list[Intake]:
    """What an ADT message says; of a merge, one intake a pair.

    Raises
    ------
    Hl7Error
        Its event is not one of ours, or it lacks patient, place or time.
    """
    if header.trigger == MERGE_EVENT:
        return _merges(message, header, conventions)
    if header.trigger not in _KINDS:
        known = ", ".join((*_KINDS, MERGE_EVENT))
        text = f"its event (MSH-9.2) is not one of {known}"
        raise Hl7Error("event", text, UNSUPPORTED_EVENT)
    kind = _KINDS[header.trigger]
    pid, pv1 = segment_named(message, "PID"), segment_named(message, "PV1")
    pseudonym = pseudonym_in(pid, 3, conventions)
    if pseudonym is None:
        raise Hl7Error("no_patient", "it names no patient (PID-3)", REQUIRED_FIELD)
    if not pv1:
        raise Hl7Error("no_visit", "it has no PV1: it may be cut", REQUIRED_FIELD)
    recorded_ns = _recorded(message, header, conventions)
    encounter_id, bed_id = visit_of(pv1, pid, conventions), bed_of(pv1, 3, conventions)
    movements: tuple[Movement, ...] = ()
    if kind is not None:
        if kind in (MovementKind.ADMIT, MovementKind.TRANSFER) and not field_text(pv1, 3):
            raise Hl7Error("no_place", "it names no place (PV1-3)", REQUIRED_FIELD)
        effective_ns = _effective(message, header, conventions, pv1)
        if effective_ns is None and header.trigger in _CANCELS:
            effective_ns = TimestampNs(0)
        elif effective_ns is None:
            effective_ns = recorded_ns
        leads_to = bed_id if kind in (MovementKind.ADMIT, MovementKind.TRANSFER) else None
        key = (kind, pseudonym, encounter_id, leads_to, effective_ns, recorded_ns)
        movements = (
            Movement(
                movement_id=identity("movement", *key),
                kind=kind,
                pseudonym=pseudonym,
                encounter_id=encounter_id,
                bed_id=leads_to,
                effective_time_ns=effective_ns,
                recorded_time_ns=recorded_ns,
            ),
        )
    facts, refusals = facts_in(pid)
    problems, statements, not_taken = _diagnoses(
        message, header, conventions, pseudonym, recorded_ns
    )
    intake = Intake(
        source=source_of(header),
        pseudonym=pseudonym,
        facts=facts,
        encounter_id=encounter_id,
        movements=movements,
        problems=problems,
        statements=statements,
        refusals=(*refusals, *not_taken),
        updates_facts=True,
    )
    return [intake]


def _merges(message: Any, header: Header, conventions: Conventions) -> list[Intake]:
    recorded_ns = _recorded(message, header, conventions)
    found: list[Intake] = []
    survivor: str | None = None
    for segment in message:
        name = str(segment[0])
        if name == "PID":
            survivor = pseudonym_in(segment, 3, conventions)
        elif name == "MRG":
            gone = pseudonym_in(segment, 1, conventions)
            if survivor is None or gone is None:
                text = "a merge names two patients (PID-3, MRG-1)"
                raise Hl7Error("no_patient", text, REQUIRED_FIELD)
            if gone == survivor:
                text = "a patient is merged into itself (PID-3, MRG-1)"
                raise Hl7Error("merge_of_one", text, UNKNOWN_KEY)
            merge = Movement(
                movement_id=identity("merge", gone, survivor, recorded_ns),
                kind=MovementKind.MERGE,
                pseudonym=gone,
                encounter_id=None,
                bed_id=None,
                effective_time_ns=recorded_ns,
                recorded_time_ns=recorded_ns,
                merged_into=survivor,
            )
            found.append(Intake(source=source_of(header), pseudonym=survivor, movements=(merge,)))
    if not found:
        raise Hl7Error("no_patient", "a merge names nobody (MRG-1)", REQUIRED_FIELD)
    return found


def source_of(header: Header) -> str:
    """Kind and sender of a message, for provenance."""
    return f"hl7:{header.message_type}^{header.trigger}:{header.sender}"


def segment_named(message: Any, name: str) -> Any:
    """The first segment `name`; an empty one where there is none."""
    return next((segment for segment in message if str(segment[0]) == name), [])


def pseudonym_in(segment: Any, position: int, conventions: Conventions) -> str | None:
    """Of the identifiers in a CX field the medical record number, else the first; as a pseudonym."""
    first: tuple[str, str] | None = None
    for repetition in range(n_repetitions(segment, position)):
        number, authority, kind = (
            repetition_text(segment, position, repetition, i) for i in (0, 3, 4)
        )
        if not number:
            continue
        if kind == "MR":
            return conventions.pseudonym(authority, number)
        # The number of an account or a visit is another patient's record number.
        first = first or (authority if kind in ("", "PI") else f"{authority}|{kind}", number)
    return conventions.pseudonym(*first) if first else None


def visit_of(pv1: Any, pid: Any, conventions: Conventions) -> str | None:
    """Pseudonym of the visit number (PV1-19), else of the account number (PID-18)."""
    for segment, position in ((pv1, 19), (pid, 18)):
        number = field_text(segment, position, 0)
        if number:
            return conventions.encounter(field_text(segment, position, 3), number)
    return None


def bed_of(pv1: Any, position: int, conventions: Conventions) -> str | None:
    """The bed at a PL field; None if it is no bed of ours."""
    names = ("point_of_care", "room", "bed", "facility")
    return conventions.bed(**{name: field_text(pv1, position, i) for i, name in enumerate(names)})


def facts_in(pid: Any) -> tuple[PatientFacts, tuple[Refusal, ...]]:
    """Day of birth and sex of PID-7 and PID-8."""
    born, sex = field_text(pid, 7), field_text(pid, 8, 0).upper()
    refusals: tuple[Refusal, ...] = ()
    birth_date: date | None = None
    if born:
        try:
            day = f"{born[4:6]}-{born[6:8]}" if len(born) >= 8 else "07-01"
            birth_date = date.fromisoformat(f"{born[:4]}-{day}")
        except ValueError:
            text = "the day of birth (PID-7) is on no calendar"
            refusals = (Refusal(part="PID-7", reason_code="birth_date", text=text, kept=""),)
    return PatientFacts(birth_date=birth_date, sex=_SEXES.get(sex)), refusals


def _recorded(message: Any, header: Header, conventions: Conventions) -> TimestampNs:
    evn = segment_named(message, "EVN")
    text = field_text(evn, 2, 0) or header.time
    if not text:
        raise Hl7Error("no_time", "it has no time (EVN-2, MSH-7)", REQUIRED_FIELD)
    return _time(text, header, conventions)


def _effective(
    message: Any, header: Header, conventions: Conventions, pv1: Any
) -> TimestampNs | None:
    stated = field_text(segment_named(message, "EVN"), 6, 0)
    if not stated and header.trigger in ("A01", "A03"):
        stated = field_text(pv1, 44 if header.trigger == "A01" else 45, 0)
    return _time(stated, header, conventions) if stated else None


def _time(text: str, header: Header, conventions: Conventions) -> TimestampNs:
    try:
        return parse_time(text, header.zone, conventions.time_zone)
    except OutOfRangeError as error:
        raise Hl7Error("time", str(error), REQUIRED_FIELD) from error


def _diagnoses(
    message: Any, header: Header, conventions: Conventions, pseudonym: str, recorded_ns: TimestampNs
) -> tuple[tuple[Problem, ...], tuple[Statement, ...], tuple[Refusal, ...]]:
    problems: list[Problem] = []
    statements: list[Statement] = []
    refusals: list[Refusal] = []
    for number, segment in enumerate((s for s in message if str(s[0]) == "DG1"), start=1):
        code, words, system = (field_text(segment, 3, i) for i in range(3))
        words = words or field_text(segment, 4)
        if not code and not words:
            continue
        try:
            stamp = field_text(segment, 5, 0)
            onset_ns = parse_time(stamp, header.zone, conventions.time_zone) if stamp else None
        except OutOfRangeError as error:
            refusal = Refusal(
                part=f"DG1[{number}]", reason_code="time", text=str(error), kept=str(segment)
            )
            refusals.append(refusal)
            continue
        since_ns = onset_ns or recorded_ns
        problems.append(
            Problem(
                code=code,
                system=_SYSTEMS.get(system, system),
                display=words or code,
                onset_time_ns=since_ns,  # without a day of its own it holds since it was said
            )
        )
        statements.append(
            Statement(
                part=f"DG1[{number}]",
                identity=identity("problem", pseudonym, system, code, words, onset_ns or ""),
                time_ns=since_ns,
                code_system=_SYSTEMS.get(system, system),
                code=code,
                code_text=words,
                value="active",
                unit=None,
            )
        )
    return tuple(problems), tuple(statements), tuple(refusals)
