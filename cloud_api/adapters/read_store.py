"""What REST answers from."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

from psycopg.rows import tuple_row
from psycopg.sql import SQL

from cloud_api.adapters.alert_rows import VIEW_COLUMNS, alert_fields, alert_view
from cloud_api.adapters.database import Connection, ConnectionSource
from cloud_api.adapters.trend_rows import (
    level_for,
    span_s,
    trend_parameters,
    trend_query,
    trend_view,
)
from cloud_api.adapters.ward_rows import (
    DEVICES,
    FRAMES,
    WARD,
    device_view,
    frame_view,
    ward_row,
)
from cloud_api.core.errors import NotFoundError
from cloud_api.core.views import (
    AcknowledgementView,
    AlertDetailView,
    AlertView,
    BedView,
    DeadLetterView,
    DeviceView,
    FrameView,
    ModelCommandView,
    TrendView,
    VerdictView,
)
from wardstream.contracts.storage import ROLLUP_FEATURES
from wardstream.contracts.timebase import TimestampNs, to_datetime

_ALERTS: Final = SQL("""
    SELECT {view}, s.event_id
    FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id
    WHERE (%(active)s::boolean IS NULL OR (a.presence <> 'off') = %(active)s)
      AND (%(bed_id)s::text IS NULL OR a.bed_id = %(bed_id)s)
    ORDER BY s.decided_time_ns DESC, s.event_id DESC LIMIT %(limit)s
""").format(view=VIEW_COLUMNS)

_ALERT: Final = SQL("""
    SELECT {view}, s.event_id
    FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id
    WHERE a.alert_id = %(alert_id)s
""").format(view=VIEW_COLUMNS)

_EVENTS: Final = SQL("""
    SELECT {view}, s.event_id
    FROM alert a JOIN alert_event s ON s.alert_id = a.alert_id
    WHERE a.alert_id = %(alert_id)s
    ORDER BY s.event_time_ns, s.decided_time_ns, s.event_id
""").format(view=VIEW_COLUMNS)

_STRIP: Final[LiteralString] = """
    SELECT a.onset_time_ns, t.payload
    FROM alert a JOIN alert_strip t ON t.alert_id = a.alert_id AND t.device_id = a.device_id
    WHERE a.alert_id = %s ORDER BY t.event_id DESC LIMIT 1
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(2200, 1, 1, tzinfo=UTC)


class PostgresReads:
    """Reads for people, on the pool: never on a connection of the alarm path."""

    def __init__(self, connections: ConnectionSource) -> None:
        self._connections = connections

    async def ping(self) -> None:
        """Return if the store answers and has this version's tables."""
        async with self._connections.use() as connection:
            await connection.execute("SELECT FROM alert, feature_frame LIMIT 0")

    async def beds(self, now_ns: int) -> list[BedView]:
        """Every bed with its newest second and its alerts that are not over."""
        async with self._connections.use() as connection, connection.transaction():
            cursor = await connection.execute(WARD)
            rows = [ward_row(row, now_ns) async for row in cursor]
            parameters = {"active": True, "bed_id": None, "limit": 1_000, "now_ns": now_ns}
            cursor = await connection.execute(_ALERTS, parameters)
            active = [alert_view(row) async for row in cursor]
        by_device: dict[str, list[AlertView]] = {}
        for alert in active:
            by_device.setdefault(alert.device_id, []).append(alert)
        return [
            replace(
                row.bed,
                alerts=[
                    alert
                    for alert in by_device.get(row.bed.device_id, [])
                    if alert.bed_id in ("", row.bed.bed_id)
                ],
            )
            for row in rows
        ]

    async def frames(
        self, bed_id: str, from_ns: int | None, until_ns: int | None, limit: int
    ) -> list[FrameView]:
        """The newest `limit` stored seconds of a bed in ``[from_ns, until_ns)``, oldest first."""
        async with self._connections.use() as connection:
            device_ids = await _devices_ever_at(connection, bed_id)
            parameters = {
                "device_ids": device_ids,
                "bed_id": bed_id,
                "from_time": _EPOCH if from_ns is None else to_datetime(TimestampNs(from_ns)),
                "until_time": _END if until_ns is None else to_datetime(TimestampNs(until_ns)),
                "limit": limit,
            }
            cursor = await connection.execute(FRAMES, parameters)
            frames = [frame_view(row) async for row in cursor]
        frames.reverse()
        return frames

    async def trend(
        self,
        bed_id: str,
        features: Sequence[str],
        from_ns: int,
        until_ns: int,
        bucket_s: int | None,
    ) -> TrendView:
        """Minimum, mean and maximum of `features` a bucket that begins in ``[from_ns, until_ns)``.

        Raises
        ------
        NotFoundError
            There is no such bed, feature or length of bucket.
        """
        unknown = sorted(set(features) - set(ROLLUP_FEATURES))
        if unknown:
            raise NotFoundError(f"there is no feature {', '.join(unknown)}")
        try:
            level = level_for(span_s(from_ns, until_ns), bucket_s)
        except KeyError as error:
            raise NotFoundError(f"there are no roll-ups of {bucket_s} s") from error
        async with self._connections.use() as connection:
            device_ids = await _devices_ever_at(connection, bed_id)
            cursor = connection.cursor(row_factory=tuple_row)
            await cursor.execute(
                trend_query(level, features),
                trend_parameters(
                    level,
                    bed_id,
                    device_ids,
                    to_datetime(TimestampNs(from_ns)),
                    to_datetime(TimestampNs(until_ns)),
                ),
            )
            return trend_view(bed_id, level, features, await cursor.fetchall())

    async def alerts(
        self, *, active: bool | None, bed_id: str | None, limit: int, now_ns: int
    ) -> list[AlertView]:
        """Alerts as they stand, the last decided first."""
        parameters = {"active": active, "bed_id": bed_id, "limit": limit, "now_ns": now_ns}
        async with self._connections.use() as connection:
            cursor = await connection.execute(_ALERTS, parameters)
            return [alert_view(row) async for row in cursor]

    async def alert(self, alert_id: str, now_ns: int) -> AlertDetailView:
        """One alert with its history.

        Raises
        ------
        NotFoundError
            There is none of that id.
        """
        parameters = {"alert_id": alert_id, "now_ns": now_ns}
        async with self._connections.use() as connection, connection.transaction():
            cursor = await connection.execute(_ALERT, parameters)
            row = await cursor.fetchone()
            if row is None:
                raise NotFoundError(f"there is no alert {alert_id}")
            cursor = await connection.execute(_EVENTS, parameters)
            events = [alert_view(event) async for event in cursor]
            cursor = await connection.execute(
                "SELECT * FROM acknowledgement WHERE alert_id = %s ORDER BY event_id", (alert_id,)
            )
            acknowledgements = [_acknowledgement(entry) async for entry in cursor]
            cursor = await connection.execute(
                "SELECT * FROM verdict WHERE alert_id = %s ORDER BY given_time_ns", (alert_id,)
            )
            verdicts = [_verdict(entry) async for entry in cursor]
        return AlertDetailView(
            **alert_fields(row),
            events=events,
            acknowledgements=acknowledgements,
            verdicts=verdicts,
        )

    async def strip_payload(self, alert_id: str) -> tuple[int, bytes]:
        """Onset of the alert and the encoded strip.

        Raises
        ------
        NotFoundError
            It has not arrived, or there is no such alert.
        """
        async with self._connections.use() as connection:
            cursor = await connection.execute(_STRIP, (alert_id,))
            row = await cursor.fetchone()
        if row is None:
            raise NotFoundError(f"no strip of alert {alert_id} has arrived")
        return row["onset_time_ns"], bytes(row["payload"])

    async def devices(self) -> list[DeviceView]:
        """Every device that ever reported."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(DEVICES)
            return [device_view(row) async for row in cursor]

    async def dead_letters(self, limit: int) -> list[DeadLetterView]:
        """The newest refused messages."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT letter_id, origin, device_id, reason, payload, received_time_ns"
                " FROM dead_letter ORDER BY received_time DESC LIMIT %s",
                (limit,),
            )
            return [_letter(row) async for row in cursor]

    async def model_commands(self, limit: int) -> list[ModelCommandView]:
        """The newest model commands."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT command_id::text, site_id, device_id, action, version, author,"
                " issued_time_ns, published_time_ns"
                " FROM model_command ORDER BY issued_time_ns DESC LIMIT %s",
                (limit,),
            )
            return [ModelCommandView(**row) async for row in cursor]


async def _devices_ever_at(connection: Connection, bed_id: str) -> list[str]:
    cursor = await connection.execute(
        "SELECT DISTINCT device_id FROM device_boot WHERE bed_id = %s", (bed_id,)
    )
    device_ids = [row["device_id"] async for row in cursor]
    if not device_ids:
        raise NotFoundError(f"there is no bed {bed_id}")
    return device_ids


def _acknowledgement(row: dict[str, Any]) -> AcknowledgementView:
    return AcknowledgementView(
        command_id=str(row["command_id"]),
        author=row["author"],
        reason=row["reason"],
        issued_time_ns=row["issued_time_ns"],
        expires_time_ns=row["expires_time_ns"],
        state=row["state"],
        confirmed_time_ns=row["confirmed_time_ns"],
    )


def _verdict(row: dict[str, Any]) -> VerdictView:
    return VerdictView(
        verdict_id=str(row["verdict_id"]),
        verdict=row["verdict"],
        comment=row["comment"],
        author=row["author"],
        given_time_ns=row["given_time_ns"],
    )


def _letter(row: dict[str, Any]) -> DeadLetterView:
    payload = bytes(row["payload"])
    return DeadLetterView(
        letter_id=str(row["letter_id"]),
        origin=row["origin"],
        device_id=row["device_id"],
        reason=row["reason"],
        received_time_ns=row["received_time_ns"],
        payload_bytes=len(payload),
        payload_base64=base64.b64encode(payload[:4096]).decode("ascii"),
    )
