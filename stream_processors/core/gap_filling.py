"""What is assumed of a quantity between measurements: never stored, always told as assumed.

A `Filled` value is of a type of its own. No sink takes one, so a value that was carried over can
be shown and scored with its age, and never becomes a measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S

_NS_PER_HOUR = 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: `time_ns` and `value` in its concept's unit."""

    time_ns: int
    value: float


@dataclass(frozen=True, slots=True)
class Filled:
    """A value that was not measured at the time it is given for.

    Attributes
    ----------
    value : float
        The last one measured.
    age_ns : int
        How old it is at that time, at least 0.
    """

    value: float
    age_ns: int


@dataclass(frozen=True, slots=True)
class Trend:
    """How a quantity moves.

    Attributes
    ----------
    slope_per_hour : float
        Median of the slopes between all pairs (Theil and Sen), in units an hour.
    n_values : int
        Measurements it rests on.
    span_ns : int
        From the first to the last of them.
    """

    slope_per_hour: float
    n_values: int
    span_ns: int


def last_value(measured: Sequence[Measured], at_ns: int, most_age_ns: int) -> Filled | None:
    """The last value measured up to `at_ns`, with its age; None if it is older than `most_age_ns`.

    Causal: a measurement after `at_ns` is never looked at. The order of `measured` does not matter.

    Raises
    ------
    OutOfRangeError
        `most_age_ns` is negative.
    """
    if most_age_ns < 0:
        raise OutOfRangeError(f"most_age_ns is {most_age_ns}, expected >= 0")
    before = [one for one in measured if at_ns - most_age_ns <= one.time_ns <= at_ns]
    if not before:
        return None
    newest = max(before, key=lambda one: one.time_ns)
    return Filled(newest.value, at_ns - newest.time_ns)


def trend(
    measured: Sequence[Measured], at_ns: int, span_ns: int, *, min_values: int = 3
) -> Trend | None:
    """How the quantity moved in the `span_ns` up to `at_ns`; None with fewer than `min_values`.

    Parameters
    ----------
    measured : sequence of Measured
        In any order; what lies outside the span is not looked at.
    at_ns, span_ns : int
        End and length of the span; the length greater than 0.
    min_values : int
        Fewest measurements at different times for an answer, at least 2.

    Raises
    ------
    OutOfRangeError
        `span_ns` or `min_values` is too small.

    Notes
    -----
    Sen, J Am Stat Assoc 63:1379-1389 (1968): up to 29 % of the values may be wild. Cost: O(n²).
    """
    if span_ns <= 0 or min_values < 2:
        raise OutOfRangeError(f"span_ns is {span_ns} and min_values {min_values}")
    within = sorted(
        (one for one in measured if at_ns - span_ns <= one.time_ns <= at_ns),
        key=lambda one: one.time_ns,
    )
    if len({one.time_ns for one in within}) < min_values:
        return None
    times = np.array([one.time_ns - within[0].time_ns for one in within]) / _NS_PER_HOUR
    values = np.array([one.value for one in within])
    later, earlier = np.tril_indices(len(within), -1)
    hours = times[later] - times[earlier]
    apart = hours > 0
    slopes = (values[later] - values[earlier])[apart] / hours[apart]
    return Trend(float(np.median(slopes)), len(within), within[-1].time_ns - within[0].time_ns)
