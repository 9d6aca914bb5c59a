"""What is known of each thing a record may say: codes, names, units, limits, answers.

The knowledge graph (``stream_processors/knowledge``) is compiled once into a `Terminology`: plain
dictionaries from every code and every name to one `Concept`. Two concepts that claim one code or
one name cannot be compiled; a name is never a matter of nearness.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from stream_processors.core.ucum import NO_SUBSTANCE, Substance
from wardstream.contracts.errors import ConfigurationError


class ConceptKind(StrEnum):
    """What sort of statement a concept makes."""

    QUANTITY = "quantity"
    """A number with a unit."""
    FINDING = "finding"
    """One of stated answers."""
    CONDITION = "condition"
    """A diagnosis; it is there, or a text says how."""
    MEDICATION = "medication"
    """A drug or its class; a number with a unit is a dose or a rate."""
    EVENT = "event"
    """Something a device announced; any text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a quantity can be, in the concept's unit; each pair lies within the one before.

    Attributes
    ----------
    hard : tuple of float
        Outside it is impossible in a living patient.
    rare : tuple of float
        Outside it is possible, but a slip of unit is likelier if another unit fits.
    soft : tuple of float
        Outside it is kept and flagged.
    age_from_years, age_to_years : float
        For patients of ``[from, to)``.
    sex : str or None
        For ``male`` or ``female`` only.
    """

    hard: tuple[float, float]
    rare: tuple[float, float]
    soft: tuple[float, float]
    age_from_years: float = 0.0
    age_to_years: float = 200.0
    sex: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concept:
    """One thing a record can say of a patient.

    Attributes
    ----------
    name : str
        Its name in the graph, for ever: ``creatinine``.
    kind : ConceptKind
        What sort of statement it is.
    code_system, code : str
        Under which it is stored: MDC where there is one, else LOINC, SNOMED, ICD10, ATC.
    unit : str or None
        UCUM unit in which it is stored; None for what is no quantity.
    labels : mapping of str to str
        Name by language: ``en``, ``zh``.
    codes : tuple of (str, str)
        Every code of it, with its system.
    names : tuple of str
        Every name of it, in any language, labels included.
    substance : Substance
        For conversion between masses, moles and equivalents.
    usual_units : tuple of str
        In which it is stated somewhere in the world.
    only_usual_units : bool
        Other units of the same dimension mean another quantity (per cent and mmol/mol of HbA1c).
    limits : tuple of Limits
        The first that fits the patient holds; the last fits everyone.
    only_sex : str or None
        ``female`` or ``male`` where it can be of no other.
    answers : mapping of str to str
        Of a finding: what may be said (normalised text or code) -> the answer's name.
    family : str or None
        Concepts of one family may bear each other's names (a temperature, by site).
    """

    name: str
    kind: ConceptKind
    code_system: str
    code: str
    labels: Mapping[str, str]
    codes: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    unit: str | None = None
    substance: Substance = NO_SUBSTANCE
    usual_units: tuple[str, ...] = ()
    only_usual_units: bool = False
    limits: tuple[Limits, ...] = ()
    only_sex: str | None = None
    answers: Mapping[str, str] = field(default_factory=dict[str, str])
    family: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMapping:
    """What a person said once of a code or a unit of this site; part of the terminology at once.

    Attributes
    ----------
    code_system, code : str
        As the sender writes them; where `code` is empty the text is what is mapped.
    code_text : str
        The sender's words; empty where there is a code.
    stated_unit : str
        As the sender writes it; empty where none is stated.
    source : str
        Sender for which it holds; empty: for all.
    concept : str
        Name of the concept.
    unit : str or None
        UCUM unit of such values; None: as stated.
    """

    code_system: str
    code: str
    code_text: str
    stated_unit: str
    source: str
    concept: str
    unit: str | None

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What tells mappings apart."""
        return local_key(self.code_system, self.code, self.code_text, self.stated_unit, self.source)


def local_key(
    code_system: str, code: str, code_text: str, stated_unit: str | None, source: str
) -> tuple[str, str, str, str, str]:
    """Identity of what a person maps: words count only where there is no code."""
    words = "" if code else normalised(code_text)
    return code_system, code, words, stated_unit or "", source


_MOST_CONVERSIONS: Final = 10_000
_BLANK: Final = re.compile(r"[\s_]+")
_CHAPTERS: Final = frozenset({"ICD10"})
_CLASSES: Final = frozenset({"ATC"})


def normalised(text: str) -> str:
    """`text` for comparison: NFKC (full-width forms too), one blank, no case."""
    return _BLANK.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


class Terminology:
    """Look-up of codes, names and units; extended by what people map.

    Parameters
    ----------
    concepts : sequence of Concept
        All of them.
    code_systems : mapping of str to str
        How senders name a code system (normalised) -> our name of it.
    unit_names : mapping of str to str
        Spelling that is no UCUM code -> the UCUM code it stands for.

    Raises
    ------
    ConfigurationError
        Two concepts have a name, a code or a label in common; all such are listed.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        code_systems: Mapping[str, str],
        unit_names: Mapping[str, str],
    ) -> None:
        self.concepts: Final = tuple(concepts)
        self.by_concept_name: Final = {concept.name: concept for concept in concepts}
        self._systems = {normalised(alias): name for alias, name in code_systems.items()}
        self._unit_names = dict(unit_names)
        self._by_code: dict[tuple[str, str], Concept] = {}
        self._by_name: dict[str, Concept] = {}
        self._local: dict[tuple[str, str, str, str, str], LocalMapping] = {}
        self.conversions: Final[dict[tuple[str, str], tuple[float, float]]] = {}
        problems = [*self._index_codes(), *self._index_names()]
        if len(self.by_concept_name) != len(self.concepts):
            problems.append("two concepts have one name in the graph")
        if problems:
            raise ConfigurationError(problems)

    def _index_codes(self) -> Iterable[str]:
        for concept in self.concepts:
            for key in concept.codes:
                other = self._by_code.setdefault(key, concept)
                if other is not concept:
                    yield f"{key[0]} {key[1]} is both {other.name} and {concept.name}"

    def _index_names(self) -> Iterable[str]:
        for concept in self.concepts:
            for name in concept.names:
                other = self._by_name.setdefault(normalised(name), concept)
                if other is not concept:
                    yield f"the name {name!r} is both {other.name} and {concept.name}"

    def code_system(self, stated: str) -> str | None:
        """Our name of a code system as senders write it; None if it is local or unknown."""
        return self._systems.get(stated) or self._systems.get(normalised(stated))

    def by_code(self, system: str, code: str) -> Concept | None:
        """The concept of a code of a known system.

        A diagnosis of ICD-10 is looked up to its category of three characters (``I10.x00`` is
        ``I10``), a drug of ATC to its class (``C07AB02`` is ``C07``); no other code is shortened.
        """
        found = self._by_code.get((system, code))
        if found is not None:
            return found
        if system in _CHAPTERS:
            return self._by_code.get((system, code[:3].upper()))
        if system in _CLASSES:
            shorter = (self._by_code.get((system, code[:n])) for n in (7, 5, 4, 3))
            return next((concept for concept in shorter if concept is not None), None)
        return None

    def by_name(self, text: str) -> Concept | None:
        """The concept with exactly that name, in any language."""
        return self._by_name.get(normalised(text)) if text else None

    def unit_code(self, stated: str) -> str | None:
        """UCUM code of a spelling or MDC dimension of the table; None if it is not in it."""
        return self._unit_names.get(stated)

    def keep_conversion(self, concept: str, unit: str, factors: tuple[float, float]) -> None:
        """Keep `(scale, shift)` from `unit` to the unit of `concept` in `conversions`; bounded."""
        if len(self.conversions) < _MOST_CONVERSIONS:
            self.conversions[concept, unit] = factors

    def learn(self, mapping: LocalMapping) -> None:
        """Make `mapping` part of the terminology; a newer one of the same key replaces it.

        Raises
        ------
        ConfigurationError
            It names a concept that does not exist.
        """
        if mapping.concept not in self.by_concept_name:
            raise ConfigurationError(
                [f"no concept {mapping.concept!r}; `quarantine concepts` lists them"]
            )
        self._local[mapping.key] = mapping

    def forget_learned(self) -> None:
        """Drop every local mapping."""
        self._local.clear()

    def local(
        self, code_system: str, code: str, code_text: str, stated_unit: str | None, source: str
    ) -> LocalMapping | None:
        """What a person said of it, for this sender or for all."""
        if not self._local:
            return None
        key = local_key(code_system, code, code_text, stated_unit, source)
        return self._local.get(key) or self._local.get((*key[:4], ""))
