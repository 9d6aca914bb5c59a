"""A small world around the real alert engine, searched whole.

Two high-priority conditions and one of medium priority, a nurse who may pause and a physician
who may switch off, one order on the way at a time (which may come late, twice or never), leases
that come and go, restarts, and time in steps. Times are kept relative, so the world is finite.
"""

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace

from wardstream.alerting.bed_alerts import BedAlerts, Holder
from wardstream.alerting.conditions import RULES
from wardstream.alerting.silence import covers
from wardstream.alerting.state import Alert, Birthplace, Change, EngineSnapshot, Finding, Silence
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertPriority,
    Condition,
    Presence,
    SignalState,
)
from wardstream.contracts.authority import TIMED, Authority, SilenceCommand
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

STEP_NS = 200 * NS_PER_S
"""Long enough for a reminder to be due, and for an order on the way to be stale."""

LASTS_STEPS = 2

NURSE = Holder("00000000-0000-4000-8000-00000000000a", "nurse")
PHYSICIAN = Holder("00000000-0000-4000-8000-00000000000b", "physician")
AUTHORITY = {"nurse": Authority.CARE, "physician": Authority.ORDER}

HIGH = Condition.ASYSTOLE
ALSO_HIGH = Condition.VENTRICULAR_TACHYCARDIA
MEDIUM = Condition.HYPOTENSION
TABLE = {
    **RULES,
    **{
        condition: replace(RULES[condition], delay_s=0.0, clear_s=0.0)
        for condition in (HIGH, ALSO_HIGH, MEDIUM)
    },
}
BORN = Birthplace(device_id="bed-1", boot_id="00000000-0000-4000-8000-0000000000cc")

Order = SilenceCommand | AcknowledgeCommand


@dataclass(eq=False)
class World:
    """One state of the world."""

    conditions: tuple[Condition, ...]
    people: tuple[Holder, ...]
    most_silences: int = 2
    bed: BedAlerts = field(default_factory=lambda: BedAlerts(TABLE))
    step: int = 1
    present: frozenset[Condition] = frozenset()
    holders: frozenset[Holder] = frozenset()
    on_the_way: Order | None = None
    granted: dict[str, SilenceCommand] = field(default_factory=dict)
    told: dict[str, Change] = field(default_factory=dict)
    n_orders: int = 0

    @property
    def now_ns(self) -> TimestampNs:
        return TimestampNs(self.step * STEP_NS)

    def fork(self) -> "World":
        twin = copy(self)
        twin.bed = self.bed.fork()
        twin.granted = dict(self.granted)
        twin.told = dict(self.told)
        return twin

    def hear(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.told[change.alert.alert_id] = change
            if change.alert.presence is Presence.OFF:
                del self.told[change.alert.alert_id]

    def key(self) -> object:
        return (
            self.present,
            frozenset(holder.person for holder in self.holders),
            tuple(self._condition_key(condition) for condition in self.conditions),
            tuple(self._silence_key(silence) for silence in self.bed.silences),
            self._order_key(),
        )

    def _condition_key(self, condition: Condition) -> object:
        state = self.bed.state_of(condition)
        alert = state.alert
        timers = (state.present_since_ns is None, state.absent_since_ns is None)
        if alert is None:
            return timers
        expires_ns = alert.acknowledgement_expires_ns
        left = None if expires_ns is None else expires_ns - self.now_ns
        seen_by = tuple(
            self.granted[one.silence_id].seen.get(alert.alert_id, 0) >= alert.activated_revision
            for one in self.bed.silences
        )
        return timers, alert.presence, alert.active, alert.priority, left, alert.signal, seen_by

    def _silence_key(self, silence: Silence) -> object:
        return (
            silence.kind,
            silence.scope,
            silence.author,
            silence.expires_time_ns - self.now_ns,
            (self.now_ns - silence.reminded_time_ns) // STEP_NS > 0,
            silence.ceiling,
            silence.held,
        )

    def _order_key(self) -> object:
        order = self.on_the_way
        if order is None:
            return None
        done = order.command_id in self.bed.snapshot().applied_commands
        age = min(self.now_ns - order.issued_time_ns, LASTS_STEPS * STEP_NS)
        if isinstance(order, AcknowledgeCommand):
            alert = next((a for a in self.bed.alerts if a.alert_id == order.alert_id), None)
            current = alert is not None and (order.seen_revision or 0) >= alert.activated_revision
            return done, age, None if alert is None else alert.condition, current
        stands = any(one.silence_id == order.silence_id for one in self.bed.silences)
        sees = tuple(
            order.seen.get(alert.alert_id, 0) >= alert.activated_revision
            for alert in self.bed.alerts
        )
        return done, age, order.kind, order.scope, order.author, order.ends, stands, sees

    def moves(self) -> Iterator[tuple[str, Callable[["World"], None]]]:
        """Everything that may happen next."""
        for condition in self.conditions:
            yield f"{condition} turns", lambda w, c=condition: w.turn(c)
        yield "time passes", World.pass_time
        yield "restart", World.restart
        for person in self.people:
            yield f"lease of {person.person} turns", lambda w, p=person: w.turn_lease(p)
        if self.on_the_way is not None:
            yield "the order arrives", World.arrive
            yield "the order is lost", World.lose
            return
        for person in self.people:
            for alert in self.bed.alerts:
                yield "acknowledge", lambda w, a=alert, p=person: w.acknowledge(a, p)
            for silence in self.bed.silences:
                yield "end", lambda w, s=silence, p=person: w.send_end(s, p)
            if len(self.bed.silences) < self.most_silences:
                for kind, scope in ORDERS:
                    if scope is None or scope in self.conditions:
                        yield (
                            f"{person.person} orders {kind} of {scope}",
                            lambda w, k=kind, s=scope, p=person: w.send(k, s, p),
                        )

    def turn(self, condition: Condition) -> None:
        self.present = self.present ^ {condition}
        finding = Finding(
            condition=condition, present=condition in self.present, time_ns=self.now_ns
        )
        self.hear(self.bed.observe(finding, BORN))

    def pass_time(self) -> None:
        self.step += 1
        for condition in self.conditions:
            finding = Finding(
                condition=condition, present=condition in self.present, time_ns=self.now_ns
            )
            self.hear(self.bed.observe(finding, BORN))
        self.hear(self.bed.elapse(self.now_ns, self.now_ns))

    def restart(self) -> None:
        # As on disk: what was told has been stored, and nothing else is remembered.
        snapshot = decode(encode(self.bed.snapshot()), EngineSnapshot)
        self.bed = BedAlerts(TABLE, snapshot)
        self.holders = frozenset()
        self.pass_time()

    def turn_lease(self, holder: Holder) -> None:
        self.holders = self.holders ^ {holder}
        self.hear(self.bed.hold(self.holders, self.now_ns))

    def _id(self) -> str:
        self.n_orders += 1
        return f"00000000-0000-4000-8000-{self.n_orders:012x}"

    def send(self, kind: Condition, scope: Condition | None, person: Holder) -> None:
        self.on_the_way = SilenceCommand(
            command_id=self._id(),
            silence_id=self._id(),
            device_id="bed-1",
            kind=kind,
            author=person.person,
            authority=AUTHORITY[person.person],
            station_id=person.station_id,
            issued_time_ns=self.now_ns,
            expires_time_ns=TimestampNs(self.now_ns + LASTS_STEPS * STEP_NS),
            scope=scope,
            seen={alert.alert_id: alert.revision for alert in self.bed.alerts},
            reason="because",
        )

    def send_end(self, silence: Silence, person: Holder) -> None:
        self.on_the_way = replace(
            self.granted[silence.silence_id],
            command_id=self._id(),
            ends=True,
            author=person.person,
            issued_time_ns=self.now_ns,
            expires_time_ns=TimestampNs(self.now_ns + STEP_NS),
        )

    def acknowledge(self, alert: Alert, person: Holder) -> None:
        self.on_the_way = AcknowledgeCommand(
            command_id=self._id(),
            device_id="bed-1",
            alert_id=alert.alert_id,
            author=person.person,
            issued_time_ns=self.now_ns,
            expires_time_ns=TimestampNs(self.now_ns + LASTS_STEPS * STEP_NS),
            seen_revision=alert.revision,
        )

    def arrive(self) -> None:
        # It stays on the way: the broker may deliver it again.
        order = self.on_the_way
        if isinstance(order, AcknowledgeCommand):
            self.hear(self.bed.acknowledge(order, self.now_ns))
        elif isinstance(order, SilenceCommand):
            if not order.ends:
                self.granted[order.silence_id] = order
            self.hear(self.bed.order_silence(order, self.now_ns))

    def lose(self) -> None:
        self.on_the_way = None


ORDERS: tuple[tuple[Condition, Condition | None], ...] = (
    (Condition.AUDIO_PAUSED, None),
    (Condition.AUDIO_OFF, None),
    (Condition.ALARM_PAUSED, None),
    (Condition.ALARM_PAUSED, HIGH),
    (Condition.ALARM_OFF, None),
    (Condition.ALARM_OFF, HIGH),
)


def wrong(world: World) -> str | None:
    """What is wrong in this state; None: nothing.

    A high-priority alert whose condition is there and that the bed was told to keep from
    sounding is excused only by a silence about it that is not over, whose author is at this
    moment proven to be at the station it was given at, and who (a) had the authority to switch
    off, where it is an off; (b) had seen this very activation, unless it is that condition
    alone that was paused.
    """
    for alert in world.bed.alerts:
        said = world.told.get(alert.alert_id)
        if said is None or said.alert.signal != alert.signal:
            return f"{alert.condition} shows otherwise than was told"
        if alert.priority is not AlertPriority.HIGH or not alert.active:
            continue
        if alert.signal.audible is SignalState.ON and alert.signal.visible is SignalState.ON:
            continue
        if not any(_excuses(world, one, alert) for one in world.bed.silences):
            return f"{alert.condition} is active and quiet, and nobody answers for it"
    return None


def _excuses(world: World, silence: Silence, alert: Alert) -> bool:
    order = world.granted[silence.silence_id]
    if Holder(order.station_id, order.author) not in world.holders:
        return False
    if not order.issued_time_ns <= world.now_ns < order.expires_time_ns:
        return False
    if not covers(silence, alert):
        return False
    if order.kind not in TIMED:
        return AUTHORITY[order.author] is Authority.ORDER
    seen = order.seen.get(alert.alert_id, 0) >= alert.activated_revision
    return seen or order.scope is alert.condition


@dataclass(frozen=True)
class Search:
    """What a search found."""

    n_states: int
    n_moves: int
    n_quiet: int
    trace: tuple[str, ...] = ()
    problem: str | None = None


def search(
    conditions: tuple[Condition, ...], people: tuple[Holder, ...], most_silences: int = 2
) -> Search:
    """Visit every reachable state, breadth first, until one is wrong."""
    start = World(conditions, people, most_silences)
    seen = {start.key()}
    waiting: deque[tuple[World, tuple[str, ...]]] = deque([(start, ())])
    n_moves = n_quiet = 0
    while waiting:
        world, trace = waiting.popleft()
        n_quiet += any(alert.signal.audible is not SignalState.ON for alert in world.bed.alerts)
        for name, move in list(world.moves()):
            after = world.fork()
            move(after)
            n_moves += 1
            problem = wrong(after)
            if problem is not None:
                return Search(len(seen), n_moves, n_quiet, (*trace, name), problem)
            key = after.key()
            if key not in seen:
                seen.add(key)
                waiting.append((after, (*trace, name)))
    return Search(len(seen), n_moves, n_quiet)
