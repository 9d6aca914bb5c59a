import math

import pytest

from wardstream.alerting.conditions import RULES
from wardstream.alerting.ectopy import Beat, ectopy, pause
from wardstream.alerting.numerics import (
    DEFAULT_LIMITS,
    Measure,
    NumericsState,
    Source,
    apnoea,
    observe_measure,
    with_limits,
)
from wardstream.alerting.state import Finding
from wardstream.contracts.alert import AlertPriority, Condition
from wardstream.contracts.authority import LimitPair
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs


def at(second: float) -> TimestampNs:
    return TimestampNs(1_000 * NS_PER_S + round(second * NS_PER_S))


class Numerics:
    def __init__(self, limits=DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.state = NumericsState()
        self.last: dict[Condition, Finding] = {}

    def see(self, second: float, measure: Measure, value: float, source=Source.CURVE) -> "Numerics":
        self.state, findings = observe_measure(
            self.limits, self.state, measure, value, at(second), source
        )
        self.last |= {finding.condition: finding for finding in findings}
        return self

    def present(self, condition: Condition) -> bool | None:
        finding = self.last.get(condition)
        return None if finding is None else finding.present


@pytest.mark.parametrize(
    ("measure", "inside", "outside", "back", "condition"),
    [
        (Measure.SPO2, 95, 88, 92, Condition.DESATURATION),
        (Measure.HEART_RATE, 80, 131, 127, Condition.HIGH_HEART_RATE),
        (Measure.HEART_RATE, 80, 44, 48, Condition.LOW_HEART_RATE),
        (Measure.SYSTOLIC, 120, 89, 93, Condition.HYPOTENSION),
        (Measure.MEAN, 80, 59, 63, Condition.HYPOTENSION),
        (Measure.DIASTOLIC, 60, 39, 43, Condition.HYPOTENSION),
        (Measure.SYSTOLIC, 120, 181, 177, Condition.HYPERTENSION),
        (Measure.MEAN, 80, 121, 117, Condition.HYPERTENSION),
        (Measure.DIASTOLIC, 60, 111, 107, Condition.HYPERTENSION),
    ],
)
def test_a_measure_outside_for_10_s_is_found_and_ends_with_hysteresis(
    measure, inside, outside, back, condition
) -> None:
    bed = Numerics().see(0, measure, inside)
    assert bed.present(condition) is False
    for second in range(1, 11):
        bed.see(second, measure, outside)
        assert bed.present(condition) is False
    bed.see(11, measure, outside)
    assert bed.present(condition) is True
    assert bed.last[condition].since_ns == at(1)
    limit = bed.last[condition].evidence[f"limit_{measure}"]
    halfway = (limit + outside) / 2
    assert bed.see(12, measure, halfway).present(condition) is True
    assert bed.see(13, measure, limit).present(condition) is True  # inside, but not far enough
    assert bed.see(14, measure, back).present(condition) is False


def test_one_pressure_that_is_back_does_not_end_what_another_holds() -> None:
    bed = Numerics()
    for second in range(12):
        bed.see(second, Measure.SYSTOLIC, 80).see(second, Measure.MEAN, 50)
    bed.see(12, Measure.SYSTOLIC, 120)
    assert bed.present(Condition.HYPOTENSION) is True
    assert bed.see(13, Measure.MEAN, 80).present(Condition.HYPOTENSION) is False


def test_depth_raises_the_priority() -> None:
    bed = Numerics()
    for second in range(12):
        bed.see(second, Measure.SPO2, 79)
    assert bed.last[Condition.DESATURATION].priority is AlertPriority.HIGH
    assert bed.see(12, Measure.SPO2, 85).last[Condition.DESATURATION].priority is None


def test_the_monitor_is_asked_where_no_curve_speaks() -> None:
    bed = Numerics()
    for second in range(20):
        bed.see(second, Measure.HEART_RATE, 80).see(second, Measure.HEART_RATE, 30, Source.MONITOR)
    assert bed.present(Condition.LOW_HEART_RATE) is False
    for second in range(25, 36):
        bed.see(second, Measure.HEART_RATE, 30, Source.MONITOR)
    assert bed.present(Condition.LOW_HEART_RATE) is True


def test_nan_says_nothing() -> None:
    bed = Numerics().see(0, Measure.SPO2, 85)
    assert Numerics().see(0, Measure.SPO2, math.nan).last == {}
    for second in range(1, 30):
        bed.see(second, Measure.SPO2, math.nan)
    assert bed.present(Condition.DESATURATION) is False


def test_a_patients_limits_replace_the_sites_for_the_measures_they_name() -> None:
    limits = with_limits(DEFAULT_LIMITS, {"spo2_percent": LimitPair(lower=85.0)})
    bed = Numerics(limits)
    for second in range(15):
        bed.see(second, Measure.SPO2, 87)
    assert bed.present(Condition.DESATURATION) is False
    assert limits[Measure.MEAN] == DEFAULT_LIMITS[Measure.MEAN]


def test_a_limit_taken_away_ends_what_it_raised() -> None:
    bed = Numerics()
    for second in range(15):
        bed.see(second, Measure.HEART_RATE, 140)
    assert bed.present(Condition.HIGH_HEART_RATE) is True
    bed.limits = with_limits(DEFAULT_LIMITS, {"heart_rate_per_min": LimitPair(lower=40.0)})
    assert bed.see(15, Measure.HEART_RATE, 140).present(Condition.HIGH_HEART_RATE) is False


@pytest.mark.parametrize(
    "pairs",
    [
        {"spo2": LimitPair(lower=85.0)},
        {"spo2_percent": LimitPair(lower=8.5)},
        {"spo2_percent": LimitPair(lower=80.0, upper=95.0)},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(pairs) -> None:
    with pytest.raises(OutOfRangeError):
        with_limits(DEFAULT_LIMITS, pairs)


def test_apnoea_from_the_age_of_the_last_breath() -> None:
    assert apnoea(math.nan, at(0)).present is None
    assert apnoea(19.9, at(0)).present is False
    found = apnoea(20.0, at(0))
    assert (found.present, found.since_ns) == (True, at(-20))


def beats(pattern: str) -> list[Beat]:
    """One beat a second up to now; V is ventricular."""
    return [Beat(at(60 - len(pattern) + 1 + i), letter == "V") for i, letter in enumerate(pattern)]


@pytest.mark.parametrize(
    ("pattern", "frequent", "runs"),
    [
        ("N" * 50, False, False),
        ("NV" * 10, True, False),
        ("NV" * 9, False, False),
        ("NNVVNNNVVN", False, True),
        ("NNVVNNN", False, False),
        ("NNVVVNN", False, True),
    ],
)
def test_ventricular_beats_are_counted(pattern: str, frequent: bool, runs: bool) -> None:
    pvc, run = ectopy(beats(pattern), at(60))
    assert (pvc.present, run.present) == (frequent, runs)


def test_frequent_beats_end_at_seven_a_minute() -> None:
    nine = ectopy(beats("NV" * 9), at(60), frequent_is_active=True)[0]
    assert nine.present is True
    seven = ectopy(beats("NV" * 7), at(60), frequent_is_active=True)[0]
    assert seven.present is False
    assert ectopy([], at(60))[0].present is None


def test_a_pause_is_a_long_interval_between_two_beats() -> None:
    assert pause(math.nan, at(0)).present is None
    assert pause(2999.0, at(0)).present is False
    assert pause(3000.0, at(0)).present is True


def test_the_table_says_the_figures_that_are_in_force() -> None:
    words = {condition: RULES[condition].definition for condition in Condition}
    for measure, limits in DEFAULT_LIMITS.items():
        for condition, limit in ((limits.below, limits.lower), (limits.above, limits.upper)):
            if condition is not None and limit is not None:
                assert f"{limit:g}" in words[condition], (measure, condition)
                assert f"{limits.delay_s:g} s" in words[condition]
                assert f"{limits.hysteresis:g}" in RULES[condition].hysteresis
                assert RULES[condition].disclosed_delay_s >= limits.delay_s
