"""What becomes of a finding: one state machine for each condition, shared by bed and cloud.

Pure functions of values. Time is the data's own, so a replayed night gives the same alerts.

    normal ──onset──▶ active ──acknowledge──▶ acknowledged ──expiry──▶ active
      ▲                 │ gone                    │ gone
      │                 ▼                         ▼
      └──acknowledge── latched                  ended = normal

A latched alert whose condition returns is reactivated under its own id; a new activation, or
a rise in priority, takes an acknowledgement back.
"""

from dataclasses import replace

from wardstream.alerting.conditions import ConditionRule
from wardstream.alerting.state import (
    GONE,
    RANK,
    SHOWN,
    Alert,
    Birthplace,
    Change,
    ConditionState,
    EngineSnapshot,
    Finding,
)
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertPriority,
    AlertSignal,
    Presence,
    Transition,
    alert_id_for,
)
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

__all__ = [
    "Alert",
    "Birthplace",
    "Change",
    "ConditionState",
    "EngineSnapshot",
    "Finding",
    "Outcome",
    "acknowledge",
    "expire",
    "observe",
    "signal_of",
]

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

    A command for another alert, for an earlier activation than the present one, or one that
    has already lapsed, changes nothing.
    """
    alert = state.alert
    if alert is None or alert.alert_id != command.alert_id or command.expires_time_ns <= time_ns:
        return state, ()
    if command.seen_revision is not None and command.seen_revision < alert.activated_revision:
        return state, ()  # it has come back since; nobody has seen that
    acked = replace(
        alert,
        revision=alert.revision + 1,
        presence=Presence.ACKED,
        changed_time_ns=_not_before(alert, time_ns),
        acknowledged_by=command.author,
        acknowledgement_expires_ns=command.expires_time_ns,
    )
    told = replace(
        _change(Transition.ACKNOWLEDGED, acked), actor=command.author, reason=command.reason
    )
    if alert.active:
        return replace(state, alert=acked), (told,)
    over = _ended(acked, acked.changed_time_ns)
    return _without_alert(state, over), (told, over)


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
    return GONE if presence is Presence.OFF else SHOWN


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
        born = _born(finding, since_ns, priority, birthplace, state.ended)
        return replace(state, alert=born), (_change(Transition.ONSET, born),)
    rises = RANK[priority] > RANK[alert.priority]
    if alert.active and not rises:
        return state, ()
    again = replace(
        _unacknowledged(alert, finding.time_ns),
        active=True,
        activated_revision=alert.revision + 1,
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
            revision=alert.revision + 1,
            active=False,
            presence=Presence.LATCHED,
            changed_time_ns=_not_before(alert, finding.time_ns),
        )
        return replace(state, alert=latched), (_change(Transition.CLEARED, latched),)
    over = _ended(alert, finding.time_ns)
    return _without_alert(state, over), (over,)


def _born(
    finding: Finding,
    since_ns: TimestampNs,
    priority: AlertPriority,
    birthplace: Birthplace,
    ended: tuple[str, int] | None,
) -> Alert:
    onset_ns = TimestampNs(min(since_ns, finding.since_ns or since_ns))
    alert_id = alert_id_for(birthplace.device_id, birthplace.boot_id, finding.condition, onset_ns)
    revision = ended[1] + 1 if ended is not None and ended[0] == alert_id else 1
    return Alert(
        alert_id=alert_id,
        revision=revision,
        activated_revision=revision,
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
        revision=alert.revision + 1,
        presence=Presence.ON,
        changed_time_ns=_not_before(alert, time_ns),
        acknowledged_by=None,
        acknowledgement_expires_ns=None,
    )


def _ended(alert: Alert, time_ns: TimestampNs) -> Change:
    over = replace(
        alert,
        revision=alert.revision + 1,
        active=False,
        signal=GONE,
        presence=Presence.OFF,
        changed_time_ns=_not_before(alert, time_ns),
    )
    return _change(Transition.ENDED, over)


def _without_alert(state: ConditionState, over: Change) -> ConditionState:
    return replace(state, alert=None, ended=(over.alert.alert_id, over.alert.revision))


def _change(transition: Transition, alert: Alert) -> Change:
    return Change(transition=transition, alert=alert, time_ns=alert.changed_time_ns)


def _not_before(alert: Alert, time_ns: TimestampNs) -> TimestampNs:
    # The clock of the data may be set back; the story of one alert only goes forward.
    return TimestampNs(max(time_ns, alert.changed_time_ns))


def _highest(first: AlertPriority, second: AlertPriority | None) -> AlertPriority:
    return first if second is None else max(first, second, key=RANK.__getitem__)
