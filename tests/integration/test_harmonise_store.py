"""Observations and quarantine on real servers, with TimescaleDB and plain."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from typer.testing import CliRunner

from stream_processors.core.harmonising import Harmonised
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.harmonise.commands import quarantine
from stream_processors.harmonise.graph import compile_terminology, read_graph
from stream_processors.harmonise.harmoniser import Harmoniser
from stream_processors.harmonise.store import TerminologyKeeper, write_harmonised
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

NOW = TimestampNs(1_793_000_000 * NS_PER_S)
ADULT = PatientFacts(sex="male")


@pytest.fixture(scope="module")
def harmoniser() -> Harmoniser:
    return Harmoniser(compile_terminology(read_graph()))


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


def said(code: str, value: float | str | None, unit: str | None, **more: Any) -> Observation:
    stated = Observation(
        pseudonym="p-1", encounter_id=None, time_ns=NOW, code_system="LN", code=code, code_text="",
        value=value, unit=unit, source="hl7:ORU^R01:LAB|X", message_id="m-1",
    )  # fmt: skip
    return replace(stated, **more)


FEED = [
    said("2160-0", 1.0, "mg/dL"),
    said("2160-0", 1.0, "mg/dL", message_id="again"),
    said("8310-5", 98.6, "Cel"),
    said("K_SER", 4.1, None, code_system="L", code_text="Kalium"),
    said("K_SER", 4.4, None, code_system="L", code_text="Kalium", time_ns=TimestampNs(NOW + 1)),
    said("K_SER", 44.0, None, code_system="L", code_text="Kalium", time_ns=TimestampNs(NOW + 2)),
    said("NUL\x00", "x\x00\udc00", None, code_system="L"),
    said("I10", None, None, code_system="I10"),
]


async def stored(
    connection: AsyncConnection[Any], harmoniser: Harmoniser, feed: list[Observation]
) -> list[Harmonised]:
    results = [harmoniser(one, ADULT) for one in feed]
    async with connection.transaction():
        await write_harmonised(connection, results, NOW)
    return results


async def asked(connection: AsyncConnection[Any], query: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query)).fetchall()


def command(url: str, *arguments: str, fails: int = 0) -> str:
    # In a thread, for the command runs a loop of its own.
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(
            CliRunner().invoke, quarantine, list(arguments), env={"STREAM_DATABASE_URL": url}
        )
        done = run.result(timeout=50)
    assert done.exit_code == fails, done.output
    return done.output


async def test_what_comes_in_is_in_one_table_or_the_other_once(
    connection: AsyncConnection[Any], harmoniser: Harmoniser
) -> None:
    harmoniser.learn([])
    await stored(connection, harmoniser, FEED)
    before = await asked(connection, "SELECT * FROM observations ORDER BY 1")
    held = await asked(connection, "SELECT * FROM quarantine ORDER BY 1")
    # Eight statements, one of them twice.
    assert (len(before), len(held)) == (2, 5)
    await stored(connection, harmoniser, FEED)
    await stored(connection, harmoniser, list(reversed(FEED)))
    assert await asked(connection, "SELECT * FROM observations ORDER BY 1") == before
    assert await asked(connection, "SELECT * FROM quarantine ORDER BY 1") == held


async def test_contradictory_values_are_kept_and_not_used_until_decided(
    connection: AsyncConnection[Any], harmoniser: Harmoniser, database_url: str
) -> None:
    first = said("2823-3", 4.1, "mmol/L")
    await stored(connection, harmoniser, [first])
    assert len(await asked(connection, "SELECT FROM observation_usable")) == 1
    # The same in another unit, but for rounding, is no contradiction; another value is.
    alike = replace(first, value=16.03, unit="mg/dL", source="hl7:ORU^R01:LAB2|X")
    await stored(connection, harmoniser, [alike])
    assert len(await asked(connection, "SELECT FROM observation_usable")) == 2
    other = replace(first, value=6.1, source="hl7:ORU^R01:BGA|ICU")
    await stored(connection, harmoniser, [other])
    assert len(await asked(connection, "SELECT FROM observations")) == 3
    assert await asked(connection, "SELECT FROM observation_usable") == []
    rows = json.loads(command(database_url, "contradictions", "--json"))
    right = next(row["observation_id"] for row in rows if row["stated_value"] == "6.1")
    command(database_url, "decide", right, "--use", "--by", "Dr Li")
    assert await asked(connection, "SELECT value, decided_by FROM observation_usable") == [
        (6.1, "Dr Li")
    ]


async def test_two_doses_at_one_time_are_no_contradiction(
    connection: AsyncConnection[Any], harmoniser: Harmoniser
) -> None:
    dose = said("C01CA03", 0.1, "ug/kg/min", code_system="ATC")
    await stored(connection, harmoniser, [dose, replace(dose, value=0.2)])
    assert len(await asked(connection, "SELECT FROM observation_usable")) == 2


async def test_a_person_maps_once_and_all_that_waits_is_replayed(
    connection: AsyncConnection[Any], harmoniser: Harmoniser, database_url: str
) -> None:
    harmoniser.learn([])
    await stored(connection, harmoniser, FEED)
    groups = json.loads(command(database_url, "list", "--groups", "--json"))
    local = next(group for group in groups if group["code"] == "K_SER")
    assert local["n_waiting"] == 3
    which = local["newest_quarantine_id"]
    assert '"K_SER"' in command(database_url, "show", which)
    assert "cannot be converted" in command(
        database_url, "map", which, "--concept", "potassium", "--unit", "mm[Hg]", fails=2
    )
    told = command(
        database_url, "map", which, "--concept", "potassium", "--unit", "mmol/L", "--by", "Li"
    )
    assert "3 held back" in told
    assert "replayed 2" in told  # 44 mmol/L cannot be
    rows = await asked(
        connection, "SELECT value, flags, stated_code FROM observations WHERE concept = 'potassium'"
        " ORDER BY value")  # fmt: skip
    assert rows == [(4.1, ["local"], "K_SER"), (4.4, ["local"], "K_SER")]
    states = await asked(
        connection,
        "SELECT state, reason, decided_by FROM quarantine WHERE code = 'K_SER' ORDER BY 1, 2",
    )
    assert states == [("mapped", "impossible_value", "Li"), ("replayed", "unknown_code", "Li"),
                      ("replayed", "unknown_code", "Li")]  # fmt: skip
    # A process that runs learns it before its next batch, and a second replay changes nothing.
    assert await TerminologyKeeper(harmoniser).refresh(connection)
    fresh = replace(FEED[3], time_ns=TimestampNs(NOW + 5))
    await stored(connection, harmoniser, [fresh])
    assert len(await asked(connection, "SELECT FROM observations WHERE concept = 'potassium'")) == 3
    assert '"n_replayed": 0' in command(database_url, "replay", "--json")
    # In = mapped + held, with what was replayed counted where it is now.
    stated = await asked(connection, "SELECT count(*) FROM quarantine WHERE state <> 'replayed'")
    assert stated == [(3,)]


async def test_a_suspected_unit_is_settled_for_one_value_without_a_rule(
    connection: AsyncConnection[Any], harmoniser: Harmoniser, database_url: str
) -> None:
    await stored(connection, harmoniser, [FEED[2], said("2345-7", 5.5, "mg/dL")])
    waiting = {
        row["code"]: row["quarantine_id"]
        for row in json.loads(command(database_url, "list", "--json"))
    }
    command(
        database_url,
        "map",
        waiting["8310-5"],
        "--concept",
        "temperature",
        "--unit",
        "[degF]",
        "--this-only",
    )
    assert "is refused" in command(database_url, "refuse", waiting["2345-7"])
    assert await asked(connection, "SELECT round(value::numeric, 2)::float FROM observations") == [
        (37.0,)
    ]
    assert await asked(connection, "SELECT count(*) FROM local_mappings") == [(0,)]
    assert await asked(connection, "SELECT count(*) FROM quarantine_open") == [(0,)]


async def test_nothing_filled_or_infinite_can_be_stored(connection: AsyncConnection[Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await connection.execute(
            "INSERT INTO observations VALUES (gen_random_uuid(), now(), 1, 'p', NULL, 'quantity',"
            " 'potassium', 'LOINC', '2823-3', 'NaN', NULL, 'mmol/L', '{}', 'LN', '2823-3', 'NaN',"
            " 'mmol/L', 's', 'm')"
        )
