"""Roll-ups say the same on every kind of server, however late frames and their patients come."""

import json
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from measure_store import frames_of

from cloud_api.adapters.database import StorePool
from cloud_api.adapters.read_store import PostgresReads
from cloud_api.core.errors import NotFoundError
from deploy.database.migrate import shipped_migrations
from stream_processors.adapters.housekeeping import Retention, StoreHousekeeper
from stream_processors.adapters.store import Store
from wardstream.contracts.storage import (
    FRAME_COPY_COLUMNS,
    ROLLUP_FEATURES,
    ROLLUP_LEVELS,
    RollupLevel,
)
from wardstream.contracts.timebase import NS_PER_S

START_S = 1_793_000_700  # a whole 15 min
BOOTS = [str(uuid4()), str(uuid4())]
RETENTION = Retention(frames_days=30, rollups_days=400, letters_days=90)
COLUMNS = "device_id, time, bed_id, pseudonym, n_frames, minimum, mean, maximum, n_values"
PGLITE = Path(__file__).parent / "pglite"

Key = tuple[str, int, str, str]


@pytest.fixture
async def filled(database_url: str) -> str:
    """A database with 20 min of two beds, gaps in every feature, the last minutes not rolled up."""
    async with Store(database_url, application_name="test") as store:
        await store.ensure_chunks(START_S * NS_PER_S, (START_S + 1200) * NS_PER_S)
        for part in (range(900, 1200), range(900)):  # the older ones come later
            frames = frames_of(part[0], 2 * len(part), BOOTS, START_S * NS_PER_S)
            frames.features[frames.features < 76.0] = np.nan
            frames.features[:, 7] = np.nan
            async with store.unit() as unit:
                await unit.write_frames(frames)
                await unit.mark_rollups(
                    [
                        (f"dev-{bed:03}", (START_S + minute) * NS_PER_S)
                        for bed in range(2)
                        for minute in range(part[0], part[-1], 60)
                    ]
                )
        await _roll_up(store, database_url)
    return database_url


def asked(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as link:
        return link.execute(statement.encode(), parameters or None).fetchall()


def by_itself(url: str) -> bool:
    return bool(asked(url, "SELECT rolls_up_by_itself()")[0][0])


async def _roll_up(store: Store, url: str) -> None:
    if by_itself(url):
        with psycopg.connect(url, autocommit=True) as link:
            for level in ROLLUP_LEVELS:
                link.execute(
                    "CALL refresh_continuous_aggregate(%s::regclass, NULL, NULL)",
                    (f"{level.table}_kept",),
                )
        return
    keeper = StoreHousekeeper(store, RETENTION, rollup_after_s=-1, long_rollup_after_s=-1)
    while await keeper.roll_up():
        pass


def expected(url: str, level: RollupLevel) -> dict[Key, tuple[Any, ...]]:
    """The same, counted in Python from the frames."""
    names = ", ".join(ROLLUP_FEATURES)
    groups: dict[Key, list[tuple[Any, ...]]] = defaultdict(list)
    for row in asked(
        url,
        "SELECT device_id, extract(epoch FROM time)::bigint, coalesce(bed_id, ''),"
        f" coalesce(pseudonym, ''), {names} FROM feature_frame",
    ):
        groups[row[0], row[1] // level.bucket_s * level.bucket_s, row[2], row[3]].append(row[4:])
    found: dict[Key, tuple[Any, ...]] = {}
    for key, rows in groups.items():
        values = [[x for x in column if x is not None] for column in zip(*rows, strict=True)]
        found[key] = (
            len(rows),
            [min(x, default=None) for x in values],
            [sum(float(np.float32(v)) for v in x) / len(x) if x else None for x in values],
            [max(x, default=None) for x in values],
            [len(x) for x in values],
        )
    return found


def stored(url: str, level: RollupLevel) -> dict[Key, tuple[Any, ...]]:
    rows = asked(url, f"SELECT {COLUMNS} FROM {level.table}")
    found = {(row[0], int(row[1].timestamp()), row[2], row[3]): row[4:] for row in rows}
    assert len(found) == len(rows)
    return found


def assert_same(found: dict[Key, tuple[Any, ...]], wanted: dict[Key, tuple[Any, ...]]) -> None:
    assert found.keys() == wanted.keys()
    for key, (n_frames, minimum, mean, maximum, n_values) in wanted.items():
        got = found[key]
        assert (got[0], got[1], got[3], got[4]) == (n_frames, minimum, maximum, n_values)
        # The server says a real in as few digits as tell it apart from its neighbours.
        assert [None if x is None else np.float32(x) for x in got[2]] == [
            None if x is None else np.float32(x) for x in mean
        ]


@pytest.mark.parametrize("level", ROLLUP_LEVELS, ids=lambda level: f"{level.bucket_s} s")
async def test_every_length_of_bucket_says_what_its_frames_say(
    filled: str, level: RollupLevel
) -> None:
    wanted = expected(filled, level)
    assert len(wanted) == 2 * -(-1200 // level.bucket_s)
    assert_same(stored(filled, level), wanted)


async def test_frames_given_to_another_patient_move_his_rollups_too(filled: str) -> None:
    with psycopg.connect(filled, autocommit=True) as link:
        link.execute(
            "UPDATE feature_frame SET pseudonym = 'p-other' WHERE device_id = 'dev-001'"
            " AND time >= to_timestamp(%s)", (START_S + 610,),
        )  # fmt: skip
        link.execute(
            "INSERT INTO rollup_due SELECT DISTINCT device_id, date_trunc('minute', time)"
            " FROM feature_frame WHERE pseudonym = 'p-other' AND NOT rolls_up_by_itself()"
        )
    async with Store(filled, application_name="test") as store:
        await _roll_up(store, filled)
    for level in ROLLUP_LEVELS:
        assert_same(stored(filled, level), expected(filled, level))


async def test_a_trend_tells_of_frames_that_are_not_rolled_up_yet(filled: str) -> None:
    boot = str(uuid4())
    with psycopg.connect(filled, autocommit=True) as link:
        for bed, each in enumerate((*BOOTS, boot)):
            link.execute(
                "INSERT INTO device_boot VALUES (%s, %s, 'site', 'icu', %s, 0)",
                (f"dev-{bed:03}", each, f"bed-{bed:03}"),
            )
    async with Store(filled, application_name="test") as store:
        frames = frames_of(1200, 2 * 100, BOOTS, START_S * NS_PER_S)
        async with store.unit() as unit:
            await unit.write_frames(frames)
            await unit.mark_rollups([("dev-000", (START_S + at) * NS_PER_S) for at in (1200, 1260)])
    from_ns, until_ns = START_S * NS_PER_S, (START_S + 1300) * NS_PER_S
    async with StorePool(filled) as pool:
        reads = PostgresReads(pool)
        for level in ROLLUP_LEVELS:
            view = await reads.trend(
                "bed-000", ["spo2_percent", "rr_mean_ms"], from_ns, until_ns, level.bucket_s
            )
            wanted = {
                key[1]: row for key, row in expected(filled, level).items() if key[0] == "dev-000"
            }
            assert view.time_ns == [at * NS_PER_S for at in sorted(wanted)]
            assert view.n_frames == [wanted[at][0] for at in sorted(wanted)]
            for name in ("spo2_percent", "rr_mean_ms"):
                position = ROLLUP_FEATURES.index(name)
                said = view.features[name]
                assert said.minimum == [wanted[at][1][position] for at in sorted(wanted)]
                assert said.maximum == [wanted[at][3][position] for at in sorted(wanted)]
                assert said.mean == pytest.approx(
                    [wanted[at][2][position] for at in sorted(wanted)]
                )
        assert (
            await reads.trend("bed-000", ["spo2_percent"], from_ns, until_ns, None)
        ).bucket_s == 10
        for bed, feature, bucket_s in (
            ("bed-999", "spo2_percent", None), ("bed-000", "nonsense", None),
            ("bed-000", "spo2_percent", 11),
        ):  # fmt: skip
            with pytest.raises(NotFoundError):
                await reads.trend(bed, [feature], from_ns, until_ns, bucket_s)


@pytest.fixture(scope="module")
def pglite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the community licence's WebAssembly build; skips where it cannot be had."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no node and npm here")
    folder = tmp_path_factory.mktemp("pglite")
    for name in ("package.json", "package-lock.json", "run.mjs"):
        shutil.copy(PGLITE / name, folder)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot fetch it: {done.stderr[-300:]}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def community(folder: Path, script: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """What each text of `script` answered, run one after the other in a fresh database."""
    done = subprocess.run(
        ["node", "run.mjs"], cwd=folder, input=json.dumps(list(script.values())),
        capture_output=True, text=True, timeout=110, check=False, env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(script, json.loads(done.stdout), strict=True))


def _insert_of(url: str) -> str:
    names = ", ".join(column.name for column in FRAME_COPY_COLUMNS)
    rows = asked(url, f"SELECT to_jsonb(f) FROM (SELECT {names} FROM feature_frame) f")
    text = json.dumps([row[0] for row in rows], ensure_ascii=False).replace("'", "''")
    return (
        f"INSERT INTO feature_frame ({names}) SELECT {names}"
        f" FROM jsonb_populate_recordset(NULL::feature_frame, '{text}')"
    )


async def test_continuous_aggregates_of_the_community_licence_say_the_same(
    filled: str, pglite: Path
) -> None:
    shown = {
        level.table: "SELECT device_id, extract(epoch FROM time)::int AS at, bed_id, pseudonym,"
        f" n_frames, minimum, mean, maximum, n_values FROM {level.table}"
        for level in ROLLUP_LEVELS
    }
    frames = _insert_of(filled)
    count = "SELECT count(*)::int AS n FROM feature_frame"
    migrations = {m.name: m.sql for m in shipped_migrations() if m.tier != "plain"}
    said = community(
        pglite,
        {
            "extension": "CREATE EXTENSION timescaledb",
            **migrations,
            "set": "SELECT set_store_policies('30 days', '90 days', '400 days', '7 days')",
            "policies": "SELECT proc_name, count(*)::int AS n FROM timescaledb_information.jobs"
            " WHERE hypertable_name LIKE 'feature%' GROUP BY 1",
            "insert": frames,
            **{f"fresh {name}": text for name, text in shown.items()},
            **{
                f"refresh {name}": f"CALL refresh_continuous_aggregate('{name}_kept', NULL, NULL)"
                for name in shown
            },
            "compress": "SELECT count(compress_chunk(c))::int AS n FROM show_chunks('feature_frame') c",
            "again": frames + " ON CONFLICT DO NOTHING",
            "rows": count,
            **{f"kept {name}": text for name, text in shown.items()},
            "maintain": "SELECT maintain_store(to_timestamp(0), '30 days', '400 days', '90 days')",
        },
    )
    assert {row["proc_name"]: row["n"] for row in said["policies"]} == {
        "policy_compression": 4, "policy_refresh_continuous_aggregate": 3, "policy_retention": 7,
    }  # fmt: skip
    assert said["compress"][0]["n"] >= 1
    assert said["rows"] == [{"n": asked(filled, count)[0][0]}]
    for form in ("fresh", "kept"):
        for level in ROLLUP_LEVELS:
            found = {
                (row["device_id"], row["at"], row["bed_id"], row["pseudonym"]): (
                    row["n_frames"], row["minimum"], row["mean"], row["maximum"], row["n_values"],
                )
                for row in said[f"{form} {level.table}"]
            }  # fmt: skip
            assert_same(found, stored(filled, level))
