"""``python -m deploy.database migrate --url URL [--json]``."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

import psycopg

from deploy.database.migrate import migrate
from wardstream.contracts.errors import ConfigurationError, ExitCode, TransientError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.database", description="Bring a database to this version's schema."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    migrating = commands.add_parser("migrate", help="apply what is missing; safe to repeat")
    migrating.add_argument(
        "--url",
        default=os.environ.get("WARDSTREAM_DATABASE_URL"),
        help="postgresql://user:password@host:port/name (default: WARDSTREAM_DATABASE_URL)",
    )
    migrating.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    if options.url is None:
        parser.error("--url or WARDSTREAM_DATABASE_URL is needed")
    return _migrate(options.url, as_json=options.json)


def _migrate(url: str, *, as_json: bool) -> int:
    try:
        report = migrate(url)
    except TransientError as error:
        print(error, file=sys.stderr)
        return ExitCode.UNAVAILABLE
    except ConfigurationError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return ExitCode.CONFIGURATION
    except psycopg.Error as error:
        print(f"migration failed, nothing of it was kept: {error}", file=sys.stderr)
        return ExitCode.CRASHED
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        applied = ", ".join(report.applied) or "nothing"
        print(f"PostgreSQL {report.server_version}, {report.tier}: applied {applied}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
