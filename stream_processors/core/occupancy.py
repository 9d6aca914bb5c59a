"""Who was in which bed when, from admission messages in whatever order they came.

A pure function of a *set* of movements: what is late, out of order, cancelled or merged gives the
same history as if it had come in time. Intervals are half open, ``[start, end)``.

The rules, each on the safe side of the wrong patient:

* A patient is in one place: arriving in a bed, or anywhere else, ends the stay before.
* A bed holds whoever came into it last. When they leave it is empty: it does not fall back to a
  patient whose discharge nobody sent.
* Two patients said to have arrived in a bed at the same instant: nobody is known to be in it.
* An encounter said to be two patients': nobody is known to be where it says, until a merge shows
  that the two are one.
* A discharge ends the stay of its own encounter only.
* A cancelled movement never was. A cancelled admission takes with it what was recorded of that
  encounter from then on.
* Of two identifiers that were merged everything is the surviving patient's, from the beginning.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wardstream.contracts.errors import OutOfRangeError


class MovementKind(StrEnum):
    """What an admission message says, by its HL7 trigger."""

    ADMIT = "admit"  # A01
    TRANSFER = "transfer"  # A02
    DISCHARGE = "discharge"  # A03
    CANCEL_ADMIT = "cancel_admit"  # A11
    CANCEL_TRANSFER = "cancel_transfer"  # A12
    CANCEL_DISCHARGE = "cancel_discharge"  # A13
    MERGE = "merge"  # A40


NOBODY_KNOWN: Final = ""
"""Stands for the patient of a claim that two patients have."""

ALWAYS_NS: Final = 1
"""Effective time of a merge that joins no two records: a server's id for one patient."""

_ARRIVALS: Final = (MovementKind.ADMIT, MovementKind.TRANSFER)
_CANCELS: Final = {
    MovementKind.CANCEL_ADMIT: MovementKind.ADMIT,
    MovementKind.CANCEL_TRANSFER: MovementKind.TRANSFER,
    MovementKind.CANCEL_DISCHARGE: MovementKind.DISCHARGE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One admission message, without identifiers.

    Attributes
    ----------
    movement_id : str
        Identity: a repeat has the same one.
    kind : MovementKind
        What happened.
    pseudonym : str
        Of whom; of a merge, the patient that ceases.
    encounter_id : str or None
        Pseudonym of the stay it is about.
    bed_id : str or None
        Where an admission or transfer leads; None: to no bed that is watched.
    effective_time_ns, recorded_time_ns : int
        When it happened (of a cancellation: what it cancels, where that is said, else 0), and
        when the record system wrote it down.
    merged_into : str or None
        Of a merge, the surviving patient.

    Raises
    ------
    OutOfRangeError
        A merge names no survivor.
    """

    movement_id: str
    kind: MovementKind
    pseudonym: str
    encounter_id: str | None
    bed_id: str | None
    effective_time_ns: int
    recorded_time_ns: int
    merged_into: str | None = None

    def __post_init__(self) -> None:
        if (self.kind is MovementKind.MERGE) != (self.merged_into is not None):
            raise OutOfRangeError(f"a {self.kind} with survivor {self.merged_into!r} cannot be")


@dataclass(frozen=True, slots=True)
class Stay:
    """`pseudonym` is in `bed_id` in ``[start_ns, end_ns)``; `end_ns` None: still."""

    bed_id: str
    pseudonym: str
    encounter_id: str | None
    start_ns: int
    end_ns: int | None


def survivors(movements: Iterable[Movement]) -> dict[str, str]:
    """Who each merged pseudonym is now; those never merged are not in it.

    Merges are followed in the order of their recording; one that would lead in a circle joins
    the two patients once.
    """
    parent: dict[str, str] = {}

    def find(pseudonym: str) -> str:
        while pseudonym in parent:
            pseudonym = parent[pseudonym]
        return pseudonym

    def join(merge: Movement) -> None:
        gone, stays = find(merge.pseudonym), find(merge.merged_into or "")
        if gone != stays:
            parent[gone] = stays

    merges = sorted((m for m in movements if m.kind is MovementKind.MERGE), key=_recorded)
    aliases: dict[str, list[Movement]] = {}
    for merge in merges:
        if merge.effective_time_ns == ALWAYS_NS:
            aliases.setdefault(merge.pseudonym, []).append(merge)
        else:
            join(merge)
    for said in aliases.values():
        # A server's id that was two patients' is nobody's: it must not make one of the two.
        if len({find(merge.merged_into or "") for merge in said}) == 1:
            join(said[0])
    return {pseudonym: find(pseudonym) for pseudonym in parent}


def standing(movements: Iterable[Movement]) -> list[Movement]:
    """The movements of one patient that were not cancelled, in the order they happened."""
    left = {m.movement_id: m for m in movements if m.kind is not MovementKind.MERGE}
    cancels = [m for m in left.values() if m.kind in _CANCELS]
    for cancel in sorted(cancels, key=_recorded):
        target = _target(cancel, left.values())
        if target is None:
            continue
        left.pop(target.movement_id)
        if cancel.kind is MovementKind.CANCEL_ADMIT:
            for movement in [m for m in left.values() if _falls_with(m, target, cancel)]:
                left.pop(movement.movement_id)
    kept = [m for m in left.values() if m.kind not in _CANCELS]
    return sorted(kept, key=_happened)


def _target(cancel: Movement, movements: Iterable[Movement]) -> Movement | None:
    # What it names by time; else the last such movement of its encounter that was on record.
    found = [
        m for m in movements
        if m.kind is _CANCELS[cancel.kind]
        and m.recorded_time_ns <= cancel.recorded_time_ns
        and (cancel.encounter_id is None or m.encounter_id == cancel.encounter_id)
    ]  # fmt: skip
    named = [m for m in found if m.effective_time_ns == cancel.effective_time_ns]
    return max(named or found, key=_happened, default=None)


def _falls_with(movement: Movement, admission: Movement, cancel: Movement) -> bool:
    return (
        movement.kind not in _CANCELS
        and movement.encounter_id == admission.encounter_id
        and movement.effective_time_ns >= admission.effective_time_ns
        and movement.recorded_time_ns <= cancel.recorded_time_ns
    )


def claims(
    pseudonym: str, movements: Iterable[Movement], contested: Container[str] = ()
) -> list[Stay]:
    """Where the movements of one patient, merged identifiers included, say that they were.

    Stays of `contested` encounters, which two patients have, are `NOBODY_KNOWN`'s.
    """
    found: list[Stay] = []
    current: Movement | None = None

    def leave(end_ns: int | None) -> None:
        if current is None or current.bed_id is None or current.effective_time_ns == end_ns:
            return
        start_ns, encounter_id = current.effective_time_ns, current.encounter_id
        who = NOBODY_KNOWN if encounter_id is not None and encounter_id in contested else pseudonym
        found.append(Stay(current.bed_id, who, encounter_id, start_ns, end_ns))

    for movement in standing(movements):
        if movement.kind in _ARRIVALS:
            leave(movement.effective_time_ns)
            current = movement
        elif current is not None and _same_encounter(movement, current):
            leave(movement.effective_time_ns)
            current = None
    leave(None)
    return found


def _same_encounter(one: Movement, other: Movement) -> bool:
    return None in (one.encounter_id, other.encounter_id) or one.encounter_id == other.encounter_id


def stays_of_bed(bed_claims: Iterable[Stay]) -> list[Stay]:
    """Who was in one bed, by the rules of this module, in order; gaps are an empty bed."""
    by_start: dict[int, list[Stay]] = {}
    for claim in bed_claims:
        by_start.setdefault(claim.start_ns, []).append(claim)
    starts = sorted(by_start)
    stays: list[Stay] = []
    for start_ns, next_ns in zip(starts, [*starts, None][1:], strict=True):
        arrived = by_start[start_ns]
        if {claim.pseudonym for claim in arrived} != {arrived[0].pseudonym}:
            continue
        if arrived[0].pseudonym == NOBODY_KNOWN:
            continue
        claim = arrived[0]
        ends = [end for end in (claim.end_ns, next_ns) if end is not None]
        end_ns = min(ends, default=None)
        stays.append(Stay(claim.bed_id, claim.pseudonym, claim.encounter_id, start_ns, end_ns))
    return stays


def occupant(stays: Sequence[Stay], time_ns: int) -> Stay | None:
    """The stay of `stays` that holds at `time_ns`."""
    for stay in reversed(stays):
        if stay.start_ns <= time_ns:
            return stay if stay.end_ns is None or time_ns < stay.end_ns else None
    return None


def corrections(
    told: Mapping[int, str | None], stays: Sequence[Stay]
) -> list[tuple[int, str | None]]:
    """What has to be said of a bed so that what was told becomes `stays`.

    Parameters
    ----------
    told : mapping of int to str or None
        By moment, who is in the bed from then on, as said before. It holds until the next.
    stays : sequence of Stay
        The truth, in order.

    Returns
    -------
    list of (int, str or None)
        From which moment on who is in the bed; each replaces what was told for that moment.
    """
    moments = set(told)
    for stay in stays:
        moments.add(stay.start_ns)
        if stay.end_ns is not None:
            moments.add(stay.end_ns)
    said: list[tuple[int, str | None]] = []
    held: str | None = None
    for moment in sorted(moments):
        stay = occupant(stays, moment)
        true = None if stay is None else stay.pseudonym
        if true != told.get(moment, held):
            said.append((moment, true))
        held = true
    return said


def _recorded(movement: Movement) -> tuple[int, str]:
    return movement.recorded_time_ns, movement.movement_id


def _happened(movement: Movement) -> tuple[int, int, str]:
    return movement.effective_time_ns, movement.recorded_time_ns, movement.movement_id
