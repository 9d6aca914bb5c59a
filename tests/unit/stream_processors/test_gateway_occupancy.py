"""Late, permuted, cancelled, swapped, merged: a frame is joined with who was in the bed then."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.core.context import Assignment, ContextTable, DeviceBed
from stream_processors.core.intake import Intake
from stream_processors.core.occupancy import (
    ALWAYS_NS,
    Movement,
    MovementKind,
    corrections,
    stays_of_bed,
)
from stream_processors.core.registry import Changes, Registry
from wardstream.contracts.record import RecordEventKind

PATIENTS = ("p-a", "p-b", "p-c", "p-d")
BEDS = ("bed-1", "bed-2", "bed-3")
LAST = 24
NOW = 10**18
CANCELLED = {
    MovementKind.CANCEL_ADMIT: MovementKind.ADMIT,
    MovementKind.CANCEL_TRANSFER: MovementKind.TRANSFER,
    MovementKind.CANCEL_DISCHARGE: MovementKind.DISCHARGE,
}


def moved(
    kind: MovementKind, who: str, at: int, *, to: str | None = None, stay: str | None = "e",
    recorded: int | None = None, into: str | None = None,
) -> Movement:  # fmt: skip
    recorded = at if recorded is None else recorded
    return Movement(
        movement_id=f"{kind}-{who}-{at}-{to}-{stay}-{recorded}-{into}",
        kind=kind,
        pseudonym=who,
        encounter_id=None if stay is None else f"{stay}-{who}" if stay == "e" else stay,
        bed_id=to,
        effective_time_ns=at,
        recorded_time_ns=recorded,
        merged_into=into,
    )


def happened(movement: Movement) -> tuple[int, int, str]:
    return movement.effective_time_ns, movement.recorded_time_ns, movement.movement_id


# ---- the naive twin: a ward that is watched tick by tick -----------------------------------


def naive_names(movements: Sequence[Movement]) -> dict[str, str]:
    name = {who: who for who in PATIENTS}
    merges = [m for m in movements if m.kind is MovementKind.MERGE]
    for merge in sorted(merges, key=lambda m: (m.recorded_time_ns, m.movement_id)):
        gone, stays = name[merge.pseudonym], name[merge.merged_into or ""]
        name = {who: stays if now == gone else now for who, now in name.items()}
    return name


def naive_valid(movements: Sequence[Movement], name: dict[str, str]) -> list[Movement]:
    valid = [m for m in movements if m.kind is not MovementKind.MERGE]
    cancels = [m for m in valid if m.kind in CANCELLED]
    for cancel in sorted(cancels, key=lambda m: (m.recorded_time_ns, m.movement_id)):
        could: list[Movement] = []
        for m in valid:
            same = name[m.pseudonym] == name[cancel.pseudonym]
            stay = cancel.encounter_id is None or cancel.encounter_id == m.encounter_id
            known = m.recorded_time_ns <= cancel.recorded_time_ns
            if same and stay and known and m.kind is CANCELLED[cancel.kind]:
                could.append(m)
        could.sort(key=happened)
        exact = [m for m in could if m.effective_time_ns == cancel.effective_time_ns]
        if not could:
            continue
        target = (exact or could)[-1]
        valid.remove(target)
        if cancel.kind is MovementKind.CANCEL_ADMIT:
            valid = [
                m for m in valid
                if m.kind in CANCELLED
                or name[m.pseudonym] != name[cancel.pseudonym]
                or m.encounter_id != target.encounter_id
                or m.effective_time_ns < target.effective_time_ns
                or m.recorded_time_ns > cancel.recorded_time_ns
            ]  # fmt: skip
    return [m for m in valid if m.kind not in CANCELLED]


def naive_ward(movements: Sequence[Movement]) -> list[dict[str, str | None]]:
    """By tick, who is known to be in each bed."""
    name = naive_names(movements)
    valid = naive_valid(movements, name)
    owners: dict[str | None, set[str]] = {}
    for m in movements:
        owners.setdefault(m.encounter_id, set()).add(name[m.pseudonym])
    where: dict[str, tuple[str | None, str | None, int]] = {}  # bed, encounter, since
    holder: dict[str, str | None] = dict.fromkeys(BEDS)
    ward: list[dict[str, str | None]] = []
    for tick in range(LAST + 1):
        today = [m for m in valid if m.effective_time_ns == tick]
        for m in sorted(today, key=lambda m: (m.recorded_time_ns, m.movement_id)):
            who = name[m.pseudonym]
            if m.kind is not MovementKind.DISCHARGE:
                where[who] = (m.bed_id, m.encounter_id, tick)
            elif who in where and (
                m.encounter_id == where[who][1] or None in (m.encounter_id, where[who][1])
            ):
                del where[who]
        for bed in BEDS:
            came = [who for who, (at, _, since) in where.items() if at == bed and since == tick]
            if len(came) > 1:
                holder[bed] = None
            elif came:
                stay = where[came[0]][1]
                doubtful = stay is not None and len(owners[stay]) > 1
                holder[bed] = None if doubtful else came[0]
            elif holder[bed] is not None and where.get(holder[bed] or "", (None,))[0] != bed:
                holder[bed] = None
        ward.append(dict(holder))
    return ward


# ---- the real thing, down to the table that joins frames ------------------------------------


class Ward:
    def __init__(self) -> None:
        self.registry = Registry()
        self.table = ContextTable()
        for bed in BEDS:
            self.table.place(
                DeviceBed(device_id=bed, boot_id="b", bed_id=bed, unit_id="icu", site_id="s")
            )

    def take(self, movement: Movement, now_ns: int = NOW) -> Changes:
        intake = Intake(source="test", pseudonym=movement.pseudonym, movements=(movement,))
        changes = self.registry.take(intake, now_ns)
        self.hear(changes)
        return changes

    def hear(self, changes: Changes) -> None:
        for event in changes.events:
            if event.kind is not RecordEventKind.CONTEXT:
                self.table.assign(
                    Assignment(
                        event_id=event.event_id,
                        bed_id=event.bed_id,
                        pseudonym=event.pseudonym or None,
                        effective_time_ns=event.effective_time_ns,
                        recorded_time_ns=event.recorded_time_ns,
                    )
                )

    def joined(self, frames: Sequence[tuple[str, int]]) -> list[str | None]:
        contexts, index = self.table.join(
            [(bed, "b") for bed in BEDS],
            np.array([BEDS.index(bed) for bed, _ in frames], dtype=np.intp),
            np.array([time for _, time in frames], dtype=np.int64),
        )
        return [contexts[i].pseudonym for i in index]


ALL_FRAMES = [(bed, tick) for bed in BEDS for tick in range(LAST + 1)]
times = st.integers(1, LAST)


@st.composite
def a_movement(draw: st.DrawFn) -> Movement:
    kind = draw(st.sampled_from([*MovementKind, MovementKind.TRANSFER, MovementKind.ADMIT]))
    who = draw(st.sampled_from(PATIENTS))
    at, recorded = draw(times), draw(times)
    if kind is MovementKind.MERGE:
        into = draw(st.sampled_from([p for p in PATIENTS if p != who]))
        # At ALWAYS_NS it would be a server's id, which joins no two patients.
        return moved(kind, who, ALWAYS_NS + at, stay=None, recorded=recorded, into=into)
    # Mostly a patient's own stays; now and then one that another patient has, or none.
    stay = draw(st.sampled_from([f"e1-{who}", f"e1-{who}", f"e2-{who}", "e-shared", None]))
    arrives = kind in (MovementKind.ADMIT, MovementKind.TRANSFER)
    to = draw(st.sampled_from([*BEDS, *BEDS, None])) if arrives else None
    at = draw(st.sampled_from([0, at])) if kind in CANCELLED else at
    return moved(kind, who, at, to=to, stay=stay, recorded=recorded)


@settings(max_examples=80, deadline=None)
@given(movements=st.lists(a_movement(), max_size=14, unique_by=lambda m: m.movement_id),
       order=st.randoms(use_true_random=False))  # fmt: skip
def test_whatever_order_admission_messages_come_in_no_frame_gets_the_wrong_patient(
    movements: list[Movement], order: st.DataObject
) -> None:
    order.shuffle(movements)  # type: ignore[attr-defined]
    ward = Ward()
    for number, movement in enumerate(movements, start=1):
        ward.take(movement, NOW - number % 3)  # a clock that is set back
        ward.take(movement)  # sent again: nothing changes
        truth = naive_ward(movements[:number])
        assert ward.joined(ALL_FRAMES) == [truth[tick][bed] for bed, tick in ALL_FRAMES]


@settings(max_examples=40, deadline=None)
@given(movements=st.lists(a_movement(), max_size=10, unique_by=lambda m: m.movement_id))
def test_a_registry_made_anew_from_the_ledger_says_what_was_left_unsaid(
    movements: list[Movement],
) -> None:
    ward = Ward()
    heard = movements[: len(movements) // 2]
    for movement in heard:
        ward.take(movement)
    points = [
        p for m in [Registry()] for x in heard
        for p in m.take(Intake(source="t", pseudonym=x.pseudonym, movements=(x,)), NOW).points
    ]  # fmt: skip
    ward.registry = Registry(movements, points)  # the rest was stored, and never said
    ward.hear(ward.registry.tell_again(NOW + 10**6))
    truth = naive_ward(movements)
    assert ward.joined(ALL_FRAMES) == [truth[tick][bed] for bed, tick in ALL_FRAMES]


A, T, D = MovementKind.ADMIT, MovementKind.TRANSFER, MovementKind.DISCHARGE


@pytest.mark.parametrize(
    ("movements", "expected"),
    [
        pytest.param(
            [moved(A, "p-a", 1, to="bed-1"), moved(D, "p-a", 5)],
            {0: None, 1: "p-a", 4: "p-a", 5: None},
            id="half open",
        ),
        pytest.param(
            [moved(A, "p-a", 1, to="bed-1"), moved(A, "p-b", 2, to="bed-2"),
             moved(T, "p-a", 6, to="bed-2"), moved(T, "p-b", 7, to="bed-1")],
            {5: "p-a", 6: None, 7: "p-b"},
            id="swap",
        ),
        pytest.param(
            [moved(A, "p-a", 1, to="bed-1"), moved(T, "p-a", 4, to="bed-2"),
             moved(MovementKind.CANCEL_TRANSFER, "p-a", 0, recorded=9)],
            {3: "p-a", 4: "p-a", 9: "p-a"},
            id="a cancelled transfer never was",
        ),
        pytest.param(
            [moved(A, "p-a", 1, to="bed-1"), moved(A, "p-b", 5, to="bed-1"), moved(D, "p-b", 8)],
            {4: "p-a", 5: "p-b", 8: None},
            id="a bed does not fall back to who was never discharged",
        ),
        pytest.param(
            [moved(A, "p-a", 3, to="bed-1"), moved(A, "p-b", 3, to="bed-1")],
            {3: None, 9: None},
            id="two at one instant: nobody is known",
        ),
        pytest.param(
            [moved(A, "p-a", 1, to="bed-1"),
             moved(MovementKind.MERGE, "p-a", 9, stay=None, into="p-b")],
            {1: "p-b", 12: "p-b"},
            id="merged from the beginning",
        ),
        pytest.param(
            [moved(A, "p-a", 5, to="bed-1", stay="e2"), moved(D, "p-a", 7, stay="e1")],
            {6: "p-a", 8: "p-a"},
            id="the late discharge of an old stay ends no new one",
        ),
    ],
)  # fmt: skip
def test_who_is_in_the_first_bed(movements: list[Movement], expected: dict[int, str]) -> None:
    ward = Ward()
    for movement in reversed(movements):
        ward.take(movement)
    found = ward.joined([("bed-1", tick) for tick in expected])
    assert dict(zip(expected, found, strict=True)) == expected


def test_only_the_difference_is_said() -> None:
    ward = Ward()
    assert len(ward.take(moved(A, "p-a", 1, to="bed-1")).events) == 1
    assert ward.take(moved(A, "p-a", 1, to="bed-1")).events == []
    assert corrections({1: "p-a", 9: None}, stays_of_bed([])) == [(1, None)]
    assert ward.take(moved(A, "p-b", 2, to="bed-9"), 0).events != []


def test_what_is_yet_to_happen_is_kept_and_not_believed() -> None:
    ward = Ward()
    changes = ward.take(moved(A, "p-a", 5 * 3600 * 10**9, to="bed-1"), 10**9)
    assert changes.events == []
    assert [refusal.reason_code for refusal in changes.refusals] == ["time_in_future"]
