"""Drift: what is alike says so, what moved or fell silent is seen."""

import numpy as np
import pytest

from wardstream.alerting.drift import (
    MIN_ROWS,
    NOTABLE_PSI,
    SERIOUS_PSI,
    counts_of,
    largest_gap,
    reference_of,
    stability_index,
)
from wardstream.contracts.errors import OutOfRangeError

DRAW = np.random.default_rng(7)


def test_the_same_world_gives_no_drift() -> None:
    edges, shares = reference_of(DRAW.normal(size=(20_000, 2)))
    counts = counts_of(DRAW.normal(size=(5_000, 2)), edges)
    assert (stability_index(counts, shares) < NOTABLE_PSI / 5).all()
    assert (largest_gap(counts, shares) < 0.03).all()


def test_a_shift_of_one_spread_is_serious_and_only_where_it_is() -> None:
    edges, shares = reference_of(DRAW.normal(size=(20_000, 2)))
    counts = counts_of(DRAW.normal(size=(5_000, 2)) + np.array([0.0, 1.0]), edges)
    index = stability_index(counts, shares)
    assert index[0] < NOTABLE_PSI < SERIOUS_PSI < index[1]
    # The distance of two normal distributions a spread apart is 2 Φ(1/2) - 1 = 0.38.
    assert largest_gap(counts, shares)[1] == pytest.approx(0.38, abs=0.02)


def test_a_sensor_that_falls_silent_drifts() -> None:
    edges, shares = reference_of(DRAW.normal(size=(5_000, 1)))
    silent = DRAW.normal(size=(1_000, 1))
    silent[::2] = np.nan
    counts = counts_of(silent, edges)
    assert stability_index(counts, shares)[0] > SERIOUS_PSI
    assert largest_gap(counts, shares)[0] < 0.1  # those that are there are as before


def test_counts_of_parts_add_up() -> None:
    rows = DRAW.normal(size=(999, 3))
    edges, _ = reference_of(rows)
    parts = sum(counts_of(part, edges) for part in np.array_split(rows, 7))
    assert (parts == counts_of(rows, edges)).all()
    assert (counts_of(rows, edges).sum(axis=1) == 999).all()


def test_too_few_say_nothing() -> None:
    edges, shares = reference_of(DRAW.normal(size=(500, 1)))
    few = counts_of(DRAW.normal(size=(MIN_ROWS - 1, 1)), edges)
    assert np.isnan(stability_index(few, shares)).all()
    assert np.isnan(largest_gap(few, shares)).all()


def test_another_number_of_columns_is_refused() -> None:
    edges, _ = reference_of(DRAW.normal(size=(500, 2)))
    with pytest.raises(OutOfRangeError, match="columns"):
        counts_of(np.zeros((3, 1)), edges)
