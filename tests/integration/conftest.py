"""Real servers for integration tests, each on a free port of loopback, each ended by its pid.

Every server object can be killed and started again on the same port and data:
``server.kill()``, ``server.start()``, ``server.pause()``, ``server.resume()``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from deploy.local.servers.apache_kafka import ApacheKafkaCluster, find_apache_kafka
from deploy.local.servers.kafka import TansuServer
from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.postgres import PostgresServer, PostgresSettings
from wardstream.contracts.errors import ConfigurationError

DEVICE_IDS = tuple(f"bed-{number:02}" for number in range(1, 9))
_HERE = Path(__file__).resolve().parent
_CHECKOUT = _HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder the servers' unprivileged account may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="wardstream-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server_stack() -> Iterator[ExitStack]:
    """What is entered here is left, in reverse order, when the test ends."""
    with ExitStack() as stack:
        yield stack


# PostgreSQL


@pytest.fixture(scope="session")
def postgres_timescale(server_folder: Path) -> Iterator[PostgresServer]:
    """PostgreSQL with TimescaleDB for the whole session; skips where it cannot be had."""
    server = PostgresServer(PostgresSettings(folder=server_folder / "postgres-timescale"))
    if server.distribution.timescaledb is None:
        pytest.skip(f"no TimescaleDB here: {server.distribution.why_plain}")
    with server:
        yield server


@pytest.fixture(scope="session")
def postgres_plain(server_folder: Path) -> Iterator[PostgresServer]:
    """Plain PostgreSQL for the whole session."""
    folder = server_folder / "postgres-plain"
    with PostgresServer(PostgresSettings(folder=folder, timescaledb=False)) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_timescale_url(postgres_timescale: PostgresServer) -> str:
    """Address of an unmigrated database on the server with TimescaleDB."""
    return postgres_timescale.url()


@pytest.fixture(scope="session")
def postgres_plain_url(postgres_plain: PostgresServer) -> str:
    """Address of an unmigrated database on the plain server."""
    return postgres_plain.url()


class GivenServer:
    """A running PostgreSQL that this test run did not start: ``WARDSTREAM_TEST_TIMESCALE_URL``.

    Its role must be allowed to create databases and, in them, the extension timescaledb.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str | None = None) -> str:
        """Address of `database`, or of the one that was given."""
        if database in (None, "postgres"):
            return self._url
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()


GIVEN_TIMESCALE_URL: Final = os.environ.get("WARDSTREAM_TEST_TIMESCALE_URL", "")


@pytest.fixture(scope="session")
def postgres_given() -> GivenServer:
    """The server of ``WARDSTREAM_TEST_TIMESCALE_URL``."""
    return GivenServer(GIVEN_TIMESCALE_URL)


@pytest.fixture(params=["timescale", "plain", *(["given"] if GIVEN_TIMESCALE_URL else [])])
def postgres(request: pytest.FixtureRequest) -> PostgresServer | GivenServer:
    """The session's PostgreSQL: with TimescaleDB, plain, and the one given. Do not kill it."""
    return request.getfixturevalue(f"postgres_{request.param}")


@pytest.fixture
def empty_database_url(postgres: PostgresServer | GivenServer) -> Iterator[str]:
    """Address of a database of this test alone, without tables, on either kind of server."""
    name = f"test_{uuid4().hex[:12]}"
    _administer(postgres, "CREATE DATABASE {}", name)
    yield postgres.url(name)
    _administer(postgres, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """Address of a migrated database of this test alone, on either kind of server."""
    migrate(empty_database_url)
    return empty_database_url


@pytest.fixture
def make_postgres(server_folder: Path, server_stack: ExitStack) -> Callable[..., PostgresServer]:
    """Make and start a PostgreSQL of this test alone, to be killed: ``(timescaledb=True)``."""

    def make(*, timescaledb: bool = True) -> PostgresServer:
        folder = server_folder / f"postgres-{uuid4().hex[:8]}"
        server = PostgresServer(PostgresSettings(folder=folder, timescaledb=timescaledb))
        if timescaledb and server.distribution.timescaledb is None:
            pytest.skip(f"no TimescaleDB here: {server.distribution.why_plain}")
        return server_stack.enter_context(server)

    return make


def migrate(url: str) -> None:
    """Apply the migrations to the database at `url`, as the stack does."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.database", "migrate", "--url", url],
        cwd=_CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"migrations failed ({done.returncode}):\n{done.stdout}{done.stderr}")


def _administer(server: PostgresServer | GivenServer, statement: LiteralString, name: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as link:
        link.execute(sql.SQL(statement).format(sql.Identifier(name)))


# Brokers


@pytest.fixture
def mosquitto(server_folder: Path, server_stack: ExitStack) -> MosquittoServer:
    """A broker of this test alone: ``url(user)``, ``passwords``, devices ``bed-01`` to ``bed-08``."""
    folder = server_folder / f"mosquitto-{uuid4().hex[:8]}"
    try:
        return server_stack.enter_context(MosquittoServer(folder, DEVICE_IDS))
    except ConfigurationError as error:
        pytest.skip(str(error))


@pytest.fixture
def tansu(server_folder: Path, server_stack: ExitStack) -> TansuServer:
    """A volatile Kafka-compatible broker of this test alone."""
    return server_stack.enter_context(TansuServer(server_folder / f"tansu-{uuid4().hex[:8]}"))


@pytest.fixture
def kafka_bootstrap(tansu: TansuServer) -> str:
    """``host:port`` of `tansu`."""
    return tansu.bootstrap


@pytest.fixture(scope="session")
def apache_kafka(server_folder: Path) -> Iterator[ApacheKafkaCluster]:
    """One Apache Kafka broker for the session; mark the test ``kafka``."""
    try:
        find_apache_kafka()
    except ConfigurationError as error:
        pytest.skip(str(error))
    with ApacheKafkaCluster(server_folder / "apache-kafka") as cluster:
        yield cluster
