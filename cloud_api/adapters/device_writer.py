"""What devices say of themselves, into the store."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, LiteralString

from psycopg.types.json import Jsonb

from cloud_api.adapters.database import Connection
from cloud_api.core.order import is_sign_of_life, status_applies
from wardstream.contracts.device import Connectivity, DeviceStatus

_UPSERT: Final[LiteralString] = """
    INSERT INTO device (device_id, site_id, unit_id, bed_id, boot_id, connectivity,
        generation_mode, source, agent_version, reported_time_ns, last_sample_time_ns,
        heard_time_ns, model_state, model_version, model_sha256, model_refused_version,
        model_reason, n_windows_judged, n_windows_unjudged, outbox_rows, outbox_bytes, channels,
        quarantined)
    VALUES (%(device_id)s, %(site_id)s, %(unit_id)s, %(bed_id)s, %(boot_id)s, %(connectivity)s,
        %(generation_mode)s, %(source)s, %(agent_version)s, %(reported_time_ns)s,
        %(last_sample_time_ns)s, %(heard_time_ns)s, %(model_state)s, %(model_version)s,
        %(model_sha256)s, %(model_refused_version)s, %(model_reason)s, %(n_windows_judged)s,
        %(n_windows_unjudged)s, %(outbox_rows)s, %(outbox_bytes)s, %(channels)s,
        %(quarantined)s)
    ON CONFLICT (device_id) DO UPDATE SET
        site_id = excluded.site_id, unit_id = excluded.unit_id, bed_id = excluded.bed_id,
        boot_id = excluded.boot_id, connectivity = excluded.connectivity,
        generation_mode = excluded.generation_mode, source = excluded.source,
        agent_version = excluded.agent_version, reported_time_ns = excluded.reported_time_ns,
        last_sample_time_ns = excluded.last_sample_time_ns,
        heard_time_ns = greatest(device.heard_time_ns, excluded.heard_time_ns),
        model_state = excluded.model_state, model_version = excluded.model_version,
        model_sha256 = excluded.model_sha256,
        model_refused_version = excluded.model_refused_version,
        model_reason = excluded.model_reason, n_windows_judged = excluded.n_windows_judged,
        n_windows_unjudged = excluded.n_windows_unjudged, outbox_rows = excluded.outbox_rows,
        outbox_bytes = excluded.outbox_bytes, channels = excluded.channels,
        quarantined = excluded.quarantined
"""

# A will was composed when the device connected; what it says of the device is older than what
# is known, so only the loss itself is taken from it.
_LOSE: Final[LiteralString] = (
    "UPDATE device SET connectivity = 'lost' WHERE device_id = %s AND boot_id = %s"
)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """A status and how it came."""

    status: DeviceStatus
    retained: bool
    received_time_ns: int


async def write_statuses(connection: Connection, reports: Sequence[StatusReport]) -> None:
    """Store the newest of each device among `reports`, in order of arrival.

    Devices are written in order of their id, so that two replicas never wait for each other
    crosswise.
    """
    by_device: dict[str, list[StatusReport]] = {}
    for report in reports:
        by_device.setdefault(report.status.device_id, []).append(report)
    for device_id in sorted(by_device):
        await _write_device(connection, device_id, by_device[device_id])


async def _write_device(
    connection: Connection, device_id: str, reports: Sequence[StatusReport]
) -> None:
    cursor = await connection.execute(
        "SELECT boot_id FROM device WHERE device_id = %s FOR UPDATE", (device_id,)
    )
    row = await cursor.fetchone()
    current = None if row is None else str(row["boot_id"])
    cursor = await connection.execute(
        "SELECT boot_id FROM device_boot WHERE device_id = %s", (device_id,)
    )
    known = {str(row["boot_id"]) async for row in cursor}
    for report in reports:
        status = report.status
        if not status_applies(current, known, status):
            continue
        if status.boot_id not in known:
            await _note_boot(connection, report)
            known.add(status.boot_id)
        if status.connectivity is Connectivity.LOST and status.boot_id == current:
            await connection.execute(_LOSE, (device_id, status.boot_id))
        else:
            await connection.execute(_UPSERT, _device_row(report))
        current = status.boot_id


async def _note_boot(connection: Connection, report: StatusReport) -> None:
    status = report.status
    await connection.execute(
        "INSERT INTO device_boot (device_id, boot_id, site_id, unit_id, bed_id,"
        " first_heard_time_ns) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (
            status.device_id,
            status.boot_id,
            status.site_id,
            status.unit_id,
            status.bed_id,
            report.received_time_ns,
        ),
    )
    # Alerts of this boot that were faster than its first status.
    await connection.execute(
        "UPDATE alert SET unit_id = %s, bed_id = %s"
        " WHERE device_id = %s AND boot_id = %s AND bed_id = ''",
        (status.unit_id, status.bed_id, status.device_id, status.boot_id),
    )


def _device_row(report: StatusReport) -> dict[str, Any]:
    status = report.status
    alive = is_sign_of_life(status, retained=report.retained)
    return {
        "device_id": status.device_id,
        "site_id": status.site_id,
        "unit_id": status.unit_id,
        "bed_id": status.bed_id,
        "boot_id": status.boot_id,
        "connectivity": status.connectivity.value,
        "generation_mode": status.generation_mode.value,
        "source": status.source,
        "agent_version": status.agent_version,
        "reported_time_ns": status.reported_time_ns,
        "last_sample_time_ns": status.last_sample_time_ns,
        "heard_time_ns": report.received_time_ns if alive else 0,
        "model_state": status.model.state.value,
        "model_version": status.model.version,
        "model_sha256": status.model.sha256,
        "model_refused_version": status.model.refused_version,
        "model_reason": status.model.reason,
        "n_windows_judged": status.model.n_windows_judged,
        "n_windows_unjudged": status.model.n_windows_unjudged,
        "outbox_rows": Jsonb(status.outbox_rows),
        "outbox_bytes": Jsonb(status.outbox_bytes),
        "channels": list(status.channels),
        "quarantined": Jsonb([asdict(one) for one in status.quarantined]),
    }
