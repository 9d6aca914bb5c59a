"""The journal of alerts, strips and acknowledgements, and the bell that says it has grown."""

from typing import Any, Final, LiteralString

import msgspec
import psycopg
from psycopg.sql import SQL

from cloud_api.adapters.alert_rows import CHANNEL, VIEW_COLUMNS, alert_view
from cloud_api.adapters.database import ConnectionSource, KeptConnection
from cloud_api.core.feed import FeedEntry
from cloud_api.core.ports import Clock

# An event that came after a newer one shows the alert as it stands: a reader who folds by
# arrival must not be taken back. An acknowledgement shows it as it stands, with its state.
_READ: Final = SQL("""
    SELECT j.position, j.event, j.alert_id AS of_alert, s.event_id IS NOT NULL AS has_state, {view}
    FROM (
        (SELECT event_id AS position, 'alert' AS event, alert_id, superseded FROM alert_event
         WHERE event_id > %(after)s AND event_id <= %(up_to)s ORDER BY event_id LIMIT %(limit)s)
        UNION ALL
        (SELECT event_id, 'strip', alert_id, true FROM alert_strip
         WHERE event_id > %(after)s AND event_id <= %(up_to)s ORDER BY event_id LIMIT %(limit)s)
        UNION ALL
        (SELECT event_id, 'alert', alert_id, true FROM acknowledgement
         WHERE event_id > %(after)s AND event_id <= %(up_to)s ORDER BY event_id LIMIT %(limit)s)
    ) j
    LEFT JOIN alert a ON a.alert_id = j.alert_id
    LEFT JOIN alert_event s
        ON s.event_id = CASE WHEN j.superseded THEN a.last_event_id ELSE j.position END
    ORDER BY j.position LIMIT %(limit)s
""").format(view=VIEW_COLUMNS)

_NEWEST: Final[LiteralString] = (
    "SELECT greatest((SELECT max(event_id) FROM alert_event),"
    " (SELECT max(event_id) FROM alert_strip),"
    " (SELECT max(event_id) FROM acknowledgement), 0) AS position"
)

_HIGHEST: Final = 2**63 - 1


class PostgresJournal:
    """The reading side of the journal."""

    def __init__(self, connections: ConnectionSource, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock

    async def newest_position(self) -> int:
        """Position of the last entry, 0 if there is none."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(_NEWEST)
            row = await cursor.fetchone()
            return 0 if row is None else int(row["position"])

    async def read(self, after: int, limit: int, *, up_to: int | None = None) -> list[FeedEntry]:
        """The first `limit` entries with ``after < position`` (``<= up_to``), in order."""
        parameters = {
            "after": after,
            "up_to": _HIGHEST if up_to is None else up_to,
            "limit": limit,
            "now_ns": self._clock(),
        }
        async with self._connections.use() as connection:
            cursor = await connection.execute(_READ, parameters)
            return [_entry(row) async for row in cursor]


def _entry(row: dict[str, Any]) -> FeedEntry:
    if row["event"] == "strip" or not row["has_state"]:
        data = msgspec.json.encode({"alert_id": str(row["of_alert"])})
        return FeedEntry(row["position"], row["event"], data)
    view = alert_view({**row, "event_id": row["position"]})
    return FeedEntry(row["position"], "alert", msgspec.json.encode(view))


class JournalBell:
    """Rings when any replica has extended the journal."""

    def __init__(self, connection: KeptConnection) -> None:
        self._connection = connection
        self._listening_on: psycopg.AsyncConnection[Any] | None = None

    async def wait(self, timeout_s: float) -> bool:
        """Whether it rang within `timeout_s` seconds. Rings missed while away are not made up for:
        who comes back looks at the journal itself.
        """
        async with self._connection.use() as connection:
            if connection is not self._listening_on:
                await connection.execute(f"LISTEN {CHANNEL}")
                self._listening_on = connection
                return True
            async for _ in connection.notifies(timeout=timeout_s, stop_after=1):
                return True
        return False
