"""Gaps: carried over with an age, never from the future, never as a measurement."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.core.gap_filling import Filled, Measured, last_value, trend
from stream_processors.core.harmonising import Mapped
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S

HOUR = 3600 * NS_PER_S


def test_a_value_is_carried_with_its_age_until_it_is_too_old() -> None:
    series = [Measured(3 * HOUR, 4.4), Measured(1 * HOUR, 4.1)]
    assert last_value(series, 4 * HOUR, 2 * HOUR) == Filled(4.4, HOUR)
    assert last_value(series, 2 * HOUR, 2 * HOUR) == Filled(4.1, HOUR)
    assert last_value(series, 6 * HOUR, 2 * HOUR) is None
    assert last_value(series, 0, 2 * HOUR) is None
    with pytest.raises(OutOfRangeError):
        last_value(series, 0, -1)


def test_what_was_filled_is_no_observation() -> None:
    assert not isinstance(Filled(1.0, 0), Mapped)
    assert not hasattr(Filled(1.0, 0), "observation_id")


def test_one_wild_value_does_not_turn_a_trend() -> None:
    rising = [Measured(hour * HOUR, 100.0 + 2 * hour) for hour in range(9)]
    wild = [*rising[:4], Measured(4 * HOUR, 900.0), *rising[5:]]
    for series in (rising, wild, wild[::-1]):
        found = trend(series, 8 * HOUR, 8 * HOUR)
        assert found is not None
        assert found.slope_per_hour == pytest.approx(2.0)
        assert (found.n_values, found.span_ns) == (9, 8 * HOUR)
    assert trend(rising[:2], 8 * HOUR, 8 * HOUR) is None
    with pytest.raises(OutOfRangeError):
        trend(rising, 0, 0)


@settings(max_examples=50, deadline=None)
@given(
    series=st.lists(st.builds(Measured, st.integers(0, 100), st.floats(-5, 5)), max_size=8),
    at=st.integers(0, 100),
)
def test_the_future_is_never_looked_at(series: list[Measured], at: int) -> None:
    past = [one for one in series if one.time_ns <= at]
    assert last_value(series, at, 50) == last_value(past, at, 50)
    assert trend(series, at, 50) == trend(past, at, 50)
