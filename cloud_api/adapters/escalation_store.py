"""Who was called about an alert, and whose station has shown it; each a note in the journal."""

from dataclasses import replace
from typing import Final, LiteralString

from cloud_api.adapters.alert_rows import event_of
from cloud_api.adapters.database import Connection, ConnectionSource
from cloud_api.adapters.event_writer import (
    SitedEvent,
    announce_journal,
    hold_intake_lock,
    next_number,
    write_events,
)
from cloud_api.core.escalation import Unanswered
from wardstream.alerting.escalation import Call
from wardstream.contracts.alert import AlertEvent, Transition
from wardstream.contracts.timebase import TimestampNs

_UNANSWERED: Final[LiteralString] = """
    SELECT a.alert_id, v.event_id, v.stored_time_ns,
           coalesce(jsonb_agg(jsonb_build_object('level', c.level, 'called', c.called_time_ns,
                    'delivered', c.delivered_time_ns IS NOT NULL)) FILTER (WHERE c.level IS NOT NULL),
                    '[]') AS calls
    FROM alert a
    JOIN LATERAL (
        SELECT event_id, stored_time_ns FROM alert_event e
        WHERE e.alert_id = a.alert_id AND e.transition IN ('onset', 'reactivated')
        ORDER BY event_id DESC LIMIT 1) v ON true
    LEFT JOIN escalation c ON c.alert_id = a.alert_id AND c.activated_event_id = v.event_id
    WHERE a.presence IN ('on', 'latch') AND a.priority = 'high' AND a.kind = 'physiological'
          AND NOT EXISTS (SELECT FROM acknowledgement k
                          WHERE k.alert_id = a.alert_id AND k.state = 'sent'
                                AND k.issued_time_ns >= v.stored_time_ns)
    GROUP BY a.alert_id, v.event_id, v.stored_time_ns
"""


# The alert itself calls the first in line, so its showing may be confirmed before we look.
_SHOWN_FIRST: Final[LiteralString] = """
    INSERT INTO escalation AS c (alert_id, level, activated_event_id, role, called_time_ns,
                                 delivered_time_ns, delivered_to)
    SELECT e.alert_id, 0, max(e.event_id), 'nurse', %(now_ns)s, %(now_ns)s, %(username)s
    FROM alert_event e
    WHERE e.alert_id = %(alert_id)s AND e.transition IN ('onset', 'reactivated')
    GROUP BY e.alert_id
    ON CONFLICT (alert_id, activated_event_id, level) DO UPDATE
        SET delivered_time_ns = excluded.delivered_time_ns, delivered_to = excluded.delivered_to
        WHERE c.delivered_time_ns IS NULL
"""


class PostgresEscalations:
    """`EscalationStore` on PostgreSQL."""

    def __init__(self, connections: ConnectionSource, boot_id: str) -> None:
        self._connections = connections
        self._boot_id = boot_id

    async def unanswered(self) -> list[Unanswered]:
        """Every high-priority alert nobody has answered, or began to."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(_UNANSWERED)
            return [
                Unanswered(
                    alert_id=str(row["alert_id"]),
                    activated_event_id=row["event_id"],
                    activated_time_ns=row["stored_time_ns"],
                    calls=tuple(
                        Call(
                            level=call["level"],
                            called_time_ns=call["called"],
                            delivered=call["delivered"],
                        )
                        for call in row["calls"]
                    ),
                )
                async for row in cursor
            ]

    async def call(self, alert: Unanswered, level: int, role: str, now_ns: int) -> bool:
        """Write the call down and tell of it; False if another replica was faster."""
        async with self._connections.use() as connection, connection.transaction():
            await hold_intake_lock(connection)
            cursor = await connection.execute(
                "INSERT INTO escalation (alert_id, level, activated_event_id, role, called_time_ns)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (alert.alert_id, level, alert.activated_event_id, role, now_ns),
            )
            if cursor.rowcount == 0:
                return False
            if level:  # the first call is the alert itself
                await self._note(
                    connection, alert.alert_id, Transition.ESCALATED, level, role, now_ns
                )
            return True

    async def shown(self, alert_id: str, level: int, username: str, now_ns: int) -> bool:
        """Note who was shown the newest such call; False if it is noted already."""
        async with self._connections.use() as connection, connection.transaction():
            await hold_intake_lock(connection)
            if level == 0:
                cursor = await connection.execute(
                    _SHOWN_FIRST,
                    {"alert_id": alert_id, "now_ns": now_ns, "username": username},
                )
                return cursor.rowcount > 0
            cursor = await connection.execute(
                "UPDATE escalation SET delivered_time_ns = %s, delivered_to = %s"
                " WHERE alert_id = %s AND level = %s AND delivered_time_ns IS NULL"
                " AND activated_event_id = (SELECT max(activated_event_id) FROM escalation"
                "                           WHERE alert_id = %s)",
                (now_ns, username, alert_id, level, alert_id),
            )
            if cursor.rowcount == 0:
                return False
            await self._note(connection, alert_id, Transition.DELIVERED, level, username, now_ns)
            return True

    async def _note(
        self,
        connection: Connection,
        alert_id: str,
        transition: Transition,
        level: int,
        actor: str,
        now_ns: int,
    ) -> None:
        cursor = await connection.execute(
            "SELECT s.*, a.site_id FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id"
            " WHERE a.alert_id = %s",
            (alert_id,),
        )
        row = await cursor.fetchone()
        if row is None:
            return
        stands: AlertEvent = event_of(row)
        note = replace(
            stands,
            boot_id=self._boot_id,
            sequence_number=await next_number(connection, stands.device_id, self._boot_id),
            transition=transition,
            event_time_ns=TimestampNs(max(now_ns, stands.onset_time_ns)),
            received_time_ns=TimestampNs(now_ns),
            decided_time_ns=TimestampNs(now_ns),
            evidence={"escalation_level": float(level)},
            revision=0,
            actor=actor,
            reason=None,
        )
        await write_events(connection, [SitedEvent(row["site_id"], note)], now_ns)
        await announce_journal(connection)
