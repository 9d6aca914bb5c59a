"""The PostgreSQL side of the stream tier: transactions, and psycopg's errors in our words."""

import base64
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from stream_processors.adapters.context_rows import (
    read_context_changes,
    write_device_bed,
    write_record_event,
)
from stream_processors.core.context import DeviceBed
from stream_processors.core.copy_rows import JoinedFrames, copy_rows
from stream_processors.core.ports import ContextChanges, Gap
from stream_processors.core.positions import Run, multirange_text
from wardstream.contracts.errors import TransientError
from wardstream.contracts.identity import Lane, StreamKey
from wardstream.contracts.record import RecordEvent
from wardstream.contracts.storage import FRAME_COPY_COLUMNS, ROLLUP_LEVELS, Table
from wardstream.contracts.timebase import TimestampNs, to_datetime
from wardstream.contracts.topics import DeadLetter

logger = logging.getLogger(__name__)

_COLUMNS: Final = sql.SQL(", ").join(sql.Identifier(c.name) for c in FRAME_COPY_COLUMNS)
_STAGE: Final = sql.SQL(
    "CREATE TEMP TABLE IF NOT EXISTS incoming_frame ON COMMIT DELETE ROWS"
    " AS SELECT {} FROM {} WITH NO DATA"
).format(_COLUMNS, sql.Identifier(Table.FEATURE_FRAME))
_COPY_TO_STAGE: Final = sql.SQL("COPY incoming_frame ({}) FROM STDIN (FORMAT BINARY)").format(
    _COLUMNS
)
_COPY: Final = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
    sql.Identifier(Table.FEATURE_FRAME), _COLUMNS
)
_INSERT: Final = sql.SQL(
    "INSERT INTO {} ({}) SELECT {} FROM incoming_frame ON CONFLICT DO NOTHING"
).format(sql.Identifier(Table.FEATURE_FRAME), _COLUMNS, _COLUMNS)

_STAGED_AFTER_REPEAT: Final = 50
"""Batches that go by way of a table of the session after one held a frame already stored: repeats
come in runs, as a bed or a broker sends again, and a refused COPY is work for nothing."""

MARK_VALIDITY_S: Final = 30
"""For so long a worker may rely on a mark it made: no one rolls it up before."""


@asynccontextmanager
async def translated() -> AsyncGenerator[None]:
    """psycopg's "away for now" as our `TransientError`; a wrong statement stays a defect."""
    try:
        yield
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise TransientError(
            f"database takes no writes ({error}): a standby, or default_transaction_read_only is on"
        ) from error
    except psycopg.errors.DiskFull as error:
        raise TransientError(f"database has no disk space left, free some: {error}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise TransientError(f"database: {error}") from error


class Store:
    """A small pool of connections; everything else of this package borrows from it."""

    def __init__(self, url: str, *, application_name: str, max_connections: int = 4) -> None:
        self._n_staged_ahead = 0
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=10,
            max_waiting=32,
            reconnect_timeout=30,
            check=AsyncConnectionPool.check_connection,
            configure=_configure,
            kwargs={"application_name": application_name, "connect_timeout": 5},
        )

    async def __aenter__(self) -> Self:
        """Open the pool; the database may still be starting."""
        await self._pool.open(wait=False)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._pool.close(timeout=3)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[Any]]:
        """A borrowed connection in a transaction.

        Raises
        ------
        TransientError
            The database is away; the transaction is rolled back.
        """
        async with translated(), self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def unit(self) -> AsyncGenerator["Unit"]:
        """A transaction of frames and what belongs to them: see `ports.FrameStore`."""
        async with self.connection() as connection:
            yield Unit(connection, self)

    async def ensure_chunks(self, first_ns: int, last_ns: int) -> None:
        """Make the partitions that stretch of event time needs, in a transaction of its own."""
        stretch = (to_datetime(TimestampNs(first_ns)), to_datetime(TimestampNs(last_ns)))
        async with self.connection() as connection:
            for table in (Table.FEATURE_FRAME, *(level.table for level in ROLLUP_LEVELS)):
                await connection.execute("SELECT ensure_chunks(%s, %s, %s)", (table, *stretch))

    async def keep_device_bed(self, device_bed: DeviceBed) -> bool:
        """Store where a life of a device stands; False if that was known."""
        async with self.connection() as connection:
            return await write_device_bed(connection, device_bed)

    async def keep_record_event(self, event: RecordEvent) -> bool:
        """Store one change of the record; False if it was known."""
        async with self.connection() as connection:
            return await write_record_event(connection, event)

    async def keep_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Store letters; repeats do no harm."""
        async with self.unit() as unit:
            await unit.write_letters(letters)

    async def current_beds(self) -> list[dict[str, str | None]]:
        """Who is in which bed now: ``bed_id``, ``pseudonym`` (None: empty), ``since``."""
        async with self.connection() as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT ON (bed_id) bed_id, pseudonym, effective_time"
                " FROM bed_assignment WHERE effective_time <= now()"
                " ORDER BY bed_id, effective_time_ns DESC, recorded_time_ns DESC, event_id DESC"
            )
            rows = await cursor.fetchall()
        return [
            {"bed_id": row[0], "pseudonym": row[1], "since": row[2].isoformat()} for row in rows
        ]

    async def is_migrated(self) -> bool:
        """Whether the schema is there."""
        async with self.connection() as connection:
            cursor = await connection.execute(
                "SELECT to_regclass(%s) IS NOT NULL", (Table.KEPT_SERIES,)
            )
            row = await cursor.fetchone()
            return row is not None and bool(row[0])

    def expects_repeats(self) -> bool:
        """Whether the next batch is better checked before it is inserted; counts down."""
        self._n_staged_ahead = max(0, self._n_staged_ahead - 1)
        return self._n_staged_ahead > 0

    def note_repeat(self) -> None:
        """A batch held frames that are stored already."""
        self._n_staged_ahead = _STAGED_AFTER_REPEAT


async def _configure(connection: AsyncConnection[Any]) -> None:
    # A commit that is answered is on disk, and no statement hangs for ever.
    await connection.execute("SET synchronous_commit = on")
    await connection.execute("SET statement_timeout = '20s'")
    await connection.execute("SET idle_in_transaction_session_timeout = '25s'")
    await connection.commit()


class Unit:
    """One transaction: see `ports.StoreUnit`."""

    def __init__(self, connection: AsyncConnection[Any], store: Store) -> None:
        self._connection = connection
        self._store = store

    async def context_changes(self, since: int) -> ContextChanges:
        """What changed after version `since`; the version row stays locked shared."""
        return await read_context_changes(self._connection, since)

    async def write_frames(self, frames: JoinedFrames) -> int:
        """COPY; if some are stored already, COPY beside and insert what is new."""
        rows = copy_rows(frames)
        cursor = self._connection.cursor()
        if not self._store.expects_repeats():
            try:
                async with self._connection.transaction(), cursor.copy(_COPY) as copy:
                    await copy.write(rows)
            except psycopg.errors.UniqueViolation:
                self._store.note_repeat()
            else:
                return cursor.rowcount
        await self._connection.execute(_STAGE)
        async with cursor.copy(_COPY_TO_STAGE) as copy:
            await copy.write(rows)
        await cursor.execute(_INSERT)
        return cursor.rowcount

    async def write_gaps(self, gaps: Sequence[Gap]) -> None:
        """Insert those not yet on record."""
        if not gaps:
            return
        await self._connection.execute(
            "INSERT INTO frame_gap (device_id, boot_id, lane, first_sequence_number,"
            " last_sequence_number, reason) SELECT * FROM unnest(%s::text[], %s::uuid[],"
            " %s::text[], %s::bigint[], %s::bigint[], %s::text[]) ON CONFLICT DO NOTHING",
            (
                [gap.stream.device_id for gap in gaps],
                [gap.stream.boot_id for gap in gaps],
                [gap.stream.lane.value for gap in gaps],
                [gap.first_sequence_number for gap in gaps],
                [gap.last_sequence_number for gap in gaps],
                [gap.reason for gap in gaps],
            ),
        )

    async def write_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Insert those not yet kept."""
        if not letters:
            return
        await self._connection.cursor().executemany(
            "INSERT INTO dead_letter (letter_id, origin, device_id, reason, payload,"
            " received_time, received_time_ns) VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [
                (
                    letter.letter_id,
                    letter.origin.replace("\x00", "�"),
                    letter.device_id,
                    letter.reason.replace("\x00", "�"),
                    base64.b64decode(letter.payload_base64),
                    to_datetime(TimestampNs(letter.received_time_ns)),
                    letter.received_time_ns,
                )
                for letter in letters
            ],
        )

    async def mark_rollups(self, buckets: Sequence[tuple[str, int]]) -> None:
        """Mark buckets; a mark that is there is made young again. Aggregates need none."""
        if not buckets:
            return
        ordered = sorted(buckets)  # one order in every worker: no deadlock
        due = (
            [device_id for device_id, _ in ordered],
            [to_datetime(TimestampNs(start_ns)) for _, start_ns in ordered],
        )
        await self._connection.execute(
            "INSERT INTO rollup_due (device_id, time)"
            " SELECT * FROM unnest(%s::text[], %s::timestamptz[]) WHERE NOT rolls_up_by_itself()"
            " ON CONFLICT (device_id, time) DO UPDATE SET marked_time = excluded.marked_time",
            due,
        )
        await self._connection.execute(
            "INSERT INTO score_due (device_id, time)"
            " SELECT * FROM unnest(%s::text[], %s::timestamptz[])"
            " ON CONFLICT (device_id, time) DO UPDATE SET marked_time = excluded.marked_time",
            due,
        )

    async def commit_handled(
        self, handled: Mapping[StreamKey, Sequence[Run]]
    ) -> dict[StreamKey, int]:
        """Union with what is there: the set-wise form of the SQL function of that name."""
        if not handled:
            return {}
        streams = sorted(handled)  # one order in every worker: no deadlock
        cursor = await self._connection.execute(
            "INSERT INTO commit_watermark AS held (device_id, boot_id, lane, handled)"
            " SELECT * FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::int8multirange[])"
            " ON CONFLICT (device_id, boot_id, lane) DO UPDATE"
            " SET handled = held.handled + excluded.handled, updated_time = now()"
            " RETURNING device_id, boot_id::text, lane, sequence_number",
            (
                [stream.device_id for stream in streams],
                [stream.boot_id for stream in streams],
                [stream.lane.value for stream in streams],
                [multirange_text(handled[stream]) for stream in streams],
            ),
        )
        rows = await cursor.fetchall()
        return {StreamKey(row[0], row[1], Lane(row[2])): int(row[3]) for row in rows}
