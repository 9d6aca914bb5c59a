"""The whole stack on one machine: servers, tiers and virtual beds, in the order they need."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.local import environment
from deploy.local.beds import Performance, describe, plan_beds
from deploy.local.layout import CHECKOUT, ProcessId, StateFolder
from deploy.local.order_keys import order_keys
from deploy.local.patients import bundle_for
from deploy.local.servers.account import service_account
from deploy.local.servers.apache_kafka import ApacheKafkaCluster
from deploy.local.servers.kafka import TansuServer
from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.mosquitto_access import SERVICES
from deploy.local.servers.ports import accepts_connections, free_port, is_free
from deploy.local.servers.postgres import PostgresServer, PostgresSettings
from deploy.local.servers.program import Program
from deploy.local.supervisor import Backoff, Supervisor

logger = logging.getLogger(__name__)

_PREFERRED_PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What was asked for on the command line."""

    n_beds: int
    kafka: str
    state: StateFolder
    data: Path | None
    port: int | None
    backoff: Backoff | None = None


class Stack:
    """Everything that runs, and what is known of it."""

    def __init__(
        self, options: StackOptions, outer: Mapping[str, str], tell: Callable[[str], None]
    ) -> None:
        self.options = options
        self.performances = plan_beds(options.n_beds, options.data)
        self.supervisor = Supervisor(on_change=self._write_stack_file, backoff=options.backoff)
        self.secrets = environment.load_secrets(options.state)
        self.store = ""
        self.kafka_kind = ""
        self.addresses: environment.Addresses | None = None
        self.started = datetime.now(UTC)
        self._outer = outer
        self._tell = tell
        self._ports: dict[str, int] = dict(options.state.read_stack().get("ports", {}))

    # ---- start ----------------------------------------------------------------------------

    async def start(self, before_beds: Callable[[], None] = lambda: None) -> None:
        """Bring everything up, each part once what it needs is ready.

        Parameters
        ----------
        before_beds : callable
            Called once when all but the beds is ready: who wants to hear them from their first
            word begins to listen then.

        Raises
        ------
        StartError, ConfigurationError
            Something would not start; the text says what and why.
        """
        self.addresses = await self._start_servers()
        await self._prepare_store()
        await self._start_tiers()
        before_beds()
        await self._start_beds()
        self._write_stack_file()

    async def _start_servers(self) -> environment.Addresses:
        state, outer = self.options.state, self._outer
        folder = state.servers(service_account())
        if folder != (state.path / "servers").resolve():
            logger.info("the servers' data lie in %s", folder)
        database, broker, kafka = (
            outer.get(f"WARDSTREAM_{name}_URL") for name in ("DATABASE", "MQTT", "KAFKA")
        )
        async with asyncio.TaskGroup() as group:
            tasks = (
                group.create_task(self._postgres(folder, database)),
                group.create_task(self._mosquitto(folder, broker)),
                group.create_task(self._kafka(folder, kafka)),
            )
        repository = state.part("models")
        orders_key, orders_public_key = order_keys(state.part("orders"))
        return environment.Addresses(
            database_url=tasks[0].result(),
            mqtt_urls=tasks[1].result(),
            kafka_bootstrap=tasks[2].result(),
            api_port=self.options.port or self._port("api", _PREFERRED_PORT),
            repository_dir=repository / "repository",
            keys_dir=repository / "keys",
            orders_key=orders_key,
            orders_public_key=orders_public_key,
        )

    async def _postgres(self, folder: Path, url: str | None) -> str:
        if url:
            self.store = "PostgreSQL of WARDSTREAM_DATABASE_URL"
            return url
        settings = PostgresSettings(folder=folder / "postgres", port=self._port("postgres"))
        server = PostgresServer(settings)
        program = await asyncio.to_thread(lambda: server.program)
        await self.supervisor.start(self._logged(program))
        found = server.distribution
        if found.timescaledb is None:
            self.store = "plain PostgreSQL"
            self._tell(f"PostgreSQL runs without TimescaleDB: {found.why_plain}")
        else:
            self.store = f"TimescaleDB {found.timescaledb}"
        return server.url()

    async def _mosquitto(self, folder: Path, url: str | None) -> Mapping[str, str]:
        numbers = range(1, self.options.n_beds + 1)
        devices = [environment.device_id_of(number) for number in numbers]
        if url:
            return dict.fromkeys([*SERVICES, *devices], url)
        server = MosquittoServer(folder / "mosquitto", devices, self._port("mosquitto"))
        program = await asyncio.to_thread(lambda: server.program)
        await self.supervisor.start(self._logged(program))
        return {user: server.url(user) for user in (*SERVICES, *devices)}

    async def _kafka(self, folder: Path, url: str | None) -> str:
        if url:
            self.kafka_kind = "Kafka of WARDSTREAM_KAFKA_URL"
            return url.removeprefix("kafka://")
        if self.options.kafka == "apache":
            self.kafka_kind = "Apache Kafka"
            cluster = ApacheKafkaCluster(folder / "apache-kafka")
            programs = await asyncio.to_thread(cluster.prepare)
            await self.supervisor.start(*(self._logged(program) for program in programs))
            return cluster.bootstrap
        self.kafka_kind = "Tansu (volatile)"
        server = TansuServer(folder / "tansu", self._port("kafka"))
        program = await asyncio.to_thread(lambda: server.program)
        await self.supervisor.start(self._logged(program))
        return server.bootstrap

    async def _prepare_store(self) -> None:
        addresses = self._known_addresses()
        migrate = self._python(
            "migrate", "deploy.database", "migrate", "--url", addresses.database_url
        )
        await self.supervisor.run_once(migrate, deadline_s=120)
        operator = {
            **environment.common(),
            **environment.operator(addresses, self.options.data, self.options.state.path),
        }
        init = self._python("models-init", "models", "init-repository", env=operator)
        await self.supervisor.run_once(init, deadline_s=120)

    async def _start_tiers(self) -> None:
        addresses = self._known_addresses()
        api = self._python(
            "api",
            "cloud_api",
            env=environment.cloud(addresses, self.secrets),
            is_ready=lambda: _answers(f"{addresses.api_url}/api/ready"),
            is_alive=lambda: _responds(f"{addresses.api_url}/api/ready"),
        )
        streams = [self._stream(role, free_port()) for role in ("bridge", "worker")]
        await self.supervisor.start(api, *streams)

    def _stream(self, role: str, metrics_port: int) -> Program:
        settings = environment.stream(role, self._known_addresses(), self._stream_state())
        return self._python(
            role,
            *("stream_processors", role),
            env={**settings, "STREAM_METRICS_PORT": str(metrics_port)},
            is_ready=lambda: accepts_connections(metrics_port),
            is_alive=lambda: _responds(f"http://127.0.0.1:{metrics_port}/metrics"),
        )

    def _stream_state(self) -> Path:
        return self.options.state.part("stream")

    async def _load_patients(self) -> None:
        addresses, state = self._known_addresses(), self.options.state
        for number in range(1, self.options.n_beds + 1):
            bed = environment.bed_id_of(number)
            done = state.part("patients") / f"{bed}.loaded"
            if done.is_file():
                continue
            bundle = await asyncio.to_thread(
                bundle_for, number, self.options.data, state.part("patients"), self.started
            )
            load = self._python(
                "records",
                *("stream_processors", "records", "load", str(bundle), "--bed", bed),
                env=environment.stream("worker", addresses, self._stream_state()),
            )
            await self.supervisor.run_once(load, deadline_s=60)
            done.touch()

    async def _start_beds(self) -> None:
        numbers = range(1, self.options.n_beds + 1)
        beds = [self._bed(number, self.performances[number - 1]) for number in numbers]
        # Alone, one compiles the kernels, and the others find them compiled. The first bed has
        # the crisis, so it is not that one: it should begin when people can see it.
        async with asyncio.TaskGroup() as group:
            group.create_task(self.supervisor.start(beds[-1]))
            group.create_task(self._load_patients())
        await self.supervisor.start(*beds[:-1])

    def _bed(self, number: int, performance: Performance) -> Program:
        folder = self.bed_folder(number)
        (folder / "playback.json").unlink(missing_ok=True)  # a new stack, a new performance
        port = free_port()
        settings = environment.edge(number, self._known_addresses(), performance, folder, port)
        return self._python(
            environment.bed_id_of(number),
            *("edge_agent", "run"),
            env=settings,
            is_ready=lambda: accepts_connections(port),
            is_alive=lambda: _answers(f"http://127.0.0.1:{port}/health"),
            ready_deadline_s=180,  # a cold start compiles the kernels
            grace_s=20,  # it drains its outbox
        )

    # ---- stop -----------------------------------------------------------------------------

    async def stop_beds(self) -> None:
        """Ask the beds to drain and end."""
        await self.supervisor.stop(*(name for name in self.supervisor.children if _is_bed(name)))

    async def stop(self) -> None:
        """Stop everything: beds, then tiers, then servers."""
        await self.supervisor.stop_all(_stage)
        self._write_stack_file()

    # ---- what is known --------------------------------------------------------------------

    def bed_folder(self, number: int) -> Path:
        """State folder of the agent at bed `number`."""
        return self.options.state.part("beds", environment.bed_id_of(number))

    def bed_environment(self, number: int) -> dict[str, str]:
        """Environment of the agent at bed `number`, to ask its outbox."""
        performance = self.performances[number - 1]
        return environment.edge(
            number, self._known_addresses(), performance, self.bed_folder(number), 0
        )

    @property
    def what_plays(self) -> str:
        """For the status line."""
        return describe(self.performances)

    def _known_addresses(self) -> environment.Addresses:
        if self.addresses is None:
            raise RuntimeError("the servers were not started")
        return self.addresses

    def _port(self, name: str, preferred: int | None = None) -> int:
        # The same as last time where it is free, so that addresses people noted stay right.
        port = self._ports.get(name, preferred)
        if port is None or not is_free(port):
            port = free_port()
        self._ports[name] = port
        return port

    def _python(
        self,
        name: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool] = lambda: True,
        is_alive: Callable[[], bool] = lambda: True,
        ready_deadline_s: float = 60.0,
        grace_s: float = 12.0,
    ) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", module, *arguments),
            environment=environment.common() if env is None else env,
            working_folder=CHECKOUT,
            log_path=self.options.state.part("logs") / f"{name}.log",
            is_ready=is_ready,
            is_alive=is_alive,
            ready_deadline_s=ready_deadline_s,
            grace_s=grace_s,
        )

    def _logged(self, program: Program) -> Program:
        return replace(program, log_path=self.options.state.part("logs") / f"{program.name}.log")

    def _write_stack_file(self) -> None:
        addresses, state = self.addresses, self.options.state
        stack: dict[str, Any] = {
            "supervisor": _process(os.getpid()),
            "started": self.started.isoformat(timespec="seconds"),
            "ports": self._ports,
            "store": self.store,
            "kafka": self.kafka_kind,
            "recordings": self.what_plays,
            "beds": [p.what for p in self.performances],
            "programs": {
                name: {
                    "process": _process(child.pid),
                    "health": child.health.value,
                    "restarts": child.n_restarts,
                    "log": str(child.program.log_path),
                }
                for name, child in self.supervisor.children.items()
            },
        }
        if addresses is not None:
            stack |= {
                "api_url": addresses.api_url,
                "database_url": addresses.database_url,
                "kafka_bootstrap": addresses.kafka_bootstrap,
                "mqtt_urls": dict(addresses.mqtt_urls),
                "environment": environment.operator(addresses, self.options.data, state.path),
            }
        state.write_stack(stack)


def end_leftovers(stack: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """End what a stack that crashed left running, by process id and start time."""
    programs: Mapping[str, Any] = stack.get("programs", {})
    for name, program in programs.items():
        found = program.get("process")
        process = None if found is None else ProcessId(found["pid"], found["start_ticks"])
        if process is None or not process.lives:
            continue
        tell(f"ending {name} (process {process.pid}), left by a stack that crashed")
        process.signal(15)
        if not process.wait(10):
            process.signal(9)
            process.wait(5)


def _process(pid: int | None) -> dict[str, int] | None:
    found = None if pid is None else ProcessId.of(pid)
    return None if found is None else {"pid": found.pid, "start_ticks": found.start_ticks}


def _is_bed(name: str) -> bool:
    return name.startswith("bed-")


def _stage(name: str) -> int:
    if _is_bed(name):
        return 2
    return 1 if name in {"api", "bridge", "worker"} else 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _responds(url: str) -> bool:
    """Whether anything is answered at all: what is merely unwell is not restarted for it."""
    try:
        httpx.get(url, timeout=5)
    except httpx.HTTPError:
        return False
    return True
