"""When a device counts as silent: the cloud's own technical alert about a bed."""

from dataclasses import dataclass, replace
from typing import Final

from wardstream.contracts.alert import (
    AlertEvent,
    AlertKind,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
    Transition,
    alert_id_for,
)
from wardstream.contracts.device import Connectivity
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import GenerationMode

RULE_VERSION: Final = "cloud-silence/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDevice:
    """What silence is judged from.

    Attributes
    ----------
    device_id : str
        Which device.
    connectivity : Connectivity
        As it, or its will, said last.
    generation_mode : GenerationMode
        Of its alerts.
    seen_time_ns : int
        Cloud clock at its last live status or stored frame.
    silent : bool
        Whether it counts as silent so far.
    """

    device_id: str
    connectivity: Connectivity
    generation_mode: GenerationMode
    seen_time_ns: int
    silent: bool


def is_silent(device: SeenDevice, *, now_ns: int, watching_since_ns: int, silence_ns: int) -> bool:
    """Whether `device` is silent now.

    A will says so at once. Otherwise `silence_ns` must pass, counted from when the cloud began
    to listen if that is later: a server that was down itself does not accuse the beds. But only
    the device itself ends its silence; that somebody has just begun to listen does not, or two
    replicas would contradict each other. A device that was stopped on purpose is not silent; it
    is shown as stopped.
    """
    match device.connectivity:
        case Connectivity.STOPPED:
            return False
        case Connectivity.LOST:
            return True
        case Connectivity.ONLINE:
            heard_ns = device.seen_time_ns
            if not device.silent:
                heard_ns = max(heard_ns, watching_since_ns)
            return now_ns - heard_ns >= silence_ns


def silence_event(
    device: SeenDevice,
    *,
    boot_id: str,
    sequence_number: int,
    now_ns: int,
    open_alert: AlertEvent | None,
) -> AlertEvent:
    """The event that raises (`open_alert` None) or ends the alert about `device`.

    Parameters
    ----------
    device : SeenDevice
        Which device.
    boot_id : str
        Boot id of this life of the cloud: the cloud says it, not the device.
    sequence_number : int
        Next number of that boot for this device.
    now_ns : int
        Cloud clock.
    open_alert : AlertEvent or None
        Last event of the alert to end.
    """
    onset_ns = now_ns if open_alert is None else open_alert.onset_time_ns
    alert_id = (
        alert_id_for(device.device_id, boot_id, Condition.DEVICE_SILENT, onset_ns)
        if open_alert is None
        else open_alert.alert_id
    )
    visible = SignalState.ON if open_alert is None else SignalState.OFF
    return AlertEvent(
        device_id=device.device_id,
        boot_id=boot_id,
        sequence_number=sequence_number,
        alert_id=alert_id,
        condition=Condition.DEVICE_SILENT,
        kind=AlertKind.TECHNICAL,
        priority=AlertPriority.MEDIUM,
        transition=Transition.ONSET if open_alert is None else Transition.ENDED,
        presence=Presence.ON if open_alert is None else Presence.OFF,
        signal=AlertSignal(audible=SignalState.OFF, visible=visible),
        onset_time_ns=TimestampNs(onset_ns),
        event_time_ns=TimestampNs(max(now_ns, onset_ns)),
        received_time_ns=TimestampNs(now_ns),
        decided_time_ns=TimestampNs(now_ns),
        model_version="none",
        rule_version=RULE_VERSION,
        generation_mode=device.generation_mode,
        evidence={"silence_s": max(0.0, (now_ns - device.seen_time_ns) / NS_PER_S)},
        acknowledged_by=None if open_alert is None else open_alert.acknowledged_by,
        revision=1 if open_alert is None else _next_revision(open_alert),
    )


def followed_by(
    open_alert: AlertEvent,
    transition: Transition,
    *,
    boot_id: str,
    sequence_number: int,
    now_ns: int,
    acknowledged_by: str | None = None,
    expires_ns: int | None = None,
) -> AlertEvent:
    """The acknowledgement of a silence alert, or its lapse.

    The device cannot confirm what it does not hear, so the cloud, which raised the alert, does.

    Parameters
    ----------
    open_alert : AlertEvent
        Its last event.
    transition : Transition
        `ACKNOWLEDGED` or `ACKNOWLEDGEMENT_EXPIRED`.
    boot_id, sequence_number, now_ns
        As for `silence_event`.
    acknowledged_by, expires_ns
        Author and lapse of the acknowledgement.
    """
    acked = transition is Transition.ACKNOWLEDGED
    moment_ns = TimestampNs(max(now_ns, open_alert.event_time_ns))
    return replace(
        open_alert,
        boot_id=boot_id,
        sequence_number=sequence_number,
        transition=transition,
        presence=Presence.ACKED if acked else Presence.ON,
        event_time_ns=moment_ns,
        received_time_ns=moment_ns,
        decided_time_ns=moment_ns,
        acknowledged_by=acknowledged_by,
        acknowledgement_expires_ns=None if expires_ns is None else TimestampNs(expires_ns),
        revision=_next_revision(open_alert),
        actor=acknowledged_by,
        reason=None,
    )


def _next_revision(open_alert: AlertEvent) -> int:
    # An alert that began before revisions were counted ends by the older order (revision 0).
    return open_alert.revision + 1 if open_alert.revision else 0
