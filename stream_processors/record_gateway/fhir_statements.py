"""What one FHIR resource states of its patient, in its own codes and units."""

import math
from collections.abc import Iterable
from typing import Any, Final

from stream_processors.core.intake import Statement, identity
from stream_processors.record_gateway.fhir_bundle import time_of
from wardstream.contracts.errors import ContractError
from wardstream.contracts.timebase import TimestampNs

_UCUM: Final = "http://unitsofmeasure.org"
_STANDING: Final = ("final", "amended", "corrected", "preliminary")
_PREFERRED: Final = ("http://loinc.org", "urn:iso:std:iso:11073:10101", "http://snomed.info/sct")


class UnusableError(ContractError):
    """A resource that states nothing that can be used; `reason_code` says why in a word."""

    def __init__(self, reason_code: str, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code


def statements_of(resource: Any, part: str, name: str) -> list[Statement]:
    """The statements of an Observation, Condition, medication or Device.

    Parameters
    ----------
    resource
        Validated.
    part : str
        Where it stood, for people.
    name : str
        Identity of the resource.

    Raises
    ------
    UnusableError
        Its status, time, code or value cannot be used.
    """
    match type(resource).__name__:
        case "Observation":
            return list(_observed(resource, part, name))
        case "Condition":
            return [_condition(resource, part, name)]
        case "MedicationAdministration" | "MedicationRequest":
            return [_medication(resource, part, name)]
        case _:
            return []  # a device states nothing of its patient by itself


def _observed(resource: Any, part: str, name: str) -> Iterable[Statement]:
    if resource.status not in _STANDING:
        raise UnusableError("status", "its status says that it does not stand")
    time_ns = _time(
        resource.effectiveDateTime
        or resource.effectiveInstant
        or (
            resource.effectivePeriod
            and (resource.effectivePeriod.end or resource.effectivePeriod.start)
        )
    )
    parts: list[Any] = [resource, *(resource.component or [])]
    for number, stated in enumerate(parts):
        value, unit = _value(stated)
        if value is None:
            continue  # a panel, or a value said to be absent
        system, code, text = _coding(stated.code)
        yield Statement(
            part=part if not number else f"{part}.component[{number - 1}]",
            identity=identity(name, number),
            time_ns=time_ns,
            code_system=system,
            code=code,
            code_text=text,
            value=value,
            unit=unit,
        )


def _value(stated: Any) -> tuple[float | str | None, str | None]:
    if stated.valueQuantity is not None:
        return _quantity(stated.valueQuantity)
    if stated.valueCodeableConcept is not None:
        _, code, text = _coding(stated.valueCodeableConcept)
        return code or text, None
    if stated.valueString is not None:
        return str(stated.valueString), None
    if stated.valueBoolean is not None:
        return str(stated.valueBoolean).lower(), None
    if stated.valueInteger is not None:
        return float(stated.valueInteger), None
    others = ("Range", "Ratio", "SampledData", "Time", "DateTime", "Period")
    if any(getattr(stated, f"value{kind}") is not None for kind in others):
        raise UnusableError("value_type", "its value is no quantity, code, text or truth")
    return None, None


def _quantity(quantity: Any) -> tuple[float | str | None, str | None]:
    # A code counts as a unit only in the system it is said to be of; else the words do.
    code = quantity.code if quantity.system in (None, _UCUM) else None
    unit = code or quantity.unit or quantity.code
    if quantity.value is None:
        return None, None
    value = float(quantity.value)
    if not math.isfinite(value):
        raise UnusableError("value", "its value is beyond every number")
    if quantity.comparator:
        return f"{quantity.comparator}{value:g}", unit  # a bound is no number
    return value, unit


def _condition(resource: Any, part: str, name: str) -> Statement:
    verification = _status(resource.verificationStatus)
    if verification in ("refuted", "entered-in-error"):
        raise UnusableError("status", "its verification says that it is not so")
    system, code, text = _coding(resource.code)
    onset = resource.onsetDateTime or (resource.onsetPeriod and resource.onsetPeriod.start)
    return Statement(
        part=part,
        identity=identity(name, "condition"),
        time_ns=_time(onset or resource.recordedDate),
        code_system=system,
        code=code,
        code_text=text,
        value=_status(resource.clinicalStatus) or "active",
        unit=None,
    )


def _medication(resource: Any, part: str, name: str) -> Statement:
    if resource.status == "entered-in-error":
        raise UnusableError("status", "its status says that it was entered in error")
    if resource.medicationCodeableConcept is None:
        raise UnusableError("no_code", "it names its medication by reference only")
    system, code, text = _coding(resource.medicationCodeableConcept)
    value: float | str | None = str(resource.status)
    unit: str | None = None
    if type(resource).__name__ == "MedicationRequest":
        moment = resource.authoredOn
    else:
        moment = resource.effectiveDateTime or resource.effectivePeriod.start
        if resource.dosage is not None and resource.dosage.dose is not None:
            value, unit = _quantity(resource.dosage.dose)
    return Statement(
        part=part,
        identity=identity(name, "medication"),
        time_ns=_time(moment),
        code_system=system,
        code=code,
        code_text=text,
        value=value,
        unit=unit,
    )


def _coding(concept: Any) -> tuple[str, str, str]:
    """(system, code, words): of several codings that of the most widely known system."""
    codings: list[Any] = [c for c in (concept and concept.coding) or [] if c.code]
    codings.sort(key=_rank)
    text = str((concept and concept.text) or "")
    if not codings:
        if not text:
            raise UnusableError("no_code", "it has neither code nor words")
        return "", "", text
    best = codings[0]
    return str(best.system or ""), str(best.code), str(best.display or text)


def _rank(coding: Any) -> int:
    return _PREFERRED.index(coding.system) if coding.system in _PREFERRED else len(_PREFERRED)


def _status(concept: Any) -> str:
    codings = (concept and concept.coding) or []
    return str(codings[0].code) if codings else ""


def _time(moment: Any) -> TimestampNs:
    try:
        time_ns = time_of(moment)
    except ContractError as error:
        raise UnusableError("time", str(error)) from error
    if time_ns is None:
        raise UnusableError("no_time", "it has no time, or one without a zone")
    if time_ns <= 0:
        raise UnusableError("time", "its time is before 1970")
    return time_ns
