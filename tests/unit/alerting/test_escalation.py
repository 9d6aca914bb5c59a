import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardstream.alerting.escalation import (
    DEFAULT_POLICY,
    Call,
    EscalationPolicy,
    Step,
    next_call,
)
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S


def play(seconds: float, *, delivers: bool, answered_at: float = 1e9) -> list[tuple[float, int]]:
    """(second, level) of every call about an alert that was activated at second 0."""
    calls: dict[int, Call] = {}
    made: list[tuple[float, int]] = []
    for tick in range(round(seconds)):
        level = next_call(
            DEFAULT_POLICY,
            list(calls.values()),
            activated_time_ns=0,
            now_ns=tick * NS_PER_S,
            answered=tick >= answered_at,
        )
        if level is not None:
            calls[level] = Call(level=level, called_time_ns=tick * NS_PER_S, delivered=delivers)
            made.append((tick, level))
    return made


def test_nurse_then_second_nurse_then_physician() -> None:
    assert play(600, delivers=True) == [(0, 0), (60, 1), (120, 2)]


def test_a_call_nobody_has_been_shown_goes_to_the_next_at_once() -> None:
    assert play(600, delivers=False) == [(0, 0), (15, 1), (30, 2)]


@given(answered_at=st.integers(0, 200))
def test_an_answer_ends_the_ladder(answered_at: int) -> None:
    made = play(300, delivers=True, answered_at=answered_at)
    assert made == [call for call in [(0, 0), (60, 1), (120, 2)] if call[0] < answered_at]


@pytest.mark.parametrize("times", [[], [-1.0], [0.0, 0.0], [60.0, 30.0]])
def test_a_ladder_that_leads_nowhere_is_refused(times: list[float]) -> None:
    with pytest.raises(OutOfRangeError):
        EscalationPolicy(steps=tuple(Step("nurse", after_s) for after_s in times))
