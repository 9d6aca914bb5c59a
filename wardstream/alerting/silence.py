"""The four silences of IEC 60601-1-8, and the one rule of how an alert shows under them.

| silence | sound | light | ends by itself | broken by |
|---|---|---|---|---|
| audio paused | paused | on | yes | a new high-priority alert, or one above all it was given for |
| audio off | off | on | with the order | nobody; reminders |
| alarm paused | paused | paused | yes | a new high-priority alert outside its scope |
| alarm off | off | off | with the order | nobody; reminders |

A silence works only while it is *held*: while the station it was given at proves, by a signed
lease renewed twice a second, that its author is still there and sees the alarms. It is refused
where the bed has a high-priority alert that its author had not seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from wardstream.alerting.state import GONE, RANK, SHOWN, Alert, Silence
from wardstream.contracts.alert import (
    DISCLOSURES,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
)
from wardstream.contracts.authority import TIMED, Authority, SilenceCommand
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

REMIND_EVERY_NS: Final = 120 * NS_PER_S
"""How often a silence without an end is called to mind."""

STALE_AFTER_NS: Final = 60 * NS_PER_S
"""An order that took longer to arrive is about a bed that is no longer so."""

_EFFECT: Final = {
    Condition.AUDIO_PAUSED: AlertSignal(audible=SignalState.PAUSED, visible=SignalState.ON),
    Condition.AUDIO_OFF: AlertSignal(audible=SignalState.OFF, visible=SignalState.ON),
    Condition.ALARM_PAUSED: AlertSignal(audible=SignalState.PAUSED, visible=SignalState.PAUSED),
    Condition.ALARM_OFF: AlertSignal(audible=SignalState.OFF, visible=SignalState.OFF),
}
_STRONGEST_FIRST: Final = (
    Condition.ALARM_OFF,
    Condition.ALARM_PAUSED,
    Condition.AUDIO_OFF,
    Condition.AUDIO_PAUSED,
)


class AlarmState(StrEnum):
    """How a condition stands, in the words of IEC 62682."""

    NORMAL = "normal"
    ACTIVE_UNACKNOWLEDGED = "active_unacknowledged"
    ACTIVE_ACKNOWLEDGED = "active_acknowledged"
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    SHELVED = "shelved"


def signal_under(alert: Alert, silences: Sequence[Silence]) -> AlertSignal:
    """How `alert` shows under `silences`; only those that are held count."""
    if alert.presence is Presence.OFF:
        return GONE
    kinds = {silence.kind for silence in silences if silence.held and covers(silence, alert)}
    return next((_EFFECT[kind] for kind in _STRONGEST_FIRST if kind in kinds), SHOWN)


def alarm_state(alert: Alert | None, silences: Sequence[Silence] = ()) -> AlarmState:
    """The state of a condition whose alert is `alert`."""
    if alert is None or alert.presence is Presence.OFF:
        return AlarmState.NORMAL
    if signal_under(alert, silences).visible is not SignalState.ON:
        return AlarmState.SHELVED
    if not alert.active:
        return AlarmState.RETURNED_UNACKNOWLEDGED
    if alert.presence is Presence.ACKED:
        return AlarmState.ACTIVE_ACKNOWLEDGED
    return AlarmState.ACTIVE_UNACKNOWLEDGED


def covers(silence: Silence, alert: Alert) -> bool:
    """Whether `silence` is about `alert`."""
    if alert.condition in DISCLOSURES:
        return False
    return silence.scope is None or silence.scope is alert.condition


def refusal(command: SilenceCommand, alerts: Iterable[Alert], now_ns: TimestampNs) -> str | None:
    """Why the bed does not obey `command` now; None: it does."""
    if command.ends:
        return None
    age_ns = now_ns - command.issued_time_ns
    if age_ns > STALE_AFTER_NS or command.expires_time_ns <= now_ns:
        return "it came too late"
    if age_ns < -STALE_AFTER_NS:
        return "it is dated in the future"
    if command.kind not in TIMED and command.authority is not Authority.ORDER:
        return "its author may not switch off"
    for alert in alerts:
        meant = command.scope is None or command.scope is alert.condition
        unseen = command.seen.get(alert.alert_id, 0) < alert.activated_revision
        if alert.active and alert.priority is AlertPriority.HIGH and meant and unseen:
            return f"its author had not seen {alert.condition}"
    return None


def granted(command: SilenceCommand, alerts: Iterable[Alert], now_ns: TimestampNs) -> Silence:
    """The silence that `command` asks for, not yet held."""
    lasts_ns = command.expires_time_ns - command.issued_time_ns
    standing = [alert.priority for alert in alerts if alert.condition not in DISCLOSURES]
    ceiling = max(standing, key=RANK.__getitem__, default=AlertPriority.LOW)
    return Silence(
        silence_id=command.silence_id,
        kind=command.kind,
        author=command.author,
        station_id=command.station_id,
        granted_time_ns=now_ns,
        # By the device's own clock: one that differs from the cloud's must not make it longer.
        expires_time_ns=TimestampNs(min(command.expires_time_ns, now_ns + lasts_ns)),
        reminded_time_ns=now_ns,
        ceiling=AlertPriority.MEDIUM if command.kind is Condition.ALARM_PAUSED else ceiling,
        scope=command.scope,
        reason=command.reason,
    )


def is_over(silence: Silence, now_ns: TimestampNs) -> bool:
    """Whether time has ended it; so has a clock that was set back behind its grant."""
    return not silence.granted_time_ns <= now_ns < silence.expires_time_ns


def is_broken_by(silence: Silence, alert: Alert) -> bool:
    """Whether the new activation `alert` ends `silence`."""
    if silence.kind not in TIMED or silence.scope is alert.condition:
        return False
    if alert.condition in DISCLOSURES or not covers(silence, alert):
        return False
    return alert.priority is AlertPriority.HIGH or RANK[alert.priority] > RANK[silence.ceiling]


def needs_reminder(silence: Silence, now_ns: TimestampNs) -> bool:
    """Whether somebody must be reminded that it still holds."""
    without_end = silence.kind not in TIMED
    return without_end and silence.held and now_ns - silence.reminded_time_ns >= REMIND_EVERY_NS


def reminded(silence: Silence, now_ns: TimestampNs) -> Silence:
    """The same after a reminder."""
    return replace(silence, reminded_time_ns=now_ns, revision=silence.revision + 1)
