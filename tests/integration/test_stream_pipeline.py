"""Frames over real MQTT and Kafka into a real database, while everything in between dies."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fakes.stream_beds import Bed
from fakes.stream_processes import CHECKOUT, Tier

from deploy.local.servers.kafka import TansuServer
from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.postgres import PostgresServer
from wardstream.contracts.codec import encode
from wardstream.contracts.identity import GapNotice, Lane

pytestmark = pytest.mark.timeout(180)
# What a death costs does not depend on the kind of server; the rows' own tests run on each.
on_one_server = pytest.mark.parametrize("postgres", ["timescale"], indirect=True)


class Pipeline:
    """Everything between a bed and its rows, with the pieces in hand."""

    def __init__(
        self, url: str, kafka: TansuServer, mqtt: MosquittoServer, folder: Path, stack: ExitStack
    ) -> None:
        self.url, self.kafka, self.mqtt, self.folder = url, kafka, mqtt, folder
        self._stack = stack
        self.bridge = self.start("bridge")
        self.worker = self.start("worker")
        self.beds: list[Bed] = []

    def environment(self, role: str, instance: str = "a") -> dict[str, str]:
        return {
            "STREAM_DATABASE_URL": self.url,
            "STREAM_MQTT_URL": self.mqtt.url(role),
            "STREAM_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "STREAM_STATE_DIR": str(self.folder / "state"),
            "STREAM_INSTANCE": instance,
        }

    def start(self, role: str, instance: str = "a") -> Tier:
        tier = Tier(role, self.environment(role, instance), self.folder)
        self._stack.callback(tier.close)
        return tier

    def add_beds(self, n_beds: int) -> list[Bed]:
        self.bridge.wait_for_log("MQTT connected")
        for number in range(1, n_beds + 1):
            device_id = f"bed-{number:02}"
            bed = Bed(self.mqtt.url(device_id), device_id, f"place-{number}")
            self._stack.callback(bed.close)
            bed.say_status()
            self.beds.append(bed)
        return self.beds

    def settle(self) -> None:
        """Wait until all of it works, so that what dies next dies at work."""
        for bed in self.beds:
            bed.say_frames(1)
        for bed in self.beds:
            bed.resend_until_covered(60)

    def records(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "stream_processors", "records", *arguments],
            cwd=CHECKOUT, env={**self.environment("worker"), "PATH": ""},
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    def asked(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as link:
            return link.execute(statement.encode()).fetchall()

    def wait_until(self, statement: str, expected: object, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while (found := self.asked(statement)) != [(expected,)]:
            assert time.monotonic() < deadline, f"{statement}: {found}\n{self.worker.tail()}"
            time.sleep(0.1)

    def assert_exactly_once(self) -> None:
        """Every number every bed ever said is one row, and nothing else is."""
        found = self.asked(
            "SELECT device_id, boot_id::text, count(*), count(DISTINCT sequence_number),"
            " min(sequence_number), max(sequence_number) FROM feature_frame GROUP BY 1, 2"
        )
        expected = {
            (bed.device_id, bed.boot_id, bed.n_said, bed.n_said, 0, bed.n_said - 1)
            for bed in self.beds
        }
        assert set(found) == expected


@pytest.fixture
def pipeline_folder(server_folder: Path, tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def pipeline(
    database_url: str, tansu: TansuServer, mosquitto: MosquittoServer, pipeline_folder: Path
) -> Iterator[Pipeline]:
    with ExitStack() as stack:
        yield Pipeline(database_url, tansu, mosquitto, pipeline_folder, stack)


@pytest.fixture
def mortal_pipeline(
    make_postgres: Callable[..., PostgresServer],
    tansu: TansuServer,
    mosquitto: MosquittoServer,
    pipeline_folder: Path,
) -> Iterator[tuple[Pipeline, PostgresServer]]:
    postgres = make_postgres()
    subprocess.run(
        [sys.executable, "-m", "deploy.database", "migrate", "--url", postgres.url()],
        cwd=CHECKOUT, check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    with ExitStack() as stack:
        yield Pipeline(postgres.url(), tansu, mosquitto, pipeline_folder, stack), postgres


def test_frames_become_rows_once_with_their_patient_and_the_device_hears_of_it(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    bundle = tmp_path / "patient.json"
    patient = {
        "resourceType": "Patient", "id": "x", "gender": "male", "birthDate": "1950-01-02",
        "name": [{"family": "Secretname"}], "identifier": [{"system": "urn:m", "value": "77"}],
    }  # fmt: skip
    bundle.write_text(
        json.dumps(
            {
                "resourceType": "Bundle",
                "type": "transaction",
                "entry": [{"resource": patient, "request": {"method": "POST", "url": "Patient"}}],
            }
        )
    )
    first, *others = pipeline.add_beds(3)
    told = json.loads(pipeline.records("load", str(bundle), "--bed", first.bed_id, "--json"))
    pipeline.wait_until("SELECT count(*) FROM patient_context", 1)
    for bed in pipeline.beds:
        bed.say_frames(120, per_message=1 if bed is first else 16, spo2_percent=90.0)
    for bed in pipeline.beds:
        bed.resend_until_covered(30)
        bed.resend()  # everything once more
        bed._publish_frames(list(bed.outbox.values()), 7)
        bed.say_frames(1)
        bed.resend_until_covered(30)
    pipeline.assert_exactly_once()
    assert pipeline.asked(
        "SELECT DISTINCT pseudonym, age_years, news2_low FROM feature_frame"
        f" WHERE device_id = '{first.device_id}' AND spo2_percent IS NOT NULL"
        " AND heart_rate_per_min BETWEEN 60 AND 90"
    ) == [(told["pseudonym"], 2026 - 1950, 3)]
    pipeline.wait_until("SELECT count(*) FROM feature_frame WHERE bed_id IS NULL", 0)
    assert pipeline.asked(
        f"SELECT DISTINCT pseudonym FROM feature_frame WHERE device_id = '{others[0].device_id}'"
    ) == [(None,)]
    assert "Secretname" not in pipeline.worker.log_path.read_text()
    assert told["pseudonym"] in pipeline.records("list")


def test_bad_messages_are_kept_with_the_reason_and_the_stream_goes_on(pipeline: Pipeline) -> None:
    first, second = pipeline.add_beds(2)
    first.say_frames(5)
    good = first.outbox[0]
    first.publish(first.frame_address, b"not a frame")
    first.publish(first.frame_address, (99).to_bytes(2, "little") + good[2:])
    second.publish(second.frame_address, good)
    second.say_gap(b"{}")
    first.say_frames(5)
    first.resend_until_covered(30)
    pipeline.wait_until("SELECT count(*) FROM dead_letter", 4)
    reasons = " | ".join(row[0] for row in pipeline.asked("SELECT reason FROM dead_letter"))
    for expected in ("not registered", "99", "came on the topic of", "GapNotice"):
        assert expected in reasons
    assert pipeline.asked("SELECT payload FROM dead_letter WHERE reason LIKE '%topic of%'") == [
        (good,)
    ]
    assert pipeline.asked("SELECT count(*) FROM feature_frame") == [(10,)]


def test_a_gap_notice_lets_the_watermark_pass(pipeline: Pipeline) -> None:
    (bed,) = pipeline.add_beds(1)
    bed.say_frames(3)
    bed.resend_until_covered(30)
    bed._next += 5  # given up before they were ever said
    bed.say_frames(2)
    notice = GapNotice(
        device_id=bed.device_id, boot_id=bed.boot_id, lane=Lane.FRAME,
        first_sequence_number=3, last_sequence_number=7, reason="older than the outbox keeps",
    )  # fmt: skip
    bed.say_gap(encode(notice))
    bed.resend_until_covered(30)
    assert bed.watermark == 9
    assert pipeline.asked("SELECT last_sequence_number FROM frame_gap") == [(7,)]


@on_one_server
@pytest.mark.parametrize("victim", ["worker", "bridge"])
def test_a_kill_in_mid_stream_loses_and_doubles_nothing(pipeline: Pipeline, victim: str) -> None:
    beds = pipeline.add_beds(4)
    pipeline.settle()
    tier = pipeline.worker if victim == "worker" else pipeline.bridge
    for n in range(30):
        for bed in beds:
            bed.say_frames(10)
        if n in (8, 18):
            tier.kill()
        time.sleep(0.05)
    for bed in beds:
        bed.resend_until_covered(90)
    pipeline.assert_exactly_once()
    assert tier.n_starts >= 2


@on_one_server
def test_kafka_may_forget_everything(pipeline: Pipeline) -> None:
    beds = pipeline.add_beds(4)
    pipeline.settle()
    for n in range(30):
        for bed in beds:
            bed.say_frames(10)
        if n in (8, 18):
            pipeline.kafka.kill()
            time.sleep(0.5)
            pipeline.kafka.start()
        time.sleep(0.05)
    for bed in beds:
        bed.resend_until_covered(90)
    pipeline.assert_exactly_once()


@on_one_server
def test_the_broker_may_die(pipeline: Pipeline) -> None:
    beds = pipeline.add_beds(4)
    pipeline.settle()
    for n in range(20):
        for bed in beds:
            bed.say_frames(10)
        if n == 8:
            pipeline.mqtt.kill()
            pipeline.mqtt.start()
        time.sleep(0.05)
    for bed in beds:
        bed.resend_until_covered(90)
    pipeline.assert_exactly_once()


def test_the_database_may_die(mortal_pipeline: tuple[Pipeline, PostgresServer]) -> None:
    pipeline, postgres = mortal_pipeline
    beds = pipeline.add_beds(4)
    pipeline.settle()
    for n in range(20):
        for bed in beds:
            bed.say_frames(10)
        if n == 8:
            postgres.kill()
            time.sleep(1)
            postgres.start()
        time.sleep(0.05)
    for bed in beds:
        bed.resend_until_covered(90)
    pipeline.assert_exactly_once()


@on_one_server
def test_a_second_worker_shares_the_work_and_may_die(pipeline: Pipeline) -> None:
    beds = pipeline.add_beds(6)
    pipeline.settle()
    second = pipeline.start("worker", "b")
    for n in range(40):
        for bed in beds:
            bed.say_frames(5)
        if n == 30:
            second.kill()
        time.sleep(0.1)
    for bed in beds:
        bed.resend_until_covered(120)
    pipeline.assert_exactly_once()


@on_one_server
def test_both_end_in_order_when_asked(pipeline: Pipeline) -> None:
    (bed,) = pipeline.add_beds(1)
    bed.say_frames(3)
    bed.resend_until_covered(30)
    assert pipeline.bridge.stop_orderly() == 0
    assert pipeline.worker.stop_orderly() in (0, -9)
