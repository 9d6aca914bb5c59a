"""MEWS, qSOFA and shock index: every edge of every band by hand, and a naive twin."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardstream.alerting.bedside_scores import AVPU_POINTS, ScoreIntervals, score_intervals
from wardstream.alerting.early_warning import Consciousness, Interval

WELL = {
    "respiration_per_min": 12.0,
    "systolic_mmhg": 120.0,
    "pulse_per_min": 70.0,
    "temperature_celsius": 37.0,
    "avpu_low": 0.0,
    "avpu_high": 0.0,
    "impaired_consciousness": 0.0,
}

# Subbe 2001, both sides of every edge.
MEWS_EDGES = {
    "systolic_mmhg": [
        (70, 3), (71, 2), (80, 2), (81, 1), (100, 1), (101, 0), (199, 0), (200, 2),
    ],
    "pulse_per_min": [
        (40, 2), (41, 1), (50, 1), (51, 0), (100, 0), (101, 1), (110, 1), (111, 2), (129, 2),
        (130, 3),
    ],
    "respiration_per_min": [
        (8, 2), (9, 0), (14, 0), (15, 1), (20, 1), (21, 2), (29, 2), (30, 3),
    ],
    "temperature_celsius": [(34.9, 2), (35.0, 0), (38.4, 0), (38.5, 2)],
}  # fmt: skip
QSOFA_EDGES = {
    "respiration_per_min": [(21, 0), (22, 1)],
    "systolic_mmhg": [(100, 1), (101, 0)],
    "impaired_consciousness": [(0, 0), (1, 1)],
}


def one(**changed: float) -> ScoreIntervals:
    return score_intervals(**{name: np.array([x]) for name, x in (WELL | changed).items()})


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [(name, value, points) for name, rows in MEWS_EDGES.items() for value, points in rows],
)
def test_every_edge_of_mews(name: str, value: float, points: int) -> None:
    found = one(**{name: float(value)})
    assert (found.mews_low[0], found.mews_high[0]) == (points, points)


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [(name, value, points) for name, rows in QSOFA_EDGES.items() for value, points in rows],
)
def test_every_edge_of_qsofa(name: str, value: float, points: int) -> None:
    found = one(**{name: float(value)})
    assert (found.qsofa_low[0], found.qsofa_high[0]) == (points, points)


@pytest.mark.parametrize(
    ("level", "points"),
    [
        (Consciousness.ALERT, (0, 0)),
        (Consciousness.CONFUSION, (0, 1)),
        (Consciousness.VOICE, (1, 1)),
        (Consciousness.PAIN, (2, 2)),
        (Consciousness.UNRESPONSIVE, (3, 3)),
        (None, (0, 3)),
    ],
)
def test_consciousness_of_mews(level: Consciousness | None, points: tuple[int, int]) -> None:
    interval = AVPU_POINTS[level]
    found = one(avpu_low=float(interval.low), avpu_high=float(interval.high))
    assert (found.mews_low[0], found.mews_high[0]) == points


@pytest.mark.parametrize(
    ("name", "mews", "qsofa"),
    [
        ("respiration_per_min", 3, 1),
        ("systolic_mmhg", 3, 1),
        ("pulse_per_min", 3, 0),
        ("temperature_celsius", 2, 0),
    ],
)
def test_a_missing_input_may_be_worth_anything_it_can_give(
    name: str, mews: int, qsofa: int
) -> None:
    found = one(**{name: math.nan})
    assert (found.mews_low[0], found.mews_high[0]) == (0, mews)
    assert (found.qsofa_low[0], found.qsofa_high[0]) == (0, qsofa)


def test_the_shock_index_needs_both() -> None:
    assert one(pulse_per_min=100.0, systolic_mmhg=80.0).shock_index[0] == pytest.approx(1.25)
    assert math.isnan(one(pulse_per_min=math.nan).shock_index[0])
    assert math.isnan(one(systolic_mmhg=math.nan).shock_index[0])
    assert math.isnan(one(systolic_mmhg=0.0).shock_index[0])


def naive_mews(systolic: float, pulse: float, respiration: float, celsius: float) -> Interval:
    def whole(x: float) -> float:
        return math.floor(x + 0.5)

    tenth = math.floor(celsius * 10 + 0.5) / 10 if not math.isnan(celsius) else celsius
    parts = [
        (0, 3) if math.isnan(systolic) else
        (3 if whole(systolic) <= 70 else 2 if whole(systolic) <= 80 else
         1 if whole(systolic) <= 100 else 0 if whole(systolic) <= 199 else 2),
        (0, 3) if math.isnan(pulse) else
        (2 if whole(pulse) <= 40 else 1 if whole(pulse) <= 50 else 0 if whole(pulse) <= 100 else
         1 if whole(pulse) <= 110 else 2 if whole(pulse) <= 129 else 3),
        (0, 3) if math.isnan(respiration) else
        (2 if whole(respiration) <= 8 else 0 if whole(respiration) <= 14 else
         1 if whole(respiration) <= 20 else 2 if whole(respiration) <= 29 else 3),
        (0, 2) if math.isnan(celsius) else (2 if tenth < 35 or tenth >= 38.5 else 0),
    ]  # fmt: skip
    low = sum(p[0] if isinstance(p, tuple) else p for p in parts)
    return Interval(low, sum(p[1] if isinstance(p, tuple) else p for p in parts))


_maybe = st.one_of(st.just(math.nan), st.integers(0, 250).map(float))


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(
        st.tuples(_maybe, _maybe, _maybe, st.integers(300, 430).map(lambda t: t / 10)),
        min_size=1,
        max_size=20,
    )
)
def test_mews_of_many_is_the_naive_one_of_each(rows: list[tuple[float, ...]]) -> None:
    systolic, pulse, respiration, celsius = (np.array(c) for c in zip(*rows, strict=True))
    nothing = np.zeros(len(rows))
    found = score_intervals(
        respiration_per_min=respiration,
        systolic_mmhg=systolic,
        pulse_per_min=pulse,
        temperature_celsius=celsius,
        avpu_low=nothing,
        avpu_high=nothing,
        impaired_consciousness=nothing,
    )
    for i, row in enumerate(rows):
        assert Interval(found.mews_low[i], found.mews_high[i]) == naive_mews(*row)
