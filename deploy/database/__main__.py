"""``wardstream database``: migrate, dump, restore, and plan the room of a store."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg

from deploy.database.backup import dump, restore
from deploy.database.layout import bytes_a_row
from deploy.database.migrate import migrate
from deploy.database.plan import Retained, plan, plan_as_dict
from wardstream.contracts.errors import ConfigurationError, ExitCode, TransientError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.url is None and options.command != "plan":
        parser.error("--url or WARDSTREAM_DATABASE_URL is needed")
    try:
        return _run(options)
    except TransientError as error:
        print(error, file=sys.stderr)
        return ExitCode.UNAVAILABLE
    except ConfigurationError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return ExitCode.CONFIGURATION
    except psycopg.Error as error:
        print(f"{options.command} failed, nothing of it was kept: {error}", file=sys.stderr)
        return ExitCode.CRASHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wardstream database", description="The schema of a store, its copies and its room."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    migrating = commands.add_parser("migrate", help="apply what is missing; safe to repeat")
    dumping = commands.add_parser("dump", help="write all of it to a file, as of one moment")
    restoring = commands.add_parser("restore", help="bring a dump into an empty database")
    planning = commands.add_parser("plan", help="the room that beds take, by measured rows")
    for command in (migrating, dumping, restoring):
        command.add_argument(
            "--url",
            default=os.environ.get("WARDSTREAM_DATABASE_URL"),
            help="postgresql://user:password@host:port/name (default: WARDSTREAM_DATABASE_URL)",
        )
    for command in (dumping, restoring):
        command.add_argument("--file", type=Path, required=True, help="the dump")
    planning.add_argument("--url", help="measure rows there instead of taking ours")
    planning.add_argument("--beds", type=_positive, default=100)
    planning.add_argument("--days", type=_positive, default=365)
    planning.add_argument("--keep-all", action="store_true", help="as if nothing were ever dropped")
    for command in (migrating, planning):
        command.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.command == "dump":
        dump(options.url, options.file)
    elif options.command == "restore":
        restore(options.url, options.file)
    elif options.command == "plan":
        _plan(options)
    else:
        report = migrate(options.url)
        if options.json:
            print(json.dumps(report.as_dict()))
        else:
            applied = ", ".join(report.applied) or "nothing"
            print(f"PostgreSQL {report.server_version}, {report.tier}: applied {applied}")
    return ExitCode.OK


def _plan(options: argparse.Namespace) -> None:
    retained = Retained()
    if options.keep_all:
        retained = Retained(frames_days=None, fine_rollups_days=None, rollups_days=None)
    measured = bytes_a_row(options.url) if options.url else None
    lines = plan(beds=options.beds, days=options.days, retained=retained, measured=measured)
    told = plan_as_dict(lines)
    if options.json:
        print(json.dumps(told))
        return
    print(f"{'table':<20}{'days':>6}{'rows':>16}{'B/row':>8}{'GB':>10}{'compressed':>12}")
    for line in lines:
        print(
            f"{line.table:<20}{line.days:>6}{line.rows:>16,}{line.bytes_a_row:>8.0f}"
            f"{line.gigabytes:>10.1f}{line.gigabytes_compressed:>12.1f}"
        )
    print(f"{'all':<50}{told['gigabytes']:>10.1f}{told['gigabytes_compressed']:>12.1f}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 at least")
    return number


if __name__ == "__main__":
    sys.exit(main())
