"""Runs of sequence numbers."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.positions import multirange_text, runs_of


@given(st.lists(st.integers(min_value=0, max_value=60)))
def test_runs_cover_exactly_the_numbers_in_order_and_apart(numbers: list[int]) -> None:
    runs = runs_of(np.array(numbers, dtype=np.int64))
    covered = [n for first, last in runs for n in range(first, last + 1)]
    assert covered == sorted(set(numbers))
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(runs))


def test_a_run_becomes_a_half_open_range() -> None:
    assert multirange_text([(0, 4), (7, 7)]) == "{[0,5),[7,8)}"
