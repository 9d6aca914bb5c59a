"""The same mapping by walking the graph, and the shapes a mapped observation must keep.

Written from the graph's meaning alone, without the compiled tables: triples and SPARQL give the
concept, its unit and its limits. What the fast path says is compared with it.
"""

from typing import Any, Final

import pyshacl
from rdflib import RDF, SKOS, XSD, Graph, Literal, URIRef

from stream_processors.core.harmonising import Mapped
from stream_processors.core.ucum import Substance, convert
from stream_processors.harmonise.graph import WS, read_shapes

_PREFIXES: Final = """
PREFIX ws: <urn:wardstream:terms#>
PREFIX skos: <http://www.w3.org/2004/02/skos/core#>
"""
_BY_NAME: Final = (
    _PREFIXES
    + """SELECT DISTINCT ?concept WHERE {
    ?concept skos:prefLabel|skos:altLabel ?name ; skos:notation ?any .
    FILTER ( LCASE(STR(?name)) = LCASE(?words) )
}"""
)
_LIMITS: Final = (
    _PREFIXES
    + """SELECT ?low ?high WHERE {
    ?concept ws:limits ?limits .
    ?limits ws:hardLow ?low ; ws:hardHigh ?high .
    FILTER NOT EXISTS { ?limits ws:ageToYears ?age }
}"""
)


def concept_by_code(graph: Graph, code_system: str, code: str) -> URIRef | None:
    """The concept whose notation is `code` of the system that senders call `code_system`."""
    for system in graph.subjects(WS.alias, Literal(code_system)):
        found = list(graph.subjects(SKOS.notation, Literal(code, datatype=URIRef(str(system)))))
        if len(found) == 1:
            return URIRef(str(found[0]))
    return None


def concept_by_name(graph: Graph, words: str) -> URIRef | None:
    """The concept with that label, in any language."""
    return _only(graph, _BY_NAME, {"words": Literal(words)})


def convert_by_graph(graph: Graph, concept: URIRef, value: float, ucum: str) -> float:
    """`value` of unit `ucum` in the unit of `concept`.

    Raises
    ------
    ContractError
        The unit does not measure it.
    """
    unit: Any = graph.value(concept, WS.unit)
    mass: Any = graph.value(concept, WS.molarMass)
    valence: Any = graph.value(concept, WS.valence)
    substance = Substance(
        molar_mass=None if mass is None else float(mass),
        valence=None if valence is None else int(valence),
    )
    return convert(value, ucum, str(unit), substance)


def is_possible_by_graph(graph: Graph, concept: URIRef, value: float) -> bool:
    """Whether `value` lies within the hard limits that hold for everybody."""
    rows: list[Any] = list(graph.query(_LIMITS, initBindings={"concept": concept}))
    return any(float(row.low) <= value <= float(row.high) for row in rows)


def mapped_as_rdf(mapped: Mapped) -> Graph:
    """A mapped observation as triples."""
    graph = Graph()
    node = URIRef(f"urn:wardstream:observation:{mapped.observation_id}")
    graph.add((node, RDF.type, WS.Observation))
    graph.add((node, WS.concept, WS[mapped.concept.name]))
    graph.add((node, WS.patient, Literal(mapped.observation.pseudonym)))
    graph.add((node, WS.timeNs, Literal(mapped.observation.time_ns)))
    if mapped.value is not None:
        graph.add((node, WS.value, Literal(mapped.value, datatype=XSD.double)))
    if mapped.unit is not None:
        graph.add((node, WS.unit, Literal(mapped.unit)))
    if mapped.text is not None:
        graph.add((node, WS.answerName, Literal(mapped.text)))
    return graph


def shape_violations(data: Graph, knowledge: Graph | None = None) -> str:
    """What SHACL finds wrong in `data`, which may speak of `knowledge`; empty if nothing.

    Cost: a second or more for the whole graph; for tests and for single observations.
    """
    conforms, _, text = pyshacl.validate(
        data if knowledge is None else data + knowledge, shacl_graph=read_shapes(), advanced=True
    )
    return "" if conforms else str(text)


def _only(graph: Graph, query: str, bindings: dict[str, Any]) -> URIRef | None:
    rows: list[Any] = list(graph.query(query, initBindings=bindings))
    return rows[0].concept if len(rows) == 1 else None
