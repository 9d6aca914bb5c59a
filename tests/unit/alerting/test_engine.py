from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wardstream.alerting.conditions import RULES
from wardstream.alerting.engine import (
    Birthplace,
    Change,
    ConditionState,
    EngineSnapshot,
    Finding,
    acknowledge,
    expire,
    observe,
    signal_of,
)
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertPriority,
    Condition,
    Presence,
    SignalState,
    Transition,
)
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

BIRTHPLACE = Birthplace(device_id="bed-1", boot_id=str(uuid4()))
LATCHING = replace(RULES[Condition.ASYSTOLE], delay_s=2.0, clear_s=3.0)
PLAIN = replace(RULES[Condition.DESATURATION], delay_s=0.0, clear_s=0.0)


def at(second: float) -> TimestampNs:
    return TimestampNs(1_000 * NS_PER_S + round(second * NS_PER_S))


def command(alert_id: str, *, issued_s: float = 0, expires_s: float = 1e6) -> AcknowledgeCommand:
    return AcknowledgeCommand(
        command_id=str(uuid4()),
        device_id="bed-1",
        alert_id=alert_id,
        author="nurse",
        issued_time_ns=at(issued_s),
        expires_time_ns=at(expires_s),
    )


class Bedside:
    """One condition over time, as a table of the tests reads."""

    def __init__(self, table_row=LATCHING) -> None:
        self.row = table_row
        self.state = ConditionState(condition=table_row.condition)
        self.changes: list[Change] = []

    def see(self, second: float, present: bool | None, **more) -> "Bedside":
        finding = Finding(condition=self.row.condition, present=present, time_ns=at(second), **more)
        return self._take(observe(self.row, self.state, finding, BIRTHPLACE))

    def acknowledge(self, second: float, **times: float) -> "Bedside":
        assert self.state.alert is not None
        told = command(self.state.alert.alert_id, issued_s=second, **times)
        return self._take(acknowledge(self.state, told, at(second)))

    def expire(self, second: float) -> "Bedside":
        return self._take(expire(self.state, at(second)))

    def _take(self, outcome) -> "Bedside":
        self.state, changes = outcome
        self.changes.extend(changes)
        return self

    @property
    def told(self) -> list[str]:
        return [change.transition.value for change in self.changes]

    @property
    def presence(self) -> Presence:
        return Presence.OFF if self.state.alert is None else self.state.alert.presence


def test_it_is_raised_once_the_delay_has_been_held() -> None:
    bed = Bedside().see(0, True).see(1.9, True)
    assert bed.told == []
    assert bed.see(2, True).see(3, True).told == ["onset"]
    assert bed.changes[0].alert.onset_time_ns == at(0)
    assert bed.changes[0].time_ns == at(2)


def test_a_break_starts_the_delay_anew() -> None:
    assert Bedside().see(0, True).see(1, False).see(1.5, True).see(3, True).told == []


def test_not_knowing_changes_nothing() -> None:
    bed = Bedside().see(0, True).see(1, None).see(2, True)
    assert bed.told == ["onset"]
    assert bed.see(3, None).see(99, None).presence is Presence.ON


def test_it_latches_until_acknowledged_and_then_is_over() -> None:
    bed = Bedside().see(0, True).see(2, True).see(3, False).see(5.9, False)
    assert bed.presence is Presence.ON
    assert bed.see(6, False).presence is Presence.LATCHED
    bed.acknowledge(10)
    assert bed.told == ["onset", "cleared", "acknowledged", "ended"]
    assert bed.presence is Presence.OFF


def test_a_latched_alert_that_returns_keeps_its_id() -> None:
    bed = Bedside().see(0, True).see(2, True).see(3, False).see(6, False).see(7, True).see(9, True)
    assert bed.told == ["onset", "cleared", "reactivated"]
    assert len({change.alert.alert_id for change in bed.changes}) == 1


def test_an_acknowledged_alert_ends_with_its_condition() -> None:
    bed = Bedside().see(0, True).see(2, True).acknowledge(3).see(4, False).see(7, False)
    assert bed.told == ["onset", "acknowledged", "ended"]
    assert bed.changes[-1].alert.presence is Presence.OFF


def test_one_that_does_not_latch_ends_by_itself() -> None:
    assert Bedside(PLAIN).see(0, True).see(1, False).told == ["onset", "ended"]


def test_an_acknowledgement_expires_and_the_alert_stands_again() -> None:
    bed = Bedside().see(0, True).see(2, True).acknowledge(3, expires_s=60).expire(59.9)
    assert bed.presence is Presence.ACKED
    assert bed.expire(60).presence is Presence.ON
    assert bed.told == ["onset", "acknowledged", "acknowledgement_expired"]
    assert bed.changes[-1].alert.acknowledged_by is None


def test_a_command_that_came_too_late_or_for_another_alert_changes_nothing() -> None:
    bed = Bedside().see(0, True).see(2, True)
    assert acknowledge(bed.state, command(str(uuid4())), at(3)) == (bed.state, ())
    assert bed.state.alert is not None
    late = command(bed.state.alert.alert_id, issued_s=0, expires_s=3)
    assert acknowledge(bed.state, late, at(3)) == (bed.state, ())


def test_a_rise_in_priority_takes_the_acknowledgement_back() -> None:
    bed = Bedside(PLAIN).see(0, True).acknowledge(1)
    bed.see(2, True, priority=AlertPriority.HIGH)
    assert bed.told == ["onset", "acknowledged", "reactivated"]
    assert bed.state.alert is not None
    assert bed.state.alert.priority is AlertPriority.HIGH
    assert bed.see(3, True).told == ["onset", "acknowledged", "reactivated"]
    assert bed.state.alert.priority is AlertPriority.HIGH  # never lowered while it lasts


def test_an_onset_known_to_be_earlier_is_the_onset() -> None:
    bed = Bedside(PLAIN).see(10, True, since_ns=at(6))
    assert bed.changes[0].alert.onset_time_ns == at(6)
    assert bed.changes[0].time_ns == at(10)


def test_the_same_onset_is_the_same_alert_and_another_is_not() -> None:
    first, second = Bedside(PLAIN).see(0, True), Bedside(PLAIN).see(0, True)
    other = Bedside(PLAIN).see(1, True)
    ids = [bed.changes[0].alert.alert_id for bed in (first, second, other)]
    assert ids[0] == ids[1] != ids[2]


def test_a_clock_set_back_neither_hangs_nor_runs_backwards() -> None:
    bed = Bedside().see(100, True).see(102, True).see(103, False).see(50, False).see(53, False)
    assert bed.presence is Presence.LATCHED
    times = [change.time_ns for change in bed.changes]
    assert times == sorted(times)


@pytest.mark.parametrize("presence", Presence)
def test_acknowledging_is_not_silencing(presence: Presence) -> None:
    expected = SignalState.OFF if presence is Presence.OFF else SignalState.ON
    assert signal_of(presence).audible is expected


def test_a_snapshot_survives_its_journey_as_json() -> None:
    bed = Bedside().see(0, True, evidence={"silence_s": 4.2}).see(2, True).acknowledge(3)
    assert bed.state.alert is not None
    snapshot = EngineSnapshot(alerts=(bed.state.alert,), applied_commands=("a", "b"))
    assert decode(encode(snapshot), EngineSnapshot) == snapshot


class EngineMachine(RuleBasedStateMachine):
    """Any order of onset, clear, doubt, acknowledgement, expiry and time."""

    def __init__(self) -> None:
        super().__init__()
        self.bed = Bedside()
        self.second = 0.0

    @rule(step=st.floats(0, 5), present=st.sampled_from([True, False, None]))
    def see(self, step: float, present: bool | None) -> None:
        self.second += step
        self.bed.see(self.second, present)

    @precondition(lambda self: self.bed.state.alert is not None)
    @rule(lasts=st.floats(0.1, 20))
    def acknowledge(self, lasts: float) -> None:
        self.bed.acknowledge(self.second, expires_s=self.second + lasts)

    @rule(step=st.floats(0, 30))
    def pass_time(self, step: float) -> None:
        self.second += step
        self.bed.expire(self.second)

    @invariant()
    def the_story_holds_together(self) -> None:
        alert = self.bed.state.alert
        if alert is not None:
            assert alert.presence is not Presence.OFF
            assert alert.active or alert.presence is Presence.LATCHED
            acked = alert.presence is Presence.ACKED
            assert acked == (alert.acknowledged_by is not None)
            assert acked == (alert.acknowledgement_expires_ns is not None)
        open_alert: str | None = None
        for change in self.bed.changes:
            if change.transition is Transition.ONSET:
                assert open_alert is None
                open_alert = change.alert.alert_id
            assert change.alert.alert_id == open_alert
            if change.transition is Transition.ENDED:
                assert change.alert.presence is Presence.OFF
                open_alert = None
        assert open_alert == (None if alert is None else alert.alert_id)


EngineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEngineMachine = EngineMachine.TestCase
