"""The store through a dump, an upgrade with data, and a disk or a server that takes no writes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from measure_store import frames_of

from deploy.database.backup import dump, restore
from deploy.database.layout import bytes_a_row
from deploy.database.migrate import migrate, shipped_migrations
from stream_processors.adapters.housekeeping import Retention, StoreHousekeeper
from stream_processors.adapters.store import Store
from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.storage import Table
from wardstream.contracts.timebase import NS_PER_S

START_S = 1_793_000_700
RETENTION = Retention(frames_days=30, rollups_days=400, letters_days=90)


def asked(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as link:
        return link.execute(statement.encode()).fetchall()


async def write(store: Store, first_s: int, n_seconds: int, boots: list[str]) -> int:
    await store.ensure_chunks(START_S * NS_PER_S, (START_S + 86_400) * NS_PER_S)
    frames = frames_of(first_s, n_seconds * len(boots), boots, START_S * NS_PER_S)
    async with store.unit() as unit:
        return await unit.write_frames(frames)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store(database_url, application_name="test") as store:
        yield store


async def test_what_was_dumped_is_restored_and_grows_on(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    boots = [str(uuid4())]
    await write(store, 0, 300, boots)
    path = tmp_path / "store.dump"
    dump(database_url, path)
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(database_url, path)
    name = f"test_{uuid4().hex[:12]}"
    fresh = database_url.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name}".encode())
    try:
        restore(fresh, path)
        every = "SELECT * FROM {} ORDER BY 1, 2"
        for table in ("feature_frame", "schema_migration", "kept_series"):
            assert asked(fresh, every.format(table)) == asked(database_url, every.format(table))
        assert migrate(fresh).applied == ()
        async with Store(fresh, application_name="test") as restored:
            assert await write(restored, 200, 200, boots) == 100  # 100 of them are stored already
            await restored.ensure_chunks(START_S * NS_PER_S, (START_S + 3 * 86_400) * NS_PER_S)
            assert await write(restored, 80_000, 10, boots) == 10
            keeper = StoreHousekeeper(restored, RETENTION)
            await keeper.maintain((START_S + 40 * 86_400) * NS_PER_S)
        assert asked(fresh, "SELECT count(*) FROM feature_frame") == [(0,)]
    finally:
        with psycopg.connect(database_url, autocommit=True) as link:
            link.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_a_database_of_the_version_before_keeps_its_rows_and_gets_the_new_rollups(
    empty_database_url: str,
) -> None:
    url = empty_database_url
    before = [m for m in shipped_migrations() if m.name < "0004"]
    # The report asks nothing of what came later; backfill finds no table of it.
    migrate(url, before)
    with psycopg.connect(url, autocommit=True) as link:
        link.execute(
            "SELECT ensure_chunks(t, to_timestamp(%(s)s) - interval '2 days', to_timestamp(%(s)s))"
            " FROM unnest(ARRAY['feature_frame', 'feature_rollup']) AS t", {"s": START_S},
        )  # fmt: skip
        link.execute(
            "INSERT INTO feature_frame (device_id, boot_id, sequence_number, time, start_time_ns,"
            " monotonic_ns, received_time_ns, generation_mode, spo2_percent)"
            " SELECT 'dev-1', gen_random_uuid(), n, to_timestamp(%(s)s + n), 0, 0, 0, 'test', 90"
            " FROM generate_series(0, 899) AS n", {"s": START_S},
        )  # fmt: skip
        link.execute(  # of the last 15 min, and of yesterday, whose frames are dropped already
            "INSERT INTO feature_rollup SELECT 'dev-1', to_timestamp(%(s)s + n), '', '', 60,"
            " '{1}', '{2}', '{3}', '{60}', NULL, NULL"
            " FROM unnest(ARRAY[-86400, 0, 60]) AS n", {"s": START_S},
        )  # fmt: skip
    report = migrate(url)
    assert "0004_store.sql" in report.applied
    assert asked(url, "SELECT count(*) FROM feature_frame") == [(900,)]
    async with Store(url, application_name="test") as store:
        keeper = StoreHousekeeper(store, RETENTION, rollup_after_s=-1, long_rollup_after_s=-1)
        while await keeper.roll_up():
            pass
    yesterday = f"SELECT mean FROM feature_rollup WHERE time < to_timestamp({START_S})"
    assert asked(url, yesterday) == [([2.0],)]
    long = "SELECT n_frames, mean[4], n_values[4] FROM feature_rollup_15m WHERE device_id = 'dev-1'"
    assert asked(url, long) == [(900, 90.0, 900)]
    if asked(url, "SELECT rolls_up_by_itself()") == [(True,)]:
        assert asked(url, "SELECT count(*) FROM rollup_backfill") == [(0,)]


async def test_a_migration_that_comes_late_into_a_gap_of_the_numbers_runs(
    empty_database_url: str,
) -> None:
    shipped = shipped_migrations()
    migrate(empty_database_url, [m for m in shipped if not m.name.startswith("0003")])
    assert migrate(empty_database_url, shipped).applied == ("0003_orders.sql",)


async def test_a_server_that_takes_no_writes_is_waited_for_and_nothing_is_lost(
    store: Store, database_url: str
) -> None:
    boots = [str(uuid4())]
    assert await write(store, 0, 10, boots) == 10
    name = database_url.rsplit("/", 1)[1].split("?")[0]
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    async with Store(database_url, application_name="test") as refused:
        with pytest.raises(TransientError, match="takes no writes"):
            async with refused.unit() as unit:
                await unit.write_frames(frames_of(10, 10, boots, START_S * NS_PER_S))
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute(b"SET default_transaction_read_only = off")
        link.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off".encode())
    assert await write(store, 5, 15, boots) == 10


async def test_what_changes_of_a_device_is_kept_in_order(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute(
            b"INSERT INTO device (device_id, site_id, unit_id, bed_id, boot_id, connectivity,"
            b" generation_mode, source, agent_version, reported_time_ns, last_sample_time_ns,"
            b" heard_time_ns, model_state, model_version, model_sha256, model_reason,"
            b" n_windows_judged, n_windows_unjudged, outbox_rows, outbox_bytes, channels)"
            b" VALUES ('dev-1', 's', 'u', 'b', gen_random_uuid(), 'online', 'test', 'x', '1',"
            b" 0, 0, 0, 'active', 1, '', '', 0, 0, '{}', '{}', '{}')"
        )
        link.execute(b"UPDATE device SET heard_time_ns = 5, n_windows_judged = 7")
        link.execute(b"UPDATE device SET connectivity = 'lost'")
        link.execute(b"UPDATE device SET connectivity = 'online', model_version = 2")
    rows = asked(
        database_url,
        f"SELECT connectivity, model_version FROM {Table.DEVICE_CHANGE} ORDER BY change_id",
    )
    assert rows == [("online", 1), ("lost", 1), ("online", 2)]


async def test_room_is_measured_where_rows_lie(store: Store, database_url: str) -> None:
    await write(store, 0, 2_000, [str(uuid4()), str(uuid4())])
    room = bytes_a_row(database_url)
    assert room["feature_frame"]["rows"] == 4_000
    assert 200 < room["feature_frame"]["bytes"] < 900
