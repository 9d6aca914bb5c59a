import math

import pytest

from wardstream.alerting.limits import LimitRule, LimitState, observe_limit
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

RULE = LimitRule(lower=90.0, delay_s=10.0, hysteresis=2.0)


@pytest.mark.parametrize(
    ("observations", "violated"),
    [
        pytest.param([(0, 85.0), (9, 85.0)], False, id="dip shorter than the delay"),
        pytest.param([(0, 85.0), (10, 85.0)], True, id="held for the delay"),
        pytest.param([(0, 90.0), (20, 90.0)], False, id="at the limit is inside"),
        pytest.param([(0, 85.0), (5, 90.0), (12, 85.0)], False, id="recovery restarts it"),
        pytest.param([(0, 85.0), (10, 85.0), (11, 91.0)], True, id="not far enough back"),
        pytest.param([(0, 85.0), (10, 85.0), (11, 92.0)], False, id="back by the hysteresis"),
        pytest.param([(0, 85.0), (5, math.nan), (10, 85.0)], True, id="NaN is no observation"),
        pytest.param([(50, 85.0), (0, 85.0), (10, 85.0)], True, id="clock set back"),
    ],
)
def test_a_lower_limit(observations: list[tuple[int, float]], violated: bool) -> None:
    state = LimitState()
    for second, value in observations:
        state = observe_limit(RULE, state, value, TimestampNs(second * NS_PER_S))
    assert state.violated is violated


def test_an_upper_limit_works_the_other_way_round() -> None:
    rule = LimitRule(upper=160.0, hysteresis=5.0)
    state = observe_limit(rule, LimitState(), 161.0, TimestampNs(0))
    assert state.violated
    assert observe_limit(rule, state, 156.0, TimestampNs(1)).violated
    assert not observe_limit(rule, state, 155.0, TimestampNs(1)).violated


@pytest.mark.parametrize(
    "figures", [{}, {"lower": 5.0, "upper": 5.0}, {"lower": 5.0, "delay_s": -1.0}]
)
def test_a_rule_that_makes_no_sense_is_refused(figures: dict[str, float]) -> None:
    with pytest.raises(OutOfRangeError):
        LimitRule(**figures)
