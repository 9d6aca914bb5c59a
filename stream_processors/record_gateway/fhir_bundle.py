"""A FHIR R4 transaction bundle of one patient, reduced to what fusion may know.

Names, addresses, telephone numbers and record numbers end here. Validated with
`fhir.resources` R4B, whose Patient, Condition, Observation and Encounter take R4 as it is.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

from wardstream.contracts.errors import ContractError
from wardstream.contracts.record import Consciousness, PatientContext, Problem
from wardstream.contracts.timebase import NS_PER_S, TimestampNs, from_datetime
from wardstream.contracts.units import Unit, convert, parse_unit

logger = logging.getLogger(__name__)

LOINC: Final = "http://loinc.org"
_TEMPERATURE: Final = ("8310-5", "8331-1")  # body, oral
_SYSTOLIC: Final = ("8480-6",)
_CONSCIOUSNESS: Final = ("67775-7", "80288-4")
_OXYGEN_FLOW: Final = ("3151-8",)
_ACVPU: Final[Mapping[str, Consciousness]] = {
    # LOINC answers of 67775-7 and the SNOMED CT findings charted for ACVPU.
    "LA9340-6": Consciousness.ALERT,
    "LA17108-4": Consciousness.VOICE,
    "LA17107-6": Consciousness.PAIN,
    "LA9343-0": Consciousness.UNRESPONSIVE,
    "248234008": Consciousness.ALERT,
    "130987000": Consciousness.CONFUSION,
    "300202002": Consciousness.VOICE,
    "450847001": Consciousness.PAIN,
    "422768004": Consciousness.UNRESPONSIVE,
}
_OVER: Final = ("inactive", "remission", "resolved")
_UNTRUE: Final = ("refuted", "entered-in-error")
_SET_NS: Final = 12 * 3600 * NS_PER_S
"""Values charted within this stretch count as one set of observations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientRecord:
    """What a bundle says: an identifier to make the pseudonym from, and the context."""

    identifier_system: str
    identifier: str
    context: PatientContext


@dataclass(frozen=True, slots=True)
class _Charted:
    time_ns: TimestampNs
    value: Any


def read_bundle(payload: bytes) -> PatientRecord:
    """The one patient of a bundle.

    Raises
    ------
    ContractError
        It is no FHIR R4 bundle of exactly one patient; the message says where.
    """
    try:
        raw = json.loads(payload)
        bundle: Any = Bundle.model_validate(raw)
    except (ValueError, ValidationError) as error:
        raise ContractError(f"no FHIR R4 bundle: {first_line(error)}") from error
    resources = [entry.resource for entry in bundle.entry or [] if entry.resource is not None]
    patients = _of_type(resources, "Patient")
    if len(patients) != 1:
        raise ContractError(f"the bundle holds {len(patients)} patients, expected one")
    patient = patients[0]
    system, identifier = identifier_of(patient)
    return PatientRecord(
        identifier_system=system,
        identifier=identifier,
        context=context_of(patient, resources),
    )


def first_line(error: Exception) -> str:
    """What is wrong first, without the value that is wrong."""
    if isinstance(error, ValidationError):
        issue = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(str(part) for part in issue['loc'])}: {issue['msg']}"
    return str(error)


def _of_type(resources: Iterable[Any], name: str) -> list[Any]:
    return [resource for resource in resources if type(resource).__name__ == name]


def identifier_of(patient: Any) -> tuple[str, str]:
    """(system, value) that a patient is known by.

    Raises
    ------
    ContractError
        It has neither identifier nor id.
    """
    # The medical record number if it is marked as such, else the first; else the resource's id.
    found = [i for i in patient.identifier or [] if i.value]
    marked = [i for i in found if i.type and any(c.code == "MR" for c in i.type.coding or [])]
    for identifier in (*marked, *found):
        return str(identifier.system or ""), str(identifier.value)
    if not patient.id:
        raise ContractError("Patient has neither identifier nor id")
    return "", str(patient.id)


def context_of(patient: Any, resources: list[Any]) -> PatientContext:
    """What is known of `patient` from the resources of one bundle."""
    observations = _of_type(resources, "Observation")
    temperature = _latest(_quantities(observations, _TEMPERATURE, Unit.CELSIUS))
    systolic = _latest(_quantities(observations, _SYSTOLIC, Unit.MMHG))
    consciousness = _latest(_assessments(observations))
    oxygen = _latest(_oxygen(observations))
    charted = [value for value in (temperature, systolic, consciousness, oxygen) if value]
    newest_ns = max((value.time_ns for value in charted), default=0)
    current = [value for value in charted if value.time_ns > newest_ns - _SET_NS]

    def kept(value: _Charted | None) -> Any:
        return value.value if value is not None and value in current else None

    return PatientContext(
        birth_year=born.year if (born := birth_date_of(patient)) else None,
        sex=patient.gender or "unknown",
        problems=tuple(problems_of(_of_type(resources, "Condition"))),
        consciousness=kept(consciousness),
        supplemental_oxygen=kept(oxygen),
        temperature_celsius=kept(temperature),
        systolic_noninvasive_mmhg=kept(systolic),
        # The oldest of the set: a value is never held to be newer than it is.
        observed_time_ns=min((value.time_ns for value in current), default=None),
    )


def birth_date_of(patient: Any) -> date | None:
    """The day of birth; of one known by its year or month only, the middle of that year."""
    born = patient.birthDate
    if born is None or isinstance(born, date):
        return born
    try:
        return date(int(str(born)[:4]), 7, 1)
    except ValueError:
        return None


def problems_of(conditions: Iterable[Any]) -> Iterable[Problem]:
    """The problem list; what was refuted, or is over since nobody knows when, is not in it."""
    for condition in conditions:
        onset = condition.onsetDateTime or (condition.onsetPeriod and condition.onsetPeriod.start)
        end = condition.abatementDateTime or (
            condition.abatementPeriod and condition.abatementPeriod.end
        )
        if _status(condition.verificationStatus) in _UNTRUE:
            continue
        if end is None and _status(condition.clinicalStatus) in _OVER:
            continue  # over since nobody knows when: not active now
        codings = (condition.code and condition.code.coding) or []
        text = (condition.code and condition.code.text) or ""
        if not codings and not text:
            continue
        yield Problem(
            code=str(codings[0].code or "") if codings else "",
            system=str(codings[0].system or "") if codings else "",
            display=str((codings and codings[0].display) or text),
            onset_time_ns=time_of(onset),
            abatement_time_ns=time_of(end),
        )


def _status(concept: Any) -> str:
    codings = (concept and concept.coding) or []
    return str(codings[0].code) if codings else ""


def _quantities(observations: Iterable[Any], codes: tuple[str, ...], unit: Unit) -> list[_Charted]:
    found: list[_Charted] = []
    for observation in observations:
        time_ns = _effective_ns(observation)
        for part in (observation, *(observation.component or [])):
            if time_ns is None or part.valueQuantity is None or not _has(part, codes):
                continue
            try:
                source = parse_unit(str(part.valueQuantity.code or part.valueQuantity.unit))
                value = convert(float(part.valueQuantity.value), source, unit)
            except ContractError as error:
                logger.warning("a charted value is not used: %s", error)
                continue
            found.append(_Charted(time_ns, value))
    return found


def _assessments(observations: Iterable[Any]) -> list[_Charted]:
    found: list[_Charted] = []
    for observation in observations:
        time_ns = _effective_ns(observation)
        concept = observation.valueCodeableConcept
        if time_ns is None or concept is None or not _has(observation, _CONSCIOUSNESS):
            continue
        for coding in concept.coding or []:
            if coding.code in _ACVPU:
                found.append(_Charted(time_ns, _ACVPU[coding.code]))
                break
    return found


def _oxygen(observations: Iterable[Any]) -> list[_Charted]:
    return [
        _Charted(time_ns, float(observation.valueQuantity.value) > 0)
        for observation in observations
        if _has(observation, _OXYGEN_FLOW) and observation.valueQuantity is not None
        if (time_ns := _effective_ns(observation)) is not None
    ]


def _has(part: Any, codes: tuple[str, ...]) -> bool:
    codings = (part.code and part.code.coding) or []
    return any(coding.system == LOINC and coding.code in codes for coding in codings)


def _latest(values: list[_Charted]) -> _Charted | None:
    return max(values, key=lambda value: value.time_ns, default=None)


def _effective_ns(observation: Any) -> TimestampNs | None:
    if observation.status in ("entered-in-error", "cancelled"):
        return None
    return time_of(observation.effectiveDateTime)


def time_of(moment: Any) -> TimestampNs | None:
    """Nanoseconds of a FHIR date or dateTime."""
    # FHIR allows a year, a month or a day; such a date begins at midnight UTC.
    if isinstance(moment, datetime):
        return from_datetime(moment) if moment.tzinfo else None
    if isinstance(moment, date):
        return from_datetime(datetime.fromisoformat(f"{moment.isoformat()}T00:00:00+00:00"))
    return None
