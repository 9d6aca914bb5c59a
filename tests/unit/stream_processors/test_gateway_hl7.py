"""HL7 v2 as it comes: answered whatever it is, taken only when certain, nobody's name kept."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import hl7
import pytest
from fakes.record_sender import END, HEART_RATE, VT, adt, oru

from stream_processors.core.ports import OutgoingRecord
from stream_processors.harmonise.harmoniser import load_harmoniser
from stream_processors.record_gateway.conventions import Conventions, strict_number
from stream_processors.record_gateway.fuzz import run_fuzz
from stream_processors.record_gateway.gateway import Gateway
from stream_processors.record_gateway.hl7_text import parse_time
from stream_processors.record_gateway.memory_ledger import MemoryLedger
from stream_processors.record_gateway.mllp_server import MllpPlan, MllpServer
from stream_processors.record_gateway.redaction import without_identifiers
from wardstream.contracts.errors import OutOfRangeError, TransientError
from wardstream.contracts.timebase import from_datetime

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class Log:
    """Kafka's place; `away` makes it fail."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []
        self.away = 0

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        if self.away:
            self.away -= 1
            raise TransientError("Kafka is away")
        self.records += records


class Desk:
    """A gateway in memory."""

    def __init__(self, **conventions: object) -> None:
        self.ledger, self.log = MemoryLedger(), Log()
        given = {"site_secret": b"0123456789abcdef", "bed_template": "{bed}", **conventions}
        self.gateway = Gateway(
            self.ledger,
            self.log,
            Conventions(**given),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            clock_ns=lambda: from_datetime(NOW + timedelta(hours=1)),
            n_partitions=4,
        )

    def send(self, message: str | bytes, charset: str = "utf-8") -> str:
        """MSA and ERR of the answer."""
        payload = message if isinstance(message, bytes) else message.encode(charset)
        answer = asyncio.run(self.gateway.take_hl7(payload))
        return "" if answer is None else answer.decode().partition("\rMSA|")[2]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        pytest.param(adt("A01", "7", "1", NOW), "AA|7", id="admit"),
        pytest.param(adt("A08", "7", "1", NOW), "AA|7", id="update"),
        pytest.param(adt("A40", "7", "1", NOW, merge="2"), "AA|7", id="merge"),
        pytest.param(oru("7", "1", NOW, HEART_RATE), "AA|7", id="result"),
        pytest.param(oru("7", "", NOW, HEART_RATE), "AE|7|no_patient", id="a bed alone"),
        pytest.param(adt("A31", "7", "1", NOW), "AR|7|event", id="another event"),
        pytest.param(adt("A01", "7", "1", NOW).replace("|P|2.5", "|T|2.5"), "AR|7|processing_id",
                     id="training"),
        pytest.param(adt("A01", "7", "1", NOW).replace("|2.5|", "|3.0|"), "AR|7|version",
                     id="version"),
        pytest.param(adt("A01", "7", "1", NOW).replace("ADT^A01", "SIU^S12"), "AR|7|message_type",
                     id="another type"),
        pytest.param(adt("A01", "7", "1", NOW)[:-1], "AE|7|cut", id="cut"),
        pytest.param(adt("A03", "7", "1", NOW).partition("PV1")[0], "AE|7|no_visit",
                     id="cut between segments"),
        pytest.param(adt("A01", "7", "", NOW), "AE|7|no_patient", id="nobody"),
        pytest.param(adt("A01", "7", "1", NOW, place=""), "AE|7|no_place", id="nowhere"),
        pytest.param(adt("A40", "7", "1", NOW, merge="1"), "AE|7|merge_of_one", id="into itself"),
        pytest.param("PID|1\r", "AE|", id="no header"),
        pytest.param("MSH#^~\\&#\r", "AE|", id="other separators"),
    ],
)  # fmt: skip
def test_every_message_is_answered(message: str, answer: str) -> None:
    desk = Desk()
    answered = desk.send(message)
    assert answered.startswith(answer)
    assert ("ERR||" in answered) == (not answer.startswith("AA"))
    first = desk.log.records[:]
    assert desk.send(message) == answered  # sent again: the same answer, nothing said
    assert desk.log.records == first
    assert (desk.gateway.counts.repeats, desk.gateway.counts.defects) == (1, 0)


def test_the_answer_can_be_read_by_another_implementation() -> None:
    answer = asyncio.run(Desk().gateway.take_hl7(adt("A31", "a", "1", NOW).encode()))
    parsed: Any = hl7.parse((answer or b"").decode())  # pyright: ignore[reportUnknownMemberType]
    assert str(parsed.segment("MSH")[9]) == "ACK^A31^ACK"
    assert str(parsed.segment("MSH")[5]) == "HIS"
    assert str(parsed.segment("MSA")[1]) == "AR"
    assert str(parsed.segment("ERR")[3]) == "201^Unsupported event code^HL70357"


@pytest.mark.parametrize(
    ("modes", "answer"),
    [("|", "AA"), ("AL|NE", "CA"), ("NE|NE", ""), ("NE|ER", ""), ("NE|AL", "AA")],
)
def test_it_answers_as_it_is_asked_to(modes: str, answer: str) -> None:
    message = adt("A01", "7", "1", NOW).replace("|2.5||||||", f"|2.5|||{modes}||")
    assert Desk().send(message)[:2] == answer


def test_chinese_in_either_encoding_is_one_diagnosis() -> None:
    problem = "DG1|1||I10^原发性高血压^I10|||A"
    told: list[str] = []
    for charset, codec in (("UNICODE UTF-8", "utf-8"), ("GB 18030-2000", "gb18030")):
        desk = Desk()
        message = adt("A01", "7", "1", NOW, name="欧阳^娜娜", charset=charset, extra=problem)
        assert desk.send(message, codec).startswith("AA")
        told += [r.value.decode() for r in desk.log.records if r.topic == "record-events"]
    assert sum("原发性高血压" in text for text in told) == 2
    assert not any("欧阳" in text or "娜娜" in text for text in told)


@pytest.mark.parametrize(
    ("stated", "codec"),
    [("UNICODE UTF-8", "gb18030"), ("GB 18030-2000", "utf-8"), ("ASCII", "utf-8"),
     ("8859/1", "utf-8"), ("KLINGON", "ascii")],
)  # fmt: skip
def test_bytes_that_are_not_in_the_stated_encoding_are_not_read(stated: str, codec: str) -> None:
    name = "Doe" if codec == "ascii" else "王^小明"
    answer = Desk().send(adt("A01", "7", "1", NOW, charset=stated, name=name), codec)
    assert answer.startswith(("AE|7|encoding", "AE|7|charset"))


def test_a_letter_says_why_and_not_who() -> None:
    message = adt(
        "A01", "7", "MRN4711", NOW, place="", name="Secret^Name", extra="NK1|1|Mum^Secret"
    )
    desk = Desk()
    desk.send(message)
    (letter,) = desk.log.records
    assert letter.topic == "dead-letter"
    assert b"no_place" in letter.value
    kept = without_identifiers(message.encode()).decode()
    assert "ADT^A01" in kept
    assert not re.search("MRN4711|Secret|Mum|V1$", kept)
    assert without_identifiers("王小明 4711".encode()) == b"(14 bytes withheld)"


def test_no_answer_before_kafka_has_it_and_none_twice() -> None:
    desk = Desk()
    desk.log.away = 1
    message = adt("A01", "7", "1", NOW)
    with pytest.raises(TransientError):
        desk.send(message)
    assert desk.log.records == []


OBX = "OBX|1|NM|2823-3^Potassium^LN||{value}|mmol/L^^UCUM|||||{status}|||{time}"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"status": "W"}, "result_status"),
        ({"status": ""}, "result_status"),
        ({"value": "4,1"}, "value"),
        ({"value": "4e0"}, "value"),
        ({"time": "2026"}, "time"),
        ({"time": "20261123093000"}, "time"),
        ({"time": "20991123093000+0000"}, "time_in_future"),
    ],
)
def test_a_result_that_is_not_certain_is_kept_and_the_others_are_taken(
    changed: dict[str, str], reason: str
) -> None:
    desk = Desk()
    good = {"value": "4.1", "status": "F", "time": "20261123093000+0000"}
    head = oru("7", "1", NOW).replace(NOW.strftime("%Y%m%d%H%M%S") + "+0000", "20261123090000", 1)
    answer = desk.send(head + OBX.format(**good) + "\r" + OBX.format(**{**good, **changed}) + "\r")
    assert answer.startswith("AA|7|1 taken, 1 kept for review")
    assert [refusal.reason_code for refusal in desk.ledger.changes.refusals] == [reason]
    ((observation, _),) = desk.ledger.changes.observations
    assert (observation.value, observation.unit, observation.code) == (4.1, "mmol/L", "2823-3")


def test_an_alarm_of_a_monitor_is_one_statement() -> None:
    head = oru("7", "1", NOW).replace("ORU^R01^ORU_R01", "ORU^R40^ORU_R40")
    facets = (
        "OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1|196652^MDC_EVT_LO^MDC||||||F",
        "OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1|82|262688^MDC_DIM_PERCENT^MDC|||||F",
        "OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1|start||||||F",
    )
    desk = Desk()
    assert desk.send(head + "\r".join(facets) + "\r").startswith("AA")
    ((observation, _),) = desk.ledger.changes.observations
    assert observation.value == "MDC_EVT_LO;phase=start;source=MDC_PULS_OXIM_SAT_O2=82"


def test_a_local_time_that_occurs_twice_is_not_guessed() -> None:
    zone = ZoneInfo("Europe/Berlin")
    with pytest.raises(OutOfRangeError, match="twice"):
        parse_time("20261025023000", "", zone)
    assert parse_time("202610250400", "", zone) == from_datetime(
        datetime(2026, 10, 25, 3, 0, tzinfo=UTC)
    )
    assert parse_time("202610250400", "+0800", zone) != parse_time("202610250400", "", zone)


@pytest.mark.parametrize("text", ["", "1,5", "nan", "inf", "٣", "1_0", "9" * 400])
def test_what_is_no_decimal_number_is_none(text: str) -> None:
    with pytest.raises(OutOfRangeError):
        strict_number(text)


@asynccontextmanager
async def listening(**plan: object) -> AsyncGenerator[tuple[MllpServer, Desk, asyncio.Event]]:
    desk, stop = Desk(), asyncio.Event()
    server = MllpServer(MllpPlan(**plan), desk.gateway.take_hl7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running = asyncio.create_task(server.run(stop))
    await server.listening.wait()
    try:
        yield server, desk, stop
    finally:
        stop.set()
        await running


def test_messages_in_pieces_between_junk_are_answered_in_order() -> None:
    async def talk() -> list[bytes]:
        async with listening(max_bytes=5_000) as (server, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            first = VT + adt("A01", "1", "1", NOW).encode() + END
            long = VT + b"MSH|" + b"x" * 9_000 + END
            last = VT + b"half" + VT + adt("A03", "2", "1", NOW).encode() + END
            for piece in (b"junk" + first[:40], first[40:] + b"\r\n" + long, last):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            answers = [await asyncio.wait_for(reader.readuntil(END), 5) for _ in range(2)]
            writer.close()
            assert server.counts.noise == 3
            return answers

    first, second = asyncio.run(talk())
    assert b"MSA|AA|1" in first
    assert b"MSA|AA|2" in second


def test_a_silent_sender_and_one_too_many_are_let_go() -> None:
    async def talk() -> None:
        async with listening(max_connections=1, idle_s=0.2) as (server, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await asyncio.sleep(0.05)
            refused, other = await asyncio.open_connection("127.0.0.1", server.port)
            assert await asyncio.wait_for(refused.read(), 5) == b""
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            other.close()
            assert server.counts.turned_away == 1

    asyncio.run(talk())


def test_while_kafka_is_away_a_sender_waits_and_then_gets_no_answer() -> None:
    async def talk() -> None:
        async with listening(answer_within_s=0.3) as (server, desk, _):
            desk.log.away = 100
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(VT + adt("A01", "1", "1", NOW).encode() + END)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            assert server.counts.unanswered == 1

    asyncio.run(talk())


def test_of_damaged_messages_nothing_is_lost_and_nothing_written_to_the_wrong_patient() -> None:
    report = run_fuzz(400, 5, load_harmoniser())
    assert report["is_clean"], report["examples"]
    assert report["stated"] == report["mapped"] + report["quarantined"]
    assert report["unit_errors"] == report["unit_errors_caught"] > 20
    assert report["by_damage"]["swapped_patient"] > 20
