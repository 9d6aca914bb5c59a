"""Orders of people, told on the alert lane like alerts, so that every station shows them."""

from wardstream.alerting.state import GONE, Alert, Change, LimitsInForce, Silence
from wardstream.contracts.alert import (
    AlertPriority,
    AlertSignal,
    Condition,
    OrderTerms,
    Presence,
    SignalState,
    Transition,
)
from wardstream.contracts.timebase import TimestampNs

_INDICATED = AlertSignal(audible=SignalState.OFF, visible=SignalState.ON)
_SOUNDED = AlertSignal(audible=SignalState.ON, visible=SignalState.ON)


def silence_change(
    transition: Transition,
    silence: Silence,
    now_ns: TimestampNs,
    actor: str | None = None,
    reason: str | None = None,
) -> Change:
    """`transition` of `silence`, as the change of the alert that tells of it.

    A silence is seen, never heard, but for its reminders.
    """
    over = transition is Transition.ENDED
    indicated = _SOUNDED if transition is Transition.REMINDED else _INDICATED
    changed_ns = TimestampNs(max(now_ns, silence.granted_time_ns))
    alert = Alert(
        alert_id=silence.silence_id,
        condition=silence.kind,
        priority=AlertPriority.LOW,
        presence=Presence.OFF if over else Presence.ON,
        active=not over,
        onset_time_ns=silence.granted_time_ns,
        changed_time_ns=changed_ns,
        evidence={},
        model_version="none",
        revision=silence.revision,
        activated_revision=1,
        signal=GONE if over else indicated,
    )
    return Change(
        transition=transition,
        alert=alert,
        time_ns=changed_ns,
        actor=actor,
        reason=silence.reason if reason is None else reason,
        terms=OrderTerms(
            author=silence.author,
            station_id=silence.station_id,
            scope=silence.scope,
            expires_time_ns=silence.expires_time_ns,
            held=silence.held,
        ),
    )


def limits_change(
    transition: Transition, limits: LimitsInForce, now_ns: TimestampNs, reason: str | None = None
) -> Change:
    """`transition` of a patient's limits, as the change of the alert that tells of them."""
    over = transition is Transition.ENDED
    changed_ns = TimestampNs(max(now_ns, limits.granted_time_ns))
    evidence = {
        f"{measure}_{side}": value
        for measure, pair in limits.limits.items()
        for side, value in zip(("lower", "upper"), pair, strict=True)
        if value is not None
    }
    alert = Alert(
        alert_id=limits.command_id,
        condition=Condition.PATIENT_LIMITS,
        priority=AlertPriority.LOW,
        presence=Presence.OFF if over else Presence.ON,
        active=not over,
        onset_time_ns=limits.granted_time_ns,
        changed_time_ns=changed_ns,
        evidence=evidence,
        model_version="none",
        revision=2 if over else 1,
        activated_revision=1,
        signal=GONE if over else _INDICATED,
    )
    return Change(
        transition=transition,
        alert=alert,
        time_ns=changed_ns,
        actor=limits.author,
        reason=limits.reason if reason is None else reason,
        terms=OrderTerms(author=limits.author, expires_time_ns=limits.expires_time_ns),
    )
