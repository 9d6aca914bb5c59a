"""Brings a database to this version's schema: plain SQL files, in order, each once.

A migration is ``migrations/NNNN_name.sql`` and runs on every server. Where servers differ, SQL
asks ``store_tier()``, or a migration comes as ``NNNN_name.timescale.sql`` and
``NNNN_name.plain.sql``, of which the one that fits is run (after ``NNNN_name.sql`` if there is
one too). Time series are made with ``CALL make_time_series('table')``, which picks the physical
form. Each file runs in its own transaction, in order of number; one that came late into a gap of
the numbers runs when it is there; an advisory lock keeps two runners apart; a file
that changed after it was applied is refused, for the database no longer says what the file does.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final, LiteralString, cast

import psycopg

from wardstream.contracts.errors import ConfigurationError, TransientError

LOCK_KEY: Final = 0x57_41_52_44  # "WARD"
_NAME: Final = re.compile(r"\d{4}_[a-z0-9_]+(?:\.(timescale|plain))?\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file.

    Attributes
    ----------
    name : str
        File name, for ever.
    sql : str
        Its text.
    tier : str or None
        ``timescale`` or ``plain`` if it is for such a server only.
    """

    name: str
    sql: str
    tier: str | None

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did.

    Attributes
    ----------
    tier : str
        ``timescale_community``, ``timescale_apache`` or ``plain``.
    server_version, timescale_version : str
        As the server says; the second empty without the extension.
    applied : tuple of str
        Files applied now.
    n_already_applied : int
        Files applied by earlier runs.
    """

    tier: str
    server_version: str
    timescale_version: str
    applied: tuple[str, ...]
    n_already_applied: int

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def shipped_migrations() -> tuple[Migration, ...]:
    """The migrations of this version, in order."""
    return read_migrations(resources.files("deploy.database") / "migrations")


def read_migrations(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations in `folder`, in order.

    Raises
    ------
    ConfigurationError
        A ``.sql`` file is misnamed: it would silently never run.
    """
    found: list[Migration] = []
    problems: list[str] = []
    for entry in folder.iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = _NAME.fullmatch(entry.name)
        if match is None:
            problems.append(f"{entry.name}: expected NNNN_name[.timescale|.plain].sql")
        else:
            found.append(Migration(entry.name, entry.read_text("utf-8"), match[1]))
    if problems:
        raise ConfigurationError(problems)
    return tuple(sorted(found, key=lambda m: (m.name.split(".")[0], m.tier or "")))


def migrate(url: str, migrations: Sequence[Migration] | None = None) -> MigrationReport:
    """Apply what is missing in the database at `url`; a second call does nothing.

    Raises
    ------
    TransientError
        The server cannot be reached.
    ConfigurationError
        An applied file has changed since.
    psycopg.Error
        A migration failed; its transaction was rolled back.
    """
    wanted = shipped_migrations() if migrations is None else migrations
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise TransientError(f"database not reachable: {error}") from error
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        _offer_timescale(url)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY,"
            " checksum text NOT NULL, applied_time timestamptz NOT NULL DEFAULT now())"
        )
        rows = connection.execute("SELECT name, checksum FROM schema_migration").fetchall()
        before: dict[str, str] = {str(name): str(checksum) for name, checksum in rows}
        _refuse_changed(wanted, before)
        kind = "timescale" if _timescale_version(connection) else "plain"
        fitting = [m for m in wanted if m.tier in (None, kind)]
        applied = [m for m in fitting if m.name not in before]
        for migration in applied:
            _apply(connection, migration)
        _compute_backfill(connection)
        return _report(connection, applied, len(fitting) - len(applied))


def _offer_timescale(url: str) -> None:
    # In a connection of its own: the extension must be made before anything of it was touched,
    # and a server on which it is not preloaded ends the connection.
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
                " AND coalesce((SELECT setting FROM pg_settings"
                " WHERE name = 'shared_preload_libraries'), '') LIKE '%timescaledb%'"
            ).fetchone()
            if row is not None and row[0]:
                connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile):
        return  # the server keeps it from us, or its files are incomplete: plain it is


def _refuse_changed(wanted: Sequence[Migration], before: dict[str, str]) -> None:
    changed = [m.name for m in wanted if before.get(m.name, m.checksum) != m.checksum]
    if changed:
        raise ConfigurationError(
            [f"{name} was applied and has changed since; add a new file" for name in changed]
        )


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    with connection.transaction():
        # The text is ours, from the package; without parameters it may hold many statements.
        connection.execute(cast("LiteralString", migration.sql))
        connection.execute(
            "INSERT INTO schema_migration (name, checksum) VALUES (%s, %s)",
            (migration.name, migration.checksum),
        )


def _compute_backfill(connection: psycopg.Connection[Any]) -> None:
    # Continuous aggregates over frames that were there before them: no transaction may hold this.
    row = connection.execute("SELECT to_regclass('rollup_backfill') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return
    todo = connection.execute("SELECT relation, from_time, until_time FROM rollup_backfill")
    for relation, from_time, until_time in todo.fetchall():
        connection.execute(
            "CALL refresh_continuous_aggregate(%s::regclass, %s::timestamptz, %s::timestamptz)",
            (relation, from_time, until_time),
        )
        connection.execute("DELETE FROM rollup_backfill WHERE relation = %s", (relation,))


def _timescale_version(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    ).fetchone()
    return "" if row is None else str(row[0])


def _report(
    connection: psycopg.Connection[Any], applied: Sequence[Migration], n_before: int
) -> MigrationReport:
    row = connection.execute("SELECT store_tier(), current_setting('server_version')").fetchone()
    if row is None:
        raise TransientError("the server answered nothing")
    return MigrationReport(
        tier=str(row[0]),
        server_version=str(row[1]),
        timescale_version=_timescale_version(connection),
        applied=tuple(m.name for m in applied),
        n_already_applied=n_before,
    )
