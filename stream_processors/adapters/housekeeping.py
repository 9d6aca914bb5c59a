"""Beside the stream: roll-ups, restatements, retention, each from what the store says is due.

What is due stands in tables, written in the transaction that made it due, so a killed worker
forgets nothing, and any worker may do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import numpy as np
from psycopg import AsyncConnection, sql

from stream_processors.adapters.context_rows import read_context_changes
from stream_processors.adapters.store import MARK_VALIDITY_S, Store
from stream_processors.core.context import ContextTable, JoinedContext
from stream_processors.core.news2 import VITAL_FEATURES, news2_intervals, vitals_of_columns
from stream_processors.core.ports import ContextChanges
from wardstream.contracts.storage import ROLLUP_BUCKET_S, ROLLUP_FEATURES
from wardstream.contracts.timebase import TimestampNs, to_datetime

_PAGE_ROWS: Final = 5_000
_BUCKETS_A_TURN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is kept, in days."""

    frames_days: int
    rollups_days: int
    letters_days: int


def _array_of(template: LiteralString) -> sql.Composed:
    parts = [sql.SQL(template).format(sql.Identifier(name)) for name in ROLLUP_FEATURES]
    return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(parts))


_CLAIM: Final = sql.SQL(
    "DELETE FROM rollup_due WHERE (device_id, time) IN (SELECT device_id, time FROM rollup_due"
    " WHERE marked_time < now() - make_interval(secs => %s) ORDER BY time LIMIT %s"
    " FOR UPDATE SKIP LOCKED) RETURNING device_id, time"
)
_FORGET: Final = sql.SQL(
    "DELETE FROM feature_rollup r USING unnest(%(devices)s::text[], %(times)s::timestamptz[])"
    " AS due(device_id, time) WHERE r.device_id = due.device_id AND r.time = due.time"
    " AND r.time >= %(first)s AND r.time < %(end)s"
)
_ROLL_UP: Final = sql.SQL(
    "INSERT INTO feature_rollup (device_id, time, bed_id, pseudonym, n_frames,"
    " minimum, mean, maximum, n_values, news2_low, news2_high)"
    " SELECT due.device_id, due.time, coalesce(f.bed_id, ''), coalesce(f.pseudonym, ''),"
    " count(*), {}, {}, {}, {}, max(f.news2_low), max(f.news2_high)"
    " FROM unnest(%(devices)s::text[], %(times)s::timestamptz[]) AS due(device_id, time)"
    " JOIN feature_frame f ON f.device_id = due.device_id"
    " AND f.time >= due.time AND f.time < due.time + %(bucket)s"
    " WHERE f.time >= %(first)s AND f.time < %(end)s"
    " GROUP BY 1, 2, 3, 4"
).format(
    _array_of("min(f.{})"),
    _array_of("avg(f.{})::real"),
    _array_of("max(f.{})"),
    _array_of("count(f.{})::smallint"),
)
_AFFECTED: Final = sql.SQL(
    "SELECT f.device_id, f.boot_id::text, f.sequence_number, f.time, f.start_time_ns,"
    " f.bed_id, f.pseudonym, f.age_years, f.problems, f.news2_low, f.news2_high, {}"
    " FROM feature_frame f JOIN device_bed d"
    " ON d.device_id = f.device_id AND d.boot_id = f.boot_id"
    " WHERE d.bed_id = %(bed)s AND f.time >= %(from)s"
    " AND (%(device)s::text IS NULL OR (f.device_id = %(device)s AND f.boot_id = %(boot)s))"
).format(sql.SQL(", ").join(sql.SQL("f.{}").format(sql.Identifier(n)) for n in VITAL_FEATURES))
_UPDATE: Final = sql.SQL(
    "UPDATE feature_frame SET bed_id = %s, pseudonym = %s, age_years = %s, problems = %s,"
    " news2_low = %s, news2_high = %s"
    " WHERE device_id = %s AND boot_id = %s AND sequence_number = %s AND time = %s"
)
_MARK: Final = sql.SQL(
    "INSERT INTO rollup_due (device_id, time) SELECT * FROM unnest(%s::text[], %s::timestamptz[])"
    " ON CONFLICT (device_id, time) DO UPDATE SET marked_time = excluded.marked_time"
)


class StoreHousekeeper:
    """See `ports.Housekeeper`.

    Parameters
    ----------
    store : Store
        Where.
    retention : Retention
        How long.
    rollup_after_s : float
        Age of a mark at which its bucket is rolled up; above `MARK_VALIDITY_S`, so that no
        writer still relies on the mark.
    """

    def __init__(
        self, store: Store, retention: Retention, rollup_after_s: float = 2 * MARK_VALIDITY_S
    ) -> None:
        self._store = store
        self._retention = retention
        self._rollup_after_s = rollup_after_s

    async def roll_up(self) -> int:
        """Recompute due roll-ups from the frames; returns how many buckets."""
        async with self._store.connection() as connection:
            cursor = await connection.execute(_CLAIM, (self._rollup_after_s, _BUCKETS_A_TURN))
            due: list[tuple[str, datetime]] = await cursor.fetchall()
            if not due:
                return 0
            bucket = timedelta(seconds=ROLLUP_BUCKET_S)
            parameters = {
                "devices": [device_id for device_id, _ in due],
                "times": [start for _, start in due],
                "first": min(start for _, start in due),
                "end": max(start for _, start in due) + bucket,
                "bucket": bucket,
            }
            await connection.execute(_FORGET, parameters)
            await connection.execute(_ROLL_UP, parameters)
            return len(due)

    async def restate(self, table: ContextTable) -> int | None:
        """Join again what one change of context reaches back to; None if nothing is due."""
        async with self._store.connection() as connection:
            cursor = await connection.execute(
                "SELECT change_number, bed_id, device_id, boot_id::text, from_time"
                " FROM restatement_due ORDER BY change_number LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            due = await cursor.fetchone()
            if due is None:
                return None
            _follow(table, await read_context_changes(connection, table.version))
            reach: dict[str, Any] = dict(
                zip(("bed", "device", "boot", "from"), due[1:], strict=True)
            )
            n_changed = await self._restate(connection, table, reach)
            await connection.execute(
                "DELETE FROM restatement_due WHERE change_number = %s", (due[0],)
            )
            return n_changed

    async def maintain(self, now_ns: int) -> None:
        """Partitions ahead, retention behind."""
        days = self._retention
        async with self._store.connection() as connection:
            await connection.execute(
                "SELECT maintain_store(%s, make_interval(days => %s), make_interval(days => %s),"
                " make_interval(days => %s))",
                (
                    to_datetime(TimestampNs(now_ns)).astimezone(UTC),
                    days.frames_days,
                    days.rollups_days,
                    days.letters_days,
                ),
            )

    async def _restate(
        self, connection: AsyncConnection[Any], table: ContextTable, reach: dict[str, Any]
    ) -> int:
        n_changed = 0
        async with connection.cursor(name="affected_frames") as reader:
            await reader.execute(_AFFECTED, reach)
            while page := await reader.fetchmany(_PAGE_ROWS):
                changed = [
                    (row, joined, low, high)
                    for row, joined, low, high in _rejoin(table, page)
                    if row[5:11] != _stored_form(joined, low, high)
                ]
                await _update(connection, changed)
                n_changed += len(changed)
        return n_changed


def _follow(table: ContextTable, changes: ContextChanges) -> None:
    table.follow(changes.version, changes.devices, changes.assignments, changes.knowledge)


def _rejoin(
    table: ContextTable, page: Sequence[tuple[Any, ...]]
) -> list[tuple[tuple[Any, ...], JoinedContext, int, int]]:
    streams = sorted({(row[0], row[1]) for row in page})
    numbers = {stream: number for number, stream in enumerate(streams)}
    stream_index = np.array([numbers[row[0], row[1]] for row in page], dtype=np.intp)
    times_ns = np.array([row[4] for row in page], dtype=np.int64)
    contexts, context_index = table.join(streams, stream_index, times_ns)
    columns = np.array([row[11:] for row in page], dtype=np.float64)  # None becomes NaN
    low, high = news2_intervals(
        vitals_of_columns(dict(zip(VITAL_FEATURES, columns.T, strict=True))),
        contexts,
        context_index,
    )
    return [
        (row, contexts[index], int(lowest), int(highest))
        for row, index, lowest, highest in zip(page, context_index, low, high, strict=True)
    ]


def _stored_form(joined: JoinedContext, low: int, high: int) -> tuple[Any, ...]:
    return (
        joined.bed_id,
        joined.pseudonym,
        joined.age_years,
        None if joined.problems is None else list(joined.problems),
        None if low < 0 else low,
        None if high < 0 else high,
    )


async def _update(
    connection: AsyncConnection[Any],
    changed: Sequence[tuple[tuple[Any, ...], JoinedContext, int, int]],
) -> None:
    if not changed:
        return
    await connection.cursor().executemany(
        _UPDATE,
        [
            (*_stored_form(joined, low, high), row[0], row[1], row[2], row[3])
            for row, joined, low, high in changed
        ],
    )
    buckets = sorted({(row[0], row[3].replace(second=0, microsecond=0)) for row, *_ in changed})
    await connection.execute(
        _MARK, ([device_id for device_id, _ in buckets], [start for _, start in buckets])
    )
