"""What becomes of a finding: one state machine for each condition, shared by bed and cloud.

Pure functions of values. Time is the data's own, so a replayed night gives the same alerts.

    normal ──onset──▶ active ──acknowledge──▶ acknowledged ──expiry──▶ active
      ▲                 │ gone                    │ gone
      │                 ▼                         ▼
      └──acknowledge── latched                  ended = normal

A latched alert whose condition returns is reactivated under its own id; a new activation, or
a rise in priority, takes an acknowledgement back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wardstream.alerting.conditions import ConditionRule
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
    Transition,
    alert_id_for,
)
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

_RANK = {AlertPriority.LOW: 0, AlertPriority.MEDIUM: 1, AlertPriority.HIGH: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector holds of one condition at one moment.

    Attributes
    ----------
    condition : Condition
        Which.
    present : bool or None
        None: it cannot be told (no usable signal); nothing changes.
    time_ns : TimestampNs
        Last sample that was judged.
    since_ns : TimestampNs or None
        When it began, where the detector knows better than `time_ns`; never later.
    evidence : mapping of str to float
        The figures that decided, finite, unit in the name.
    priority : AlertPriority or None
        Where the depth of the finding raises the table's priority.
    judged_by_model : bool
        Whether a model had a say in it.
    """

    condition: Condition
    present: bool | None
    time_ns: TimestampNs
    since_ns: TimestampNs | None = None
    evidence: Mapping[str, float] = field(default_factory=dict[str, float])
    priority: AlertPriority | None = None
    judged_by_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert that is not over.

    Attributes
    ----------
    alert_id : str
        The same for life, restarts of the agent included.
    condition, priority, presence
        What, how urgent now, how it stands.
    active : bool
        Whether the condition is there; False only while latched.
    onset_time_ns, changed_time_ns : TimestampNs
        When the condition began; when the alert last changed.
    evidence : mapping of str to float
        Of the last onset or reactivation.
    model_version : str
        Model that judged then; ``none`` for a rule alone.
    acknowledged_by : str or None
        Author of the live acknowledgement.
    acknowledgement_expires_ns : TimestampNs or None
        When it lapses.
    """

    alert_id: str
    condition: Condition
    priority: AlertPriority
    presence: Presence
    active: bool
    onset_time_ns: TimestampNs
    changed_time_ns: TimestampNs
    evidence: dict[str, float]
    model_version: str
    acknowledged_by: str | None = None
    acknowledgement_expires_ns: TimestampNs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionState:
    """What is remembered of one condition between findings.

    Attributes
    ----------
    condition : Condition
        Which.
    present_since_ns, absent_since_ns : TimestampNs or None
        Begin of the unbroken present or absent findings; at most one is set.
    alert : Alert or None
        The alert that is not over.
    """

    condition: Condition
    present_since_ns: TimestampNs | None = None
    absent_since_ns: TimestampNs | None = None
    alert: Alert | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """Everything the engine must find again after a restart; encodes as JSON.

    Attributes
    ----------
    alerts : tuple of Alert
        All that are not over.
    applied_commands : tuple of str
        Ids of the last acknowledge commands, so that a repeat changes nothing.
    """

    alerts: tuple[Alert, ...] = ()
    applied_commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition of one alert, to be told to the world."""

    transition: Transition
    alert: Alert
    """As it stands after it."""
    time_ns: TimestampNs


@dataclass(frozen=True, slots=True, kw_only=True)
class Birthplace:
    """Where an alert is born: its id derives from this."""

    device_id: str
    boot_id: str
    model_version: str = "none"


Outcome = tuple[ConditionState, tuple[Change, ...]]


def observe(
    rule: ConditionRule, state: ConditionState, finding: Finding, birthplace: Birthplace
) -> Outcome:
    """State after `finding`, and what changed.

    A finding that cannot tell changes nothing: silence is a technical alert's business.
    """
    if finding.present is None:
        return state, ()
    if finding.present:
        return _present(rule, state, finding, birthplace)
    return _absent(rule, state, finding)


def acknowledge(
    state: ConditionState, command: AcknowledgeCommand, time_ns: TimestampNs
) -> Outcome:
    """State after a clinician saw the alert: a latched one is over, a true one stays.

    A command for another alert, or one that has already lapsed, changes nothing.
    """
    alert = state.alert
    if alert is None or alert.alert_id != command.alert_id or command.expires_time_ns <= time_ns:
        return state, ()
    acked = replace(
        alert,
        presence=Presence.ACKED,
        changed_time_ns=_not_before(alert, time_ns),
        acknowledged_by=command.author,
        acknowledgement_expires_ns=command.expires_time_ns,
    )
    told = _change(Transition.ACKNOWLEDGED, acked)
    if alert.active:
        return replace(state, alert=acked), (told,)
    return replace(state, alert=None), (told, _ended(acked, acked.changed_time_ns))


def expire(state: ConditionState, time_ns: TimestampNs) -> Outcome:
    """State at `time_ns`: an acknowledgement that has lapsed is taken back."""
    alert = state.alert
    if (
        alert is None
        or alert.acknowledgement_expires_ns is None
        or time_ns < alert.acknowledgement_expires_ns
    ):
        return state, ()
    lapsed = _unacknowledged(alert, time_ns)
    return replace(state, alert=lapsed), (_change(Transition.ACKNOWLEDGEMENT_EXPIRED, lapsed),)


def signal_of(presence: Presence) -> AlertSignal:
    """How an alert of that presence shows at the bed.

    To acknowledge is not to silence: sound is paused by its own, timed action.
    """
    shown = SignalState.OFF if presence is Presence.OFF else SignalState.ON
    return AlertSignal(audible=shown, visible=shown)


def _present(
    rule: ConditionRule, state: ConditionState, finding: Finding, birthplace: Birthplace
) -> Outcome:
    since_ns = state.present_since_ns
    if since_ns is None or since_ns > finding.time_ns:  # the latter: the clock was set back
        since_ns = finding.time_ns
        state = replace(state, present_since_ns=since_ns, absent_since_ns=None)
    if finding.time_ns - since_ns < rule.delay_s * NS_PER_S:
        return state, ()
    alert = state.alert
    priority = _highest(rule.priority, finding.priority)
    if alert is None:
        born = _born(finding, since_ns, priority, birthplace)
        return replace(state, alert=born), (_change(Transition.ONSET, born),)
    rises = _RANK[priority] > _RANK[alert.priority]
    if alert.active and not rises:
        return state, ()
    again = replace(
        _unacknowledged(alert, finding.time_ns),
        active=True,
        priority=_highest(alert.priority, priority),
        evidence=dict(finding.evidence),
        model_version=birthplace.model_version,
    )
    return replace(state, alert=again), (_change(Transition.REACTIVATED, again),)


def _absent(rule: ConditionRule, state: ConditionState, finding: Finding) -> Outcome:
    since_ns = state.absent_since_ns
    if since_ns is None or since_ns > finding.time_ns:
        since_ns = finding.time_ns
        state = replace(state, present_since_ns=None, absent_since_ns=since_ns)
    alert = state.alert
    if alert is None or not alert.active or finding.time_ns - since_ns < rule.clear_s * NS_PER_S:
        return state, ()
    if rule.latching and alert.presence is not Presence.ACKED:
        latched = replace(
            alert,
            active=False,
            presence=Presence.LATCHED,
            changed_time_ns=_not_before(alert, finding.time_ns),
        )
        return replace(state, alert=latched), (_change(Transition.CLEARED, latched),)
    return replace(state, alert=None), (_ended(alert, finding.time_ns),)


def _born(
    finding: Finding, since_ns: TimestampNs, priority: AlertPriority, birthplace: Birthplace
) -> Alert:
    onset_ns = TimestampNs(min(since_ns, finding.since_ns or since_ns))
    return Alert(
        alert_id=alert_id_for(
            birthplace.device_id, birthplace.boot_id, finding.condition, onset_ns
        ),
        condition=finding.condition,
        priority=priority,
        presence=Presence.ON,
        active=True,
        onset_time_ns=onset_ns,
        changed_time_ns=finding.time_ns,
        evidence=dict(finding.evidence),
        model_version=birthplace.model_version,
    )


def _unacknowledged(alert: Alert, time_ns: TimestampNs) -> Alert:
    return replace(
        alert,
        presence=Presence.ON,
        changed_time_ns=_not_before(alert, time_ns),
        acknowledged_by=None,
        acknowledgement_expires_ns=None,
    )


def _ended(alert: Alert, time_ns: TimestampNs) -> Change:
    over = replace(
        alert,
        active=False,
        presence=Presence.OFF,
        changed_time_ns=_not_before(alert, time_ns),
    )
    return _change(Transition.ENDED, over)


def _change(transition: Transition, alert: Alert) -> Change:
    return Change(transition=transition, alert=alert, time_ns=alert.changed_time_ns)


def _not_before(alert: Alert, time_ns: TimestampNs) -> TimestampNs:
    # The clock of the data may be set back; the story of one alert only goes forward.
    return TimestampNs(max(time_ns, alert.changed_time_ns))


def _highest(first: AlertPriority, second: AlertPriority | None) -> AlertPriority:
    return first if second is None else max(first, second, key=_RANK.__getitem__)
