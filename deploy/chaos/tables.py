"""What one run of a known input left in the tables, written so that two runs can be compared.

The lives of devices are named by their device, and times count from the run's own beginning:
what is left depends on the input alone. Left out is only what says when something arrived or
was written (``received_time_ns``, ``stored_time``, ``updated_time``, running numbers).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from wardstream.contracts.storage import Table

_ARRIVAL: Final = frozenset(
    {
        *("received_time_ns", "received_time", "stored_time", "stored_time_ns", "updated_time"),
        *("decided_time_ns", "heard_time_ns", "first_heard_time_ns", "event_id", "last_event_id"),
        *("change_number", "letter_id", "alert_id", "boot_id", "superseded"),
    }
)
"""Columns that tell of the run and not of its input; an alert is known by device and onset."""

_BY_BOOT: Final = (
    Table.FEATURE_FRAME,
    Table.FRAME_GAP,
    Table.COMMIT_WATERMARK,
    Table.DEVICE_BED,
    Table.ALERT_EVENT,
    Table.ALERT,
)
_BY_TIME: Final = (Table.FEATURE_ROLLUP_10S, Table.FEATURE_ROLLUP, Table.FEATURE_ROLLUP_15M)


@dataclass(frozen=True, slots=True)
class RunSlice:
    """Which rows are of one run.

    Attributes
    ----------
    boot_ids : sequence of str
        Of its devices, in the devices' order.
    base_ns, end_ns : int
        Its stretch of event time, which it shares with no other run.
    """

    boot_ids: Sequence[str]
    base_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a run left.

    Attributes
    ----------
    digests : dict of str to str
        SHA-256 of each table's rows as text, in order.
    n_frames, n_distinct, n_events, n_distinct_events : int
        Rows of frames and alert events, and identities among them.
    """

    digests: dict[str, str] = field(default_factory=dict[str, str])
    n_frames: int = 0
    n_distinct: int = 0
    n_events: int = 0
    n_distinct_events: int = 0

    def differing(self, other: "Contents") -> list[str]:
        """Tables whose rows are not the same."""
        return [name for name, found in self.digests.items() if found != other.digests.get(name)]


def read_contents(url: str, run: RunSlice) -> Contents:
    """What `run` left in the database at `url`."""
    digests: dict[str, str] = {}
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as link:
        boots = list(run.boot_ids)
        for table in _BY_BOOT:
            where = sql.SQL("boot_id = ANY({}::uuid[])").format(sql.Literal(boots))
            if table in {Table.ALERT_EVENT, Table.ALERT}:
                # What the cloud says by its own clock of a device it does not hear.
                where += sql.SQL(" AND condition <> 'device_silent'")
            digests[table.value] = _digest(link, table, where, run)
        for table in _BY_TIME:
            where = sql.SQL("time >= to_timestamp({}) AND time < to_timestamp({})").format(
                sql.Literal(run.base_ns / 1e9), sql.Literal(run.end_ns / 1e9)
            )
            digests[table.value] = _digest(link, table, where, run)
        # Nonsense names its life in the payload, so that each run's letters can be told apart.
        letters = sql.SQL("convert_from(payload, 'UTF8') LIKE ANY({}::text[])").format(
            sql.Literal([f"%{boot}" for boot in boots])
        )
        digests["dead_letter"] = _digest(
            link, Table.DEAD_LETTER, letters, run, left_out=frozenset({"payload"})
        )
        frames = _counts(
            link, "SELECT {} FROM feature_frame WHERE boot_id = ANY(%s::uuid[])", boots
        )
        events = _counts(
            link,
            "SELECT {} FROM alert_event WHERE boot_id = ANY(%s::uuid[])"
            " AND condition <> 'device_silent'",
            boots,
        )
    return Contents(digests, *frames, *events)


def _counts(
    link: psycopg.Connection[Any], statement: LiteralString, boots: list[str]
) -> tuple[int, int]:
    counts = sql.SQL("count(*), count(DISTINCT (device_id, boot_id, sequence_number))")
    row = link.execute(sql.SQL(statement).format(counts), (boots,)).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _digest(
    link: psycopg.Connection[Any],
    table: Table,
    where: sql.Composable,
    run: RunSlice,
    left_out: frozenset[str] = frozenset(),
) -> str:
    known = link.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname",
        (table.value,),
    ).fetchall()
    kept = [(name, kind) for name, kind in known if name not in _ARRIVAL | left_out]
    columns = sql.SQL(", ").join(_column(name, kind, run.base_ns) for name, kind in kept)
    ordered = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
        columns,
        sql.Identifier(table.value),
        where,
        sql.SQL(", ").join(sql.Literal(n + 1) for n in range(len(kept))),
    )
    digest = hashlib.sha256()
    with link.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(ordered)) as rows:
        for block in rows:
            digest.update(block)
    return digest.hexdigest()


def _column(name: str, kind: str, base_ns: int) -> sql.Composable:
    column = sql.Identifier(name)
    if kind == "timestamp with time zone":
        return sql.SQL("extract(epoch FROM {}) - {}").format(column, sql.Literal(base_ns // 10**9))
    if name in {"start_time_ns", "event_time_ns"}:
        return sql.SQL("{} - {}").format(column, sql.Literal(base_ns))
    return column
