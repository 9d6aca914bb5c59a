"""Apache Kafka (KRaft, broker and controller in one) from jars on disk; needs Java 17.

After the developers' `kafka_cluster.py` beside the jars, whose settings were measured there.
"""

import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.servers.account import Account, give, make_folder, service_account
from deploy.local.servers.cache import reachable_copy
from deploy.local.servers.ports import LOOPBACK, accepts_connections, free_port
from deploy.local.servers.program import LocalServer, Program
from wardstream.contracts.errors import ConfigurationError, TransientError

_CHECKOUT = Path(__file__).resolve().parents[3]
_HEAP = "384m"


def find_apache_kafka(environment: Mapping[str, str] | None = None) -> Path:
    """Folder whose ``libs`` holds Kafka's jars: ``WARDSTREAM_KAFKA_DIR``, else ``../shared/kafka``.

    Raises
    ------
    ConfigurationError
        There are no jars, or no Java.
    """
    environment = os.environ if environment is None else environment
    chosen = environment.get("WARDSTREAM_KAFKA_DIR")
    folder = Path(chosen) if chosen else _CHECKOUT.parent / "shared" / "kafka"
    problems: list[str] = []
    if not any((folder / "libs").glob("kafka_*.jar")):
        problems.append(
            f"no Apache Kafka in {folder}/libs; set WARDSTREAM_KAFKA_DIR to a folder whose libs "
            "holds its jars"
        )
    if shutil.which("java") is None:
        problems.append("no Java; install a Java 17 run time (openjdk-17-jre-headless)")
    if problems:
        raise ConfigurationError(problems)
    return folder.resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNode:
    """One node's place in the cluster."""

    node_id: int
    port: int
    controller_port: int


def server_properties(node: KafkaNode, nodes: tuple[KafkaNode, ...], data: Path) -> str:
    """Kafka's settings for `node`; three replicas and two in sync where there are three nodes."""
    replicas = min(3, len(nodes))
    in_sync = max(1, replicas - 1)
    voters = ",".join(f"{n.node_id}@{LOOPBACK}:{n.controller_port}" for n in nodes)
    client, controller = f"{LOOPBACK}:{node.port}", f"{LOOPBACK}:{node.controller_port}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.node_id,
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data,
        "num.partitions": 8,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        "broker.session.timeout.ms": 6000,
        "auto.create.topics.enable": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


class ApacheKafkaBroker(LocalServer):
    """One node; started by its cluster, killed and started again by tests."""

    def __init__(self, folder: Path, node: KafkaNode, nodes: tuple[KafkaNode, ...]) -> None:
        super().__init__()
        self._folder = folder / f"broker-{node.node_id}"
        self._cluster_id_path = folder / "cluster-id"
        self._node = node
        self._nodes = nodes
        self.port = node.port

    def prepare(self) -> Program:
        """Format the storage if it is new; say what to run."""
        account = service_account()
        home = reachable_copy(find_apache_kafka(), "libs", account)
        folder = make_folder(self._folder, account)
        properties = folder / "server.properties"
        properties.write_text(server_properties(self._node, self._nodes, folder / "data"))
        give(properties, account, mode=0o600)
        if not (folder / "data" / "meta.properties").is_file():
            self._format(home, properties, account)
        return Program(
            name=f"kafka-{self._node.node_id}" if len(self._nodes) > 1 else "kafka",
            argv=(*_java(home, _HEAP), "kafka.Kafka", str(properties)),
            environment=_environment(folder),
            working_folder=folder,
            log_path=folder / "broker.log",
            account=account,
            is_ready=lambda: accepts_connections(self.port),
            ready_deadline_s=90,
            grace_s=30,
        )

    def _format(self, home: Path, properties: Path, account: Account | None) -> None:
        cluster_id = self._cluster_id_path.read_text()
        tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties))
        done = subprocess.run(
            [*_java(home, "128m"), *tool],
            cwd=self._folder,
            env=_environment(self._folder),
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
            raise TransientError(f"formatting Kafka's storage failed: {done.stdout[-1500:]}")


class ApacheKafkaCluster:
    """One to three brokers, entered and left together."""

    def __init__(self, folder: Path, n_brokers: int = 1, port: int | None = None) -> None:
        ports = [port or free_port(), *(free_port() for _ in range(n_brokers - 1))]
        nodes = tuple(
            KafkaNode(node_id=i + 1, port=ports[i], controller_port=free_port())
            for i in range(n_brokers)
        )
        self._folder = folder
        self.brokers = tuple(ApacheKafkaBroker(folder, node, nodes) for node in nodes)
        self._stack = ExitStack()

    @property
    def bootstrap(self) -> str:
        """``host:port,host:port`` for clients."""
        return ",".join(f"{LOOPBACK}:{broker.port}" for broker in self.brokers)

    def prepare(self) -> tuple[Program, ...]:
        """What to run, one a broker."""
        make_folder(self._folder, service_account())
        path = self._folder / "cluster-id"
        if not path.is_file():
            path.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return tuple(broker.program for broker in self.brokers)

    def __enter__(self) -> Self:
        self.prepare()
        with ExitStack() as starting:
            for broker in self.brokers:
                starting.enter_context(broker)
            self._stack = starting.pop_all()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()


def _java(home: Path, heap: str) -> tuple[str, ...]:
    logging = home / "log4j2.yaml"
    return (
        shutil.which("java") or "java",
        *(f"-Xmx{heap}", f"-Xms{heap}", "-XX:+UseSerialGC", "-Djava.awt.headless=true"),
        *([f"-Dlog4j2.configurationFile={logging}"] if logging.is_file() else []),
        *("-cp", str(home / "libs" / "*")),
    )


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME") if name in os.environ}
    return {**kept, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
