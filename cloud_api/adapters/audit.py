"""The audit log: append-only, each entry sealed with the hash of the one before it."""

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from cloud_api.adapters.database import Connection

_AUDIT_LOCK: Final = 0x57_53_41_55
_GENESIS: Final = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to what, when."""

    actor: str
    action: str
    subject: str
    detail: str
    time_ns: int


def seal(previous_hash: bytes, entry_number: int, entry: AuditEntry) -> bytes:
    """SHA-256 over the previous hash and every field of `entry`."""
    fields = [entry_number, entry.time_ns, entry.actor, entry.action, entry.subject, entry.detail]
    return hashlib.sha256(previous_hash + msgspec.json.encode(fields)).digest()


async def append_audit(connection: Connection, entry: AuditEntry) -> None:
    """Append `entry`, in the caller's transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_AUDIT_LOCK,))
    cursor = await connection.execute(
        "SELECT entry_number, hash FROM audit_log ORDER BY entry_number DESC LIMIT 1"
    )
    last = await cursor.fetchone()
    number = 1 if last is None else last["entry_number"] + 1
    previous = _GENESIS if last is None else bytes(last["hash"])
    await connection.execute(
        "INSERT INTO audit_log (entry_number, time_ns, actor, action, subject, detail,"
        " previous_hash, hash) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            number,
            entry.time_ns,
            entry.actor,
            entry.action,
            entry.subject,
            entry.detail,
            previous,
            seal(previous, number, entry),
        ),
    )


async def first_broken_entry(connection: Connection) -> int | None:
    """Number of the first entry whose seal does not hold, None if all hold."""
    previous, expected = _GENESIS, 1
    cursor = await connection.execute("SELECT * FROM audit_log ORDER BY entry_number")
    async for row in cursor:
        entry = AuditEntry(
            actor=row["actor"],
            action=row["action"],
            subject=row["subject"],
            detail=row["detail"],
            time_ns=row["time_ns"],
        )
        sealed = seal(previous, row["entry_number"], entry)
        if row["entry_number"] != expected or bytes(row["hash"]) != sealed:
            return expected
        previous, expected = sealed, expected + 1
    return None
