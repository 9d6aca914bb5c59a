"""Everything between a bed's MQTT and the database, without beds: what load is put on."""

import asyncio
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from deploy.local import environment
from deploy.local.layout import CHECKOUT, StateFolder
from deploy.local.order_keys import order_keys
from deploy.local.servers.account import service_account
from deploy.local.servers.apache_kafka import ApacheKafkaCluster
from deploy.local.servers.kafka import TansuServer
from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.ports import accepts_connections, free_port
from deploy.local.servers.postgres import PostgresServer, PostgresSettings
from deploy.local.servers.program import Program
from deploy.local.supervisor import Backoff, Child, Supervisor

logger = logging.getLogger(__name__)

_BACKOFF = Backoff(first_s=0.1, longest_s=0.5)
"""These ends are not the programs' fault, so they need not wait longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RigOptions:
    """How large.

    Attributes
    ----------
    folder : Path
        State and logs; the unprivileged account may enter it.
    device_ids : tuple of str
        Who may connect to the broker.
    kafka : str
        ``tansu`` or ``apache``.
    brokers : int
        Of Apache Kafka.
    bridges, workers : int
        How many of each.
    api : bool
        Whether the alarm path's intake runs too.
    partitions : int
        Of each topic.
    rollup_after_s : int
        How long after its last mark a minute is rolled up.
    commit_times : bool
        Whether PostgreSQL remembers when each transaction was committed.
    """

    folder: Path
    device_ids: tuple[str, ...]
    kafka: str = "tansu"
    brokers: int = 1
    bridges: int = 1
    workers: int = 1
    api: bool = False
    partitions: int = 4
    rollup_after_s: int = 60
    commit_times: bool = False


class PipelineRig:
    """Servers and tiers under a supervisor that starts again what dies and kills nothing itself.

    Liveness checks are off on purpose: a part that was stopped and goes on must come right by
    itself, without a supervisor that would have replaced it.
    """

    def __init__(self, options: RigOptions) -> None:
        self.options = options
        self.supervisor = Supervisor(backoff=_BACKOFF)
        self.database_url = ""
        self._state = StateFolder(options.folder / "state")
        self._mosquitto: MosquittoServer | None = None
        self._addresses: environment.Addresses | None = None

    async def __aenter__(self) -> Self:
        """Start it all.

        Raises
        ------
        StartError, ConfigurationError
            Something would not start; the text says what and why.
        """
        try:
            await self._start()
        except BaseException:
            await self.supervisor.stop_all()
            raise
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it all."""
        await self.supervisor.stop_all()

    def mqtt_url(self, user: str) -> str:
        """Address of the broker with the credentials of `user`."""
        if self._mosquitto is None:
            raise RuntimeError("the rig was not started")
        return self._mosquitto.url(user)

    def child(self, name: str) -> Child:
        """A program by its name."""
        return self.supervisor.children[name]

    def names(self, component: str) -> list[str]:
        """Names of the programs that are `component`: ``worker`` is worker-1, worker-2, ..."""
        return [
            name
            for name in self.supervisor.children
            if name == component or name.startswith(f"{component}-")
        ]

    @property
    def pids(self) -> dict[str, int | None]:
        """Process ids of all programs."""
        return {name: child.pid for name, child in self.supervisor.children.items()}

    def stream_environment(self, role: str, number: int) -> dict[str, str]:
        """Settings of the stream tier's process `role`, instance `number`."""
        if self._addresses is None:
            raise RuntimeError("the rig was not started")
        replicas = min(3, self.options.brokers) if self.options.kafka == "apache" else 1
        return {
            **environment.stream(role, self._addresses, self._state.part("stream")),
            "STREAM_INSTANCE": f"{role}-{number}",
            "STREAM_PARTITIONS": str(self.options.partitions),
            "STREAM_REPLICATION": str(replicas),
            "STREAM_ROLLUP_AFTER_S": str(self.options.rollup_after_s),
        }

    async def add(self, role: str, number: int) -> Child:
        """Start one more ``bridge`` or ``worker`` and wait until it is ready."""
        child = self.supervisor.add(self._stream(role, number))
        await child.ready()
        return child

    async def run_once(self, name: str, *module: str) -> None:
        """Run a command of the stream tier to its end."""
        await self.supervisor.run_once(
            self._python(name, *module, env=self.stream_environment("worker", 0)), deadline_s=60
        )

    async def _start(self) -> None:
        options = self.options
        folder = self._state.servers(service_account())
        postgres, bootstrap = await asyncio.gather(
            self._start_postgres(folder / "postgres"), self._start_kafka(folder)
        )
        broker = MosquittoServer(folder / "mosquitto", options.device_ids)
        self._mosquitto = broker
        program = await asyncio.to_thread(lambda: broker.program)
        await self.supervisor.start(self._logged(program))
        key, public_key = order_keys(self._state.part("orders"))
        models = self._state.part("models")
        self.database_url = postgres
        self._addresses = environment.Addresses(
            database_url=postgres,
            mqtt_urls={user: self.mqtt_url(user) for user in broker.passwords},
            kafka_bootstrap=bootstrap,
            api_port=free_port(),
            repository_dir=models / "repository",
            keys_dir=models / "keys",
            orders_key=key,
            orders_public_key=public_key,
        )
        migrate = ("deploy.database", "migrate", "--url", postgres)
        await self.supervisor.run_once(self._python("migrate", *migrate), deadline_s=120)
        programs = [self._stream("bridge", n + 1) for n in range(options.bridges)]
        programs += [self._stream("worker", n + 1) for n in range(options.workers)]
        if options.api:
            programs.append(self._api(self._addresses))
        await self.supervisor.start(*programs)

    async def _start_postgres(self, folder: Path) -> str:
        server = PostgresServer(PostgresSettings(folder=folder))
        program = await asyncio.to_thread(lambda: server.program)
        if self.options.commit_times:
            program = replace(program, argv=(*program.argv, "-c", "track_commit_timestamp=on"))
        await self.supervisor.start(self._logged(program))
        return server.url()

    async def _start_kafka(self, folder: Path) -> str:
        if self.options.kafka == "apache":
            cluster = ApacheKafkaCluster(folder / "apache-kafka", self.options.brokers)
            programs = await asyncio.to_thread(cluster.prepare)
            await self.supervisor.start(*(self._logged(program) for program in programs))
            return cluster.bootstrap
        server = TansuServer(folder / "tansu")
        program = await asyncio.to_thread(lambda: server.program)
        await self.supervisor.start(self._logged(program))
        return server.bootstrap

    def _stream(self, role: str, number: int) -> Program:
        port = free_port()
        settings = {**self.stream_environment(role, number), "STREAM_METRICS_PORT": str(port)}
        return self._python(
            f"{role}-{number}",
            *("stream_processors", role),
            env=settings,
            is_ready=lambda: accepts_connections(port),
        )

    def _api(self, addresses: environment.Addresses) -> Program:
        return self._python(
            "api",
            "cloud_api",
            env=environment.cloud(addresses, environment.load_secrets(self._state)),
            is_ready=lambda: _answers(f"{addresses.api_url}/api/ready"),
        )

    def _python(
        self,
        name: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", module, *arguments),
            environment=environment.common() if env is None else env,
            working_folder=CHECKOUT,
            log_path=self._state.part("logs") / f"{name}.log",
            is_ready=is_ready,
            ready_deadline_s=120.0,
            grace_s=12.0,
        )

    def _logged(self, program: Program) -> Program:
        return replace(program, log_path=self._state.part("logs") / f"{program.name}.log")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310  # loopback
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def restart_softly(child: Child) -> None:
    """Ask a program to end in order; its supervisor starts it again."""
    pid = child.pid
    if pid is not None:
        os.kill(pid, child.program.stop_signal)


def stop_and_go(child: Child, *, stopped: bool) -> None:
    """SIGSTOP, or SIGCONT, to a program and all it started."""
    child.signal(signal.SIGSTOP if stopped else signal.SIGCONT)


async def asked(url: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    """Rows of `statement`, on a connection of its own."""

    def ask() -> list[tuple[object, ...]]:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as link:
            return link.execute(statement.encode(), parameters).fetchall()

    return await asyncio.to_thread(ask)
