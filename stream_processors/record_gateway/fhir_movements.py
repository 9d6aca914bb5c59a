"""Where a FHIR Encounter says that its patient was.

An Encounter is a state, not an event: a later version replaces the former. So each version cancels
the admission before it and says its own; which is later is told by ``meta.lastUpdated``.
"""

from collections.abc import Mapping
from typing import Any, Final

from stream_processors.core.intake import identity
from stream_processors.core.occupancy import Movement, MovementKind
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.fhir_bundle import time_of
from stream_processors.record_gateway.fhir_statements import UnusableError
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_id

_NEVER: Final = ("cancelled", "entered-in-error")
_NOT_YET: Final = ("planned",)


def movements_of(
    encounter: Any,
    *,
    pseudonym: str,
    encounter_id: str | None,
    places: Mapping[str, Any],
    conventions: Conventions,
    received_ns: int,
) -> list[Movement]:
    """The movements of one version of an Encounter; none if it names no place.

    Raises
    ------
    UnusableError
        It names places but no times, or has no id.
    """
    located = [loc for loc in encounter.location or [] if loc.status not in ("planned", "reserved")]
    if not located and encounter.status not in _NEVER:
        return []
    if encounter_id is None:
        raise UnusableError("no_encounter", "an Encounter has neither identifier nor id")
    updated = encounter.meta.lastUpdated if encounter.meta is not None else None
    recorded_ns = int(time_of(updated) or received_ns)

    def moved(kind: MovementKind, bed_id: str | None, at_ns: int, recorded_ns: int) -> Movement:
        key = (kind, pseudonym, encounter_id, bed_id, at_ns, recorded_ns)
        return Movement(
            movement_id=identity("movement", *key),
            kind=kind,
            pseudonym=pseudonym,
            encounter_id=encounter_id,
            bed_id=bed_id,
            effective_time_ns=at_ns,
            recorded_time_ns=recorded_ns,
        )

    said = [moved(MovementKind.CANCEL_ADMIT, None, 0, recorded_ns - 1)]
    if encounter.status in (*_NEVER, *_NOT_YET):
        return said
    begun: list[tuple[int, int | None, Any]] = []
    for location in located:
        period = location.period or (encounter.period if len(located) == 1 else None)
        start_ns = time_of(period.start) if period is not None else None
        if period is None or start_ns is None:
            raise UnusableError("no_time", "a location of an Encounter has no begin")
        begun.append((start_ns, time_of(period.end), location.location))
    begun.sort(key=lambda one: one[0])  # FHIR lists them in no order
    for number, (start_ns, _, place) in enumerate(begun):
        kind = MovementKind.TRANSFER if number else MovementKind.ADMIT
        said.append(moved(kind, _bed(place, places, conventions), start_ns, recorded_ns))
    finish = time_of(encounter.period.end) if encounter.period is not None else None
    finish = finish if finish is not None else begun[-1][1]
    if finish is not None:
        said.append(moved(MovementKind.DISCHARGE, None, finish, recorded_ns))
    elif encounter.status == "finished":
        raise UnusableError("no_time", "an Encounter is finished and says not when")
    return said


def _bed(reference: Any, places: Mapping[str, Any], conventions: Conventions) -> str | None:
    place = places.get(str(reference.reference or ""))
    names = [] if place is None else [i.value for i in place.identifier or []] + [place.name]
    if reference.identifier is not None:
        names.append(reference.identifier.value)
    names.append(reference.display)
    for name in names:
        if name in conventions.bed_names:
            return conventions.bed_names[name]
    for name in names:
        try:
            return check_id(str(name or "").lower(), "bed_id")
        except OutOfRangeError:
            continue
    return None
