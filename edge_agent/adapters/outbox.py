"""The outbox on disk: SQLite in WAL mode, one file, bounded, alerts synced to the platter."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.adapters.outbox_book import Book
from edge_agent.adapters.outbox_file import (
    FILE_NAME,
    connect,
    is_corrupt,
    is_refused,
    open_checked,
    read_stats,
    readable_alerts,
    set_aside,
)
from edge_agent.core.outbox_port import (
    OutboxBatch,
    OutboxLimits,
    OutboxStats,
    OutgoingMessage,
    StorageError,
    StoredGap,
    StoredMessage,
)
from wardstream.contracts.identity import Lane

__all__ = ["SqliteOutbox", "read_stats"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SqliteOutbox:
    """`Outbox` in `folder`.

    Two connections write, one after the other: alerts with ``synchronous=FULL`` (synced
    before `append` returns), everything else with ``NORMAL`` (a power cut may take the last
    moments, never the order). A third one reads, so that sending never waits for a sync.

    A disk that refuses the file when it is to be opened does not keep a bed from being
    watched: reading and writing raise `StorageError`, and every write tries to open it again.

    Parameters
    ----------
    folder : Path
        State folder of the device; made if absent.
    device_id : str
        Named in gap notices.
    limits : OutboxLimits
        How much may wait.
    """

    def __init__(self, folder: Path, device_id: str, limits: OutboxLimits) -> None:
        self._path = folder / FILE_NAME
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._book = Book(device_id, limits)
        self._alerts: sqlite3.Connection | None = None
        self._bulk: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        try:
            self._open_or_replace()
        except StorageError as error:
            logger.error("%s; the bed is watched without it", error)

    def limit(self, limits: OutboxLimits) -> None:
        """Let `limits` hold from the next `append` on."""
        with self._write_lock:
            self._book.limits = limits

    def append(self, batch: OutboxBatch, now_ns: int) -> None:
        """Store `batch`, then make room by `DROP_ORDER` if the limits are passed."""

        def work(connection: sqlite3.Connection) -> None:
            self._book.insert(connection, batch, now_ns)
            self._book.make_room(connection, now_ns)

        self._write(work, durable=batch.holds_alert)

    def peek(self, lane: Lane, after: int, limit: int) -> Sequence[StoredMessage]:
        """The `limit` oldest messages of `lane` with a position above `after`."""
        rows = self._read(
            "SELECT position, boot_id, sequence_number, payload FROM message "
            "WHERE lane = ? AND position > ? ORDER BY position LIMIT ?",
            (lane.value, after, limit),
        )
        return [StoredMessage(p, OutgoingMessage(b, lane, s, payload)) for p, b, s, payload in rows]

    def gaps(self) -> Sequence[StoredGap]:
        """Recorded losses that no watermark has passed yet, oldest first."""
        rows = self._read(
            "SELECT position, boot_id, lane, first, last, reason FROM gap "
            "WHERE covered = 0 ORDER BY position"
        )
        return [StoredGap(row[0], self._book.notice(*row[1:])) for row in rows]

    def free(self, boot_id: str, lane: Lane, up_to: int) -> int:
        """Drop what the watermark covers; return how many messages. Idempotent."""
        stream = (boot_id, lane)
        if self._book.covered.get(stream, -1) >= up_to:
            return 0
        return self._write(lambda c: self._book.free(c, stream, up_to), durable=False)

    def stats(self) -> OutboxStats:
        """Counters, from memory."""
        return self._book.stats()

    def snapshot(self) -> bytes | None:
        """State of the alert engine as last stored."""
        rows = self._read("SELECT snapshot FROM engine")
        return rows[0][0] if rows else None

    def has_command(self, command_id: str) -> bool:
        """Whether the command was carried out already, in this life or an earlier one."""
        return bool(self._read("SELECT 1 FROM command WHERE command_id = ?", (command_id,)))

    def close(self) -> None:
        """Release the files."""
        with self._write_lock, self._read_lock:
            self._close_all()

    # ---- opening ------------------------------------------------------------------------

    def _open_or_replace(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                self._replace(error)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"the outbox {self._path} cannot be opened: {error}") from error

    def _open(self) -> None:
        alerts = open_checked(self._path)
        try:
            self._book.count(alerts)
            self._bulk, self._reader = connect(self._path, "NORMAL"), connect(self._path, "NORMAL")
        except sqlite3.DatabaseError:
            alerts.close()
            raise
        self._alerts = alerts

    def _close_all(self) -> None:
        for connection in (self._reader, self._bulk, self._alerts):
            if connection is not None:
                connection.close()
        self._reader = self._bulk = self._alerts = None

    def _replace(self, error: sqlite3.DatabaseError) -> None:
        """Move the unreadable file aside, begin a new one, and save the alerts that can be read."""
        aside = set_aside(self._path)
        self._open()
        n_saved = 0
        if self._alerts is not None:
            for message, stored_time_ns in readable_alerts(aside):
                self._book.insert(self._alerts, OutboxBatch(messages=(message,)), stored_time_ns)
                n_saved += 1
        logger.error(
            "the outbox was damaged (%s): moved to %s, a new one begun, %d alerts saved from it",
            error,
            aside.name,
            n_saved,
            extra={"fields": {"event": "outbox_replaced", "device_id": self._book.device_id}},
        )

    # ---- writing ------------------------------------------------------------------------

    def _write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        with self._write_lock:
            if self._alerts is None:
                with self._read_lock:
                    self._open_or_replace()
            try:
                return self._transaction(work, durable=durable)
            except sqlite3.DatabaseError as error:
                if is_corrupt(error):
                    return self._begin_anew(work, error, durable=durable)
                if is_refused(error):
                    self._let_go_of_a_lost_file()
                    raise StorageError(f"the outbox refused a write: {error}") from error
                raise

    def _transaction(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        connection = self._alerts if durable else self._bulk
        if connection is None:
            raise StorageError(f"the outbox {self._path} is not open")
        before = self._book.copy()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._book = before
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return result

    def _begin_anew(
        self,
        work: Callable[[sqlite3.Connection], T],
        error: sqlite3.DatabaseError,
        *,
        durable: bool,
    ) -> T:
        before = self._book.copy()
        with self._read_lock:
            self._close_all()
            try:
                self._replace(error)
                self._transaction(lambda c: self._book.record_loss(c, before), durable=True)
                return self._transaction(work, durable=durable)
            except (OSError, sqlite3.Error) as again:
                raise StorageError(f"no new outbox could be begun: {again}") from again

    def _let_go_of_a_lost_file(self) -> None:
        # Deleted or moved under our feet: SQLite would refuse for ever, a new file would not.
        if not self._path.exists():
            with self._read_lock:
                self._close_all()

    # ---- reading ------------------------------------------------------------------------

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._read_lock:
            if self._reader is None:
                raise StorageError(f"the outbox {self._path} is not open")
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                # A damaged file is replaced by the next write, which owns that decision.
                raise StorageError(f"the outbox cannot be read: {error}") from error
