"""Orders of people on their way to the beds: written first, sent afterwards."""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from cloud_api.adapters.audit import AuditEntry, append_audit
from cloud_api.adapters.database import ConnectionSource
from cloud_api.core.errors import ConflictError, NotFoundError
from cloud_api.core.orders import PlacedDevice, StoredOrder
from wardstream.contracts.alert import SILENCES, Condition

_CLAIM_DUE: Final[LiteralString] = """
    UPDATE person_order SET next_send_time_ns = %(next_ns)s, n_sent = n_sent + 1
    WHERE command_id IN (
        SELECT command_id FROM person_order
        WHERE state = 'sent' AND next_send_time_ns <= %(now_ns)s
              AND send_until_time_ns > %(now_ns)s
        ORDER BY next_send_time_ns LIMIT 100 FOR UPDATE SKIP LOCKED)
    RETURNING *
"""

# Silences the bed has told of, and those it may have begun without our having heard of it yet.
_HELD_BY: Final[LiteralString] = """
    SELECT d.device_id, d.site_id, d.boot_id FROM device d WHERE d.device_id IN (
        SELECT a.device_id FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id
        WHERE a.presence <> 'off' AND a.condition = ANY(%(silences)s)
              AND s.terms ->> 'station_id' = %(station_id)s AND s.terms ->> 'author' = %(person)s
        UNION
        SELECT o.device_id FROM person_order o
        WHERE o.state = 'sent' AND o.kind = 'silence' AND o.send_until_time_ns > %(now_ns)s
              AND o.station_id = %(station_id)s AND o.author = %(person)s)
"""

_SILENCES: Final = sorted(condition.value for condition in SILENCES)


class PostgresOrders:
    """`OrderStore` on PostgreSQL."""

    def __init__(self, connections: ConnectionSource) -> None:
        self._connections = connections

    async def device(self, device_id: str) -> PlacedDevice:
        """Where it is.

        Raises
        ------
        NotFoundError
            Nobody has heard of it.
        """
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT device_id, site_id, boot_id FROM device WHERE device_id = %s", (device_id,)
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFoundError(f"there is no device {device_id}")
        return _placed(row)

    async def add(self, order: StoredOrder, *, next_send_ns: int, what: str) -> None:
        """Record `order`, and `what` it is in the audit log."""
        async with self._connections.use() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO person_order (command_id, subject_id, device_id, site_id, kind, author,"
                " station_id, payload, issued_time_ns, send_until_time_ns, next_send_time_ns)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    order.command_id,
                    order.subject_id,
                    order.device_id,
                    order.site_id,
                    order.kind,
                    order.author,
                    order.station_id,
                    order.payload,
                    order.issued_time_ns,
                    order.send_until_time_ns,
                    next_send_ns,
                ),
            )
            await append_audit(
                connection,
                AuditEntry(
                    actor=order.author,
                    action=order.kind,
                    subject=f"device {order.device_id}",
                    detail=what,
                    time_ns=order.issued_time_ns,
                ),
            )

    async def due(self, now_ns: int, next_send_ns: int) -> list[StoredOrder]:
        """Claim those not confirmed and due; they are due again at `next_send_ns`."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                _CLAIM_DUE, {"now_ns": now_ns, "next_ns": next_send_ns}
            )
            return [_order(row) async for row in cursor]

    async def silence(self, silence_id: str) -> tuple[PlacedDevice, Condition]:
        """Device and kind of a silence.

        Raises
        ------
        NotFoundError
            There is none of that id.
        ConflictError
            It is over.
        """
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT d.device_id, d.site_id, d.boot_id, a.condition, a.presence FROM alert a"
                " JOIN device d USING (device_id)"
                " WHERE a.alert_id = %s AND a.condition = ANY(%s)",
                (silence_id, _SILENCES),
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFoundError(f"there is no silence {silence_id}")
        if row["presence"] == "off":
            raise ConflictError(f"silence {silence_id} is over")
        return _placed(row), Condition(row["condition"])

    async def held_by(self, station_id: str, person: str, now_ns: int) -> Sequence[PlacedDevice]:
        """Devices with a silence that this person gave at this station."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                _HELD_BY,
                {
                    "silences": _SILENCES,
                    "station_id": station_id,
                    "person": person,
                    "now_ns": now_ns,
                },
            )
            return [_placed(row) async for row in cursor]


def _placed(row: dict[str, Any]) -> PlacedDevice:
    return PlacedDevice(
        device_id=row["device_id"], site_id=row["site_id"], boot_id=str(row["boot_id"])
    )


def _order(row: dict[str, Any]) -> StoredOrder:
    return StoredOrder(
        command_id=str(row["command_id"]),
        subject_id=str(row["subject_id"]),
        device_id=row["device_id"],
        site_id=row["site_id"],
        kind=row["kind"],
        author=row["author"],
        station_id=row["station_id"],
        payload=bytes(row["payload"]),
        issued_time_ns=row["issued_time_ns"],
        send_until_time_ns=row["send_until_time_ns"],
    )
