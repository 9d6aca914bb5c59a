"""``quarantine ...``: what was held back, and what people say of it."""

import asyncio
import getpass
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, NoReturn, TypeVar

import psycopg
import typer
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from stream_processors.harmonise.harmoniser import Harmoniser, load_harmoniser
from stream_processors.harmonise.quarantine import (
    decide_contradiction,
    map_held,
    refuse_held,
    replay_held,
)
from stream_processors.harmonise.store import HeldRow, read_one_held
from wardstream.contracts.errors import ConfigurationError, ContractError, ExitCode

T = TypeVar("T")

quarantine = typer.Typer(
    name="quarantine",
    help="What the record said and could not be mapped: look at it, map it once, replay it.",
    no_args_is_help=True,
)

_Url = Annotated[
    str, typer.Option("--database-url", envvar="STREAM_DATABASE_URL", help="postgresql://...")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON value.")]
_By = Annotated[str, typer.Option("--by", help="Who decides (default: the account).")]
_Which = Annotated[str, typer.Argument(help="Identity, or as many of its first digits as tell.")]


@quarantine.command("list")
def list_held(
    url: _Url,
    state: Annotated[str, typer.Option(help="waiting, mapped, replayed or refused.")] = "waiting",
    groups: Annotated[bool, typer.Option("--groups", help="By what has to be said.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: _Json = False,
) -> None:
    """Show what was held back, newest first."""
    if groups:
        rows = _rows(url, "SELECT * FROM quarantine_groups ORDER BY n_waiting DESC LIMIT %s", limit)
    else:
        rows = _rows(
            url,
            "SELECT quarantine_id::text, received_time, state, reason, reason_text, code_system,"
            " code, code_text, value_text, unit, source FROM quarantine WHERE state = %s"
            " ORDER BY received_time DESC, quarantine_id LIMIT %s",
            state,
            limit,
        )
    if as_json:
        print(json.dumps(rows, default=str, ensure_ascii=False))
        return
    for row in rows:
        if groups:
            stated = f"{row['code_system']} {row['code']} {row['code_text']!r} in {row['unit']!r}"
            print(
                f"{row['n_waiting']:>6} {row['reason']:<22} {stated}  e.g. {row['newest_quarantine_id']}"
            )
        else:
            print(f"{row['quarantine_id'][:13]} {row['reason']:<22} {row['reason_text']}")
    if not rows:
        print("nothing", file=sys.stderr)


@quarantine.command("show")
def show(which: _Which, url: _Url) -> None:
    """Show one, whole, as JSON."""

    async def read(connection: AsyncConnection[Any]) -> HeldRow:
        return await _one(connection, which)

    print(json.dumps(asdict(_run(url, read)), ensure_ascii=False, indent=2))


@quarantine.command("map")
def map_one(
    which: _Which,
    url: _Url,
    concept: Annotated[str, typer.Option(help="Name of the concept: `quarantine concepts`.")],
    unit: Annotated[str | None, typer.Option(help="UCUM unit of such values.")] = None,
    this_only: Annotated[bool, typer.Option("--this-only", help="No rule, this one.")] = False,
    this_source: Annotated[bool, typer.Option("--this-source", help="For its sender.")] = False,
    by: _By = "",
) -> None:
    """Say once what a code or a unit is; all that waits for it is replayed."""
    harmoniser = load_harmoniser()

    async def decide(connection: AsyncConnection[Any]) -> int:
        async with connection.transaction():
            held = await _one(connection, which)
            return await map_held(
                connection, harmoniser, held, concept=concept, unit=unit,
                decided_by=by or getpass.getuser(), this_only=this_only, this_source=this_source,
            )  # fmt: skip

    n_waiting = _run(url, decide)
    print(f"{n_waiting} held back are {concept} now")
    _replay(url, harmoniser, as_json=False)


@quarantine.command("refuse")
def refuse(which: _Which, url: _Url, by: _By = "") -> None:
    """Say that it is no observation of that patient; it stays on record."""

    async def decide(connection: AsyncConnection[Any]) -> str:
        async with connection.transaction():
            held = await _one(connection, which)
            await refuse_held(connection, held, by or getpass.getuser())
            return held.quarantine_id

    print(f"{_run(url, decide)} is refused")


@quarantine.command("replay")
def replay(url: _Url, as_json: _Json = False) -> None:
    """Try all again that waits or was mapped; what maps now becomes an observation."""
    _replay(url, load_harmoniser(), as_json=as_json)


@quarantine.command("concepts")
def concepts(
    words: Annotated[str, typer.Argument(help="Part of a name, in any language.")] = "",
) -> None:
    """Show what can be mapped to."""
    for concept in load_harmoniser().terminology.concepts:
        names = " | ".join(concept.names)
        if words.casefold() in f"{concept.name} {names}".casefold():
            print(f"{concept.name:<32} {concept.kind:<11} {concept.unit or '':<12} {names}")


@quarantine.command("contradictions")
def contradictions(url: _Url, as_json: _Json = False) -> None:
    """Show observations that say different things of one moment; none is used until decided."""
    rows = _rows(
        url,
        "SELECT observation_id::text, pseudonym, concept, time, stated_value, stated_unit, source"
        " FROM observation_contradictions ORDER BY time DESC, pseudonym, concept LIMIT %s",
        1000,
    )
    if as_json:
        print(json.dumps(rows, default=str, ensure_ascii=False))
        return
    for row in rows:
        stated = f"{row['stated_value']} {row['stated_unit'] or ''}"
        print(
            f"{row['observation_id'][:13]} {row['pseudonym']} {row['concept']} {row['time']} {stated} {row['source']}"
        )


@quarantine.command("decide")
def decide_one(
    which: _Which,
    url: _Url,
    use: Annotated[bool, typer.Option("--use/--refuse", help="Whether it is the right one.")],
    by: _By = "",
) -> None:
    """Say which of contradictory observations is used; the undecided others are refused."""

    async def decide(connection: AsyncConnection[Any]) -> int:
        async with connection.transaction():
            return await decide_contradiction(
                connection, which, use=use, decided_by=by or getpass.getuser()
            )

    n_decided = _run(url, decide)
    if not n_decided:
        _end(f"no contradicted observation begins with {which}", ExitCode.USAGE)
    print(f"{n_decided} decided")


def _replay(url: str, harmoniser: Harmoniser, *, as_json: bool) -> None:
    async def again(connection: AsyncConnection[Any]) -> Any:
        return await replay_held(connection, harmoniser, time.time_ns())

    report = _run(url, again)
    if as_json:
        print(json.dumps(asdict(report)))
    else:
        print(f"replayed {report.n_replayed}, still held {report.n_still_held}")


async def _one(connection: AsyncConnection[Any], which: str) -> HeldRow:
    held = await read_one_held(connection, which)
    if held is None:
        raise ConfigurationError([f"{which} begins no identity, or more than one"])
    return held


def _rows(url: str, query: Any, *parameters: object) -> list[dict[str, Any]]:
    async def read(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(query, parameters)
        return await cursor.fetchall()

    return _run(url, read)


def _run(url: str, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with await AsyncConnection.connect(
            url, autocommit=True, connect_timeout=5, application_name="wardstream-quarantine"
        ) as connection:
            return await work(connection)

    try:
        return asyncio.run(connected())
    except psycopg.OperationalError as error:
        _end(f"database not reachable: {error}", ExitCode.UNAVAILABLE)
    except psycopg.errors.UndefinedTable:
        _end(
            "the database is of an older version: run `wardstream db migrate`", ExitCode.UNAVAILABLE
        )
    except ConfigurationError as error:
        _end("\n".join(error.problems), ExitCode.USAGE)
    except ContractError as error:
        _end(str(error), ExitCode.USAGE)


def _end(text: str, code: ExitCode) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(code)
