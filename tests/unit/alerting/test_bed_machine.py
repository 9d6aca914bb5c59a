"""Any order of findings, orders, leases, restarts and time; any fate of the messages."""

import random
from dataclasses import dataclass, field, replace

from fakes.bounded_bed import (
    ALSO_HIGH,
    BORN,
    HIGH,
    MEDIUM,
    NURSE,
    ORDERS,
    PHYSICIAN,
    TABLE,
    World,
    wrong,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wardstream.alerting.bed_alerts import BedAlerts
from wardstream.alerting.convergence import AlertPosition, moves_forward, position_of
from wardstream.alerting.state import Change, EngineSnapshot
from wardstream.contracts.alert import AlertEvent, AlertKind, Presence, Transition
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

CONDITIONS = (HIGH, ALSO_HIGH, MEDIUM)


def event_of(change: Change, number: int) -> AlertEvent:
    alert = change.alert
    return AlertEvent(
        device_id="bed-1",
        boot_id=BORN.boot_id,
        sequence_number=number,
        alert_id=alert.alert_id,
        condition=alert.condition,
        kind=AlertKind.PHYSIOLOGICAL,
        priority=alert.priority,
        transition=change.transition,
        presence=alert.presence,
        signal=alert.signal,
        onset_time_ns=alert.onset_time_ns,
        event_time_ns=change.time_ns,
        received_time_ns=TimestampNs(number),
        decided_time_ns=TimestampNs(number),
        model_version="none",
        rule_version="1",
        generation_mode=GenerationMode.TEST,
        acknowledged_by=alert.acknowledged_by,
        acknowledgement_expires_ns=alert.acknowledgement_expires_ns,
        revision=alert.revision,
        actor=change.actor,
        reason=change.reason,
        terms=change.terms,
    )


@dataclass
class Receiver:
    """What the cloud keeps."""

    stands: dict[str, AlertEvent] = field(default_factory=dict)
    positions: dict[str, AlertPosition] = field(default_factory=dict)

    def take(self, event: AlertEvent) -> None:
        if moves_forward(self.positions.get(event.alert_id), event):
            self.positions[event.alert_id] = position_of(event)
            self.stands[event.alert_id] = event

    def open(self) -> dict[str, AlertEvent]:
        return {
            alert_id: event
            for alert_id, event in self.stands.items()
            if event.presence is not Presence.OFF
        }


class RecordingWorld(World):
    """Writes down what the bed told, as it goes over the wire."""

    def hear(self, changes: tuple[Change, ...]) -> None:
        super().hear(changes)
        for change in changes:
            self.wire.append(encode(event_of(change, len(self.wire))))

    wire: list[bytes]


class BedMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = RecordingWorld(CONDITIONS, (NURSE, PHYSICIAN))
        self.world.wire = []
        self.cloud = Receiver()
        self.receivers = 0

    @rule(condition=st.sampled_from(CONDITIONS))
    def a_condition_turns(self, condition) -> None:
        self.world.turn(condition)

    @rule(person=st.sampled_from([NURSE, PHYSICIAN]))
    def a_lease_turns(self, person) -> None:
        self.world.turn_lease(person)

    @rule()
    def time_passes(self) -> None:
        self.world.pass_time()

    @rule()
    def the_agent_restarts(self) -> None:
        self.world.restart()

    @rule(order=st.sampled_from(ORDERS), person=st.sampled_from([NURSE, PHYSICIAN]))
    def somebody_orders(self, order, person) -> None:
        self.world.send(*order, person)

    @precondition(lambda self: self.world.bed.alerts)
    @rule(which=st.integers(0, 9), person=st.sampled_from([NURSE, PHYSICIAN]))
    def somebody_acknowledges(self, which: int, person) -> None:
        alerts = self.world.bed.alerts
        self.world.acknowledge(alerts[which % len(alerts)], person)

    @precondition(lambda self: self.world.bed.silences)
    @rule(person=st.sampled_from([NURSE, PHYSICIAN]))
    def somebody_ends_a_silence(self, person) -> None:
        self.world.send_end(self.world.bed.silences[0], person)

    @precondition(lambda self: self.world.on_the_way is not None)
    @rule(times=st.integers(1, 3))
    def the_order_arrives(self, times: int) -> None:
        for _ in range(times):
            self.world.arrive()

    @precondition(lambda self: self.world.wire)
    @rule(which=st.integers(0, 10**6))
    def some_message_arrives(self, which: int) -> None:
        self.cloud.take(decode(self.world.wire[which % len(self.world.wire)], AlertEvent))

    @rule(seed=st.integers(0, 2**16))
    def the_outbox_sends_all_of_it_again(self, seed: int) -> None:
        messages = [*self.world.wire, *self.world.wire[::2]]
        random.Random(seed).shuffle(messages)
        for message in messages:
            self.cloud.take(decode(message, AlertEvent))
        self._cloud_knows_what_the_bed_knows(self.cloud)

    def teardown(self) -> None:
        another = Receiver()
        for message in reversed(self.world.wire):
            another.take(decode(message, AlertEvent))
        self._cloud_knows_what_the_bed_knows(another)

    def _cloud_knows_what_the_bed_knows(self, cloud: Receiver) -> None:
        bed = self.world.bed
        stands = cloud.open()
        assert set(stands) == {a.alert_id for a in bed.alerts} | {
            s.silence_id for s in bed.silences
        }
        for alert in bed.alerts:
            known = stands[alert.alert_id]
            assert known.presence is alert.presence
            assert known.signal == alert.signal
            assert known.priority is alert.priority
            assert known.acknowledged_by == alert.acknowledged_by
        for silence in bed.silences:
            terms = stands[silence.silence_id].terms
            assert terms is not None
            assert (terms.author, terms.held) == (silence.author, silence.held)

    @invariant()
    def nobody_is_left_alone(self) -> None:
        assert wrong(self.world) is None

    @invariant()
    def revisions_only_grow(self) -> None:
        newest: dict[str, int] = {}
        for message in self.world.wire[-40:]:
            event = decode(message, AlertEvent)
            assert event.revision > newest.get(event.alert_id, 0)
            newest[event.alert_id] = event.revision


BedMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestBedMachine = BedMachine.TestCase


def test_an_event_without_revision_is_ordered_as_before() -> None:
    world = RecordingWorld(CONDITIONS, (NURSE,))
    world.wire = []
    world.turn(HIGH)
    first = replace(decode(world.wire[0], AlertEvent), revision=0)
    later = replace(first, sequence_number=1)
    assert moves_forward(position_of(first), later)
    assert not moves_forward(position_of(later), first)
    counted = replace(first, revision=1)
    assert moves_forward(position_of(later), counted)
    assert not moves_forward(position_of(counted), later)


def test_a_lease_that_ended_with_a_life_is_told_by_the_next_or_the_one_after() -> None:
    world = RecordingWorld(CONDITIONS, (NURSE,))
    world.wire = []
    world.turn_lease(NURSE)
    world.send(*ORDERS[0], NURSE)
    world.arrive()
    snapshot = world.bed.snapshot()
    for _ in range(2):  # killed again before it could say anything
        snapshot = decode(encode(BedAlerts(TABLE, snapshot).snapshot()), EngineSnapshot)
    world.bed = BedAlerts(TABLE, snapshot)
    world.holders = frozenset()
    world.pass_time()
    told = [decode(message, AlertEvent).transition for message in world.wire]
    assert told == [Transition.ONSET, Transition.LEASE_LOST]
