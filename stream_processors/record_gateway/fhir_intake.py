"""FHIR R4 resources and bundles as intakes, one a patient.

`fhir.resources` has R4B. The resources read here are the same in R4 and R4B; R4B lacks some of
R4's other resources (MedicinalProduct, EffectEvidenceSynthesis, ...) and would refuse a bundle for
holding one. So a bundle is opened here, only our resources are validated, and the rest is left.

A reference ``Patient/12`` means nothing outside its server. It gets a pseudonym of its own, and
the Patient resource, once it is seen, merges that into the patient's: in whatever order they come.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from stream_processors.core.intake import NOTHING_KNOWN, Intake, Refusal, Statement, identity
from stream_processors.core.observation import PatientFacts
from stream_processors.core.occupancy import ALWAYS_NS, Movement, MovementKind
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.fhir_bundle import (
    birth_date_of,
    context_of,
    first_line,
    identifier_of,
    problems_of,
)
from stream_processors.record_gateway.fhir_movements import movements_of
from stream_processors.record_gateway.fhir_statements import UnusableError, statements_of
from stream_processors.record_gateway.hl7_text import DATA_TYPE, REQUIRED_FIELD, Hl7Error
from wardstream.contracts.errors import ContractError

STATED: Final = (
    "Observation",
    "Condition",
    "MedicationAdministration",
    "MedicationRequest",
    "Device",
)
"""Resources that state something of a patient."""
READ: Final = ("Patient", "Encounter", "Location", *STATED)
_SUBJECTS: Final = {"Device": "patient"}
_KEPT: Final = frozenset(
    [
        "resourceType",
        "status",
        "code",
        "component",
        "effectiveDateTime",
        "effectivePeriod",
        "effectiveInstant",
        "issued",
        "valueQuantity",
        "valueCodeableConcept",
        "valueString",
        "valueBoolean",
        "valueInteger",
        "category",
        "onsetDateTime",
        "abatementDateTime",
        "clinicalStatus",
        "verificationStatus",
        "authoredOn",
        "type",
        "medicationCodeableConcept",
        "dosage",
        "dataAbsentReason",
    ]
)
_MAX_ENTRIES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One resource of a bundle, or one that came alone."""

    part: str
    raw: Mapping[str, Any]
    full_url: str = ""
    has_server_id: bool = True
    """Its id is the server's: not so of what a transaction posts."""


def read_fhir(
    payload: bytes, conventions: Conventions, *, server: str, received_ns: int
) -> list[Intake]:
    """What a resource or bundle says.

    Parameters
    ----------
    payload : bytes
        JSON of one resource of `READ`, or of a Bundle.
    conventions : Conventions
        The hospital's.
    server : str
        Whose ids these are.
    received_ns : int
        Stands for ``meta.lastUpdated`` where that is missing.

    Raises
    ------
    Hl7Error
        Nothing of it can be taken: no FHIR, nothing of ours, or a transaction with an invalid
        part, which by its nature is taken whole or not at all.
    """
    raw = _json(payload)
    is_transaction = raw.get("resourceType") == "Bundle" and raw.get("type") == "transaction"
    entries = _entries(raw)
    reader = _Reader(conventions, server, received_ns)
    for entry in entries:
        reader.read(entry)
    if is_transaction and reader.invalid:
        raise Hl7Error("fhir", f"transaction refused: {reader.invalid[0].text}", DATA_TYPE)
    return reader.intakes()


def _json(payload: bytes) -> Mapping[str, Any]:
    try:
        raw = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Hl7Error(
            "no_fhir", f"no JSON in UTF-8 ({type(error).__name__})", DATA_TYPE
        ) from error
    if not isinstance(raw, dict) or not isinstance(
        cast("dict[str, Any]", raw).get("resourceType"), str
    ):
        raise Hl7Error("no_fhir", "no FHIR resource: resourceType is missing", REQUIRED_FIELD)
    return cast("dict[str, Any]", raw)


def _entries(raw: Mapping[str, Any]) -> list[Entry]:
    if raw["resourceType"] != "Bundle":
        if raw["resourceType"] not in READ:
            text = f"resource type is not one of {', '.join(READ)}"
            raise Hl7Error("resource_type", text, DATA_TYPE)
        return [Entry(part=raw["resourceType"], raw=raw)]
    listed = raw.get("entry") or []
    if not isinstance(listed, list) or len(cast("list[Any]", listed)) > _MAX_ENTRIES:
        raise Hl7Error("no_fhir", f"Bundle.entry is no list of at most {_MAX_ENTRIES}", DATA_TYPE)
    found: list[Entry] = []
    for number, listed_entry in enumerate(cast("list[Any]", listed)):
        entry = cast("dict[str, Any]", listed_entry if isinstance(listed_entry, dict) else {})
        resource = entry.get("resource")
        if not isinstance(resource, dict):
            continue  # the request to delete or read, or a response
        resource = cast("dict[str, Any]", resource)
        request = entry.get("request")
        method = cast("dict[str, Any]", request).get("method") if isinstance(request, dict) else ""
        if resource.get("resourceType") in READ:
            found.append(
                Entry(
                    part=f"entry[{number}]",
                    raw=resource,
                    full_url=str(entry.get("fullUrl") or ""),
                    has_server_id=method != "POST",
                )
            )
    return found


class _Reader:
    """Sorts the resources of one message by patient."""

    def __init__(self, conventions: Conventions, server: str, received_ns: int) -> None:
        self.invalid: list[Refusal] = []
        self._conventions = conventions
        self._server = server
        self._received_ns = received_ns
        self._patients: dict[str, Any] = {}  # pseudonym -> Patient
        self._names: dict[str, str] = {}  # reference -> pseudonym
        self._merges: list[Movement] = []
        self._others: list[tuple[Entry, Any]] = []
        self._stays: dict[str, str | None] = {}  # reference -> encounter pseudonym
        self._places: dict[str, Any] = {}

    def read(self, entry: Entry) -> None:
        """Validate one resource; patients and places are noted at once."""
        kind = str(entry.raw["resourceType"])
        try:
            resource: Any = get_fhir_model_class(kind).model_validate(entry.raw)
        except (ValidationError, ValueError, TypeError, RecursionError, OverflowError) as error:
            text = f"no valid {kind}: {first_line(error) if isinstance(error, ValidationError) else type(error).__name__}"
            self.invalid.append(_refusal(entry, "fhir", text))
            return
        references = [entry.full_url] if entry.full_url else []
        if resource.id:
            references.append(f"{kind}/{resource.id}")
        if kind == "Patient":
            self._note_patient(entry, resource, references)
        elif kind == "Location":
            self._places.update(dict.fromkeys(references, resource))
        else:
            if kind == "Encounter":
                self._stays.update(dict.fromkeys(references, self._stay(resource)))
            self._others.append((entry, resource))

    def intakes(self) -> list[Intake]:
        """One a patient; what names nobody is refused."""
        by_patient: defaultdict[str, list[tuple[Entry, Any]]] = defaultdict(list)
        nobody: list[Refusal] = list(self.invalid)
        for entry, resource in self._others:
            pseudonym = self._subject(resource)
            if pseudonym is not None:
                by_patient[pseudonym].append((entry, resource))
            elif type(resource).__name__ != "Device":  # most devices are nobody's
                nobody.append(_refusal(entry, "no_patient", "it names no patient (subject)"))
        found = [
            self._intake(pseudonym, by_patient[pseudonym])
            for pseudonym in dict.fromkeys([*self._patients, *by_patient])
        ]
        if nobody:
            found.append(Intake(source=self._source, pseudonym=None, refusals=tuple(nobody)))
        return found

    @property
    def _source(self) -> str:
        return f"fhir:{self._server}"

    def _note_patient(self, entry: Entry, patient: Any, references: Sequence[str]) -> None:
        try:
            system, value = identifier_of(patient)
        except ContractError as error:
            self.invalid.append(_refusal(entry, "no_patient", str(error)))
            return
        known_by_id = not [i for i in patient.identifier or [] if i.value]
        pseudonym = (
            self._alias(value) if known_by_id else self._conventions.pseudonym(system, value)
        )
        self._patients[pseudonym] = patient
        self._names.update(dict.fromkeys(references, pseudonym))
        if patient.id and entry.has_server_id and not known_by_id:
            alias = self._alias(patient.id)
            self._merges.append(
                Movement(
                    movement_id=identity("alias", alias, pseudonym),
                    kind=MovementKind.MERGE,
                    pseudonym=alias,
                    encounter_id=None,
                    bed_id=None,
                    effective_time_ns=ALWAYS_NS,
                    recorded_time_ns=1,
                    merged_into=pseudonym,
                )
            )

    def _alias(self, server_id: str) -> str:
        return self._conventions.pseudonym(f"fhir|{self._server}", server_id)

    def _stay(self, encounter: Any) -> str | None:
        for identifier in encounter.identifier or []:
            if identifier.value:
                return self._conventions.encounter(str(identifier.system or ""), identifier.value)
        return self._conventions.encounter(f"fhir|{self._server}", str(encounter.id or ""))

    def _subject(self, resource: Any) -> str | None:
        subject = getattr(resource, _SUBJECTS.get(type(resource).__name__, "subject"), None)
        if subject is None:
            return None
        reference = str(subject.reference or "")
        if reference in self._names:
            return self._names[reference]
        if subject.identifier is not None and subject.identifier.value:
            system = str(subject.identifier.system or "")
            return self._conventions.pseudonym(system, subject.identifier.value)
        kind, _, server_id = reference.removeprefix(f"{self._server}/").partition("/")
        return self._alias(server_id.split("/")[0]) if kind == "Patient" and server_id else None

    def _intake(self, pseudonym: str, about: Sequence[tuple[Entry, Any]]) -> Intake:
        statements: list[Statement] = []
        refusals: list[Refusal] = []
        movements = [m for m in self._merges if m.merged_into == pseudonym]
        for entry, resource in about:
            try:
                if type(resource).__name__ == "Encounter":
                    movements += movements_of(
                        resource,
                        pseudonym=pseudonym,
                        encounter_id=self._stay(resource),
                        places=self._places,
                        conventions=self._conventions,
                        received_ns=self._received_ns,
                    )
                else:
                    name = self._name(entry, pseudonym)
                    statements += statements_of(resource, entry.part, name)
            except UnusableError as error:
                refusals.append(_refusal(entry, error.reason_code, str(error)))
        resources = [resource for _, resource in about]
        conditions = [r for r in resources if type(r).__name__ == "Condition"]
        patient = self._patients.get(pseudonym)
        return Intake(
            source=self._source,
            pseudonym=pseudonym,
            facts=NOTHING_KNOWN if patient is None else _facts(patient),
            encounter_id=self._one_stay(resources),
            movements=tuple(movements),
            context=None if patient is None else context_of(patient, resources),
            problems=() if patient is not None else tuple(problems_of(conditions)),
            statements=tuple(statements),
            refusals=tuple(refusals),
            updates_facts=patient is not None or bool(conditions),
        )

    def _one_stay(self, resources: Iterable[Any]) -> str | None:
        # Of a record over years no single stay is that of all its observations.
        named = [
            r.encounter.identifier
            for r in resources
            if getattr(r, "encounter", None) is not None and r.encounter.identifier is not None
        ]
        if (
            named
            and named[0].value
            and {(i.system, i.value) for i in named} == {(named[0].system, named[0].value)}
        ):
            return self._conventions.encounter(str(named[0].system or ""), named[0].value)
        found = {
            str(r.encounter.reference)
            for r in resources
            if getattr(r, "encounter", None) is not None and r.encounter.reference
        }
        if len(found) != 1:
            return None
        reference = found.pop()
        if reference in self._stays:
            return self._stays[reference]
        kind, _, server_id = reference.removeprefix(f"{self._server}/").partition("/")
        if kind != "Encounter" or not server_id:
            return None
        return self._conventions.encounter(f"fhir|{self._server}", server_id.split("/")[0])

    def _name(self, entry: Entry, pseudonym: str) -> str:
        """Identity of a resource: server, id and version; of what has none, its content."""
        raw = entry.raw
        if entry.has_server_id and raw.get("id"):
            meta = raw.get("meta") or {}
            version = meta.get("versionId") or meta.get("lastUpdated") or _content(raw)
            return identity("fhir", self._server, raw["resourceType"], raw["id"], version)
        return identity("fhir", pseudonym, _content(raw))


def _content(raw: Mapping[str, Any]) -> str:
    kept = {k: v for k, v in raw.items() if k not in ("id", "meta", "text", "subject")}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False)


def _facts(patient: Any) -> PatientFacts:
    sex = patient.gender if patient.gender in ("male", "female", "other") else None
    return PatientFacts(birth_date=birth_date_of(patient), sex=sex)


def _refusal(entry: Entry, reason_code: str, text: str) -> Refusal:
    kept = {name: value for name, value in entry.raw.items() if name in _KEPT}
    return Refusal(
        part=entry.part,
        reason_code=reason_code,
        text=text,
        kept=json.dumps(kept, ensure_ascii=False)[:16_000],
    )
