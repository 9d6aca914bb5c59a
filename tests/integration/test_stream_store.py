"""The store on real servers, with TimescaleDB and plain: written as the worker writes."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from fakes.stream_beds import make_frame

from deploy.database.migrate import Migration, migrate
from stream_processors.adapters.housekeeping import Retention, StoreHousekeeper
from stream_processors.adapters.store import Store
from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.core.context import ContextTable, DeviceBed
from stream_processors.core.fusion import LogRecord
from stream_processors.core.ports import Gap
from wardstream.contracts.contiguity import Contiguity
from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.frame import BEDSIDE_V1, encode_frame
from wardstream.contracts.identity import CommitWatermark, Lane, StreamKey
from wardstream.contracts.record import PatientContext, Problem, RecordEvent, RecordEventKind
from wardstream.contracts.storage import (
    FRAME_COPY_COLUMNS,
    FRAME_FEATURE_COLUMNS,
    ROLLUP_FEATURES,
    Table,
    rollup_position,
)
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

BOOT = str(uuid4())
START = 1_793_000_000 * NS_PER_S
DAY_NS = 86_400 * NS_PER_S
RETENTION = Retention(frames_days=30, rollups_days=400, letters_days=90)


class Published(list[CommitWatermark]):
    """Where watermarks go in these tests."""

    def publish(self, site_id: str, watermark: CommitWatermark) -> None:
        self.append(watermark)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store(database_url, application_name="test") as store:
        yield store


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def table() -> ContextTable:
    return ContextTable()


@pytest.fixture
def writer(store: Store, published: Published, table: ContextTable) -> FrameWriter:
    return FrameWriter(
        store, published, table, clock_ns=lambda: START + 2 * DAY_NS, monotonic_s=time.monotonic,
        mark_validity_s=25,
    )  # fmt: skip


def log(*numbers: int, device_id: str = "dev-1", **features: float) -> LogRecord:
    frames = [
        encode_frame(make_frame(device_id, BOOT, n, START + n * NS_PER_S, **features))
        for n in numbers
    ]
    return LogRecord(b"".join(frames), START + 5)


def placed(device_id: str = "dev-1", bed_id: str = "bed-1") -> DeviceBed:
    return DeviceBed(
        device_id=device_id, boot_id=BOOT, bed_id=bed_id, unit_id="icu", site_id="site-a"
    )


def record(kind: RecordEventKind, pseudonym: str, at: int, context: PatientContext | None = None,
           event_id: str | None = None) -> RecordEvent:  # fmt: skip
    return RecordEvent(
        event_id=event_id or str(uuid4()), kind=kind, bed_id="bed-1", pseudonym=pseudonym,
        effective_time_ns=TimestampNs(at), recorded_time_ns=TimestampNs(at), context=context,
    )  # fmt: skip


def asked(url: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as link:
        return link.execute(statement.encode(), parameters or None).fetchall()


def test_the_columns_are_those_of_the_contract(database_url: str) -> None:
    found = asked(
        database_url,
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'feature_frame'::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
    )
    assert found[:-1] == [(column.name, column.sql_type) for column in FRAME_COPY_COLUMNS]
    assert found[-1][0] == "stored_time"


def test_every_table_of_the_contract_is_there(database_url: str) -> None:
    missing = [
        table for table in Table
        if asked(database_url, "SELECT to_regclass(%s)", table.value) == [(None,)]
    ]  # fmt: skip
    assert missing == []


def test_migrating_twice_does_nothing_and_a_changed_file_is_refused(database_url: str) -> None:
    again = migrate(database_url)
    assert again.applied == ()
    assert again.n_already_applied > 0
    with pytest.raises(ConfigurationError, match="has changed"):
        migrate(database_url, [Migration("0001_streams.sql", "SELECT 1", None)])


def test_a_migration_for_another_kind_of_server_is_left_out(database_url: str) -> None:
    kinds = [
        Migration("9001_x.timescale.sql", "CREATE TABLE only_timescale (x int)", "timescale"),
        Migration("9001_x.plain.sql", "CREATE TABLE only_plain (x int)", "plain"),
    ]
    report = migrate(database_url, kinds)
    expected = "9001_x.plain.sql" if report.tier == "plain" else "9001_x.timescale.sql"
    assert report.applied == (expected,)


def test_a_failed_migration_leaves_nothing(empty_database_url: str) -> None:
    migrate(empty_database_url)
    bad = Migration("9002_bad.sql", "CREATE TABLE half (x int); SELECT nonsense", None)
    with pytest.raises(psycopg.Error):
        migrate(empty_database_url, [bad])
    assert asked(empty_database_url, "SELECT to_regclass('half')") == [(None,)]


async def test_a_frame_is_read_back_as_it_was_said(
    writer: FrameWriter, store: Store, database_url: str
) -> None:
    rng = np.random.default_rng(1)
    features = {
        name: float(np.float32(value))
        for name, value in zip(
            BEDSIDE_V1.names, rng.normal(size=len(BEDSIDE_V1.names)), strict=True
        )
        if value > -0.5
    }
    await store.keep_device_bed(placed())
    context = PatientContext(
        birth_year=1950, sex="male",
        problems=(Problem(code="1", system="s", display="高血压"), Problem(code="2", system="s", display="Asthma")),
    )  # fmt: skip
    await store.keep_record_event(record(RecordEventKind.ASSIGNED, "p-1", START - 9))
    await store.keep_record_event(record(RecordEventKind.CONTEXT, "p-1", START - 9, context))
    await writer.write([log(3, **features)])
    names = ", ".join(column.name for column in FRAME_COPY_COLUMNS)
    (row,) = asked(database_url, f"SELECT {names} FROM feature_frame")
    found = dict(zip((column.name for column in FRAME_COPY_COLUMNS), row, strict=True))
    assert (found["device_id"], str(found["boot_id"])) == ("dev-1", BOOT)
    assert found["start_time_ns"] == START + 3 * NS_PER_S
    assert found["time"].timestamp() == START / NS_PER_S + 3  # type: ignore[attr-defined]
    assert (found["bed_id"], found["pseudonym"], found["age_years"]) == ("bed-1", "p-1", 76)
    assert found["problems"] == ["Asthma", "高血压"]
    assert found["generation_mode"] == "test"
    for column in FRAME_FEATURE_COLUMNS:
        stored = found[column.name]
        if column.name in features:
            assert np.float32(stored) == np.float32(features[column.name])
        elif column.name != "heart_rate_per_min":
            assert stored is None


async def test_replays_in_any_order_leave_one_row_a_number(
    writer: FrameWriter, store: Store, published: Published, database_url: str
) -> None:
    await store.keep_device_bed(placed())
    expected = Contiguity()
    for numbers in ([0, 1, 2], [5, 6], [1, 2, 6, 7], [7, 7, 0], [3], [4]):
        await writer.write([log(*numbers)])
        for number in numbers:
            expected.commit(number)
        assert published[-1].sequence_number == expected.watermark
    assert asked(database_url, "SELECT sequence_number FROM feature_frame ORDER BY 1") == [
        (n,) for n in range(8)
    ]
    assert published[-1].sequence_number == 7


async def test_a_gap_lets_the_watermark_pass_and_stands_on_record(
    writer: FrameWriter, store: Store, published: Published, database_url: str
) -> None:
    await store.keep_device_bed(placed())
    await writer.write([log(0, 1, 5)])
    gap = Gap(
        stream=StreamKey("dev-1", BOOT, Lane.FRAME), first_sequence_number=2,
        last_sequence_number=4, reason="outbox full",
    )  # fmt: skip
    for _ in range(2):
        await writer.write_gap(gap)
    assert published[-1].sequence_number == 5
    assert asked(database_url, "SELECT first_sequence_number, reason FROM frame_gap") == [
        (2, "outbox full")
    ]


async def test_watermarks_continue_where_a_killed_worker_stopped(
    store: Store, database_url: str
) -> None:
    for numbers in ([0, 1], [3], [2]):
        published, table = Published(), ContextTable()
        fresh = FrameWriter(
            store, published, table, clock_ns=lambda: START + 2 * DAY_NS, monotonic_s=time.monotonic,
            mark_validity_s=25,
        )  # fmt: skip
        await fresh.write([log(*numbers)])
    assert asked(database_url, "SELECT sequence_number, handled::text FROM commit_watermark") == [
        (3, "{[0,4)}")
    ]


def test_the_sql_function_counts_as_the_shared_contiguity_does(database_url: str) -> None:
    expected = Contiguity()
    for first, last in ((5, 6), (0, 1), (3, 3), (2, 2), (0, 4), (9, 9), (7, 8)):
        expected.commit(first, last)
        ((watermark,),) = asked(
            database_url,
            "SELECT commit_handled('dev-1', %s::uuid, 'alert', int8multirange(int8range(%s, %s)))",
            BOOT, first, last + 1,
        )  # fmt: skip
        assert watermark == expected.watermark


async def test_frames_that_came_before_their_device_said_where_it_stands_are_joined_later(
    writer: FrameWriter, store: Store, table: ContextTable, published: Published,
    database_url: str,
) -> None:  # fmt: skip
    await writer.write([log(0, 1), log(0, device_id="dev-2")])
    assert published == []
    await store.keep_record_event(record(RecordEventKind.ASSIGNED, "p-1", START - 9))
    assert await store.keep_device_bed(placed())
    assert not await store.keep_device_bed(placed())
    housekeeper = StoreHousekeeper(store, RETENTION)
    changed = [await housekeeper.restate(table) for _ in range(3)]
    assert changed == [2, 0, None]  # the first already finds both
    writer.publish_unplaced()
    assert [mark.sequence_number for mark in published] == [1]
    found = asked(database_url, "SELECT device_id, pseudonym FROM feature_frame ORDER BY 1, 2")
    assert found == [("dev-1", "p-1"), ("dev-1", "p-1"), ("dev-2", None)]


async def test_a_late_word_from_the_record_reaches_back_and_only_as_far_as_it_says(
    writer: FrameWriter, store: Store, table: ContextTable, database_url: str
) -> None:
    await store.keep_device_bed(placed())
    await store.keep_record_event(record(RecordEventKind.ASSIGNED, "p-old", START - 9))
    await writer.write([log(*range(10))])
    await store.keep_record_event(record(RecordEventKind.ASSIGNED, "p-new", START + 4 * NS_PER_S))
    housekeeper = StoreHousekeeper(store, RETENTION)
    while await housekeeper.restate(table) is not None:
        pass
    found = asked(database_url, "SELECT pseudonym FROM feature_frame ORDER BY sequence_number")
    assert [row[0] for row in found] == ["p-old"] * 4 + ["p-new"] * 6


async def test_no_frame_is_stored_with_a_context_that_changed_under_it(
    store: Store, database_url: str
) -> None:
    """A change waits for frames being written, and the next frames wait for the change."""
    async with store.unit() as unit:
        await unit.context_changes(-1)
        change = asyncio.create_task(
            store.keep_record_event(record(RecordEventKind.ASSIGNED, "p-1", START))
        )
        await asyncio.sleep(0.3)
        assert not change.done()
    assert await change


async def test_a_repeated_record_event_changes_nothing(store: Store, database_url: str) -> None:
    event = record(RecordEventKind.ASSIGNED, "p-1", START, event_id="once")
    assert [await store.keep_record_event(event) for _ in range(3)] == [True, False, False]
    assert len(asked(database_url, "SELECT * FROM bed_assignment")) == 1


async def test_rollups_are_recomputed_from_the_frames_however_late_they_come(
    writer: FrameWriter, store: Store, database_url: str
) -> None:
    housekeeper = StoreHousekeeper(store, RETENTION, rollup_after_s=-1)
    await writer.write([log(*range(0, 90, 2))])
    assert await housekeeper.roll_up() == 2
    await writer.write([log(1, 3), log(*range(0, 90, 2))])
    asked(database_url, "INSERT INTO rollup_due (device_id, time) SELECT DISTINCT device_id,"
          " date_trunc('minute', time) FROM feature_frame RETURNING 1")  # fmt: skip
    await housekeeper.roll_up()
    found = asked(
        database_url,
        "SELECT n_frames, minimum, mean, maximum, n_values FROM feature_rollup ORDER BY time",
    )
    assert sum(int(str(row[0])) for row in found) == 47
    position = rollup_position("heart_rate_per_min") - 1
    said = [60 + n % 40 for n in (*range(0, 90, 2), 1, 3)]
    assert min(row[1][position] for row in found) == min(said)  # type: ignore[index]
    assert max(row[3][position] for row in found) == max(said)  # type: ignore[index]
    total = sum(row[2][position] * row[4][position] for row in found)  # type: ignore[index]
    assert math.isclose(total, sum(said), rel_tol=1e-5)
    assert all(len(row[1]) == len(ROLLUP_FEATURES) for row in found)  # type: ignore[arg-type]


async def test_a_young_mark_is_left_alone(writer: FrameWriter, store: Store) -> None:
    await writer.write([log(0)])
    assert await StoreHousekeeper(store, RETENTION).roll_up() == 0


async def test_retention_drops_whole_days_and_makes_room_ahead(
    writer: FrameWriter, store: Store, database_url: str
) -> None:
    await writer.write([log(0, 86_400 * 2)])
    keeper = StoreHousekeeper(store, Retention(frames_days=1, rollups_days=400, letters_days=90))
    await keeper.maintain(START + 2 * 86_400 * NS_PER_S + 43_200 * NS_PER_S)
    kept = asked(database_url, "SELECT sequence_number FROM feature_frame")
    assert kept == [(86_400 * 2,)]


async def test_a_store_that_is_away_is_a_transient_error() -> None:
    url = "postgresql://u:p@127.0.0.1:9/none?connect_timeout=1"
    async with Store(url, application_name="test") as away:
        away._pool.timeout = 1
        with pytest.raises(TransientError):
            await away.is_migrated()


def test_the_writers_role_may_write_and_the_readers_may_only_read(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute("SET ROLE wardstream_reader")
        assert link.execute("SELECT count(*) FROM feature_frame").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute("DELETE FROM commit_watermark")
        link.execute("SET ROLE wardstream_writer")
        link.execute("SELECT ensure_chunks('feature_frame', now(), now())")
        link.execute("DELETE FROM commit_watermark")
