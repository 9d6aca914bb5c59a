"""Record systems talk to the gateway process, which dies now and then; rows are right all the same."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fakes.record_sender import HEART_RATE, Sender, adt, oru
from fakes.stream_processes import Tier

from deploy.local.servers.kafka import TansuServer
from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.ports import free_port
from stream_processors.adapters.record_ledger import StoredLedger
from stream_processors.adapters.store import Store
from stream_processors.core.ports import OutgoingRecord
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.gateway import Gateway
from wardstream.contracts.errors import TransientError

pytestmark = pytest.mark.timeout(150)

TOKEN = "a-token-of-the-record"
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)


class Records:
    """Gateway and worker with their servers."""

    def __init__(
        self, url: str, kafka: TansuServer, mqtt: MosquittoServer, folder: Path, stack: ExitStack
    ) -> None:
        self.url, self.kafka = url, kafka
        self.hl7_port, self.fhir_port = free_port(), free_port()
        environment = {
            "STREAM_DATABASE_URL": url,
            "STREAM_MQTT_URL": mqtt.url("worker"),
            "STREAM_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "STREAM_STATE_DIR": str(folder / "state"),
            "STREAM_INSTANCE": "a",
            "STREAM_GATEWAY__HL7_PORT": str(self.hl7_port),
            "STREAM_GATEWAY__FHIR_PORT": str(self.fhir_port),
            "STREAM_GATEWAY__FHIR_TOKEN": TOKEN,
            "STREAM_GATEWAY__BED_TEMPLATE": "{bed}",
            "STREAM_GATEWAY__AUTHORITIES": json.dumps({"HOSP": "urn:hosp"}),
        }
        self.gateway = Tier("gateway", environment, folder)
        stack.callback(self.gateway.close)
        self.worker = Tier("worker", environment, folder)
        stack.callback(self.worker.close)
        self.gateway.wait_for_log("record gateway ready")

    def send(self, message: str) -> str:
        """As an engine does: again and again until it is answered."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with Sender(self.hl7_port) as sender:
                    return sender.send(message)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def push(self, resource: dict[str, Any], token: str = TOKEN) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.fhir_port}/fhir",
            json=resource,
            headers={"Authorization": f"Bearer {token}"},
            timeout=40,
        )

    def asked(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as link:
            return link.execute(statement.encode()).fetchall()

    def until(self, statement: str, expected: Callable[[list[tuple[Any, ...]]], bool]) -> Any:
        deadline = time.monotonic() + 60
        while not expected(rows := self.asked(statement)):
            assert time.monotonic() < deadline, f"{rows}\n{self.worker.tail()}"
            time.sleep(0.2)
        return rows


@pytest.fixture
def records(
    database_url: str, tansu: TansuServer, mosquitto: MosquittoServer, tmp_path: Path
) -> Iterator[Records]:
    with ExitStack() as stack:
        yield Records(database_url, tansu, mosquitto, tmp_path, stack)


def in_bed(records: Records) -> list[tuple[str, bool]]:
    rows = records.asked(
        "SELECT DISTINCT ON (bed_id) bed_id, pseudonym FROM bed_assignment"
        " ORDER BY bed_id, effective_time_ns DESC, recorded_time_ns DESC"
    )
    return [(bed, pseudonym is not None) for bed, pseudonym in rows]


def test_admissions_and_results_become_rows_once_though_gateway_and_kafka_die(
    records: Records,
) -> None:
    admitted = adt("A01", "1", "4711", NOW, extra="DG1|1||I10^原发性高血压^I10|||A")
    assert records.send(admitted).startswith("AA|1")
    assert records.send(admitted).startswith("AA|1")  # sent again: the same answer, applied once
    records.gateway.kill()
    moved = adt("A02", "2", "4711", NOW + timedelta(minutes=5), place="ICU^1^BED02")
    assert records.send(moved).startswith("AA|2")
    measured = oru("3", "4711", NOW + timedelta(minutes=6), HEART_RATE, place="ICU^1^BED02")
    assert records.send(measured).startswith("AA|3")
    records.kafka.kill()  # volatile: what it held and nobody read is gone
    records.kafka.start()
    strange = oru("4", "4711", NOW + timedelta(minutes=7),
                  "OBX|1|NM|X99^Mystery^L||5|mg/dL|||||F", place="ICU^1^BED02")  # fmt: skip
    assert records.send(strange).startswith("AA|4")
    swapped = oru("5", "0815", NOW + timedelta(minutes=7), HEART_RATE, place="ICU^1^BED02")
    refused = records.send(swapped)
    assert refused.startswith("AE|5")
    assert "not the one in bed bed02" in refused

    records.until("SELECT count(*) FROM record_outbox", lambda rows: rows == [(0,)])
    assert in_bed(records) == [("bed01", False), ("bed02", True)]
    assert records.asked("SELECT concept, value FROM observations ORDER BY concept") == [
        ("heart-rate", 82.0),
        ("hypertension", None),
    ]
    assert records.asked("SELECT code, reason FROM quarantine WHERE code = 'X99'") == [
        ("X99", "unknown_code")
    ]
    letters = records.asked("SELECT reason FROM dead_letter WHERE origin LIKE 'record/%'")
    assert [reason.split(":")[0] for (reason,) in letters] == ["patient_contradiction"]
    context = records.asked("SELECT context::text FROM patient_context")
    assert any("原发性高血压" in text for (text,) in context)
    kept = " ".join(str(row) for table in (
        "bed_assignment", "patient_context", "record_movement", "record_patient", "observations",
        "quarantine", "record_message",
    ) for row in records.asked(f"SELECT * FROM {table}"))  # fmt: skip
    for secret in ("4711", "0815", "Doe", "Jane"):
        assert secret not in kept
        assert secret not in records.gateway.tail() + records.worker.tail()


def test_fhir_is_pushed_and_names_the_same_patient_as_hl7(records: Records) -> None:
    assert records.send(adt("A01", "1", "4711", NOW)).startswith("AA")
    patient = {
        "resourceType": "Patient", "id": "p9", "gender": "female", "birthDate": "1960-01-02",
        "identifier": [{"system": "urn:hosp", "value": "4711"}], "name": [{"family": "Doe"}],
    }  # fmt: skip
    lactate = {
        "resourceType": "Observation", "id": "o1", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]},
        "subject": {"reference": "Patient/p9"}, "effectiveDateTime": NOW.isoformat(),
        "valueQuantity": {"value": 4.1, "unit": "mmol/L", "code": "mmol/L",
                          "system": "http://unitsofmeasure.org"},
    }  # fmt: skip
    assert records.push(lactate).status_code == 200  # before its patient is known
    assert records.push(patient).status_code == 200
    assert records.push(patient, token="a-wrong-token-of-it").status_code == 401
    broken = records.push({"resourceType": "Observation", "status": "final"})
    assert broken.status_code == 422
    assert broken.json()["issue"][0]["severity"] == "error"
    records.until("SELECT count(*) FROM observations", lambda rows: rows == [(1,)])
    found = records.asked(
        "SELECT count(*) FROM observations o JOIN patient_merge m USING (pseudonym)"
        " JOIN bed_assignment b ON b.pseudonym = m.merged_into"
    )
    assert found == [(1,)]


class Log:
    """Kafka's place."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []
        self.is_away = False

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        if self.is_away:
            raise TransientError("Kafka is away")
        self.records += records


def test_a_gateway_that_dies_between_ledger_and_kafka_says_the_rest_when_it_is_back(
    database_url: str,
) -> None:
    log = Log()
    conventions = Conventions(site_secret=b"0123456789abcdef", bed_template="{bed}")

    async def life(*messages: str) -> list[str]:
        async with Store(database_url, application_name="test-gateway") as store:
            gateway = Gateway(
                StoredLedger(store), log, conventions, clock_ns=time.time_ns, n_partitions=4
            )
            answers = [await gateway.take_hl7(message.encode()) for message in messages]
            return [(answer or b"").partition(b"\rMSA|")[2][:2].decode() for answer in answers]

    admitted = adt("A01", "1", "4711", NOW)
    log.is_away = True
    with pytest.raises(TransientError):
        asyncio.run(life(admitted))
    log.is_away = False
    assert log.records == []
    assert asyncio.run(life(admitted)) == ["AA"]
    told = {record.value for record in log.records}
    assert [record.topic for record in log.records] == ["record-events"] * len(told)
    assert any(b'"kind":"assigned"' in value for value in told)

    log.records.clear()
    other = adt("A01", "2", "0815", NOW + timedelta(minutes=1), place="ICU^1^BED02", visit="V2")
    merged = adt("A40", "3", "0815", NOW + timedelta(minutes=2), merge="4711")
    assert asyncio.run(life(other)) == ["AA"]
    assert asyncio.run(life(merged, merged)) == ["AA", "AA"]
    with psycopg.connect(database_url, autocommit=True) as link:
        points = link.execute(
            "SELECT bed_id, pseudonym FROM record_bed_point ORDER BY effective_time_ns, bed_id"
        ).fetchall()
        assert link.execute("SELECT count(*) FROM record_movement").fetchone() == (3,)
    # One patient, first in the one bed and then in the other.
    assert [bed for bed, _ in points] == ["bed01", "bed01", "bed02"]
    assert points[0][1] == points[2][1] == conventions.pseudonym("HOSP", "0815")
    assert points[1][1] is None
