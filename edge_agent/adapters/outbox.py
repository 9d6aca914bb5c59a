"""The outbox on disk: SQLite in WAL mode, one file, bounded, alerts synced to the platter."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from edge_agent.core.outbox_port import (
    DROP_ORDER,
    DropRule,
    OutboxBatch,
    OutboxLimits,
    OutboxStats,
    OutgoingMessage,
    StorageError,
    StoredGap,
    StoredMessage,
)
from edge_agent.core.retention import merge_gaps
from wardstream.contracts.identity import GapNotice, Lane

logger = logging.getLogger(__name__)

T = TypeVar("T")

FILE_NAME: Final = "outbox.sqlite3"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS message (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    sequence_number INTEGER NOT NULL,
    stored_time_ns INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (lane, boot_id, sequence_number)
) STRICT;
CREATE INDEX IF NOT EXISTS message_by_lane ON message (lane, position);
CREATE TABLE IF NOT EXISTS numbered (
    boot_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (boot_id, lane)
) STRICT;
CREATE TABLE IF NOT EXISTS gap (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    reason TEXT NOT NULL,
    covered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS engine (one INTEGER PRIMARY KEY CHECK (one = 1), snapshot BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS command (command_id TEXT PRIMARY KEY, stored_time_ns INTEGER NOT NULL) STRICT;
"""

_WAITING: Final = "SELECT lane, count(*), sum(length(payload)) FROM message GROUP BY lane"
_NUMBERED: Final = "SELECT lane, sum(last - first + 1) FROM numbered GROUP BY lane"

# What a refused disk looks like; anything else sqlite3 raises as DatabaseError is corruption.
_REFUSED: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
)
_EVER_NS: Final = 2**63 - 1

_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


class SqliteOutbox:
    """`Outbox` in `folder`.

    Two connections write, one after the other: alerts with ``synchronous=FULL`` (synced
    before `append` returns), everything else with ``NORMAL`` (a power cut may take the last
    moments, never the order). A third one reads, so that sending never waits for a sync.

    Parameters
    ----------
    folder : Path
        State folder of the device; made if absent.
    device_id : str
        Named in gap notices.
    limits : OutboxLimits
        How much may wait.

    Raises
    ------
    StorageError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, device_id: str, limits: OutboxLimits) -> None:
        self._path = folder / FILE_NAME
        self._device_id = device_id
        self._limits = limits
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._freed: dict[tuple[str, Lane], int] = {}
        self._last_by_stream: dict[tuple[str, Lane], int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open_or_replace()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"the outbox {self._path} cannot be opened: {error}") from error

    def append(self, batch: OutboxBatch, now_ns: int) -> None:
        """Store `batch`, then make room by `DROP_ORDER` if the limits are passed."""

        def work(connection: sqlite3.Connection) -> None:
            self._insert(connection, batch, now_ns)
            self._make_room(connection, now_ns)

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
        return [StoredGap(row[0], self._notice(*row[1:])) for row in rows]

    def free(self, boot_id: str, lane: Lane, up_to: int) -> int:
        """Drop what the watermark covers; return how many messages. Idempotent."""
        if self._freed.get((boot_id, lane), -1) >= up_to:
            return 0

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            key = (lane.value, boot_id, up_to)
            n_bytes = connection.execute(
                "SELECT coalesce(sum(length(payload)), 0) FROM message "
                "WHERE lane = ? AND boot_id = ? AND sequence_number <= ?",
                key,
            ).fetchone()[0]
            n_rows = connection.execute(
                "DELETE FROM message WHERE lane = ? AND boot_id = ? AND sequence_number <= ?", key
            ).rowcount
            connection.execute(
                "UPDATE gap SET covered = 1 WHERE lane = ? AND boot_id = ? AND last <= ?", key
            )
            return n_rows, n_bytes

        n_rows, n_bytes = self._write(work, durable=False)
        self._freed[boot_id, lane] = up_to
        self._rows[lane] -= n_rows
        self._bytes[lane] -= n_bytes
        return n_rows

    def stats(self) -> OutboxStats:
        """Counters, from memory."""
        return OutboxStats(
            rows=MappingProxyType({lane.value: self._rows[lane] for lane in Lane}),
            n_bytes=MappingProxyType({lane.value: self._bytes[lane] for lane in Lane}),
            numbered=MappingProxyType({lane.value: self._numbered[lane] for lane in Lane}),
            gaps=self._n_gaps,
        )

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
            for connection in (self._reader, self._bulk, self._alerts):
                connection.close()

    # ---- opening ------------------------------------------------------------------------

    def _open_or_replace(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if _primary_code(error) not in _CORRUPT:
                raise
            self._replace(error)

    def _open(self) -> None:
        connection = self._connect("FULL")
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise _corrupt(str(verdict))
            connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        self._alerts = connection
        self._bulk = self._connect("NORMAL")
        self._reader = self._connect("NORMAL")
        self._count()

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA journal_size_limit = 8000000")
            connection.execute("PRAGMA cache_size = -512")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _count(self) -> None:
        self._rows = dict.fromkeys(Lane, 0)
        self._bytes = dict.fromkeys(Lane, 0)
        self._numbered = dict.fromkeys(Lane, 0)
        for lane, rows, n_bytes in self._alerts.execute(_WAITING):
            self._rows[Lane(lane)], self._bytes[Lane(lane)] = rows, n_bytes
        for lane, n in self._alerts.execute(_NUMBERED):
            self._numbered[Lane(lane)] = n
        self._n_gaps: int = self._alerts.execute("SELECT count(*) FROM gap").fetchone()[0]

    def _replace(self, error: sqlite3.DatabaseError) -> None:
        """Move the unreadable file aside, begin a new one, and save the alerts that can be read."""
        n = 1
        while (aside := self._path.with_name(f"outbox.corrupt-{n}.sqlite3")).exists():
            n += 1
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self._open()
        n_saved = self._salvage(aside)
        logger.error(
            "the outbox was damaged (%s): moved to %s, a new one begun, %d alerts saved from it",
            error,
            aside.name,
            n_saved,
            extra={"fields": {"event": "outbox_replaced", "device_id": self._device_id}},
        )

    def _salvage(self, aside: Path) -> int:
        n_saved = 0
        with suppress(sqlite3.Error):
            damaged = sqlite3.connect(f"file:{aside}?mode=ro", uri=True)
            try:
                rows = damaged.execute(
                    "SELECT boot_id, sequence_number, stored_time_ns, payload FROM message "
                    "WHERE lane = 'alert' ORDER BY position"
                )
                for boot_id, number, stored_time_ns, payload in rows:
                    message = OutgoingMessage(boot_id, Lane.ALERT, number, payload)
                    self._insert(self._alerts, OutboxBatch(messages=(message,)), stored_time_ns)
                    n_saved += 1
            finally:
                damaged.close()
        return n_saved

    # ---- writing ------------------------------------------------------------------------

    def _write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        with self._write_lock:
            try:
                return self._transaction(work, durable=durable)
            except sqlite3.DatabaseError as error:
                code = _primary_code(error)
                if code in _CORRUPT:
                    return self._begin_anew(work, error, durable=durable)
                if code in _REFUSED:
                    raise StorageError(f"the outbox refused a write: {error}") from error
                raise

    def _transaction(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        connection = self._alerts if durable else self._bulk
        before = (self._rows.copy(), self._bytes.copy(), self._numbered.copy(), self._n_gaps)
        known = self._last_by_stream.copy()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._rows, self._bytes, self._numbered, self._n_gaps = before
            self._last_by_stream = known
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
        known = self._last_by_stream.copy()
        with self._read_lock:
            for connection in (self._reader, self._bulk, self._alerts):
                connection.close()
            try:
                self._replace(error)
                self._transaction(lambda c: self._record_loss(c, known), durable=True)
                self._count()
                self._last_by_stream = known
                return self._transaction(work, durable=durable)
            except (OSError, sqlite3.Error) as again:
                raise StorageError(f"no new outbox could be begun: {again}") from again

    def _insert(self, connection: sqlite3.Connection, batch: OutboxBatch, now_ns: int) -> None:
        for m in batch.messages:
            connection.execute(
                "INSERT INTO message (boot_id, lane, sequence_number, stored_time_ns, payload) "
                "VALUES (?, ?, ?, ?, ?)",
                (m.boot_id, m.lane.value, m.sequence_number, now_ns, m.payload),
            )
            self._rows[m.lane] += 1
            self._bytes[m.lane] += len(m.payload)
            self._number(connection, m.boot_id, m.lane, m.sequence_number, m.sequence_number)
        for gap in batch.gaps:
            self._insert_gap(connection, gap)
            first, last = gap.first_sequence_number, gap.last_sequence_number
            self._number(connection, gap.boot_id, gap.lane, first, last)
        if batch.snapshot is not None:
            connection.execute("INSERT OR REPLACE INTO engine VALUES (1, ?)", (batch.snapshot,))
        for command_id in batch.command_ids:
            connection.execute("INSERT OR IGNORE INTO command VALUES (?, ?)", (command_id, now_ns))
        if batch.command_ids:
            kept_ns = int(self._limits.max_age_s * 1e9)
            connection.execute("DELETE FROM command WHERE stored_time_ns < ?", (now_ns - kept_ns,))

    def _number(
        self, connection: sqlite3.Connection, boot_id: str, lane: Lane, first: int, last: int
    ) -> None:
        # Numbers of a stream only grow, gaps included, so the span says how many were given.
        before = self._last_by_stream.get((boot_id, lane))
        self._last_by_stream[boot_id, lane] = last if before is None else max(before, last)
        connection.execute(
            "INSERT INTO numbered (boot_id, lane, first, last) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (boot_id, lane) DO UPDATE SET first = min(first, excluded.first), "
            "last = max(last, excluded.last)",
            (boot_id, lane.value, first, last),
        )
        self._numbered[lane] += last - first + 1 if before is None else max(0, last - before)

    def _insert_gap(self, connection: sqlite3.Connection, gap: GapNotice) -> None:
        key = (gap.boot_id, gap.lane.value, gap.first_sequence_number - 1, gap.reason)
        grown = connection.execute(
            "UPDATE gap SET last = ?, covered = 0 "
            "WHERE boot_id = ? AND lane = ? AND last = ? AND reason = ?",
            (gap.last_sequence_number, *key),
        ).rowcount
        if not grown:
            connection.execute(
                "INSERT INTO gap (boot_id, lane, first, last, reason) VALUES (?, ?, ?, ?, ?)",
                (
                    gap.boot_id,
                    gap.lane.value,
                    gap.first_sequence_number,
                    gap.last_sequence_number,
                    gap.reason,
                ),
            )
            self._n_gaps += 1

    def _make_room(self, connection: sqlite3.Connection, now_ns: int) -> None:
        oldest_ns = now_ns - int(self._limits.max_age_s * 1e9)
        for rule in DROP_ORDER:
            if not rule.may_drop:
                continue
            self._drop(connection, rule, oldest_ns, limit=256)
            while sum(self._bytes.values()) > self._limits.max_bytes and self._rows[rule.lane]:
                self._drop(connection, rule, _EVER_NS, limit=16)

    def _drop(
        self, connection: sqlite3.Connection, rule: DropRule, before_ns: int, limit: int
    ) -> None:
        rows = connection.execute(
            "SELECT position, boot_id, sequence_number, length(payload) FROM message "
            "WHERE lane = ? AND stored_time_ns < ? ORDER BY position LIMIT ?",
            (rule.lane.value, before_ns, limit),
        ).fetchall()
        gaps: list[GapNotice] = []
        for position, boot_id, number, n_bytes in rows:
            connection.execute("DELETE FROM message WHERE position = ?", (position,))
            self._rows[rule.lane] -= 1
            self._bytes[rule.lane] -= n_bytes
            gaps.append(self._notice(boot_id, rule.lane.value, number, number, rule.reason))
        for gap in merge_gaps(gaps):
            self._insert_gap(connection, gap)

    def _record_loss(
        self, connection: sqlite3.Connection, known: dict[tuple[str, Lane], int]
    ) -> None:
        # Of this life's numbers the new file knows nothing. What the cloud had covered is
        # remembered; the rest will never be sent and must not hold the watermark up.
        for (boot_id, lane), last in known.items():
            rows = connection.execute(
                "SELECT sequence_number FROM message WHERE boot_id = ? AND lane = ?",
                (boot_id, lane.value),
            )
            saved = {row[0] for row in rows}
            lost = (
                n
                for n in range(self._freed.get((boot_id, lane), -1) + 1, last + 1)
                if n not in saved
            )
            connection.execute(
                "INSERT OR REPLACE INTO numbered VALUES (?, ?, 0, ?)", (boot_id, lane.value, last)
            )
            reason = "the outbox file was damaged"
            for gap in merge_gaps(self._notice(boot_id, lane.value, n, n, reason) for n in lost):
                self._insert_gap(connection, gap)

    # ---- reading ------------------------------------------------------------------------

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._read_lock:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                # A damaged file is replaced by the next write, which owns that decision.
                raise StorageError(f"the outbox cannot be read: {error}") from error

    def _notice(self, boot_id: str, lane: str, first: int, last: int, reason: str) -> GapNotice:
        return GapNotice(
            device_id=self._device_id,
            boot_id=boot_id,
            lane=Lane(lane),
            first_sequence_number=first,
            last_sequence_number=last,
            reason=reason,
        )


def _corrupt(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def read_stats(folder: Path) -> OutboxStats:
    """Counters of the outbox in `folder`, read beside a running agent.

    Raises
    ------
    StorageError
        There is none, or it cannot be read.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StorageError(f"there is no outbox in {folder}")
    rows = dict.fromkeys((lane.value for lane in Lane), 0)
    n_bytes, numbered = rows.copy(), rows.copy()
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
        with closing(connection):
            for lane, n, size in connection.execute(_WAITING):
                rows[lane], n_bytes[lane] = n, size
            numbered.update(connection.execute(_NUMBERED).fetchall())
            gaps = connection.execute("SELECT count(*) FROM gap").fetchone()[0]
    except sqlite3.Error as error:
        raise StorageError(f"the outbox {path} cannot be read: {error}") from error
    return OutboxStats(rows=rows, n_bytes=n_bytes, numbered=numbered, gaps=gaps)
