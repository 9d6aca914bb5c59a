"""Reads the knowledge graph (RDF, SKOS) and compiles it into a `Terminology`."""

from collections.abc import Iterable
from importlib import resources
from typing import Any, Final

from rdflib import RDF, SKOS, Graph, Literal, Namespace, URIRef

from stream_processors.core.terminology import (
    Concept,
    ConceptKind,
    Limits,
    Terminology,
    normalised,
)
from stream_processors.core.ucum import Substance, conversion, parse_ucum
from wardstream.contracts.errors import ConfigurationError, ContractError

WS: Final = Namespace("urn:wardstream:terms#")
_FILES: Final = ("observations.ttl", "conditions.ttl", "medications.ttl", "units.ttl")
_SHAPES: Final = "shapes.ttl"
_KINDS: Final = {
    WS.Quantity: ConceptKind.QUANTITY,
    WS.Finding: ConceptKind.FINDING,
    WS.Condition: ConceptKind.CONDITION,
    WS.Medication: ConceptKind.MEDICATION,
    WS.Event: ConceptKind.EVENT,
}


def read_graph() -> Graph:
    """The knowledge graph this version ships."""
    graph = Graph()
    for name in _FILES:
        graph.parse(data=_text(name), format="turtle")
    return graph


def read_shapes() -> Graph:
    """The SHACL shapes of the graph and of mapped observations."""
    return Graph().parse(data=_text(_SHAPES), format="turtle")


def _text(name: str) -> str:
    return (resources.files("stream_processors") / "knowledge" / name).read_text("utf-8")


def compile_terminology(graph: Graph) -> Terminology:
    """The dictionaries of the fast path.

    Raises
    ------
    ConfigurationError
        What in the graph contradicts itself: every problem is listed.
    """
    concepts: list[Concept] = []
    problems: list[str] = []
    for node_class, kind in _KINDS.items():
        for node in sorted(graph.subjects(RDF.type, node_class), key=str):
            concept = _concept(graph, node, kind)
            problems += _problems(concept)
            concepts.append(concept)
    if problems:
        raise ConfigurationError(problems)
    return Terminology(concepts, _code_systems(graph), _unit_names(graph))


def _local(node: Any) -> str:
    return str(node).removeprefix(str(WS))


def _concept(graph: Graph, node: Any, kind: ConceptKind) -> Concept:
    labels = {
        str(label.language): str(label)
        for label in graph.objects(node, SKOS.prefLabel)
        if isinstance(label, Literal)
    }
    names = (*labels.values(), *(str(name) for name in graph.objects(node, SKOS.altLabel)))
    (system, code), *_ = _codes(graph.objects(node, WS.code)) or [("", "")]
    family = graph.value(node, SKOS.broader)
    return Concept(
        name=_local(node),
        kind=kind,
        code_system=system,
        code=code,
        labels=labels,
        codes=tuple(sorted(_codes(graph.objects(node, SKOS.notation)))),
        names=tuple(sorted(set(names))),
        unit=_text_of(graph, node, WS.unit),
        substance=Substance(
            molar_mass=_number_of(graph, node, WS.molarMass), valence=_count(graph, node)
        ),
        usual_units=tuple(sorted(str(unit) for unit in graph.objects(node, WS.usualUnit))),
        only_usual_units=bool(graph.value(node, WS.onlyUsualUnits)),
        limits=_limits(graph, node),
        only_sex=_text_of(graph, node, WS.onlySex),
        answers=_answers(graph, node),
        family=None if family is None else _local(family),
    )


def _codes(literals: Iterable[Any]) -> list[tuple[str, str]]:
    return [(_local(literal.datatype), str(literal)) for literal in literals]


def _text_of(graph: Graph, node: Any, predicate: URIRef) -> str | None:
    value = graph.value(node, predicate)
    return None if value is None else str(value)


def _number_of(graph: Graph, node: Any, predicate: URIRef) -> float | None:
    value: Any = graph.value(node, predicate)
    return None if value is None else float(value)


def _count(graph: Graph, node: Any) -> int | None:
    value: Any = graph.value(node, WS.valence)
    return None if value is None else int(value)


def _limits(graph: Graph, node: Any) -> tuple[Limits, ...]:
    found = [
        Limits(
            hard=_pair(graph, limits, "hard"),
            rare=_pair(graph, limits, "rare"),
            soft=_pair(graph, limits, "soft"),
            age_from_years=_number_of(graph, limits, WS.ageFromYears) or 0.0,
            age_to_years=_number_of(graph, limits, WS.ageToYears) or 200.0,
            sex=_text_of(graph, limits, WS.sex),
        )
        for limits in graph.objects(node, WS.limits)
    ]
    # The narrower first: the first that fits a patient holds.
    found.sort(
        key=lambda one: (one.sex is None, one.age_to_years - one.age_from_years, one.age_from_years)
    )
    return tuple(found)


def _pair(graph: Graph, node: Any, name: str) -> tuple[float, float]:
    low = _number_of(graph, node, WS[f"{name}Low"])
    high = _number_of(graph, node, WS[f"{name}High"])
    if low is None or high is None:
        raise ConfigurationError([f"limits without {name}Low and {name}High"])
    return low, high


def _answers(graph: Graph, node: Any) -> dict[str, str]:
    return {
        normalised(str(said)): str(graph.value(answer, WS.answerName))
        for answer in graph.objects(node, WS.answer)
        for said in graph.objects(answer, WS.said)
    }


def _code_systems(graph: Graph) -> dict[str, str]:
    return {
        str(alias): _local(system)
        for system in graph.subjects(RDF.type, WS.CodeSystem)
        for alias in graph.objects(system, WS.alias)
    }


def _unit_names(graph: Graph) -> dict[str, str]:
    return {
        str(spelling): str(graph.value(node, WS.ucum))
        for node in graph.subjects(RDF.type, WS.UnitSpelling)
        for spelling in graph.objects(node, WS.spelling)
    }


def _problems(concept: Concept) -> Iterable[str]:
    # What shapes cannot say: that every unit is one, and becomes the concept's own.
    if concept.unit is None:
        return
    for unit in concept.usual_units:
        try:
            conversion(parse_ucum(unit), parse_ucum(concept.unit), concept.substance)
        except ContractError as error:
            yield f"{concept.name}: {error}"
    if concept.unit not in concept.usual_units:
        yield f"{concept.name}: its unit {concept.unit} is not among its usual ones"
