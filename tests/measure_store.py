"""The store: rows in by binary COPY, the ward's present and a trend out, bytes a row.

Everything goes through what runs in production: the writer's unit of work, the SQL of the API.
The server is one of its own, with durable commits, unless a URL names another (a database is made
in it and dropped again). Two figures for rows in: of one connection, and of two at once, as two
workers are.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import numpy as np
import psycopg
from psycopg import sql

from cloud_api.adapters.database import StorePool
from cloud_api.adapters.read_store import PostgresReads
from deploy.database.layout import bytes_a_row
from deploy.database.migrate import MigrationReport, migrate
from deploy.local.servers.account import scratch_folder, service_account
from deploy.local.servers.postgres import PostgresServer, PostgresSettings
from stream_processors.adapters.housekeeping import Retention, StoreHousekeeper
from stream_processors.adapters.store import Store
from stream_processors.core.context import JoinedContext
from stream_processors.core.copy_rows import JoinedFrames
from wardstream.contracts.frame import BEDSIDE_V1
from wardstream.contracts.storage import ROLLUP_LEVELS, Table
from wardstream.contracts.timebase import NS_PER_S

URL_VARIABLE: Final = "WARDSTREAM_BENCH_DATABASE_URL"
N_BEDS: Final = 200
_FRAMES_A_BATCH: Final = 2_000
_N_BATCHES: Final = 30
_RUNS: Final = 3
_N_ASKED: Final = 60
_TREND_HOURS: Final = 72
_TREND_FEATURES: Final = ("heart_rate_per_min", "spo2_percent", "abp_mean_mmhg")
_RETENTION: Final = Retention(frames_days=30, rollups_days=400, letters_days=90)


def measure() -> dict[str, Any]:
    """What the store does here.

    Returns
    -------
    dict
        ``frame_rows_per_s`` and ``rollup_rows_per_s``: the better of one and two connections, whose
        medians of 3 runs stand beside them; ``ward_ms`` (200 beds) and ``trend_72h_ms`` by length of
        bucket in s: p50 and p95 of 60 warm questions; ``bytes_a_row``; the server.
    """
    return asyncio.run(_measure())


async def _measure() -> dict[str, Any]:
    with _database() as url:
        report = migrate(url)
        async with Store(url, application_name="bench") as store:
            await store.ensure_chunks(_start_ns(), time.time_ns())
            writing = await _frame_rates(store)
            await _fill(url, store, report)
        asked = await _read_times(url)
        room = bytes_a_row(url)
        rolled = await _rollup_rates(url, report)
        return {
            "server": f"PostgreSQL {report.server_version}",
            "tier": report.tier,
            "timescaledb": report.timescale_version,
            "frame_rows_per_s": max(writing.values()),
            "frame_rows_per_s_by_writers": writing,
            "rollup_rows_per_s": max(rolled.values()),
            "rollup_rows_per_s_by_writers": rolled,
            **asked,
            "bytes_a_row": room,
        }


@contextmanager
def _database() -> Generator[str]:
    given = os.environ.get(URL_VARIABLE)
    if given is None:
        with (
            scratch_folder(service_account(), "wardstream-bench-") as folder,
            PostgresServer(PostgresSettings(folder=folder)) as server,
        ):
            yield server.url()
        return
    name = f"wardstream_bench_{uuid4().hex[:8]}"
    with psycopg.connect(given, autocommit=True) as link:
        link.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(given)._replace(path=f"/{name}").geturl()
        finally:
            link.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _start_ns() -> int:
    return (time.time_ns() // (900 * NS_PER_S) - _TREND_HOURS * 4) * 900 * NS_PER_S


def frames_of(
    first_second: int, n_frames: int, boots: Sequence[str], start_ns: int, seed: int = 1
) -> JoinedFrames:
    """`n_frames` full frames, second after second of all beds; every feature has a value."""
    rng = np.random.default_rng(seed)
    n_beds = len(boots)
    at = np.arange(n_frames)
    seconds = first_second + at // n_beds
    times = start_ns + seconds * NS_PER_S
    features = rng.normal(80.0, 5.0, size=(n_frames, len(BEDSIDE_V1.names)))
    return JoinedFrames(
        streams=[(f"dev-{bed:03}", boot) for bed, boot in enumerate(boots)],
        stream_index=at % n_beds,
        contexts=[
            JoinedContext(
                bed_id=f"bed-{bed:03}",
                pseudonym=f"p-{bed:012x}",
                age_years=60,
                problems=("Hypertension", "Asthma"),
            )
            for bed in range(n_beds)
        ],
        context_index=at % n_beds,
        sequence_number=seconds.astype(np.int64),
        start_time_ns=times.astype(np.int64),
        monotonic_ns=times.astype(np.int64),
        received_time_ns=times.astype(np.int64) + 5_000_000,
        generation_mode=np.full(n_frames, 1, dtype=np.uint8),
        news2_low=np.full(n_frames, 2, dtype=np.int16),
        news2_high=np.full(n_frames, 4, dtype=np.int16),
        features=features.astype(np.float32),
    )


async def _frame_rates(store: Store) -> dict[str, float]:
    # Each writer has boots of its own, as two workers have partitions of their own.
    rates: dict[str, list[float]] = {"1": [], "2": []}
    await _write(store, [frames_of(0, _FRAMES_A_BATCH, [str(uuid4())], _start_ns())])  # compiles
    for run in range(_RUNS):
        for writers in (1, 2):
            batches = [
                [
                    frames_of(
                        batch * (_FRAMES_A_BATCH // 100),
                        _FRAMES_A_BATCH,
                        boots,
                        _start_ns(),
                        seed=run,
                    )
                    for batch in range(_N_BATCHES // writers)
                ]
                for boots in ([str(uuid4()) for _ in range(100)] for _ in range(writers))
            ]
            started = time.perf_counter()
            await asyncio.gather(*(_write(store, own) for own in batches))
            n_rows = sum(len(frames) for own in batches for frames in own)
            rates[str(writers)].append(n_rows / (time.perf_counter() - started))
    return {writers: round(statistics.median(found)) for writers, found in rates.items()}


async def _write(store: Store, batches: Sequence[JoinedFrames]) -> None:
    for frames in batches:
        async with store.unit() as unit:
            if await unit.write_frames(frames) != len(frames):
                raise AssertionError("frames were stored already: the benchmark repeats itself")


async def _fill(url: str, store: Store, report: MigrationReport) -> None:
    # 72 h of one bed, rolled up by whatever rolls up here, and the last minutes of a ward.
    boot = str(uuid4())
    n_seconds = _TREND_HOURS * 3600
    start_ns = (time.time_ns() // NS_PER_S - n_seconds) * NS_PER_S
    for first in range(0, n_seconds, 10 * _FRAMES_A_BATCH):
        n = min(10 * _FRAMES_A_BATCH, n_seconds - first)
        await _write(store, [frames_of(first, n, [boot], start_ns, seed=first)])
    boots = [boot, *(str(uuid4()) for _ in range(N_BEDS - 1))]
    last_ns = start_ns + n_seconds * NS_PER_S
    await _write(store, [frames_of(0, N_BEDS * 300, boots, last_ns)])
    with psycopg.connect(url, autocommit=True) as link:
        _place(link, boots, last_ns)
        if report.tier == "timescale_community":
            for level in ROLLUP_LEVELS:
                link.execute(
                    "CALL refresh_continuous_aggregate(%s::regclass, NULL, NULL)",
                    (f"{level.table}_kept",),
                )
        else:
            link.execute(
                "INSERT INTO rollup_due SELECT DISTINCT device_id, date_trunc('minute', time)"
                " FROM feature_frame WHERE boot_id = %s",
                (UUID(boot),),
            )
            housekeeper = StoreHousekeeper(
                store, _RETENTION, rollup_after_s=-1, long_rollup_after_s=-1
            )
            while await housekeeper.roll_up():
                pass
        link.execute("ANALYZE")


def _place(link: psycopg.Connection[Any], boots: Sequence[str], last_ns: int) -> None:
    for bed, boot in enumerate(boots):
        device_id, bed_id = f"dev-{bed:03}", f"bed-{bed:03}"
        link.execute(
            "INSERT INTO device_boot VALUES (%s, %s, 'site', 'icu', %s, 0)",
            (device_id, boot, bed_id),
        )
        link.execute(
            "INSERT INTO device (device_id, site_id, unit_id, bed_id, boot_id, connectivity,"
            " generation_mode, source, agent_version, reported_time_ns, last_sample_time_ns,"
            " heard_time_ns, model_state, model_version, model_sha256, model_reason,"
            " n_windows_judged, n_windows_unjudged, outbox_rows, outbox_bytes, channels)"
            " VALUES (%s, 'site', 'icu', %s, %s, 'online', 'test', 'bench', '1', %s, %s, %s,"
            " 'active', 1, '', '', 0, 0, '{}', '{}', '{}')",
            (device_id, bed_id, boot, last_ns, last_ns + 299 * NS_PER_S, last_ns),
        )


async def _read_times(url: str) -> dict[str, Any]:
    async with StorePool(url) as pool:
        reads = PostgresReads(pool)
        now_ns = time.time_ns()
        from_ns = now_ns - _TREND_HOURS * 3600 * NS_PER_S

        async def ward() -> int:
            return sum(bed.numerics.time_ns is not None for bed in await reads.beds(now_ns))

        async def trend(bucket_s: int) -> int:
            view = await reads.trend("bed-000", _TREND_FEATURES, from_ns, now_ns, bucket_s)
            return len(view.time_ns)

        return {
            "ward_ms": await _asked(ward, at_least=N_BEDS),
            "trend_72h_ms": {
                str(bucket_s): await _asked(
                    lambda bucket_s=bucket_s: trend(bucket_s),
                    at_least=_TREND_HOURS * 3600 // bucket_s - 2,
                )
                for bucket_s in (60, 900)
            },
        }


async def _asked(question: Callable[[], Awaitable[int]], *, at_least: int) -> dict[str, float]:
    taken: list[float] = []
    n_rows = 0
    for _ in range(_N_ASKED + 5):
        started = time.perf_counter()
        n_rows = await question()
        taken.append((time.perf_counter() - started) * 1000)
        if n_rows < at_least:
            raise AssertionError(f"{n_rows} rows answered, {at_least} are there")
    warm = taken[5:]
    return {
        "p50": round(statistics.median(warm), 2),
        "p95": round(float(np.percentile(warm, 95)), 2),
        "rows": n_rows,
    }


async def _rollup_rates(url: str, report: MigrationReport) -> dict[str, float]:
    # Rows of the minute as they lie, under other names of devices.
    community = report.tier == "timescale_community"
    target = f"{Table.FEATURE_ROLLUP}_before" if community else str(Table.FEATURE_ROLLUP)
    rates: dict[str, list[float]] = {"1": [], "2": []}
    for run in range(_RUNS):
        for writers in (1, 2):
            parts = [
                await _rollup_rows(url, f"{run}-{writers}-{number}") for number in range(writers)
            ]
            started = time.perf_counter()
            n_rows = sum(
                await asyncio.gather(*(_copy_rollups(url, target, part) for part in parts))
            )
            rates[str(writers)].append(n_rows / (time.perf_counter() - started))
    return {writers: round(statistics.median(found)) for writers, found in rates.items()}


async def _rollup_rows(url: str, name: str) -> list[bytes]:
    statement = sql.SQL(
        "COPY (SELECT device_id || '-' || {} || '-' || copy, time, bed_id, pseudonym, n_frames,"
        " minimum, mean, maximum, n_values, news2_low, news2_high"
        " FROM feature_rollup, generate_series(1, 12) AS copy WHERE device_id = 'dev-000')"
        " TO STDOUT (FORMAT BINARY)"
    ).format(name)
    async with (
        await psycopg.AsyncConnection.connect(url) as link,
        link.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        rows = b"".join([bytes(block) async for block in copy])
    return [rows[at : at + 1_000_000] for at in range(0, len(rows), 1_000_000)]


async def _copy_rollups(url: str, table: str, blocks: Sequence[bytes]) -> int:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
    async with await psycopg.AsyncConnection.connect(url) as link, link.cursor() as cursor:
        async with cursor.copy(statement) as copy:
            for block in blocks:
                await copy.write(block)
        return cursor.rowcount


if __name__ == "__main__":
    print(json.dumps(measure()))
