"""The store's side of the alarm path, on both kinds of server, without a process around it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest
from fakes.cloud_device import SITE, make_event, make_status, make_strip, next_event

from cloud_api.adapters.command_store import PostgresCommands
from cloud_api.adapters.database import KeptConnection, StorePool
from cloud_api.adapters.intake_store import PostgresIntakeStore
from cloud_api.adapters.journal import JournalBell, PostgresJournal
from cloud_api.adapters.read_store import PostgresReads
from cloud_api.adapters.ward_store import PostgresWard
from cloud_api.core.errors import ConflictError, NotFoundError, StoreAwayError
from cloud_api.core.intake import Accepted, Inbound, classify
from cloud_api.core.ports import AcknowledgeRequest
from wardstream.contracts import topics
from wardstream.contracts.alert import AlertEvent, Transition
from wardstream.contracts.codec import encode
from wardstream.contracts.device import Connectivity, DeviceStatus, QuarantineReport
from wardstream.contracts.errors import ContractError
from wardstream.contracts.waveform import AlertStrip

S = 1_000_000_000
NOW = time.time_ns()
CLOUD_BOOT = str(uuid4())


class Store:
    """Every adapter on one database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = StorePool(url)
        self.kept = [KeptConnection(url, name) for name in ("a", "b", "c", "d", "e")]
        self.intakes = [PostgresIntakeStore(one) for one in self.kept[:2]]
        self.journal = PostgresJournal(self.kept[2], lambda: NOW)
        self.ward = PostgresWard(self.kept[3])
        self.bell = JournalBell(self.kept[4])
        self.reads = PostgresReads(self.pool)
        self.commands = PostgresCommands(self.pool, CLOUD_BOOT)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    made = Store(database_url)
    async with made.pool:
        yield made
        for one in made.kept:
            await one.close()


def accepted(
    message: AlertEvent | AlertStrip | DeviceStatus, *, retained: bool = False
) -> Accepted:
    topic = {AlertEvent: topics.ALERT, AlertStrip: topics.STRIP, DeviceStatus: topics.STATUS}
    address = topic[type(message)].address(SITE, message.device_id)
    found = classify(
        Inbound(address=address, payload=encode(message), retained=retained, received_time_ns=NOW)
    )
    assert isinstance(found, Accepted)
    return found


async def test_a_reader_of_the_journal_misses_nothing_however_many_replicas_write(
    store: Store,
) -> None:
    boots = [str(uuid4()), str(uuid4())]

    async def write(which: int) -> None:
        for batch in range(40):
            events = [
                make_event(
                    f"bed-0{which}", boots[which], batch * 3 + i, onset_ns=NOW + batch * 3 + i
                )
                for i in range(3)
            ]
            await store.intakes[which].commit([accepted(event) for event in events], [], NOW)

    seen: list[int] = []
    writing = asyncio.gather(write(0), write(1))
    while not writing.done() or await store.journal.read(seen[-1] if seen else 0, 1):
        entries = await store.journal.read(seen[-1] if seen else 0, 7)
        seen += [entry.position for entry in entries]
    await writing
    assert len(seen) == 240
    assert seen == sorted(set(seen))


async def test_the_same_batch_in_two_replicas_is_stored_once_and_tells_both_the_watermark(
    store: Store,
) -> None:
    boot = str(uuid4())
    batch = [accepted(make_event("bed-01", boot, n, onset_ns=NOW + n)) for n in range(20)]
    results = await asyncio.gather(*(one.commit(batch, [], NOW) for one in store.intakes))
    assert sorted(result.n_new_events for result in results) == [0, 20]
    for result in results:
        assert [mark.sequence_number for _, mark in result.watermarks] == [19]


async def test_what_a_bed_does_not_judge_is_shown_with_its_reason_and_count(store: Store) -> None:
    refused = QuarantineReport(channel="obx 4711", reason="no unit is stated", count=12)
    status = replace(make_status("bed-01", str(uuid4()), "bed-a"), quarantined=(refused,))
    await store.intakes[0].commit([accepted(status)], [], NOW)
    (device,) = await store.reads.devices()
    assert device.channels == ["MDC_ECG_ELEC_POTL_II"]
    (shown,) = device.quarantined
    assert (shown.channel, shown.reason, shown.count) == ("obx 4711", "no unit is stated", 12)
    again = replace(status, quarantined=())
    await store.intakes[0].commit([accepted(again)], [], NOW)
    (device,) = await store.reads.devices()
    assert device.quarantined == []


async def test_an_alert_without_a_place_gets_it_with_its_boots_first_status(store: Store) -> None:
    boot = str(uuid4())
    event = make_event("bed-01", boot, 0)
    await store.intakes[0].commit([accepted(event)], [], NOW)
    assert (await store.reads.alert(event.alert_id, NOW)).bed_id == ""
    status = make_status("bed-01", boot, "bed-a")
    await store.intakes[0].commit([accepted(status)], [], NOW)
    assert (await store.reads.alert(event.alert_id, NOW)).bed_id == "bed-a"


async def test_a_kept_copy_of_a_status_is_no_sign_of_life(store: Store) -> None:
    status = make_status("bed-01", str(uuid4()), "bed-a")
    await store.intakes[0].commit([accepted(status, retained=True)], [], NOW)
    assert (await store.ward.ward(NOW))[0].heard_time_ns == 0
    await store.intakes[0].commit([accepted(status)], [], NOW)
    assert (await store.ward.ward(NOW))[0].heard_time_ns == NOW


async def test_a_strip_before_its_alert_is_found_by_it(store: Store) -> None:
    event = make_event("bed-01", str(uuid4()), 0)
    await store.intakes[0].commit([accepted(make_strip(event, 0))], [], NOW)
    assert [entry.event for entry in await store.journal.read(0, 10)] == ["strip"]
    await store.intakes[0].commit([accepted(event)], [], NOW)
    assert (await store.reads.alert(event.alert_id, NOW)).has_strip
    assert (await store.reads.strip_payload(event.alert_id))[0] == event.onset_time_ns


async def test_an_event_of_the_past_shows_the_alert_as_it_stands(store: Store) -> None:
    event = make_event("bed-01", str(uuid4()), 0)
    ended = next_event(event, 1, Transition.ENDED)
    for one in (ended, event):
        await store.intakes[0].commit([accepted(one)], [], NOW)
    entries = await store.journal.read(0, 10)
    assert len(entries) == 2
    assert all(b'"presence":"off"' in entry.data for entry in entries)


async def test_the_bell_rings_for_another_replica(store: Store) -> None:
    assert await store.bell.wait(1.0)  # it has just begun to listen
    assert not await store.bell.wait(0.1)
    event = make_event("bed-01", str(uuid4()), 0)
    await store.intakes[0].commit([accepted(event)], [], NOW)
    assert await store.bell.wait(5.0)


async def test_a_silence_alert_is_raised_once_confirmed_by_the_cloud_and_lapses(
    store: Store,
) -> None:
    status = make_status("bed-01", str(uuid4()), "bed-a", Connectivity.ONLINE)
    await store.intakes[0].commit([accepted(status)], [], NOW)

    async def tell(silent: bool, now_ns: int) -> bool:
        return await store.ward.set_silent(
            "bed-01", silent=silent, boot_id=CLOUD_BOOT, now_ns=now_ns
        )

    assert await tell(True, NOW + 10 * S)
    assert not await tell(True, NOW + 11 * S)
    (alert,) = (await store.reads.beds(NOW))[0].alerts
    assert (alert.condition, alert.bed_id, alert.presence) == ("device_silent", "bed-a", "on")
    request = AcknowledgeRequest(
        command_id=str(uuid4()),
        alert_id=alert.alert_id,
        author="nurse",
        reason=None,
        issued_time_ns=NOW + 20 * S,
        expires_time_ns=NOW + 50 * S,
    )
    pending = await store.commands.add_acknowledgement(request, next_send_ns=NOW)
    assert not pending.for_device
    assert await store.commands.due_acknowledgements(NOW + 21 * S, NOW + 30 * S) == []
    detail = await store.reads.alert(alert.alert_id, NOW)
    assert (detail.presence, detail.acknowledgement_state) == ("ack", "confirmed")
    assert await store.ward.lapse_acknowledgements(boot_id=CLOUD_BOOT, now_ns=NOW + 49 * S) == 0
    assert await store.ward.lapse_acknowledgements(boot_id=CLOUD_BOOT, now_ns=NOW + 50 * S) == 1
    detail = await store.reads.alert(alert.alert_id, NOW)
    assert (detail.presence, detail.acknowledged_by) == ("on", None)
    assert await tell(False, NOW + 60 * S)
    detail = await store.reads.alert(alert.alert_id, NOW)
    assert [event.transition for event in detail.events] == [
        "onset",
        "acknowledged",
        "acknowledgement_expired",
        "ended",
    ]
    with pytest.raises(ConflictError):
        await store.commands.add_acknowledgement(request, next_send_ns=NOW)


async def test_what_the_store_can_never_hold_is_told_from_a_store_that_is_away(
    store: Store,
) -> None:
    event = make_event("bed-01", str(uuid4()), 0)
    poison = next_event(event, 1, Transition.ACKNOWLEDGED, acknowledged_by="a\0b")
    with pytest.raises(ContractError):
        await store.intakes[0].commit([accepted(event), accepted(poison)], [], NOW)
    with pytest.raises(NotFoundError):  # of that batch nothing was written
        await store.reads.alert(event.alert_id, NOW)
    nowhere = KeptConnection("postgresql://u:p@127.0.0.1:1/none", "test")
    with pytest.raises(StoreAwayError):
        await PostgresIntakeStore(nowhere).commit([accepted(event)], [], NOW)


async def test_a_database_without_our_tables_is_away_not_a_defect(empty_database_url: str) -> None:
    async with KeptConnection(empty_database_url, "test") as kept:
        with pytest.raises(StoreAwayError, match="schema"):
            await PostgresWard(kept).ward(NOW)
