"""The file behind the outbox: its tables, its connections, and what its errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from edge_agent.core.outbox_port import OutboxStats, OutgoingMessage, StorageError
from wardstream.contracts.identity import Lane

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

WAITING: Final = "SELECT lane, count(*), sum(length(payload)) FROM message GROUP BY lane"
NUMBERED: Final = "SELECT lane, sum(last - first + 1) FROM numbered GROUP BY lane"

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

_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_refused(error: sqlite3.Error) -> bool:
    """Whether the disk did not take it: full, read-only, failing, busy."""
    return _primary_code(error) in _REFUSED


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file is damaged."""
    return _primary_code(error) in _CORRUPT


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection to the file at `path` in WAL mode.

    Raises
    ------
    sqlite3.DatabaseError
        The disk refused, or the file is no database.
    """
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA journal_size_limit = 8000000")
        connection.execute("PRAGMA cache_size = -512")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def open_checked(path: Path) -> sqlite3.Connection:
    """A connection that syncs every commit, to a file that was found whole and has its tables.

    Raises
    ------
    sqlite3.DatabaseError
        The disk refused, or the file is damaged (`is_corrupt`).
    """
    connection = connect(path, "FULL")
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _corrupt(str(verdict))
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def set_aside(path: Path) -> Path:
    """Rename a damaged file and what belongs to it; return where it is now.

    Raises
    ------
    OSError
        The disk refused.
    """
    n = 1
    while (aside := path.with_name(f"outbox.corrupt-{n}.sqlite3")).exists():
        n += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def readable_alerts(damaged: Path) -> Iterator[tuple[OutgoingMessage, int]]:
    """Alerts that a damaged file still gives, each with the time it was stored."""
    with suppress(sqlite3.Error):
        connection = sqlite3.connect(f"file:{damaged}?mode=ro", uri=True)
        with closing(connection):
            rows = connection.execute(
                "SELECT boot_id, sequence_number, stored_time_ns, payload FROM message "
                "WHERE lane = 'alert' ORDER BY position"
            )
            for boot_id, number, stored_time_ns, payload in rows:
                yield OutgoingMessage(boot_id, Lane.ALERT, number, payload), stored_time_ns


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
            for lane, n, size in connection.execute(WAITING):
                rows[lane], n_bytes[lane] = n, size
            numbered.update(connection.execute(NUMBERED).fetchall())
            gaps = connection.execute("SELECT count(*) FROM gap").fetchone()[0]
    except sqlite3.Error as error:
        raise StorageError(f"the outbox {path} cannot be read: {error}") from error
    return OutboxStats(rows=rows, n_bytes=n_bytes, numbered=numbered, gaps=gaps)


def read_boots(folder: Path) -> list[str]:
    """Every life of the device that gave numbers, read beside a running agent.

    Raises
    ------
    StorageError
        There is no outbox, or it cannot be read.
    """
    path = folder / FILE_NAME
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
            rows = connection.execute("SELECT DISTINCT boot_id FROM numbered").fetchall()
    except sqlite3.Error as error:
        raise StorageError(f"the outbox {path} cannot be read: {error}") from error
    return [str(row[0]) for row in rows]
