"""Whether a value can be of this patient: impossible, a likely slip of unit, rare, or usual."""

import math
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from stream_processors.core.terminology import Concept, Limits
from stream_processors.core.ucum import conversion, parse_ucum
from wardstream.contracts.timebase import NS_PER_S

_NS_PER_YEAR = 365.25 * 86_400 * NS_PER_S
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Verdict(StrEnum):
    """How a value was judged."""

    USUAL = "usual"
    UNUSUAL = "unusual"
    """Outside the soft limits: kept and flagged."""
    UNIT_SUSPECTED = "unit_suspected"
    """It cannot be, or hardly, in the stated unit, and would be usual in another."""
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason.

    Attributes
    ----------
    verdict : Verdict
        How it was judged.
    text : str
        Why, for a person; empty where usual.
    is_impossible : bool
        Outside the hard limits as stated, whatever other unit may be suspected.
    """

    verdict: Verdict
    text: str = ""
    is_impossible: bool = False


_USUAL = Judgement(Verdict.USUAL)


def age_years(birth_date: date | None, time_ns: int) -> float | None:
    """Age at `time_ns` in years; None where the birth date is not known."""
    if birth_date is None:
        return None
    born_ns = (birth_date.toordinal() - _EPOCH_ORDINAL) * 86_400 * NS_PER_S
    return (time_ns - born_ns) / _NS_PER_YEAR


def limits_for(concept: Concept, age: float | None, sex: str | None) -> Limits | None:
    """The limits of `concept` that hold for the patient; where age or sex is unknown, those of all."""
    for limits in concept.limits:
        if limits.sex is not None and limits.sex != sex:
            continue
        bounded = limits.age_from_years > 0 or limits.age_to_years < 200
        if not bounded:
            return limits
        if age is not None and limits.age_from_years <= age < limits.age_to_years:
            return limits
    return None


def judge(
    concept: Concept,
    value: float,
    stated_value: float,
    stated_unit: str,
    *,
    age: float | None,
    sex: str | None,
) -> Judgement:
    """Whether `value`, in the concept's unit, can be of that patient.

    Parameters
    ----------
    concept : Concept
        A quantity.
    value : float
        In the concept's unit.
    stated_value, stated_unit : float, str
        As the sender said, its unit as UCUM code: what other units are tried with.
    age : float or None
        Years.
    sex : str or None
        FHIR administrative gender.

    Returns
    -------
    Judgement
        Impossible outside the hard limits; of a suspected unit where it lies outside the rare
        limits and the same number in another usual unit would lie within the soft ones.
    """
    limits = limits_for(concept, age, sex)
    if limits is None:
        return _USUAL
    if limits.soft[0] <= value <= limits.soft[1]:
        return _USUAL
    stated = f"{concept.name} {stated_value:g} {stated_unit}"
    impossible = not limits.hard[0] <= value <= limits.hard[1]
    if not limits.rare[0] <= value <= limits.rare[1]:
        other = _fitting_unit(concept, limits, stated_value, stated_unit)
        if other is not None:
            return Judgement(
                Verdict.UNIT_SUSPECTED,
                f"{stated}: would be usual in {other}, hardly as stated",
                is_impossible=impossible,
            )
    if impossible:
        low, high = limits.hard
        return Judgement(
            Verdict.IMPOSSIBLE,
            f"{stated}: outside {low:g} to {high:g} {concept.unit}",
            is_impossible=True,
        )
    low, high = limits.soft
    return Judgement(Verdict.UNUSUAL, f"{stated}: outside {low:g} to {high:g} {concept.unit}")


def _fitting_unit(
    concept: Concept, limits: Limits, stated_value: float, stated_unit: str
) -> str | None:
    target = parse_ucum(concept.unit or "1")
    for unit in concept.usual_units:
        if unit == stated_unit:
            continue
        scale, shift = conversion(parse_ucum(unit), target, concept.substance)
        value = stated_value * scale + shift
        if math.isfinite(value) and limits.soft[0] <= value <= limits.soft[1]:
            return unit
    return None
