"""Stored context: reading what changed, and writing changes one at a time.

Every change takes the next number from the one row of ``context_version`` and holds it until
it commits; a writer of frames holds that row shared. So numbers become visible in their order,
and no frame is stored with a context that changed under it.
"""

from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Json

from stream_processors.core.context import Assignment, DeviceBed, Knowledge
from stream_processors.core.ports import ContextChanges
from wardstream.contracts.record import PatientContext, RecordEvent, RecordEventKind
from wardstream.contracts.timebase import TimestampNs, to_datetime


async def read_context_changes(connection: AsyncConnection[Any], since: int) -> ContextChanges:
    """What changed after version `since`, with the version locked shared in this transaction."""
    cursor = await connection.execute("SELECT version FROM context_version FOR SHARE")
    row = await cursor.fetchone()
    version = int(row[0]) if row is not None else 0
    if version == since:
        return ContextChanges(version=version)
    return ContextChanges(
        version=version,
        devices=await _devices(connection, since),
        assignments=await _assignments(connection, since),
        knowledge=await _knowledge(connection, since),
    )


async def write_device_bed(connection: AsyncConnection[Any], device_bed: DeviceBed) -> bool:
    """Store where a life of a device stands; False if that was known.

    A device is believed once per life: an agent does not change beds while it runs.
    """
    key = (device_bed.device_id, device_bed.boot_id)
    cursor = await connection.execute(
        "SELECT 1 FROM device_bed WHERE device_id = %s AND boot_id = %s", key
    )
    if await cursor.fetchone() is not None:
        return False
    number = await _next_change(connection)
    cursor = await connection.execute(
        "INSERT INTO device_bed (device_id, boot_id, bed_id, unit_id, site_id, change_number)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (*key, device_bed.bed_id, device_bed.unit_id, device_bed.site_id, number),
    )
    if cursor.rowcount != 1:
        return False
    # Frames that came before their device said where it stands were stored without a bed.
    await connection.execute(
        "INSERT INTO restatement_due (change_number, bed_id, device_id, boot_id, from_time)"
        " SELECT %s, %s, device_id, boot_id, to_timestamp(0) FROM commit_watermark"
        " WHERE device_id = %s AND boot_id = %s AND lane = 'frame'",
        (number, device_bed.bed_id, *key),
    )
    return True


async def write_record_event(connection: AsyncConnection[Any], event: RecordEvent) -> bool:
    """Store one change of the record; False if it was known."""
    effective = (
        to_datetime(event.effective_time_ns),
        event.effective_time_ns,
        event.recorded_time_ns,
    )
    number = await _next_change(connection)
    n_written = 0
    if event.kind is not RecordEventKind.CONTEXT:
        cursor = await connection.execute(
            "INSERT INTO bed_assignment (event_id, bed_id, pseudonym, effective_time,"
            " effective_time_ns, recorded_time_ns, change_number)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (event.event_id, event.bed_id, event.pseudonym or None, *effective, number),
        )
        n_written += cursor.rowcount
    if event.context is not None and event.pseudonym:
        cursor = await connection.execute(
            "INSERT INTO patient_context (event_id, pseudonym, effective_time,"
            " effective_time_ns, recorded_time_ns, context, change_number)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (event.event_id, event.pseudonym, *effective, _json(event.context), number),
        )
        n_written += cursor.rowcount
    if n_written:
        await connection.execute(
            "INSERT INTO restatement_due (change_number, bed_id, from_time) VALUES (%s, %s, %s)",
            (number, event.bed_id, effective[0]),
        )
    return n_written > 0


async def _next_change(connection: AsyncConnection[Any]) -> int:
    cursor = await connection.execute(
        "UPDATE context_version SET version = version + 1 RETURNING version"
    )
    row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0


def _json(context: PatientContext) -> Json:
    return Json(msgspec.to_builtins(context))


async def _devices(connection: AsyncConnection[Any], since: int) -> list[DeviceBed]:
    cursor = await connection.execute(
        "SELECT device_id, boot_id::text, bed_id, unit_id, site_id FROM device_bed"
        " WHERE change_number > %s",
        (since,),
    )
    return [
        DeviceBed(device_id=row[0], boot_id=row[1], bed_id=row[2], unit_id=row[3], site_id=row[4])
        for row in await cursor.fetchall()
    ]


async def _assignments(connection: AsyncConnection[Any], since: int) -> list[Assignment]:
    cursor = await connection.execute(
        "SELECT event_id, bed_id, pseudonym, effective_time_ns, recorded_time_ns"
        " FROM bed_assignment WHERE change_number > %s",
        (since,),
    )
    return [
        Assignment(
            event_id=row[0],
            bed_id=row[1],
            pseudonym=row[2],
            effective_time_ns=TimestampNs(row[3]),
            recorded_time_ns=TimestampNs(row[4]),
        )
        for row in await cursor.fetchall()
    ]


async def _knowledge(connection: AsyncConnection[Any], since: int) -> list[Knowledge]:
    cursor = await connection.execute(
        "SELECT event_id, pseudonym, effective_time_ns, recorded_time_ns, context"
        " FROM patient_context WHERE change_number > %s",
        (since,),
    )
    return [
        Knowledge(
            event_id=row[0],
            pseudonym=row[1],
            effective_time_ns=TimestampNs(row[2]),
            recorded_time_ns=TimestampNs(row[3]),
            context=msgspec.convert(row[4], PatientContext),
        )
        for row in await cursor.fetchall()
    ]
