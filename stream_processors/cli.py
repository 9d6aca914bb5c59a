"""``records …``: who is in which bed, said by hand or by script; ``fuzz …``: what holds."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import typer

from stream_processors.bootstrap import (
    current_beds,
    fuzz_gateway,
    kept_letters,
    replay_letters,
    say_record_events,
)
from stream_processors.record_gateway.admission import admission, release
from stream_processors.record_gateway.fhir_bundle import read_bundle
from stream_processors.record_gateway.pseudonym import site_secret
from stream_processors.settings import StreamSettings, read_settings
from wardstream.contracts.errors import (
    ConfigurationError,
    ContractError,
    ExitCode,
    TransientError,
)
from wardstream.contracts.identity import check_id
from wardstream.contracts.record import RecordEvent
from wardstream.contracts.timebase import TimestampNs, from_datetime

T = TypeVar("T")

records = typer.Typer(
    name="records",
    help="Who is in which bed, and what the record knows of them.",
    no_args_is_help=True,
)

letters = typer.Typer(
    name="dead-letters",
    help="Messages that broke a contract: look at them, and say them once more.",
    no_args_is_help=True,
)

_Bed = Annotated[str, typer.Option("--bed", help="The bed, as its device names it.")]
_Effective = Annotated[
    datetime | None,
    typer.Option(
        "--effective",
        formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"],
        help="From when on it holds, with time zone (default: now).",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@records.command("load")
def load(
    bundle: Annotated[Path, typer.Argument(help="FHIR R4 bundle of one patient (JSON).")],
    bed: _Bed,
    effective: _Effective = None,
    as_json: _Json = False,
) -> None:
    """Say that a patient is in a bed, and what their record knows. No name leaves this command."""
    settings = read_settings_or_exit()
    try:
        check_id(bed, "bed")
    except ContractError as error:
        _end(str(error), ExitCode.USAGE)
    try:
        record = read_bundle(bundle.read_bytes())
        now_ns = TimestampNs(time.time_ns())
        secret = settings.site_secret.get_secret_value() if settings.site_secret else None
        events = admission(
            record,
            site_secret(settings.state_dir, secret),
            bed_id=bed,
            effective_time_ns=from_datetime(effective) if effective else now_ns,
            recorded_time_ns=now_ns,
        )
    except (OSError, ContractError) as error:
        _end(f"{bundle}: {error}", ExitCode.DATA_ERROR)
    except ConfigurationError as error:
        _end("\n".join(error.problems), ExitCode.CONFIGURATION)
    _say(settings, events)
    told = {
        "bed_id": bed,
        "pseudonym": events[0].pseudonym,
        "n_problems": len(record.context.problems),
        "effective_time": _iso(events[0].effective_time_ns),
    }
    print(
        json.dumps(told)
        if as_json
        else f"bed {bed} holds {told['pseudonym']} ({told['n_problems']} problems)"
        f" from {told['effective_time']} on"
    )


@records.command("release")
def release_bed(bed: _Bed, effective: _Effective = None) -> None:
    """Say that a bed is empty."""
    settings = read_settings_or_exit()
    now_ns = TimestampNs(time.time_ns())
    try:
        event = release(
            bed_id=bed,
            effective_time_ns=from_datetime(effective) if effective else now_ns,
            recorded_time_ns=now_ns,
        )
    except ContractError as error:
        _end(str(error), ExitCode.USAGE)
    _say(settings, [event])
    print(f"bed {bed} is empty from {_iso(event.effective_time_ns)} on")


@records.command("list")
def list_beds(as_json: _Json = False) -> None:
    """Show who is in which bed now, by pseudonym."""
    settings = read_settings_or_exit()
    try:
        beds = asyncio.run(current_beds(settings))
    except ConfigurationError as error:
        _end("\n".join(error.problems), ExitCode.CONFIGURATION)
    except TransientError as error:
        _end(str(error), ExitCode.UNAVAILABLE)
    if as_json:
        print(json.dumps(beds))
        return
    for bed in beds:
        print(f"{bed['bed_id']:<24} {bed['pseudonym'] or '(empty)':<20} since {bed['since']}")


fuzz = typer.Typer(
    name="fuzz",
    help="Throw at a part what should never come, and count what becomes of it.",
    no_args_is_help=True,
)


@fuzz.callback()
def about_fuzz() -> None:
    """Throw at a part what should never come, and count what becomes of it."""


@fuzz.command("record")
def fuzz_record(
    messages: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed throws the same.")] = 1,
    as_json: _Json = False,
) -> None:
    """Throw HL7 and FHIR at the record gateway and the harmoniser: cut, mis-encoded, swapped.

    A simulated ward knows the truth of each message. Exit code 1 if anything was written to the
    wrong patient, lost, not answered, taken in a wrong unit, or crashed. In memory: no database
    and no Kafka are needed or touched.
    """
    logging.getLogger("stream_processors").setLevel(logging.CRITICAL)
    report = fuzz_gateway(messages, seed)
    print(json.dumps(report, indent=None if as_json else 1, ensure_ascii=False))
    if not report["is_clean"]:
        raise typer.Exit(ExitCode.CRASHED)


_Device = Annotated[str | None, typer.Option("--device", help="Of this device only.")]
_Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, oldest first.")]


@letters.command("list")
def list_letters(device: _Device = None, limit: _Limit = 100, as_json: _Json = False) -> None:
    """Show dead letters: which message, from where, and what is wrong with it."""
    found = _run_or_exit(kept_letters(read_settings_or_exit(), device_id=device, limit=limit))
    for letter in found:
        told = {
            "letter_id": letter.letter_id,
            "origin": letter.origin,
            "device_id": letter.device_id,
            "reason": letter.reason,
            "n_bytes": len(letter.payload),
            "received_time": _iso(letter.received_time_ns),
        }
        line = f"{told['letter_id']}  {told['received_time']}  {letter.origin}: {letter.reason}"
        print(json.dumps(told) if as_json else line)


@letters.command("replay")
def replay(
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Their ids, or --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All, or all of --device.")] = False,
    device: _Device = None,
    limit: _Limit = 1000,
) -> None:
    """Say dead letters once more. What still breaks its contract stays, with the reason told."""
    if bool(letter_ids) == every:
        _end("name the letters (see dead-letters list), or say --all", ExitCode.USAGE)
    for letter_id in letter_ids or ():
        try:
            UUID(letter_id)
        except ValueError:
            _end(f"{letter_id!r} is no letter's id (see dead-letters list)", ExitCode.USAGE)
    told = _run_or_exit(
        replay_letters(read_settings_or_exit(), letter_ids or None, device_id=device, limit=limit)
    )
    for letter_id, why in told:
        print(f"{letter_id}  {'said again' if why is None else f'stays: {why}'}")
    missing = set(letter_ids or ()) - {letter_id for letter_id, _ in told}
    if missing:
        _end(f"no such letters: {', '.join(sorted(missing))}", ExitCode.DATA_ERROR)


def _run_or_exit(work: Coroutine[Any, Any, T]) -> T:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what fails is told below
    try:
        return asyncio.run(work)
    except ConfigurationError as error:
        _end("\n".join(error.problems), ExitCode.CONFIGURATION)
    except TransientError as error:
        _end(str(error), ExitCode.UNAVAILABLE)


def read_settings_or_exit() -> StreamSettings:
    """The settings, or every problem on standard error and exit 78."""
    try:
        return read_settings()
    except ConfigurationError as error:
        _end("\n".join(error.problems), ExitCode.CONFIGURATION)


def _say(settings: StreamSettings, events: Sequence[RecordEvent]) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what fails is told below
    try:
        asyncio.run(say_record_events(settings, events))
    except TransientError as error:
        _end(f"not said: {error}", ExitCode.UNAVAILABLE)


def _end(text: str, code: ExitCode) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(code)


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")
