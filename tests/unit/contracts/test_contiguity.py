"""The watermark against a naive set of committed numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardstream.contracts.contiguity import NOTHING, Contiguity
from wardstream.contracts.errors import OutOfRangeError

ranges = st.tuples(st.integers(0, 40), st.integers(0, 6)).map(lambda r: (r[0], r[0] + r[1]))


def naive_watermark(committed: set[int]) -> int:
    watermark = NOTHING
    while watermark + 1 in committed:
        watermark += 1
    return watermark


@given(st.lists(ranges, max_size=30))
def test_in_any_order_it_is_the_first_hole_less_one(commits: list[tuple[int, int]]) -> None:
    contiguity, committed = Contiguity(), set[int]()
    for first, last in commits:
        before = contiguity.watermark
        moved = contiguity.commit(first, last)
        committed |= set(range(first, last + 1))
        assert contiguity.watermark == naive_watermark(committed)
        assert moved == (contiguity.watermark != before)
        assert all(contiguity.has(n) == (n in committed) for n in range(60))
    holes = {n for first, last in contiguity.missing() for n in range(first, last + 1)}
    highest = max(committed, default=NOTHING)
    assert holes == set(range(highest + 1)) - committed


@given(st.lists(ranges, max_size=30), st.data())
def test_a_restart_forgets_nothing_that_a_resend_does_not_bring_back(
    commits: list[tuple[int, int]], data: st.DataObject
) -> None:
    contiguity = Contiguity()
    for first, last in commits:
        contiguity.commit(first, last)
    stored = contiguity.watermark
    after = Contiguity(stored)
    for first, last in data.draw(st.permutations(commits)):
        after.commit(first, last)
    assert after.watermark == contiguity.watermark


def test_a_range_runs_forwards_from_zero() -> None:
    for first, last in ((-1, 3), (5, 4)):
        with pytest.raises(OutOfRangeError):
            Contiguity().commit(first, last)
