"""One observation, mapped to one concept in one unit, or held back with the reason.

``harmonise`` is total: every observation comes back as `Mapped` or `Quarantined`, none is
dropped and none is put right. Nothing is guessed: no unit where none is stated, no code from a
code that looks alike, no name that is not exactly one of a concept's.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.plausibility import Judgement, Verdict, age_years, judge
from stream_processors.core.terminology import (
    Concept,
    ConceptKind,
    LocalMapping,
    Terminology,
    normalised,
)
from stream_processors.core.ucum import conversion, parse_ucum
from wardstream.contracts.errors import OutOfRangeError, UnknownSchemaError


class Reason(StrEnum):
    """Why an observation is held back."""

    UNKNOWN_CODE = "unknown_code"
    CODE_CONTRADICTS_NAME = "code_contradicts_name"
    NO_VALUE = "no_value"
    NOT_A_NUMBER = "not_a_number"
    UNKNOWN_ANSWER = "unknown_answer"
    NO_UNIT = "no_unit"
    UNKNOWN_UNIT = "unknown_unit"
    WRONG_DIMENSION = "wrong_dimension"
    UNIT_SUSPECTED = "unit_suspected"
    IMPOSSIBLE_VALUE = "impossible_value"
    IMPOSSIBLE_FOR_SEX = "impossible_for_sex"
    BEFORE_BIRTH = "before_birth"


class Flag(StrEnum):
    """What is to be known of a mapped observation; it is used all the same."""

    BY_NAME = "by_name"
    """Its concept was found by its words, not by a code."""
    UNIT_BY_NAME = "unit_by_name"
    """Its unit was written otherwise than UCUM does."""
    LOCAL = "local"
    """A person of this site said what it is."""
    UNUSUAL = "unusual"
    """Outside the soft limits."""
    SEX_UNKNOWN = "sex_unknown"
    """It can be of one sex only, and the patient's is not known."""
    NOT_PRESENT = "not_present"
    """A condition that is refuted, over, or was entered in error."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """An observation in our code and unit.

    Attributes
    ----------
    observation_id : str
        32 hexadecimal digits of patient, concept, time, value and source: the same statement
        twice is one row, whatever messages carried it.
    observation : Observation
        As it was stated.
    concept : Concept
        What it is of; `concept.code` under which it is stored.
    value : float or None
        In `unit`.
    text : str or None
        Answer of a finding, status of a condition, words of an event.
    unit : str or None
        UCUM unit of `value`.
    flags : tuple of Flag
        What is to be known of it.
    """

    observation_id: str
    observation: Observation
    concept: Concept
    value: float | None
    text: str | None
    unit: str | None
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An observation held back whole.

    Attributes
    ----------
    quarantine_id : str
        32 hexadecimal digits of what was stated: the same statement twice is one row.
    observation : Observation
        As it was stated.
    reason : Reason
        Why, for counting.
    text : str
        Why, for a person.
    concept : str or None
        Name of the concept, where it was found.
    """

    quarantine_id: str
    observation: Observation
    reason: Reason
    text: str
    concept: str | None = None


Harmonised: TypeAlias = Mapped | Quarantined

_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_BARE: Final = ("[pH]", "{")
"""Units that say only what is counted; such a quantity has no other, and none may be left out."""
_NOT_THERE: Final = frozenset(
    {"refuted", "entered-in-error", "inactive", "resolved", "remission", "absent"}
)
_NOBODY: Final = PatientFacts()
# A birth date known by its year only is the middle of that year.
_EARLIEST_AGE: Final = -0.6


class _Held(Exception):  # noqa: N818 - not an error: the way out of the steps below
    def __init__(self, reason: Reason, text: str, concept: Concept | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.concept = concept


def harmonise(
    terminology: Terminology,
    observation: Observation,
    patient: PatientFacts | None = None,
    decided: LocalMapping | None = None,
) -> Harmonised:
    """`observation` mapped, or held back with a reason; never neither and never both.

    Parameters
    ----------
    terminology : Terminology
        The compiled graph and what people mapped.
    observation : Observation
        As stated.
    patient : PatientFacts or None
        For plausibility by age and sex.
    decided : LocalMapping or None
        What a person said of this very observation; its unit is not suspected any more.
    """
    try:
        return _mapped(terminology, observation, patient or _NOBODY, decided)
    except _Held as held:
        return Quarantined(
            quarantine_id=_identity(observation, "quarantine"),
            observation=observation,
            reason=held.reason,
            text=str(held),
            concept=None if held.concept is None else held.concept.name,
        )


def _mapped(
    terminology: Terminology,
    observation: Observation,
    patient: PatientFacts,
    decided: LocalMapping | None,
) -> Mapped:
    mapping = decided or terminology.local(
        observation.code_system,
        observation.code,
        observation.code_text,
        observation.unit,
        observation.source,
    )
    flags: list[Flag] = []
    if mapping is not None:
        concept = terminology.by_concept_name[mapping.concept]
        flags.append(Flag.LOCAL)
    else:
        concept = find_concept(terminology, observation, flags)
    _check_sex(concept, patient, flags)
    age = age_years(patient.birth_date, observation.time_ns)
    if age is not None and age < _EARLIEST_AGE:
        raise _Held(
            Reason.BEFORE_BIRTH, f"observed {-age:.1f} years before the patient's birth", concept
        )
    value: float | None = None
    unit: str | None = None
    text: str | None = None
    if concept.kind is ConceptKind.QUANTITY:
        stated = _number(concept, observation.value)
        code = stated_ucum(terminology, concept, observation.unit, mapping, flags)
        value = _converted(terminology, concept, stated, code)
        unit = concept.unit
        judgement = judge(concept, value, stated, code, age=age, sex=patient.sex)
        _check_judgement(concept, judgement, flags, unit_decided=decided is not None)
    elif concept.kind is ConceptKind.FINDING:
        text = _answer(concept, observation)
    elif concept.kind is ConceptKind.MEDICATION:
        value, unit, text = _dose(terminology, concept, observation, mapping, flags)
    else:
        text = None if observation.value is None else str(observation.value)
        if concept.kind is ConceptKind.CONDITION and text and normalised(text) in _NOT_THERE:
            flags.append(Flag.NOT_PRESENT)
    identity = _identity(observation, concept.name, value, text)
    return Mapped(identity, observation, concept, value, text, unit, tuple(flags))


def find_concept(terminology: Terminology, observation: Observation, flags: list[Flag]) -> Concept:
    """The concept of a code, or of a name where the code is of no known system."""
    code, words = observation.code, observation.code_text
    system = terminology.code_system(observation.code_system)
    if system is None and code.startswith("MDC_") and not observation.code_system:
        system = "MDC"  # a reference id is a reference id
    if system is None:
        concept = terminology.by_name(words)
        if concept is None:
            raise _Held(
                Reason.UNKNOWN_CODE,
                f"local code {code!r} of {observation.code_system!r} ({words!r}) is not mapped",
            )
        flags.append(Flag.BY_NAME)
        return concept
    concept = terminology.by_code(system, code)
    if concept is None:
        raise _Held(Reason.UNKNOWN_CODE, f"{system} {code!r} ({words!r}) is not in the graph")
    named = terminology.by_name(words)
    if named is None and words.startswith("MDC_"):
        named = terminology.by_code("MDC", words)
    if named is not None and named is not concept and not _akin(named, concept):
        raise _Held(
            Reason.CODE_CONTRADICTS_NAME,
            f"{system} {code} is {concept.name}, but {words!r} is {named.name}",
            concept,
        )
    return concept


def _akin(one: Concept, other: Concept) -> bool:
    return one.family is not None and one.family == other.family


def _check_sex(concept: Concept, patient: PatientFacts, flags: list[Flag]) -> None:
    if concept.only_sex is None or patient.sex == concept.only_sex:
        return
    if patient.sex in ("male", "female"):
        raise _Held(
            Reason.IMPOSSIBLE_FOR_SEX,
            f"{concept.name} of a patient who is recorded as {patient.sex}",
            concept,
        )
    flags.append(Flag.SEX_UNKNOWN)


def _number(concept: Concept, value: float | str | None) -> float:
    if value is None:
        raise _Held(Reason.NO_VALUE, f"{concept.name} without a value", concept)
    if isinstance(value, str):
        if _NUMBER.fullmatch(value.strip()) is None:
            raise _Held(
                Reason.NOT_A_NUMBER, f"{concept.name}: {value[:40]!r} is no plain number", concept
            )
        value = float(value)
    if not math.isfinite(value):
        raise _Held(Reason.NOT_A_NUMBER, f"{concept.name}: {value} is no number", concept)
    return float(value)


def stated_ucum(
    terminology: Terminology,
    concept: Concept,
    stated: str | None,
    mapping: LocalMapping | None,
    flags: list[Flag],
) -> str:
    """UCUM code of the stated unit, or of what a person said of such values."""
    if mapping is not None and mapping.unit:
        return mapping.unit
    if not stated:
        if concept.unit is not None and concept.unit.startswith(_BARE):
            return concept.unit
        raise _Held(Reason.NO_UNIT, f"{concept.name} without a unit", concept)
    code = terminology.unit_code(stated)  # first: K/uL is no kelvin, 266016 is no number
    if code is not None:
        if not stated.startswith("MDC_") and not stated.isdigit():
            flags.append(Flag.UNIT_BY_NAME)
        return code
    try:
        if stated != "1" and stated.isdigit():
            raise UnknownSchemaError("a bare number")
        parse_ucum(stated)
    except UnknownSchemaError:
        raise _Held(
            Reason.UNKNOWN_UNIT, f"{concept.name} in {stated[:40]!r}: no known unit", concept
        ) from None
    return stated


def _converted(terminology: Terminology, concept: Concept, stated: float, code: str) -> float:
    factors = terminology.conversions.get((concept.name, code))
    if factors is None:
        if concept.only_usual_units and code not in concept.usual_units:
            raise _Held(
                Reason.WRONG_DIMENSION,
                f"{concept.name} in {code}: only {', '.join(concept.usual_units)} is known of it",
                concept,
            )
        try:
            target = parse_ucum(concept.unit or "1")
            factors = conversion(parse_ucum(code), target, concept.substance)
        except OutOfRangeError as error:
            raise _Held(Reason.WRONG_DIMENSION, f"{concept.name}: {error}", concept) from None
        terminology.keep_conversion(concept.name, code, factors)
    value = stated * factors[0] + factors[1]
    if not math.isfinite(value):
        raise _Held(Reason.IMPOSSIBLE_VALUE, f"{concept.name} {stated:g} {code}", concept)
    return value


def _check_judgement(
    concept: Concept, judgement: Judgement, flags: list[Flag], *, unit_decided: bool
) -> None:
    if judgement.verdict is Verdict.UNIT_SUSPECTED and not unit_decided:
        raise _Held(Reason.UNIT_SUSPECTED, judgement.text, concept)
    if judgement.is_impossible:
        raise _Held(Reason.IMPOSSIBLE_VALUE, judgement.text, concept)
    if judgement.verdict is not Verdict.USUAL:
        flags.append(Flag.UNUSUAL)


def _answer(concept: Concept, observation: Observation) -> str:
    if observation.value is None or observation.value == "":
        raise _Held(Reason.NO_VALUE, f"{concept.name} without an answer", concept)
    said = str(observation.value)
    answer = concept.answers.get(normalised(said))
    if answer is None:
        raise _Held(
            Reason.UNKNOWN_ANSWER, f"{concept.name}: {said[:40]!r} is no known answer", concept
        )
    return answer


def _dose(
    terminology: Terminology,
    concept: Concept,
    observation: Observation,
    mapping: LocalMapping | None,
    flags: list[Flag],
) -> tuple[float | None, str | None, str | None]:
    value = observation.value
    if value is None or value == "":
        return None, None, None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is None:
        return None, None, value  # a status or a dose in words
    number = _number(concept, value)
    unit = stated_ucum(terminology, concept, observation.unit, mapping, flags)
    if number < 0:
        raise _Held(Reason.IMPOSSIBLE_VALUE, f"{concept.name}: a dose of {number:g}", concept)
    return number, unit, None


def _identity(observation: Observation, *parts: object) -> str:
    stated = observation
    text = "\x1f".join(
        (
            stated.pseudonym,
            str(stated.time_ns),
            stated.source,
            *(repr(part) for part in parts),
            *(
                (
                    stated.code_system,
                    stated.code,
                    stated.code_text,
                    repr(stated.value),
                    str(stated.unit),
                )
                if parts == ("quarantine",)
                else ()
            ),
        )
    )
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
