"""Alert events into the store: each once, in the journal's order, never backwards.

Every function here runs inside a transaction that holds `INTAKE_LOCK`: so what it reads stays
true until the commit, and journal positions become visible in their order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from cloud_api.adapters.alert_rows import (
    CHANNEL,
    INSERT_EVENT,
    INTAKE_LOCK,
    event_row,
)
from cloud_api.adapters.database import Connection
from cloud_api.core.order import AlertPosition, Place, moves_forward, place_of_alert, position_of
from wardstream.contracts.alert import DISCLOSURES, AlertEvent, Presence, Transition

Identity = tuple[str, str, int]

_UPSERT: Final[LiteralString] = """
    INSERT INTO alert (alert_id, device_id, boot_id, site_id, unit_id, bed_id, condition, kind,
                       priority, presence, onset_time_ns, model_version, generation_mode,
                       last_event_id, has_strip)
    VALUES (%(alert_id)s, %(device_id)s, %(boot_id)s, %(site_id)s, %(unit_id)s, %(bed_id)s,
            %(condition)s, %(kind)s, %(priority)s, %(presence)s, %(onset_time_ns)s,
            %(model_version)s, %(generation_mode)s, %(last_event_id)s,
            EXISTS (SELECT FROM alert_strip t
                    WHERE t.alert_id = %(alert_id)s AND t.device_id = %(device_id)s))
    ON CONFLICT (alert_id) DO UPDATE SET
        condition = excluded.condition, kind = excluded.kind, priority = excluded.priority,
        presence = excluded.presence, onset_time_ns = excluded.onset_time_ns,
        model_version = excluded.model_version, generation_mode = excluded.generation_mode,
        last_event_id = excluded.last_event_id
"""


@dataclass(frozen=True, slots=True)
class SitedEvent:
    """An event with the site its topic names."""

    site_id: str
    event: AlertEvent

    @property
    def identity(self) -> Identity:
        """What makes it itself."""
        return (self.event.device_id, self.event.boot_id, self.event.sequence_number)


async def hold_intake_lock(connection: Connection) -> None:
    """Wait for, and hold until the end of the transaction, the right to extend the journal."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (INTAKE_LOCK,))


async def announce_journal(connection: Connection) -> None:
    """Wake every replica once this transaction is committed."""
    await connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))


async def alert_owners(connection: Connection, alert_ids: Iterable[str]) -> dict[str, str]:
    """Device of every known alert among `alert_ids`."""
    cursor = await connection.execute(
        "SELECT alert_id, device_id FROM alert WHERE alert_id = ANY(%s::uuid[])",
        (sorted(set(alert_ids)),),
    )
    return {str(row["alert_id"]): row["device_id"] async for row in cursor}


async def next_number(connection: Connection, device_id: str, boot_id: str) -> int:
    """Next number of what the cloud, in its life `boot_id`, says about a device."""
    cursor = await connection.execute(
        "SELECT coalesce(max(sequence_number) + 1, 0) AS number FROM alert_event"
        " WHERE device_id = %s AND boot_id = %s",
        (device_id, boot_id),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["number"])


async def write_events(connection: Connection, events: Sequence[SitedEvent], now_ns: int) -> int:
    """Store those of `events` that are new and take their alerts forward; how many were new.

    Every alert among them belongs to its event's device (`alert_owners` was asked).
    """
    if not events:
        return 0
    known = await _known_identities(connection, events)
    ordered = sorted(events, key=lambda sited: sited.identity)
    new = {sited.identity: sited for sited in ordered if sited.identity not in known}
    if not new:
        return 0
    positions = await _positions(connection, {s.event.alert_id for s in new.values()})
    rows: list[dict[str, Any]] = []
    for sited in new.values():
        event = sited.event
        forward = moves_forward(positions.get(event.alert_id), event)
        if forward:
            positions[event.alert_id] = position_of(event)
        rows.append(event_row(event, stored_time_ns=now_ns, superseded=not forward))
    event_ids = await _insert(connection, rows)
    newest = {
        sited.event.alert_id: (sited, event_id)
        for sited, row, event_id in zip(new.values(), rows, event_ids, strict=True)
        if not row["superseded"]
    }
    await _upsert_alerts(connection, list(newest.values()))
    await _settle_acknowledgements(connection, [s.event for s in new.values()], now_ns)
    return len(new)


async def _known_identities(connection: Connection, events: Sequence[SitedEvent]) -> set[Identity]:
    cursor = await connection.execute(
        "SELECT e.device_id, e.boot_id, e.sequence_number FROM alert_event e"
        " JOIN unnest(%s::text[], %s::uuid[], %s::bigint[]) AS w(device_id, boot_id, number)"
        " ON (e.device_id, e.boot_id, e.sequence_number) = (w.device_id, w.boot_id, w.number)",
        tuple(list(part) for part in zip(*(s.identity for s in events), strict=True)),
    )
    return {(row["device_id"], str(row["boot_id"]), row["sequence_number"]) async for row in cursor}


async def _positions(connection: Connection, alert_ids: set[str]) -> dict[str, AlertPosition]:
    cursor = await connection.execute(
        "SELECT a.alert_id, s.device_id, s.boot_id, s.sequence_number, s.event_time_ns,"
        " s.decided_time_ns, s.revision FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id"
        " WHERE a.alert_id = ANY(%s::uuid[])",
        (sorted(alert_ids),),
    )
    return {
        str(row["alert_id"]): AlertPosition(
            device_id=row["device_id"],
            boot_id=str(row["boot_id"]),
            sequence_number=row["sequence_number"],
            event_time_ns=row["event_time_ns"],
            decided_time_ns=row["decided_time_ns"],
            revision=row["revision"],
        )
        async for row in cursor
    }


async def _insert(connection: Connection, rows: list[dict[str, Any]]) -> list[int]:
    event_ids: list[int] = []
    async with connection.cursor() as cursor:
        await cursor.executemany(INSERT_EVENT, rows, returning=True)
        for _ in rows:
            row = await cursor.fetchone()
            if row is not None:
                event_ids.append(row["event_id"])
            cursor.nextset()
    return event_ids


async def _upsert_alerts(connection: Connection, newest: Sequence[tuple[SitedEvent, int]]) -> None:
    places = await places_of(connection, {sited.event.device_id for sited, _ in newest})
    rows: list[dict[str, Any]] = []
    for sited, event_id in newest:
        event = sited.event
        place = place_of_alert(sited.site_id, event.boot_id, places.get(event.device_id, {}))
        rows.append(
            {
                "alert_id": event.alert_id,
                "device_id": event.device_id,
                "boot_id": event.boot_id,
                "site_id": sited.site_id,
                "unit_id": place.unit_id,
                "bed_id": place.bed_id,
                "condition": event.condition.value,
                "kind": event.kind.value,
                "priority": event.priority.value,
                "presence": event.presence.value,
                "onset_time_ns": event.onset_time_ns,
                "model_version": event.model_version,
                "generation_mode": event.generation_mode.value,
                "last_event_id": event_id,
            }
        )
    if rows:
        async with connection.cursor() as cursor:
            await cursor.executemany(_UPSERT, rows)


async def places_of(
    connection: Connection, device_ids: Iterable[str]
) -> dict[str, dict[str, Place]]:
    """Where each boot of each of the devices stood: device id → boot id → place."""
    cursor = await connection.execute(
        "SELECT device_id, boot_id, site_id, unit_id, bed_id FROM device_boot"
        " WHERE device_id = ANY(%s)",
        (sorted(set(device_ids)),),
    )
    places: dict[str, dict[str, Place]] = {}
    async for row in cursor:
        place = Place(row["site_id"], row["unit_id"], row["bed_id"])
        places.setdefault(row["device_id"], {})[str(row["boot_id"])] = place
    return places


async def _settle_acknowledgements(
    connection: Connection, events: Sequence[AlertEvent], now_ns: int
) -> None:
    confirmed = [
        (now_ns, event.alert_id, event.acknowledged_by)
        for event in events
        if event.transition is Transition.ACKNOWLEDGED
    ]
    over = [(event.alert_id,) for event in events if event.presence is Presence.OFF]
    ordered = [
        (event.alert_id, event.presence is Presence.OFF)
        for event in events
        if event.condition in DISCLOSURES
    ]
    async with connection.cursor() as cursor:
        if confirmed:
            await cursor.executemany(
                "UPDATE acknowledgement SET state = 'confirmed', confirmed_time_ns = %s"
                " WHERE alert_id = %s AND author = %s AND state = 'sent'",
                confirmed,
            )
        if ordered:
            await cursor.executemany(
                "UPDATE person_order SET state = 'confirmed' WHERE subject_id = %s"
                " AND state = 'sent' AND (kind <> 'end' OR %s)",
                ordered,
            )
        if over:
            await cursor.executemany(
                "UPDATE acknowledgement SET state = 'void' WHERE alert_id = %s AND state = 'sent'",
                over,
            )
