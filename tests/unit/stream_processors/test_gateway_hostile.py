"""What a gateway met in a hospital would meet: old dates, shared ids, lists in no order, poison."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stream_processors.core.ports import OutgoingRecord
from stream_processors.core.registry import Registry
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.fhir_push import take_fhir
from stream_processors.record_gateway.gateway import Gateway
from stream_processors.record_gateway.memory_ledger import MemoryLedger
from wardstream.contracts.mllp import MllpFramer

NOW_NS = 1_790_000_000 * 10**9
HEADER = r"MSH|^~\&|ADT|H|W|W|20260901120000+0000||{}|{}|P|2.5"
EVENT = "EVN||20260901120000+0000"


class Kafka:
    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        """It has them at once."""


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def gateway(ledger: MemoryLedger) -> Gateway:
    conventions = Conventions(site_secret=b"x" * 32, time_zone=ZoneInfo("UTC"))
    return Gateway(ledger, Kafka(), conventions, clock_ns=lambda: NOW_NS, n_partitions=4)


async def hl7(gateway: Gateway, kind: str, *segments: str, control_id: str = "1") -> str:
    lines = (HEADER.format(kind, control_id), *segments)
    answer = await gateway.take_hl7(("\r".join(lines) + "\r").encode())
    return answer.decode().split("MSA|")[1][:2]


async def fhir(gateway: Gateway, **resource: Any) -> None:
    await take_fhir(gateway, json.dumps(resource).encode(), "push")


async def test_a_diagnosis_older_than_the_epoch_stops_no_admission(
    gateway: Gateway, ledger: MemoryLedger
) -> None:
    segments = (EVENT, "PID|||A^^^H^MR||||19400101|M", "PV1||I|ICU^1^12")
    old = "DG1|1||E11^Diabetes^I10||196503010000+0000"
    assert await hl7(gateway, "ADT^A01", *segments, old) in ("AA", "AE")
    assert len(ledger.changes.movements) == 1
    assert await hl7(gateway, "ADT^A01", *segments, old) in ("AA", "AE")
    assert len(ledger.changes.movements) == 1, "sent again it is applied once"


async def test_what_fails_in_the_ledger_is_not_acknowledged_later(
    gateway: Gateway, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, refusals = MemoryLedger.keep, iter([True])

    async def once_refused(self: MemoryLedger, *arguments: Any) -> None:
        if next(refusals, False):
            raise ValueError("no such byte in jsonb")
        await keep(self, *arguments)

    async def from_the_store(self: MemoryLedger) -> Registry:
        return Registry()  # nothing was stored yet

    monkeypatch.setattr(MemoryLedger, "keep", once_refused)
    monkeypatch.setattr(MemoryLedger, "load", from_the_store)
    segments = (EVENT, "PID|||A^^^H^MR||||19400101|M", "PV1||I|ICU^1^12")
    assert await hl7(gateway, "ADT^A01", *segments) == "AE"
    assert not ledger.changes.movements
    assert await hl7(gateway, "ADT^A01", *segments, control_id="2") == "AA"
    assert len(ledger.changes.movements) == 1


async def test_a_servers_id_that_was_two_patients_makes_one_of_neither(
    gateway: Gateway, ledger: MemoryLedger
) -> None:
    for number, born in (("A", "1940-01-01"), ("B", "1990-01-01")):
        identifier = [{"system": "H", "value": number}]
        await fhir(gateway, resourceType="Patient", id="1", identifier=identifier, birthDate=born)
    one, other = (gateway.conventions.pseudonym("H", number) for number in "AB")
    registry = ledger.registry
    assert registry.survivor(one) != registry.survivor(other)
    assert registry.facts(one).birth_date == date(1940, 1, 1)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_locations_of_an_encounter_come_in_any_order(
    gateway: Gateway, ledger: MemoryLedger, newest_first: bool
) -> None:
    begun, moved = "2026-09-01T08:00:00Z", "2026-09-01T10:00:00Z"
    places = [
        {"location": {"display": "icu-1"}, "period": {"start": begun, "end": moved}},
        {"location": {"display": "icu-2"}, "period": {"start": moved}},
    ]
    await fhir(
        gateway,
        resourceType="Encounter",
        id="e",
        status="in-progress",
        **{"class": {"code": "IMP"}},
        subject={"reference": "Patient/9"},
        period={"start": begun},
        location=places[::-1] if newest_first else places,
        meta={"lastUpdated": "2026-09-01T11:00:00Z"},
    )
    (first,) = ledger.registry.stays("icu-1")
    (second,) = ledger.registry.stays("icu-2")
    assert first.end_ns == second.start_ns
    assert second.end_ns is None


async def test_an_account_number_is_nobodys_record_number(
    gateway: Gateway, ledger: MemoryLedger
) -> None:
    admitted = (EVENT, "PID|||12345^^^H^MR||||19400101|M", "PV1||I|ICU^1^12")
    assert await hl7(gateway, "ADT^A01", *admitted) == "AA"
    result = ("OBR|1|||x|||20260901120000+0000", "OBX|1|NM|8867-4^HR^LN||80|/min|||||F")
    await hl7(gateway, "ORU^R01", "PID|||12345^^^H^AN", *result, control_id="2")
    patient = gateway.conventions.pseudonym("H", "12345")
    assert patient not in {stated.pseudonym for stated, _ in ledger.changes.observations}


async def test_a_year_of_birth_contradicts_no_day_of_it(gateway: Gateway) -> None:
    admitted = (EVENT, "PID|||A^^^H^MR||||1960|M", "PV1||I|ICU^1^12")
    assert await hl7(gateway, "ADT^A01", *admitted) == "AA"
    result = ("OBR|1|||x|||20260901120000+0000", "OBX|1|NM|8867-4^HR^LN||80|/min|||||F")
    told = await hl7(gateway, "ORU^R01", "PID|||A^^^H^MR||||19600312|M", *result, control_id="2")
    assert told == "AA"


def test_begins_without_ends_cost_one_look() -> None:
    _, reasons = MllpFramer().feed(b"\x0b" * 65_536)
    assert len(reasons) == 1
