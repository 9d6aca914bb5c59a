"""Joining at event time: whoever was in the bed then, and nobody else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.context import (
    CHARTED_VALIDITY_NS,
    UNKNOWN,
    Assignment,
    ContextTable,
    DeviceBed,
    JoinedContext,
    Knowledge,
)
from wardstream.contracts.record import Consciousness, PatientContext, Problem
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

BOOT = "3b0ad9cb-6c4f-4f0e-9d0f-4b9b6b5f2d11"
START = 1_790_000_000 * NS_PER_S


def placed(device_id: str = "dev-1", bed_id: str = "bed-1") -> DeviceBed:
    return DeviceBed(
        device_id=device_id, boot_id=BOOT, bed_id=bed_id, unit_id="icu", site_id="site"
    )


def assigned(at: int, pseudonym: str | None, event_id: str = "", recorded: int = 0) -> Assignment:
    return Assignment(
        event_id=event_id or f"a{at}",
        bed_id="bed-1",
        pseudonym=pseudonym,
        effective_time_ns=at,
        recorded_time_ns=recorded,
    )


def known(at: int, pseudonym: str, context: PatientContext) -> Knowledge:
    return Knowledge(
        event_id=f"k{at}{pseudonym}",
        pseudonym=pseudonym,
        effective_time_ns=at,
        recorded_time_ns=at,
        context=context,
    )


def joined_with(table: ContextTable, times: list[int]) -> list[JoinedContext]:
    contexts, index = table.join(
        [("dev-1", BOOT)], np.zeros(len(times), dtype=np.intp), np.array(times, dtype=np.int64)
    )
    return [contexts[i] for i in index]


def test_a_frame_of_a_device_that_has_not_said_where_it_stands_is_joined_with_nobody() -> None:
    assert joined_with(ContextTable(), [START]) == [UNKNOWN]


def test_a_frame_is_joined_with_who_was_in_the_bed_then() -> None:
    table = ContextTable()
    table.place(placed())
    table.assign(assigned(START + 10, "p-one"))
    table.assign(assigned(START + 20, None))
    table.assign(assigned(START + 30, "p-two"))
    found = joined_with(table, [START + t for t in (9, 10, 19, 20, 29, 30, 99)])
    assert [joined.pseudonym for joined in found] == [
        None, "p-one", "p-one", None, None, "p-two", "p-two",
    ]  # fmt: skip


def test_of_two_statements_for_one_moment_the_later_recorded_corrects_the_other() -> None:
    table = ContextTable()
    table.place(placed())
    table.assign(assigned(START, "p-wrong", "z", recorded=1))
    table.assign(assigned(START, "p-right", "a", recorded=2))
    assert joined_with(table, [START])[0].pseudonym == "p-right"


def test_charted_values_grow_too_old() -> None:
    table = ContextTable()
    table.place(placed())
    table.assign(assigned(START, "p-one"))
    context = PatientContext(
        birth_year=1950,
        sex="female",
        consciousness=Consciousness.ALERT,
        temperature_celsius=37.0,
        observed_time_ns=TimestampNs(START),
    )
    table.learn(known(START, "p-one", context))
    fresh, old = joined_with(table, [START + CHARTED_VALIDITY_NS - 1, START + CHARTED_VALIDITY_NS])
    assert (fresh.temperature_celsius, fresh.consciousness) == (37.0, Consciousness.ALERT)
    assert (old.temperature_celsius, old.consciousness) == (None, None)
    assert old.age_years == fresh.age_years == 2026 - 1950


def test_problems_are_those_active_at_the_time_of_the_frame() -> None:
    table = ContextTable()
    table.place(placed())
    table.assign(assigned(START, "p-one"))
    problems = (
        Problem(code="1", system="s", display="Old", abatement_time_ns=TimestampNs(START + 5)),
        Problem(code="2", system="s", display="New", onset_time_ns=TimestampNs(START + 5)),
        Problem(code="3", system="s", display=""),
    )
    table.learn(
        known(START, "p-one", PatientContext(birth_year=None, sex="male", problems=problems))
    )
    before, after = joined_with(table, [START + 4, START + 5])
    assert before.problems == ("3", "Old")
    assert after.problems == ("3", "New")


times = st.integers(min_value=0, max_value=40)
patients = st.sampled_from(["p-one", "p-two", "p-three", None])
swaps = st.lists(st.tuples(times, patients, times), max_size=8)


@given(swaps=swaps, learned=st.lists(st.tuples(times, patients, times), max_size=6),
       frames=st.lists(times, min_size=1, max_size=20), split=times)  # fmt: skip
def test_a_swap_in_mid_stream_never_writes_to_the_wrong_patient(
    swaps: list[tuple[int, str | None, int]],
    learned: list[tuple[int, str | None, int]],
    frames: list[int],
    split: int,
) -> None:
    """The naive twin asks for each frame alone; the table joins batches while it is changed."""
    table = ContextTable()
    table.place(placed())
    events = [
        assigned(START + at, who, f"a{n}", recorded) for n, (at, who, recorded) in enumerate(swaps)
    ]
    for event in events[: split % (len(events) + 1)]:
        table.assign(event)
    joined_with(table, [START + t for t in frames])  # compiles timelines that must not outlive
    for event in events:
        table.assign(event)
    for n, (at, who, year) in enumerate(learned):
        if who is not None:
            context = PatientContext(
                birth_year=1950 + year, sex="male", observed_time_ns=TimestampNs(START + year),
                temperature_celsius=36.0 + n,
            )  # fmt: skip
            table.learn(known(START + at, who, context))
    found = joined_with(table, [START + t for t in frames])
    for frame, joined in zip(frames, found, strict=True):
        past = [e for e in events if e.effective_time_ns <= START + frame]
        last = max(
            past, key=lambda e: (e.effective_time_ns, e.recorded_time_ns, e.event_id), default=None
        )
        assert joined.pseudonym == (last.pseudonym if last else None)
        assert joined == table.at("bed-1", START + frame)


@pytest.mark.parametrize("n_streams", [1, 3])
def test_each_stream_of_a_batch_is_joined_with_its_own_bed(n_streams: int) -> None:
    table = ContextTable()
    for number in range(n_streams):
        table.place(placed(f"dev-{number}", f"bed-{number}"))
    streams = [(f"dev-{number}", BOOT) for number in range(n_streams)]
    index = np.array([number % n_streams for number in range(7)], dtype=np.intp)
    contexts, context_index = table.join(streams, index, np.full(7, START, dtype=np.int64))
    assert [contexts[i].bed_id for i in context_index] == [f"bed-{s}" for s in index]
