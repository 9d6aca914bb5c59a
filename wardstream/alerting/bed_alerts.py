"""All alerts and orders of one bed: the state machine that the bed runs and the proofs search.

Deterministic: time comes in as `time_ns`, the clock of the data, on which conditions live, and
`now_ns`, the wall clock of the device, on which people's orders live.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Final

from wardstream.alerting import silence as silencing
from wardstream.alerting.conditions import RULES, ConditionRule
from wardstream.alerting.disclosure import limits_change, silence_change
from wardstream.alerting.engine import Outcome, acknowledge, expire, observe
from wardstream.alerting.state import (
    SHOWN,
    Alert,
    Birthplace,
    Change,
    ConditionState,
    EngineSnapshot,
    Finding,
    LimitsInForce,
    Silence,
)
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertSignal,
    Condition,
    SignalState,
    Transition,
)
from wardstream.contracts.authority import TIMED, PatientLimitsCommand, SilenceCommand
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

REMEMBERED_COMMANDS: Final = 256
_SET_BACK_NS: Final = NS_PER_S

_ACTIVATIONS: Final = frozenset({Transition.ONSET, Transition.REACTIVATED})


@dataclass(frozen=True, slots=True)
class Holder:
    """Who is proven, by a live lease, to sit where."""

    station_id: str
    person: str


class BedAlerts:
    """The alerts, silences and patient limits of one bed.

    Parameters
    ----------
    rules : mapping of Condition to ConditionRule
        The table in force.
    snapshot : EngineSnapshot or None
        As it stood when the agent last stopped. No silence is held in it any more.
    """

    def __init__(
        self,
        rules: Mapping[Condition, ConditionRule] = RULES,
        snapshot: EngineSnapshot | None = None,
    ) -> None:
        self._rules = rules
        self._states = {condition: ConditionState(condition=condition) for condition in Condition}
        self._concerned: frozenset[Condition] = frozenset()
        self._silences: tuple[Silence, ...] = ()
        self._limits: LimitsInForce | None = None
        self._applied: tuple[str, ...] = ()
        self._holders: frozenset[Holder] = frozenset()
        self._now_ns = TimestampNs(0)
        self._time_ns = TimestampNs(0)
        self._untold_lapses: frozenset[str] = frozenset()
        self._unsettled = False
        if snapshot is not None:
            self._restore(snapshot)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Those that are not over."""
        return tuple(state.alert for state in self._states.values() if state.alert is not None)

    @property
    def silences(self) -> tuple[Silence, ...]:
        """Those that are not over."""
        return self._silences

    @property
    def limits(self) -> LimitsInForce | None:
        """Of this patient."""
        return self._limits

    @property
    def concerned(self) -> frozenset[Condition]:
        """Conditions of which it matters to hear that they are absent."""
        return self._concerned

    @property
    def n_standing(self) -> int:
        """Alerts that are not over."""
        return sum(state.alert is not None for state in self._states.values())

    def state_of(self, condition: Condition) -> ConditionState:
        """What is remembered of one condition."""
        return self._states[condition]

    def fork(self) -> "BedAlerts":
        """An independent copy, for whoever asks what would happen if."""
        twin = copy(self)
        vars(twin)["_states"] = dict(self._states)
        return twin

    def snapshot(self) -> EngineSnapshot:
        """What must be found again after a restart."""
        return EngineSnapshot(
            alerts=self.alerts,
            applied_commands=self._applied,
            # A lapse that has not been told yet is the next life's to tell.
            silences=tuple(
                replace(one, held=one.held or one.silence_id in self._untold_lapses)
                for one in self._silences
            ),
            limits=self._limits,
        )

    def observe(self, finding: Finding, birthplace: Birthplace) -> tuple[Change, ...]:
        """What changes with `finding`."""
        state = self._states[finding.condition]
        if state.is_idle and not finding.present:
            return ()  # the usual case, many times a second
        self._time_ns = TimestampNs(max(self._time_ns, finding.time_ns))
        return self._settled(
            self._take(observe(self._rules[finding.condition], state, finding, birthplace))
        )

    def acknowledge(self, command: AcknowledgeCommand, time_ns: TimestampNs) -> tuple[Change, ...]:
        """What changes with a clinician's acknowledgement; nothing if it is a repeat."""
        if not self._is_new(command.command_id):
            return ()
        changes: list[Change] = []
        for state in list(self._states.values()):
            changes += self._take(acknowledge(state, command, time_ns))
        return self._settled(changes)

    def order_silence(self, command: SilenceCommand, now_ns: TimestampNs) -> tuple[Change, ...]:
        """What changes with a person's silence, or with its end; nothing if it is a repeat.

        An end that overtakes its begin keeps it from ever beginning. A refusal is told, as a
        silence that is over at once, with the reason.
        """
        if not self._is_new(command.command_id):
            return ()
        if command.ends:
            ended = [one for one in self._silences if one.silence_id == command.silence_id]
            self._is_new(command.silence_id)
            return self._settled(
                [self._end(one, now_ns, command.reason, command.author) for one in ended]
            )
        if not self._is_new(command.silence_id):
            return ()
        why = silencing.refusal(command, self.alerts, now_ns)
        silence = silencing.granted(command, self.alerts, now_ns)
        if why is not None:
            return (
                silence_change(
                    Transition.ENDED, silence, now_ns, command.author, f"refused: {why}"
                ),
            )
        silence = replace(silence, held=self._holder_of(silence) in self._holders)
        self._silences = (*self._silences, silence)
        told = silence_change(Transition.ONSET, silence, now_ns, command.author, command.reason)
        return self._settled([told])

    def order_limits(
        self, command: PatientLimitsCommand, now_ns: TimestampNs
    ) -> tuple[Change, ...]:
        """What changes with limits ordered for this patient; nothing if repeated or too late."""
        if not self._is_new(command.command_id) or command.expires_time_ns <= now_ns:
            return ()
        if self._limits is not None and command.issued_time_ns < self._limits.granted_time_ns:
            return ()  # an older order that was overtaken
        changes = self._drop_limits(now_ns, "replaced")
        if command.limits:
            self._limits = LimitsInForce(
                command_id=command.command_id,
                author=command.author,
                limits={name: (pair.lower, pair.upper) for name, pair in command.limits.items()},
                granted_time_ns=command.issued_time_ns,
                expires_time_ns=command.expires_time_ns,
                reason=command.reason,
            )
            changes.append(limits_change(Transition.ONSET, self._limits, now_ns, command.reason))
        return tuple(changes)

    def hold(self, holders: frozenset[Holder], now_ns: TimestampNs) -> tuple[Change, ...]:
        """What changes now that exactly `holders` are proven to be at their stations."""
        if holders == self._holders:
            return ()
        self._holders = holders
        changes: list[Change] = []
        kept: list[Silence] = []
        for silence in self._silences:
            held = self._holder_of(silence) in holders
            if held != silence.held:
                silence = replace(silence, held=held, revision=silence.revision + 1)
                word = Transition.LEASE_HELD if held else Transition.LEASE_LOST
                changes.append(silence_change(word, silence, now_ns))
            kept.append(silence)
        self._silences = tuple(kept)
        return self._settled(changes)

    def elapse(self, time_ns: TimestampNs, now_ns: TimestampNs) -> tuple[Change, ...]:
        """What lapses: acknowledgements at `time_ns`; silences and limits at `now_ns`."""
        self._time_ns = TimestampNs(max(self._time_ns, time_ns))
        changes: list[Change] = []
        for state in list(self._states.values()):
            if state.alert is not None:
                changes += self._take(expire(state, time_ns))
        set_back = now_ns < self._now_ns - _SET_BACK_NS
        self._now_ns = now_ns
        changes += self._tell_lapses(now_ns)
        for silence in self._silences:
            if silencing.is_over(silence, now_ns):
                changes.append(self._end(silence, now_ns, "it was over"))
            elif set_back and silence.kind in TIMED:
                changes.append(self._end(silence, now_ns, "the clock was set back"))
            elif silencing.needs_reminder(silence, now_ns):
                again = silencing.reminded(silence, now_ns)
                self._replace(again)
                changes.append(silence_change(Transition.REMINDED, again, now_ns))
        if self._limits is not None and now_ns >= self._limits.expires_time_ns:
            changes += self._drop_limits(now_ns, "they expired")
        return self._settled(changes)

    def _tell_lapses(self, now_ns: TimestampNs) -> list[Change]:
        # The receivers still know them as held by a lease of the last life.
        changes: list[Change] = []
        for silence in self._silences:
            if silence.silence_id in self._untold_lapses and not silence.held:
                lapsed = replace(silence, revision=silence.revision + 1)
                self._replace(lapsed)
                changes.append(silence_change(Transition.LEASE_LOST, lapsed, now_ns))
        self._untold_lapses = frozenset()
        return changes

    def _restore(self, snapshot: EngineSnapshot) -> None:
        for alert in snapshot.alerts:
            self._put(ConditionState(condition=alert.condition, alert=alert))
        self._applied = snapshot.applied_commands
        # Whoever held them up has to prove it anew: leases die with the life they were given to.
        self._silences = tuple(replace(one, held=False) for one in snapshot.silences)
        self._untold_lapses = frozenset(one.silence_id for one in snapshot.silences if one.held)
        self._limits = snapshot.limits
        self._unsettled = True

    def _is_new(self, command_id: str) -> bool:
        if command_id in self._applied:
            return False
        self._applied = (*self._applied, command_id)[-REMEMBERED_COMMANDS:]
        return True

    def _take(self, outcome: Outcome) -> list[Change]:
        state, changes = outcome
        self._put(state)
        told = list(changes)
        for change in changes:
            if change.transition in _ACTIVATIONS:
                told += self._break_silences(change.alert)
        return told

    def _put(self, state: ConditionState) -> None:
        self._states[state.condition] = state
        if state.is_idle == (state.condition in self._concerned):
            self._concerned = self._concerned ^ {state.condition}

    def _break_silences(self, alert: Alert) -> list[Change]:
        broken = [one for one in self._silences if silencing.is_broken_by(one, alert)]
        # Dated by the device's clock as it was read last: it is the alert that has no time to lose.
        return [
            self._end(
                one, TimestampNs(max(self._now_ns, one.granted_time_ns)), f"{alert.condition}"
            )
            for one in broken
        ]

    def _end(
        self, silence: Silence, now_ns: TimestampNs, reason: str | None, actor: str | None = None
    ) -> Change:
        self._silences = tuple(
            one for one in self._silences if one.silence_id != silence.silence_id
        )
        self._unsettled = True
        over = replace(silence, held=False, revision=silence.revision + 1)
        return silence_change(Transition.ENDED, over, now_ns, actor, reason)

    def _replace(self, silence: Silence) -> None:
        self._silences = tuple(
            silence if one.silence_id == silence.silence_id else one for one in self._silences
        )

    def _drop_limits(self, now_ns: TimestampNs, reason: str) -> list[Change]:
        if self._limits is None:
            return []
        told = limits_change(Transition.ENDED, self._limits, now_ns, reason)
        self._limits = None
        return [told]

    def _holder_of(self, silence: Silence) -> Holder:
        return Holder(silence.station_id, silence.author)

    def _settled(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        # How each alert shows follows from the silences; what has changed of that is told too.
        told = list(changes)
        if not (self._silences or self._unsettled):
            return tuple(told)
        self._unsettled = False
        for state in list(self._states.values()):
            alert = state.alert
            if alert is None:
                continue
            signal = silencing.signal_under(alert, self._silences)
            if signal == alert.signal:
                continue
            changed = [at for at, one in enumerate(told) if one.alert.alert_id == alert.alert_id]
            shown = replace(alert, signal=signal)
            if changed:  # its own change carries it
                told[changed[-1]] = replace(told[changed[-1]], alert=shown)
            else:
                shown = replace(
                    shown,
                    revision=alert.revision + 1,
                    changed_time_ns=TimestampNs(max(alert.changed_time_ns, self._time_ns)),
                )
                word = _word_for(alert.signal, signal)
                told.append(Change(transition=word, alert=shown, time_ns=shown.changed_time_ns))
            self._states[alert.condition] = replace(state, alert=shown)
        return tuple(told)


def _word_for(before: AlertSignal, after: AlertSignal) -> Transition:
    if after.visible is not SignalState.ON:
        return Transition.SHELVED
    if after == SHOWN:
        was_shelved = before.visible is not SignalState.ON
        return Transition.UNSHELVED if was_shelved else Transition.AUDIO_RESUMED
    paused = after.audible is SignalState.PAUSED
    return Transition.AUDIO_PAUSED if paused else Transition.AUDIO_OFF
