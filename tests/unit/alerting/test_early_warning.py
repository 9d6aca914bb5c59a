import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardstream.alerting.early_warning import (
    Band,
    Consciousness,
    Interval,
    News2Inputs,
    news2,
    news2_arrays,
    news2_band,
    news2_parts,
)

WELL = {
    "respiration_per_min": 16.0,
    "spo2_percent": 98.0,
    "systolic_mmhg": 120.0,
    "pulse_per_min": 70.0,
    "temperature_celsius": 37.0,
    "on_oxygen": False,
    "consciousness": Consciousness.ALERT,
}

# The chart of the Royal College of Physicians: both sides of every edge.
EDGES = {
    "respiration_per_min": [(8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3)],
    "spo2_percent": [(91, 3), (92, 2), (93, 2), (94, 1), (95, 1), (96, 0), (100, 0)],
    "systolic_mmhg": [
        (90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3),
    ],
    "pulse_per_min": [
        (40, 3), (41, 1), (50, 1), (51, 0), (90, 0), (91, 1), (110, 1), (111, 2), (130, 2), (131, 3),
    ],
    "temperature_celsius": [
        (35.0, 3), (35.1, 1), (36.0, 1), (36.1, 0), (38.0, 0), (38.1, 1), (39.0, 1), (39.1, 2),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [(name, value, points) for name, rows in EDGES.items() for value, points in rows],
)
def test_every_edge_of_the_chart(name: str, value: float, points: int) -> None:
    assert news2(News2Inputs(**WELL | {name: float(value)})) == Interval(points, points)


@pytest.mark.parametrize(
    ("spo2", "on_oxygen", "points"),
    [
        (83, False, 3), (84, False, 2), (85, False, 2), (86, False, 1), (87, False, 1),
        (88, False, 0), (92, False, 0), (93, False, 0), (100, False, 0),
        (83, True, 3), (84, True, 2), (85, True, 2), (86, True, 1), (87, True, 1), (88, True, 0),
        (92, True, 0), (93, True, 1), (94, True, 1), (95, True, 2), (96, True, 2), (97, True, 3),
    ],
)  # fmt: skip
def test_every_edge_of_scale_2(spo2: float, on_oxygen: bool, points: int) -> None:
    inputs = News2Inputs(
        **WELL | {"spo2_percent": float(spo2), "on_oxygen": on_oxygen}, hypercapnic_target=True
    )
    assert news2_parts(inputs)["spo2"] == Interval(points, points)


@pytest.mark.parametrize("consciousness", [c for c in Consciousness if c.value != "A"])
def test_anything_but_alert_scores_three(consciousness: Consciousness) -> None:
    assert news2(News2Inputs(**WELL | {"consciousness": consciousness})) == Interval(3, 3)


def test_oxygen_scores_two() -> None:
    assert news2(News2Inputs(**WELL | {"on_oxygen": True})) == Interval(2, 2)


def test_nothing_known_can_be_anything() -> None:
    assert news2(News2Inputs()) == Interval(0, 19 + 1)


@pytest.mark.parametrize(
    ("name", "unknown", "most"),
    [
        ("respiration_per_min", math.nan, 3),
        ("spo2_percent", math.nan, 3),
        ("on_oxygen", None, 2),
        ("systolic_mmhg", math.nan, 3),
        ("pulse_per_min", math.nan, 3),
        ("consciousness", None, 3),
        ("temperature_celsius", math.nan, 3),
    ],
)
def test_a_missing_input_widens_the_interval_by_what_it_can_give(
    name: str, unknown: float | None, most: int
) -> None:
    assert news2(News2Inputs(**WELL | {name: unknown})) == Interval(0, most)


def test_with_scale_2_unknown_oxygen_leaves_both_columns_open() -> None:
    inputs = News2Inputs(**WELL | {"on_oxygen": None}, hypercapnic_target=True)
    assert news2_parts(inputs)["spo2"] == Interval(0, 3)


def test_values_between_the_charts_steps_are_rounded_as_people_do() -> None:
    assert news2(News2Inputs(**WELL | {"respiration_per_min": 20.5})).low == 2
    assert news2(News2Inputs(**WELL | {"respiration_per_min": 20.4})).low == 0
    assert news2(News2Inputs(**WELL | {"temperature_celsius": 38.04})).low == 0


@pytest.mark.parametrize(
    ("changed", "band"),
    [
        ({}, Band.LOW),
        ({"pulse_per_min": 131.0}, Band.SINGLE_RED),
        ({"pulse_per_min": 120.0, "respiration_per_min": 30.0}, Band.MEDIUM),
        ({"pulse_per_min": 140.0, "respiration_per_min": 30.0, "on_oxygen": True}, Band.HIGH),
    ],
)
def test_the_bands(changed: dict[str, float], band: Band) -> None:
    assert news2_band(News2Inputs(**WELL | changed)) == (band, band)


_maybe = st.one_of(st.just(math.nan), st.floats(0, 300))
_flag = st.sampled_from([True, False, None])


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(
        st.tuples(_maybe, _maybe, _maybe, _maybe, st.floats(30, 43) | st.just(math.nan), _flag,
                  _flag, st.booleans()),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_the_form_for_many_is_the_form_for_one(rows: list[tuple]) -> None:
    columns = list(zip(*rows, strict=True))
    as_float = [np.nan if flag is None else float(flag) for flag in columns[5]]
    impaired = [np.nan if flag is None else float(flag) for flag in columns[6]]
    low, high = news2_arrays(
        respiration_per_min=np.array(columns[0]),
        spo2_percent=np.array(columns[1]),
        systolic_mmhg=np.array(columns[2]),
        pulse_per_min=np.array(columns[3]),
        temperature_celsius=np.array(columns[4]),
        on_oxygen=np.array(as_float),
        impaired_consciousness=np.array(impaired),
        hypercapnic_target=np.array(columns[7]),
    )
    state = {None: None, False: Consciousness.ALERT, True: Consciousness.VOICE}
    for i, row in enumerate(rows):
        expected = news2(
            News2Inputs(
                respiration_per_min=row[0],
                spo2_percent=row[1],
                systolic_mmhg=row[2],
                pulse_per_min=row[3],
                temperature_celsius=row[4],
                on_oxygen=row[5],
                consciousness=state[row[6]],
                hypercapnic_target=row[7],
            )
        )
        assert (low[i], high[i]) == (expected.low, expected.high)
