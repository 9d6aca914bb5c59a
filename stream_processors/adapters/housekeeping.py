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
from wardstream.contracts.storage import (
    ROLLUP_BUCKET_S,
    ROLLUP_FEATURES,
    ROLLUP_LEVELS,
    RollupLevel,
    Table,
)
from wardstream.contracts.timebase import TimestampNs, to_datetime

_PAGE_ROWS: Final = 5_000
_BUCKETS_A_TURN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is kept, in days; compression only where the server has it."""

    frames_days: int
    rollups_days: int
    letters_days: int
    fine_rollups_days: int = 90
    compress_after_days: int = 7


_FINE: Final = ROLLUP_LEVELS[:2]
_LONG: Final = ROLLUP_LEVELS[2]


def _array_of(template: LiteralString) -> sql.Composed:
    parts = [sql.SQL(template).format(sql.Identifier(name)) for name in ROLLUP_FEATURES]
    return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(parts))


_ARRAYS: Final = {
    "minimum": _array_of("min(f.{})"),
    "mean": _array_of("avg(f.{})::real"),
    "maximum": _array_of("max(f.{})"),
    "n_values": _array_of("count(f.{})::smallint"),
}
_CLAIM: Final = sql.SQL(
    "DELETE FROM {table} WHERE (device_id, time) IN (SELECT device_id, time FROM {table}"
    " WHERE marked_time < now() - make_interval(secs => %s) ORDER BY time LIMIT %s"
    " FOR UPDATE SKIP LOCKED) RETURNING device_id, time"
)
_FORGET: Final = sql.SQL(
    "DELETE FROM {} r USING unnest(%(devices)s::text[], %(times)s::timestamptz[])"
    " AS due(device_id, time) WHERE r.device_id = due.device_id"
    " AND r.time >= due.time AND r.time < due.time + %(reach)s"
    " AND r.time >= %(first)s AND r.time < %(end)s"
)
_ROLL_UP: Final = sql.SQL(
    "INSERT INTO {table} (device_id, time, bed_id, pseudonym, n_frames,"
    " minimum, mean, maximum, n_values, news2_low, news2_high)"
    " SELECT due.device_id, date_bin(%(bucket)s, f.time, to_timestamp(0)),"
    " coalesce(f.bed_id, ''), coalesce(f.pseudonym, ''),"
    " count(*), {minimum}, {mean}, {maximum}, {n_values}, max(f.news2_low), max(f.news2_high)"
    " FROM unnest(%(devices)s::text[], %(times)s::timestamptz[]) AS due(device_id, time)"
    " JOIN feature_frame f ON f.device_id = due.device_id"
    " AND f.time >= due.time AND f.time < due.time + %(reach)s"
    " WHERE f.time >= %(first)s AND f.time < %(end)s"
    " GROUP BY 1, 2, 3, 4"
)
_MARK_LONG: Final = sql.SQL(
    "INSERT INTO rollup_due_15m (device_id, time)"
    " SELECT DISTINCT device_id, date_bin(%s, time, to_timestamp(0))"
    " FROM unnest(%s::text[], %s::timestamptz[]) AS due(device_id, time)"
    " ORDER BY 1, 2 ON CONFLICT DO NOTHING"
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
    " WHERE NOT rolls_up_by_itself()"
    " ON CONFLICT (device_id, time) DO UPDATE SET marked_time = excluded.marked_time"
)
_MARK_SCORES: Final = sql.SQL(
    "INSERT INTO score_due (device_id, time) SELECT * FROM unnest(%s::text[], %s::timestamptz[])"
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
    long_rollup_after_s : float
        Age of the first word of a change at which a bucket of 15 min is rolled up again.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention,
        rollup_after_s: float = 2 * MARK_VALIDITY_S,
        long_rollup_after_s: float = _LONG.bucket_s,
    ) -> None:
        self._store = store
        self._retention = retention
        self._rollup_after_s = rollup_after_s
        self._long_rollup_after_s = long_rollup_after_s

    async def roll_up(self) -> int:
        """Recompute due roll-ups from the frames; returns how many buckets were due.

        Where the server keeps continuous aggregates nothing is ever due.
        """
        return await self._roll_up_minutes() + await self._roll_up_long()

    async def _roll_up_minutes(self) -> int:
        async with self._store.connection() as connection:
            due = await _claim(connection, Table.ROLLUP_DUE, self._rollup_after_s)
            if due:
                await _recompute(connection, due, timedelta(seconds=ROLLUP_BUCKET_S), _FINE)
                await connection.execute(
                    _MARK_LONG,
                    (
                        timedelta(seconds=_LONG.bucket_s),
                        [device_id for device_id, _ in due],
                        [start for _, start in due],
                    ),
                )
            return len(due)

    async def _roll_up_long(self) -> int:
        async with self._store.connection() as connection:
            due = await _claim(connection, Table.ROLLUP_DUE_15M, self._long_rollup_after_s)
            if due:
                await _recompute(connection, due, timedelta(seconds=_LONG.bucket_s), (_LONG,))
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
                " make_interval(days => %s), make_interval(days => %s), make_interval(days => %s))",
                (
                    to_datetime(TimestampNs(now_ns)).astimezone(UTC),
                    days.frames_days,
                    days.rollups_days,
                    days.letters_days,
                    days.fine_rollups_days,
                    days.compress_after_days,
                ),
            )

    async def _restate(
        self, connection: AsyncConnection[Any], table: ContextTable, reach: dict[str, Any]
    ) -> int:
        n_changed = 0
        # Rows may lie compressed; how many may be touched at once is bounded there by default.
        await connection.execute(
            "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"
        )
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


async def _claim(
    connection: AsyncConnection[Any], table: Table, after_s: float
) -> list[tuple[str, datetime]]:
    statement = _CLAIM.format(table=sql.Identifier(table))
    cursor = await connection.execute(statement, (after_s, _BUCKETS_A_TURN))
    return await cursor.fetchall()


async def _recompute(
    connection: AsyncConnection[Any],
    due: Sequence[tuple[str, datetime]],
    reach: timedelta,
    levels: Sequence[RollupLevel],
) -> None:
    parameters: dict[str, Any] = {
        "devices": [device_id for device_id, _ in due],
        "times": [start for _, start in due],
        "first": min(start for _, start in due),
        "end": max(start for _, start in due) + reach,
        "reach": reach,
    }
    for level in levels:
        # Frames of before a table was made have days in theirs that this one lacks.
        await connection.execute(
            "SELECT ensure_chunks(%s, day, day) FROM"
            " (SELECT DISTINCT date_trunc('day', t, 'UTC') FROM unnest(%s::timestamptz[]) AS t)"
            " AS due(day)",
            (level.table, parameters["times"]),
        )
        table = sql.Identifier(level.table)
        parameters["bucket"] = timedelta(seconds=level.bucket_s)
        await connection.execute(_FORGET.format(table), parameters)
        await connection.execute(_ROLL_UP.format(table=table, **_ARRAYS), parameters)


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
    due = ([device_id for device_id, _ in buckets], [start for _, start in buckets])
    await connection.execute(_MARK, due)
    await connection.execute(_MARK_SCORES, due)
