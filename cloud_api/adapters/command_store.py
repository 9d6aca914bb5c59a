"""What staff decided about alerts and models: written first, sent afterwards."""

from typing import Any, Final, LiteralString

from cloud_api.adapters.alert_rows import event_of
from cloud_api.adapters.audit import AuditEntry, append_audit
from cloud_api.adapters.database import Connection, ConnectionSource
from cloud_api.adapters.event_writer import (
    SitedEvent,
    announce_journal,
    hold_intake_lock,
    next_number,
    write_events,
)
from cloud_api.core.errors import ConflictError, NotFoundError
from cloud_api.core.ports import AcknowledgeRequest, PendingAcknowledgement
from cloud_api.core.silence import followed_by
from cloud_api.core.views import VerdictView
from wardstream.contracts.alert import AcknowledgeCommand, Condition, Transition
from wardstream.contracts.device import ModelAction, ModelCommand
from wardstream.contracts.timebase import TimestampNs

_CLAIM_DUE: Final[LiteralString] = """
    UPDATE acknowledgement SET next_send_time_ns = %(next_ns)s, n_sent = n_sent + 1
    WHERE command_id IN (
        SELECT command_id FROM acknowledgement
        WHERE state = 'sent' AND next_send_time_ns <= %(now_ns)s AND expires_time_ns > %(now_ns)s
        ORDER BY next_send_time_ns LIMIT 100 FOR UPDATE SKIP LOCKED)
    RETURNING *
"""


class PostgresCommands:
    """Decisions of staff."""

    def __init__(self, connections: ConnectionSource, boot_id: str) -> None:
        self._connections = connections
        self._boot_id = boot_id

    async def add_acknowledgement(
        self, request: AcknowledgeRequest, *, next_send_ns: int
    ) -> PendingAcknowledgement:
        """Record that `request.author` saw the alert; the result names its device.

        Raises
        ------
        NotFoundError
            There is no such alert.
        ConflictError
            It is over.
        """
        now_ns = request.issued_time_ns
        async with self._connections.use() as connection, connection.transaction():
            await hold_intake_lock(connection)
            cursor = await connection.execute(
                "SELECT s.*, a.site_id FROM alert a"
                " JOIN alert_event s ON s.event_id = a.last_event_id WHERE a.alert_id = %s",
                (request.alert_id,),
            )
            row = await cursor.fetchone()
            if row is None:
                raise NotFoundError(f"there is no alert {request.alert_id}")
            if row["presence"] == "off":
                raise ConflictError(f"alert {request.alert_id} is over")
            await connection.execute(
                "INSERT INTO acknowledgement (command_id, alert_id, device_id, site_id, author,"
                " reason, issued_time_ns, expires_time_ns, n_sent, next_send_time_ns, seen_revision)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 1, %s, %s)",
                (
                    request.command_id,
                    request.alert_id,
                    row["device_id"],
                    row["site_id"],
                    request.author,
                    request.reason,
                    now_ns,
                    request.expires_time_ns,
                    next_send_ns,
                    _seen(request, row),
                ),
            )
            own = row["condition"] == Condition.DEVICE_SILENT.value
            if own:
                await self._confirm_own(connection, row, request)
            await append_audit(
                connection,
                AuditEntry(
                    actor=request.author,
                    action="acknowledge",
                    subject=f"alert {request.alert_id}",
                    detail=request.reason or "",
                    time_ns=now_ns,
                ),
            )
            await announce_journal(connection)
        return PendingAcknowledgement(
            site_id=row["site_id"], command=_aimed(request, row), for_device=not own
        )

    async def _confirm_own(
        self, connection: Connection, row: dict[str, Any], request: AcknowledgeRequest
    ) -> None:
        # The cloud raised this alert, so the cloud confirms: the device cannot hear.
        event = followed_by(
            event_of(row),
            Transition.ACKNOWLEDGED,
            boot_id=self._boot_id,
            sequence_number=await next_number(connection, row["device_id"], self._boot_id),
            now_ns=request.issued_time_ns,
            acknowledged_by=request.author,
            expires_ns=request.expires_time_ns,
        )
        sited = SitedEvent(row["site_id"], event)
        await write_events(connection, [sited], request.issued_time_ns)

    async def due_acknowledgements(
        self, now_ns: int, next_send_ns: int
    ) -> list[PendingAcknowledgement]:
        """Claim those not confirmed and due; they are due again at `next_send_ns`."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                _CLAIM_DUE, {"now_ns": now_ns, "next_ns": next_send_ns}
            )
            return [
                PendingAcknowledgement(site_id=row["site_id"], command=_command(row))
                async for row in cursor
            ]

    async def add_verdict(self, alert_id: str, verdict: VerdictView) -> None:
        """Record a verdict.

        Raises
        ------
        NotFoundError
            There is no such alert.
        """
        async with self._connections.use() as connection, connection.transaction():
            cursor = await connection.execute(
                "INSERT INTO verdict (verdict_id, alert_id, verdict, comment, author, given_time_ns)"
                " SELECT %s, alert_id, %s, %s, %s, %s FROM alert WHERE alert_id = %s",
                (
                    verdict.verdict_id,
                    verdict.verdict,
                    verdict.comment,
                    verdict.author,
                    verdict.given_time_ns,
                    alert_id,
                ),
            )
            if cursor.rowcount == 0:
                raise NotFoundError(f"there is no alert {alert_id}")
            await append_audit(
                connection,
                AuditEntry(
                    actor=verdict.author,
                    action="verdict",
                    subject=f"alert {alert_id}",
                    detail=verdict.verdict,
                    time_ns=verdict.given_time_ns,
                ),
            )

    async def add_model_command(self, site_id: str, command: ModelCommand) -> None:
        """Record a model command, to be published."""
        async with self._connections.use() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO model_command (command_id, site_id, device_id, action, version,"
                " author, issued_time_ns) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    command.command_id,
                    site_id,
                    command.device_id,
                    command.action.value,
                    command.version,
                    command.author,
                    command.issued_time_ns,
                ),
            )
            await append_audit(
                connection,
                AuditEntry(
                    actor=command.author,
                    action=f"model {command.action}",
                    subject=f"device {command.device_id}"
                    if command.device_id
                    else f"site {site_id}",
                    detail=f"version {command.version}",
                    time_ns=command.issued_time_ns,
                ),
            )

    async def unpublished_model_commands(self) -> list[tuple[str, ModelCommand]]:
        """Model commands the broker has not taken yet, oldest first, with their site."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT * FROM model_command WHERE published_time_ns IS NULL"
                " ORDER BY issued_time_ns LIMIT 100"
            )
            return [(row["site_id"], _model_command(row)) async for row in cursor]

    async def model_command_published(self, command_id: str, now_ns: int) -> None:
        """Note that the broker has it."""
        async with self._connections.use() as connection:
            await connection.execute(
                "UPDATE model_command SET published_time_ns = %s WHERE command_id = %s",
                (now_ns, command_id),
            )


def _aimed(request: AcknowledgeRequest, row: dict[str, Any]) -> AcknowledgeCommand:
    return AcknowledgeCommand(
        command_id=request.command_id,
        device_id=row["device_id"],
        alert_id=request.alert_id,
        author=request.author,
        issued_time_ns=TimestampNs(request.issued_time_ns),
        expires_time_ns=TimestampNs(request.expires_time_ns),
        reason=request.reason,
        seen_revision=_seen(request, row),
    )


def _seen(request: AcknowledgeRequest, row: dict[str, Any]) -> int | None:
    # What the page showed, else what this server knew when it was asked.
    if request.seen_revision is not None:
        return request.seen_revision
    return row["revision"] or None


def _command(row: dict[str, Any]) -> AcknowledgeCommand:
    return AcknowledgeCommand(
        command_id=str(row["command_id"]),
        device_id=row["device_id"],
        alert_id=str(row["alert_id"]),
        author=row["author"],
        issued_time_ns=TimestampNs(row["issued_time_ns"]),
        expires_time_ns=TimestampNs(row["expires_time_ns"]),
        reason=row["reason"],
        seen_revision=row["seen_revision"],
    )


def _model_command(row: dict[str, Any]) -> ModelCommand:
    return ModelCommand(
        command_id=str(row["command_id"]),
        action=ModelAction(row["action"]),
        version=row["version"],
        issued_time_ns=TimestampNs(row["issued_time_ns"]),
        author=row["author"],
        device_id=row["device_id"],
    )
