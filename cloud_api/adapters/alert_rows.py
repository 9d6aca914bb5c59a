"""Alert events to rows and rows to views: one place knows the columns."""

from typing import Any, Final, LiteralString, cast

import msgspec
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from cloud_api.core.views import (
    AcknowledgementState,
    AlertView,
    EscalationView,
    TermsView,
    condition_label,
)
from wardstream.contracts.alert import (
    AlertEvent,
    AlertKind,
    AlertPriority,
    AlertSignal,
    Condition,
    OrderTerms,
    Presence,
    SignalState,
    Transition,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

INTAKE_LOCK: Final = 0x57_53_41_4C
"""Advisory lock ("WSAL") under which journal positions are drawn and committed, in order."""

CHANNEL: Final = "wardstream_journal"
"""NOTIFY channel: the journal has grown."""

INSERT_EVENT: Final[LiteralString] = """
    INSERT INTO alert_event (
        device_id, boot_id, sequence_number, alert_id, condition, kind, priority, transition,
        presence, audible, visible, onset_time_ns, event_time_ns, received_time_ns,
        decided_time_ns, stored_time_ns, model_version, rule_version, generation_mode, evidence,
        acknowledged_by, acknowledgement_expires_ns, superseded, revision, actor, reason, terms)
    VALUES (
        %(device_id)s, %(boot_id)s, %(sequence_number)s, %(alert_id)s, %(condition)s, %(kind)s,
        %(priority)s, %(transition)s, %(presence)s, %(audible)s, %(visible)s, %(onset_time_ns)s,
        %(event_time_ns)s, %(received_time_ns)s, %(decided_time_ns)s, %(stored_time_ns)s,
        %(model_version)s, %(rule_version)s, %(generation_mode)s, %(evidence)s,
        %(acknowledged_by)s, %(acknowledgement_expires_ns)s, %(superseded)s, %(revision)s,
        %(actor)s, %(reason)s, %(terms)s)
    RETURNING event_id
"""

# `s` is the alert_event whose state is shown, `a` the alert, `%(now_ns)s` the cloud's clock.
VIEW_COLUMNS: Final = SQL(
    "a.alert_id, a.device_id, a.bed_id, a.unit_id, s.condition, s.kind, s.priority, s.presence,"
    " s.transition, s.onset_time_ns, s.event_time_ns, s.decided_time_ns, s.stored_time_ns,"
    " s.model_version, s.generation_mode, s.evidence, s.acknowledged_by,"
    " s.acknowledgement_expires_ns, a.has_strip, s.sequence_number, s.revision, s.audible,"
    " s.visible, s.actor, s.reason, s.terms,"
    " (SELECT jsonb_build_object('level', c.level, 'role', c.role, 'called_time_ns',"
    "         c.called_time_ns, 'delivered_to', c.delivered_to) FROM escalation c"
    "  WHERE c.alert_id = a.alert_id ORDER BY c.activated_event_id DESC, c.level DESC LIMIT 1)"
    " AS escalation,"
    " EXISTS (SELECT FROM acknowledgement k WHERE k.alert_id = a.alert_id AND k.state = 'sent'"
    "         AND k.expires_time_ns > %(now_ns)s) AS is_sent"
)


def event_row(event: AlertEvent, *, stored_time_ns: int, superseded: bool) -> dict[str, Any]:
    """Parameters of `INSERT_EVENT`."""
    return {
        "device_id": event.device_id,
        "boot_id": event.boot_id,
        "sequence_number": event.sequence_number,
        "alert_id": event.alert_id,
        "condition": event.condition.value,
        "kind": event.kind.value,
        "priority": event.priority.value,
        "transition": event.transition.value,
        "presence": event.presence.value,
        "audible": event.signal.audible.value,
        "visible": event.signal.visible.value,
        "onset_time_ns": event.onset_time_ns,
        "event_time_ns": event.event_time_ns,
        "received_time_ns": event.received_time_ns,
        "decided_time_ns": event.decided_time_ns,
        "stored_time_ns": stored_time_ns,
        "model_version": event.model_version,
        "rule_version": event.rule_version,
        "generation_mode": event.generation_mode.value,
        "evidence": Jsonb(dict(event.evidence)),
        "acknowledged_by": event.acknowledged_by,
        "acknowledgement_expires_ns": event.acknowledgement_expires_ns,
        "superseded": superseded,
        "revision": event.revision,
        "actor": event.actor,
        "reason": event.reason,
        "terms": None if event.terms is None else Jsonb(msgspec.to_builtins(event.terms)),
    }


def event_of(row: dict[str, Any]) -> AlertEvent:
    """The event of a whole row of ``alert_event``."""
    expires_ns = row["acknowledgement_expires_ns"]
    return AlertEvent(
        device_id=row["device_id"],
        boot_id=str(row["boot_id"]),
        sequence_number=row["sequence_number"],
        alert_id=str(row["alert_id"]),
        condition=Condition(row["condition"]),
        kind=AlertKind(row["kind"]),
        priority=AlertPriority(row["priority"]),
        transition=Transition(row["transition"]),
        presence=Presence(row["presence"]),
        signal=AlertSignal(
            audible=SignalState(row["audible"]), visible=SignalState(row["visible"])
        ),
        onset_time_ns=TimestampNs(row["onset_time_ns"]),
        event_time_ns=TimestampNs(row["event_time_ns"]),
        received_time_ns=TimestampNs(row["received_time_ns"]),
        decided_time_ns=TimestampNs(row["decided_time_ns"]),
        model_version=row["model_version"],
        rule_version=row["rule_version"],
        generation_mode=GenerationMode(row["generation_mode"]),
        evidence=row["evidence"],
        acknowledged_by=row["acknowledged_by"],
        acknowledgement_expires_ns=None if expires_ns is None else TimestampNs(expires_ns),
        revision=row["revision"],
        actor=row["actor"],
        reason=row["reason"],
        terms=None if row["terms"] is None else msgspec.convert(row["terms"], OrderTerms),
    )


def alert_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Fields of an `AlertView` from a row of `VIEW_COLUMNS` with ``event_id`` beside them."""
    if row["acknowledged_by"] is not None:
        state: AcknowledgementState = "confirmed"
    else:
        state = "sent" if row["is_sent"] else "none"
    fields = {name: row[name] for name in _SAME}
    return fields | {
        "alert_id": str(row["alert_id"]),
        "label": condition_label(row["condition"]),
        "evidence": cast("dict[str, float]", row["evidence"]),
        "acknowledgement_state": state,
        "terms": None if row["terms"] is None else TermsView(**row["terms"]),
        "escalation": None if row["escalation"] is None else EscalationView(**row["escalation"]),
    }


def alert_view(row: dict[str, Any]) -> AlertView:
    """The alert in a row of `VIEW_COLUMNS` with ``event_id`` beside them."""
    return AlertView(**alert_fields(row))


_SAME: Final = (
    "device_id", "bed_id", "unit_id", "condition", "kind", "priority", "presence", "transition",
    "onset_time_ns", "event_time_ns", "decided_time_ns", "stored_time_ns", "model_version",
    "generation_mode", "acknowledged_by", "acknowledgement_expires_ns", "has_strip",
    "sequence_number", "event_id", "revision", "audible", "visible", "actor", "reason",
)  # fmt: skip
