"""The ward as it is now, and the cloud's own alert about a bed nothing is heard of."""

from typing import Any, Final, LiteralString

from cloud_api.adapters.alert_rows import event_of
from cloud_api.adapters.database import Connection, KeptConnection
from cloud_api.adapters.event_writer import (
    SitedEvent,
    announce_journal,
    hold_intake_lock,
    next_number,
    write_events,
)
from cloud_api.adapters.ward_rows import WARD, ward_row
from cloud_api.core.ports import WardRow
from cloud_api.core.silence import SeenDevice, followed_by, silence_event
from wardstream.contracts.alert import AlertEvent, Condition, Presence, Transition
from wardstream.contracts.device import Connectivity
from wardstream.contracts.waveform import GenerationMode

_LAPSED: Final[LiteralString] = """
    SELECT s.*, a.site_id FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id
    WHERE a.condition = %s AND a.presence = 'ack' AND s.acknowledgement_expires_ns <= %s
"""

_OPEN_SILENCE: Final[LiteralString] = """
    SELECT s.* FROM alert a JOIN alert_event s ON s.event_id = a.last_event_id
    WHERE a.device_id = %s AND a.condition = %s AND a.presence <> 'off'
    ORDER BY s.event_id DESC LIMIT 1
"""


class PostgresWard:
    """The ward's present, and the silence alerts."""

    def __init__(self, connection: KeptConnection) -> None:
        self._connection = connection

    async def ward(self, now_ns: int) -> list[WardRow]:
        """Every device with its newest second, in order of unit and bed."""
        async with self._connection.use() as connection:
            cursor = await connection.execute(WARD)
            return [ward_row(row, now_ns) async for row in cursor]

    async def set_silent(self, device_id: str, *, silent: bool, boot_id: str, now_ns: int) -> bool:
        """Raise or end the silence alert of a device; False if another replica was faster.

        `boot_id` is that of this life of the cloud, in whose name the event is numbered.
        """
        async with self._connection.use() as connection, connection.transaction():
            await hold_intake_lock(connection)
            cursor = await connection.execute(
                "UPDATE device SET silent = %s WHERE device_id = %s AND silent <> %s"
                " RETURNING device_id, site_id, unit_id, bed_id, connectivity, generation_mode,"
                " heard_time_ns, silent",
                (silent, device_id, silent),
            )
            row = await cursor.fetchone()
            if row is None:
                return False
            cursor = await connection.execute(
                _OPEN_SILENCE, (device_id, Condition.DEVICE_SILENT.value)
            )
            found = await cursor.fetchone()
            open_alert = None if found is None else event_of(found)
            if silent == (open_alert is None):
                await _tell(connection, row, open_alert, boot_id, now_ns)
            return True

    async def lapse_acknowledgements(self, *, boot_id: str, now_ns: int) -> int:
        """Take back acknowledgements of silence alerts that have lapsed; how many.

        Those of other alerts lapse at the bed, which says so.
        """
        condition = Condition.DEVICE_SILENT.value
        async with self._connection.use() as connection:
            cursor = await connection.execute(_LAPSED, (condition, now_ns))
            if await cursor.fetchone() is None:
                return 0
            async with connection.transaction():
                await hold_intake_lock(connection)
                cursor = await connection.execute(_LAPSED, (condition, now_ns))
                lapsed = await cursor.fetchall()
                for row in lapsed:
                    event = followed_by(
                        event_of(row),
                        Transition.ACKNOWLEDGEMENT_EXPIRED,
                        boot_id=boot_id,
                        sequence_number=await next_number(connection, row["device_id"], boot_id),
                        now_ns=now_ns,
                    )
                    await write_events(connection, [SitedEvent(row["site_id"], event)], now_ns)
                await announce_journal(connection)
                return len(lapsed)


async def _tell(
    connection: Connection,
    row: dict[str, Any],
    open_alert: AlertEvent | None,
    boot_id: str,
    now_ns: int,
) -> None:
    device = SeenDevice(
        device_id=row["device_id"],
        connectivity=Connectivity(row["connectivity"]),
        generation_mode=GenerationMode(row["generation_mode"]),
        seen_time_ns=row["heard_time_ns"] or now_ns,
        silent=row["silent"],
    )
    event = silence_event(
        device,
        boot_id=boot_id,
        sequence_number=await next_number(connection, device.device_id, boot_id),
        now_ns=now_ns,
        open_alert=open_alert,
    )
    await write_events(connection, [SitedEvent(row["site_id"], event)], now_ns)
    if event.presence is Presence.ON:
        # The cloud's boot stands nowhere; its alert is about the bed the device stands at now.
        await connection.execute(
            "UPDATE alert SET unit_id = %s, bed_id = %s WHERE alert_id = %s",
            (row["unit_id"], row["bed_id"], event.alert_id),
        )
    await announce_journal(connection)
