"""The local servers themselves: they keep what they acknowledged, and refuse what they must."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from deploy.local.servers.apache_kafka import ApacheKafkaCluster
from deploy.local.servers.kafka import TansuServer
from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.ports import free_port
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.program import Program, ProgramServer, StartError

# PostgreSQL


@pytest.mark.parametrize("timescaledb", [True, False], ids=["timescale", "plain"])
def test_rows_acknowledged_before_a_kill_are_there_after_the_restart(
    make_postgres: Callable[..., PostgresServer], timescaledb: bool
) -> None:
    server = make_postgres(timescaledb=timescaledb)
    with psycopg.connect(server.url(), autocommit=True) as link:
        link.execute("CREATE TABLE kept (number int PRIMARY KEY)")
        for number in range(200):
            link.execute("INSERT INTO kept VALUES (%s)", (number,))
    old = server.pid
    server.kill()
    server.start()
    assert server.pid != old
    with psycopg.connect(server.url()) as link:
        row = link.execute("SELECT count(*), max(number) FROM kept").fetchone()
    assert row == (200, 199)


def test_the_server_with_timescaledb_makes_a_true_hypertable(postgres_timescale_url: str) -> None:
    with psycopg.connect(postgres_timescale_url, autocommit=True) as link:
        link.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        link.execute("CREATE TABLE pulse (time timestamptz NOT NULL, rate real)")
        link.execute(
            "SELECT create_hypertable('pulse', 'time', chunk_time_interval => interval '1 hour')"
        )
        link.execute(
            "INSERT INTO pulse SELECT t, 60 FROM generate_series("
            "'2026-01-01T00:00Z'::timestamptz, '2026-01-01T02:59:59Z', '1 s') AS t"
        )
        chunks = link.execute("SELECT count(*) FROM show_chunks('pulse')").fetchone()
        buckets = link.execute(
            "SELECT time_bucket('30 min', time) AS bucket, count(*) FROM pulse GROUP BY 1"
        ).fetchall()
        link.execute("SELECT drop_chunks('pulse', '2026-01-01T01:00Z'::timestamptz)")
        left = link.execute("SELECT count(*) FROM pulse").fetchone()
        link.execute("DROP TABLE pulse")
    assert chunks == (3,)
    assert [count for _, count in buckets] == [1800] * 6
    assert left == (7200,)


def test_the_server_checks_pages_wants_a_password_and_does_not_run_as_root(
    postgres: PostgresServer,
) -> None:
    with psycopg.connect(postgres.url()) as link:
        settings = [
            link.execute(f"SHOW {name}").fetchone()
            for name in ("data_checksums", "fsync", "password_encryption", "listen_addresses")
        ]
    assert settings == [("on",), ("on",), ("scram-sha-256",), ("127.0.0.1",)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url().replace(postgres.password, "wrong"))
    assert Path(f"/proc/{postgres.pid}").stat().st_uid != 0


def test_a_lock_file_naming_a_living_stranger_does_not_stop_the_restart(
    make_postgres: Callable[..., PostgresServer], mosquitto: MosquittoServer
) -> None:
    server = make_postgres(timescaledb=False)
    server.kill()
    lock = server.data_folder / "postmaster.pid"
    lines = lock.read_text().split("\n")
    lock.write_text("\n".join([str(mosquitto.pid), *lines[1:]]))
    server.start()
    assert server.is_running


# Mosquitto


class MqttUser:
    """A client that keeps what it heard and how the broker answered."""

    def __init__(self, url: str, client_id: str) -> None:
        parts = urlsplit(url)
        self.received: list[tuple[str, bytes]] = []
        self.connected: list[str] = []
        self.acknowledged: dict[int, str] = {}
        self._n_subscribed = 0
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.username_pw_set(parts.username, parts.password)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self.client.connect(
            parts.hostname or "", parts.port or 0, clean_start=False, properties=properties
        )
        self.client.loop_start()
        wait_until(lambda: bool(self.connected))

    def _on_connect(self, _c: object, _u: object, _f: object, code: ReasonCode, _p: object) -> None:
        self.connected.append(str(code))

    def _on_message(self, _c: object, _u: object, message: mqtt.MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))

    def _on_publish(
        self, _c: object, _u: object, number: int, code: ReasonCode, _p: object
    ) -> None:
        self.acknowledged[number] = str(code)

    def _on_subscribe(self, *_: object) -> None:
        self._n_subscribed += 1

    def subscribe(self, topic: str) -> None:
        before = self._n_subscribed
        self.client.subscribe(topic, qos=1)
        wait_until(lambda: self._n_subscribed > before)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        number = self.client.publish(topic, payload, qos=1, retain=retain).mid
        wait_until(lambda: number in self.acknowledged)
        return self.acknowledged[number]


def wait_until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s} s")
        time.sleep(0.01)


@contextmanager
def mqtt_user(url: str, client_id: str) -> Generator[MqttUser]:
    user = MqttUser(url, client_id)
    try:
        yield user
    finally:
        user.client.disconnect()
        user.client.loop_stop()


def test_a_device_writes_its_own_topics_and_no_other_devices(mosquitto: MosquittoServer) -> None:
    with (
        mqtt_user(mosquitto.url("cloud"), "cloud") as cloud,
        mqtt_user(mosquitto.url("bed-01"), "bed-01") as bed,
    ):
        cloud.subscribe("wardstream/v1/+/+/alert")
        assert bed.publish("wardstream/v1/site/bed-02/alert", b"forged") == "Not authorized"
        assert bed.publish("wardstream/v1/site/bed-01/acknowledgement", b"self") == "Not authorized"
        assert bed.publish("wardstream/v1/site/bed-01/alert", b"true") == "Success"
        wait_until(lambda: bool(cloud.received))
    assert cloud.received == [("wardstream/v1/site/bed-01/alert", b"true")]


def test_a_device_hears_its_own_commands_and_the_fleets_and_no_others(
    mosquitto: MosquittoServer,
) -> None:
    with (
        mqtt_user(mosquitto.url("bed-01"), "bed-01") as bed,
        mqtt_user(mosquitto.url("cloud"), "cloud") as cloud,
        mqtt_user(mosquitto.url("ops"), "ops") as operations,
        mqtt_user(mosquitto.url("worker"), "worker") as worker,
    ):
        bed.subscribe("wardstream/v1/#")
        cloud.publish("wardstream/v1/site/bed-02/acknowledgement", b"other")
        cloud.publish("wardstream/v1/site/bed-01/acknowledgement", b"mine")
        operations.publish("wardstream/v1/site/fleet/model", b"fleet")
        worker.publish("wardstream/v1/site/bed-01/watermark/frame", b"3")
        wait_until(lambda: len(bed.received) >= 3)
        assert worker.publish("wardstream/v1/site/bed-01/model", b"x") == "Not authorized"
        assert operations.publish("wardstream/v1/site/bed-01/acknowledgement", b"x") == (
            "Not authorized"
        )
    assert sorted(payload for _, payload in bed.received) == [b"3", b"fleet", b"mine"]


def test_a_wrong_password_and_no_password_are_refused(mosquitto: MosquittoServer) -> None:
    for url in (
        mosquitto.url("bed-01").replace(mosquitto.passwords["bed-01"], "wrong"),
        f"mqtt://127.0.0.1:{mosquitto.port}",
    ):
        with mqtt_user(url, "stranger") as user:
            assert user.connected[0] == "Not authorized"


def test_a_session_its_queue_and_retained_messages_survive_a_kill(
    mosquitto: MosquittoServer,
) -> None:
    # Mosquitto 2.0 writes down only sessions that began with clean_start false, whatever
    # their expiry: every client of ours connects so.
    with mqtt_user(mosquitto.url("bridge"), "bridge") as bridge:
        bridge.subscribe("wardstream/v1/+/+/frame")
    with mqtt_user(mosquitto.url("bed-01"), "bed-01") as bed:
        for number in range(50):
            bed.publish("wardstream/v1/site/bed-01/frame", str(number).encode())
        bed.publish("wardstream/v1/site/bed-01/status", b"online", retain=True)
    time.sleep(2.5)  # autosave is every second
    mosquitto.kill()
    mosquitto.start()
    with mqtt_user(mosquitto.url("bridge"), "bridge") as bridge:
        wait_until(lambda: len(bridge.received) >= 50)
        bridge.subscribe("wardstream/v1/+/+/status")
        wait_until(lambda: len(bridge.received) >= 51)
    expected = [str(number).encode() for number in range(50)]
    assert [payload for _, payload in bridge.received] == [*expected, b"online"]


def test_a_device_is_added_and_removed_while_others_stay_connected(
    mosquitto: MosquittoServer,
) -> None:
    with mqtt_user(mosquitto.url("bed-01"), "bed-01") as bed:
        mosquitto.add_devices(["bed-77"])
        url = mosquitto.url("bed-77")
        wait_until(lambda: _answer(url) == "Success")
        mosquitto.remove_device("bed-77")
        wait_until(lambda: _answer(url) == "Not authorized")
        answer = bed.publish("wardstream/v1/site/bed-01/frame", b"still here")
        assert answer == "No matching subscribers"  # a kind of success
        assert bed.connected == ["Success"]


def _answer(url: str) -> str:
    with mqtt_user(url, "newcomer") as user:
        return user.connected[0]


# Kafka


async def _produce_and_consume(bootstrap: str, topic: str) -> list[bytes]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for number in range(20):
            await producer.send_and_wait(topic, str(number).encode())
    finally:
        await producer.stop()
    return await _consume(bootstrap, topic, 20)


async def _consume(bootstrap: str, topic: str, n_expected: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value or b"" for _ in range(n_expected)]
    finally:
        await consumer.stop()


async def test_tansu_carries_records_in_order(tansu: TansuServer) -> None:
    records = await _produce_and_consume(tansu.bootstrap, "features")
    assert records == [str(number).encode() for number in range(20)]


def test_tansu_listens_on_loopback_alone(tansu: TansuServer) -> None:
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{tansu.port:04X}" in listening
    assert f"00000000:{tansu.port:04X}" not in listening


async def test_tansu_comes_back_on_its_port_and_has_forgotten(tansu: TansuServer) -> None:
    await _produce_and_consume(tansu.bootstrap, "features")
    tansu.kill()
    tansu.start()
    records = await _produce_and_consume(tansu.bootstrap, "features")
    assert len(records) == 20  # topic and records were made anew: it keeps memory only


@pytest.mark.kafka
async def test_apache_kafka_keeps_acknowledged_records_over_a_kill(
    apache_kafka: ApacheKafkaCluster,
) -> None:
    records = await _produce_and_consume(apache_kafka.bootstrap, "features")
    apache_kafka.brokers[0].kill()
    apache_kafka.brokers[0].start()
    again = await _consume(apache_kafka.bootstrap, "features", 20)
    assert again == records == [str(number).encode() for number in range(20)]


# Any program


def _python(folder: Path, code: str, **changes: object) -> Program:
    settings: dict[str, object] = {
        "name": "child",
        "argv": (sys.executable, "-c", code),
        "environment": {"PATH": os.environ["PATH"]},
        "working_folder": folder,
        "log_path": folder / "child.log",
    }
    return Program(**{**settings, **changes})  # pyright: ignore[reportArgumentType]


def test_a_program_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = ProgramServer(
        _python(tmp_path, "raise SystemExit('no such port')", is_ready=lambda: False)
    )
    with pytest.raises(StartError, match="no such port"):
        server.start()


def test_a_program_that_ignores_its_stop_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    with ProgramServer(_python(tmp_path, code, is_ready=ready.exists, grace_s=0.3)) as server:
        started = time.monotonic()
        server.stop()
        assert 0.25 < time.monotonic() - started < 5
        assert not server.is_running


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    code = (
        "import json, os, sys, time, pathlib\n"
        "from deploy.local.servers.program import Program, launch\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "p = launch(Program(name='child', argv=(sys.executable, '-m', 'http.server', "
        f"'{port}', '--bind', '127.0.0.1'), environment={{}}, working_folder=folder, "
        "log_path=folder / 'log'))\n"
        "print(json.dumps(p.pid), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(json.loads(parent.stdout.readline()))
        wait_until(lambda: b"http.server" in Path(f"/proc/{child}/cmdline").read_bytes())
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not _lives(child))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
