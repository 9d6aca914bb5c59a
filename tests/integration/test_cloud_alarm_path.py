"""Alert in, row in the database, event in the browser; acknowledged, confirmed, once."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import psycopg
import pytest
from fakes.cloud_device import SITE, FakeDevice, make_event, make_status, next_event, wait_until
from fakes.cloud_process import CloudProcess, StreamReader

from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.postgres import PostgresServer
from wardstream.contracts import topics
from wardstream.contracts.alert import Transition
from wardstream.contracts.codec import encode
from wardstream.contracts.device import Connectivity
from wardstream.contracts.identity import GapNotice, Lane

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def cloud(database_url: str, mosquitto: MosquittoServer) -> Iterator[CloudProcess]:
    with CloudProcess(database_url, mosquitto.url("cloud")) as process:
        yield process


@pytest.fixture
def device(mosquitto: MosquittoServer) -> Iterator[FakeDevice]:
    with FakeDevice(mosquitto.url("bed-01"), "bed-01", "bed-a") as fake:
        fake.beat()
        yield fake


def migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "deploy.database", "migrate", "--url", url], cwd=CHECKOUT, check=True
    )


def count(url: str, table: str) -> int:
    with psycopg.connect(url, autocommit=True) as link:
        row = link.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        return 0 if row is None else int(row[0])


def test_an_alert_reaches_the_stream_within_the_budget_and_its_watermark_comes_back(
    cloud: CloudProcess, device: FakeDevice, record_property: Callable[[str, object], None]
) -> None:
    with StreamReader(cloud.client()) as reader:
        latencies_ms: list[float] = []
        for _ in range(100):
            event = device.raise_alert(onset_ns=time.time_ns())
            seen = reader.wait_for(lambda e, wanted=event.alert_id: _is_alert(e, wanted))
            latencies_ms.append((seen.arrived_ns - event.decided_time_ns) / 1e6)
        wait_until(lambda: device.watermarks.get(Lane.ALERT) == 99, "watermark 99")
        assert not device.outbox
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    record_property("p50_ms", p50)
    print(f"decision to stream: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    assert p99 < 250


def _is_alert(event: object, alert_id: str) -> bool:
    return event.event == "alert" and event.data["alert_id"] == alert_id  # type: ignore[attr-defined]


def test_an_acknowledgement_goes_to_the_bed_and_is_confirmed_by_it(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    nurse = cloud.client("nurse")
    with StreamReader(nurse) as reader:
        event = device.raise_alert()
        reader.wait_for(lambda e: _is_alert(e, event.alert_id))
        answer = nurse.post(f"/api/alerts/{event.alert_id}/acknowledgement", json={})
        assert answer.status_code == 202
        assert answer.json()["state"] == "sent"
        states: list[str] = []

        def confirmed(seen: object) -> bool:
            if _is_alert(seen, event.alert_id):
                states.append(seen.data["acknowledgement_state"])  # type: ignore[attr-defined]
            return bool(states) and states[-1] == "confirmed"

        reader.wait_for(confirmed)
        assert states in (["sent", "confirmed"], ["confirmed", "confirmed"], ["confirmed"])
    assert device.commands[0].author == "nurse"
    detail = nurse.get(f"/api/alerts/{event.alert_id}").json()
    assert detail["acknowledged_by"] == "nurse"
    assert [one["state"] for one in detail["acknowledgements"]] == ["confirmed"]
    assert [one["transition"] for one in detail["events"]] == ["onset", "acknowledged"]


def test_an_unconfirmed_acknowledgement_is_sent_again_and_void_once_the_alert_is_over(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    device.confirm_acknowledgements = False
    nurse = cloud.client("nurse")
    event = device.raise_alert()
    wait_until(
        lambda: nurse.get(f"/api/alerts/{event.alert_id}").status_code == 200, "alert stored"
    )
    nurse.post(f"/api/alerts/{event.alert_id}/acknowledgement").raise_for_status()
    wait_until(lambda: len(device.commands) >= 2, "a second sending")
    assert len({command.command_id for command in device.commands}) == 1
    device.change(event, Transition.ENDED)
    path = f"/api/alerts/{event.alert_id}"
    wait_until(lambda: nurse.get(path).json()["acknowledgements"][0]["state"] == "void", "void")
    assert nurse.post(f"{path}/acknowledgement").status_code == 409


def test_a_reader_that_comes_back_gets_all_it_missed_once_and_in_order(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    client = cloud.client()
    with StreamReader(client) as reader:
        first = device.raise_alert()
        reader.wait_for(lambda e: _is_alert(e, first.alert_id))
        position = reader.last_event_id
    missed = [device.raise_alert(onset_ns=time.time_ns() + i) for i in range(700)]
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 700, "all stored")
    with StreamReader(client, last_event_id=position) as reader:
        live = device.raise_alert()
        reader.wait_for(lambda e: _is_alert(e, live.alert_id))
        told = [event.data["alert_id"] for event in reader.alerts()]
        ids = [event.event_id for event in reader.alerts()]
    assert sorted(told) == sorted([event.alert_id for event in missed] + [live.alert_id])
    assert ids == sorted(set(ids))


def test_late_and_repeated_events_move_nothing_back_and_are_stored_once(
    cloud: CloudProcess, device: FakeDevice, database_url: str
) -> None:
    onset = make_event(device.device_id, device.boot_id, 0)
    cleared = next_event(onset, 1, Transition.CLEARED)
    ended = next_event(onset, 2, Transition.ENDED)
    for event in (ended, onset, ended, cleared, onset, cleared):
        device.publish(topics.ALERT, encode(event))
        time.sleep(0.05)
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 2, "watermark 2")
    assert count(database_url, "alert_event") == 3
    alert = cloud.client().get(f"/api/alerts/{onset.alert_id}").json()
    assert alert["transition"] == "ended"
    assert alert["presence"] == "off"
    assert [event["transition"] for event in alert["events"]] == ["onset", "cleared", "ended"]


def test_the_watermark_waits_for_the_missing_and_a_gap_notice_releases_it(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    for number in (0, 1, 4):
        event = make_event(device.device_id, device.boot_id, number, onset_ns=time.time_ns())
        device.publish(topics.ALERT, encode(event))
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 1, "watermark 1")
    gap = GapNotice(
        device_id=device.device_id,
        boot_id=device.boot_id,
        lane=Lane.ALERT,
        first_sequence_number=2,
        last_sequence_number=3,
        reason="disk replaced",
    )
    device.publish(topics.GAP, encode(gap))
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 4, "watermark 4")


def test_malformed_foreign_and_poisonous_messages_become_letters_and_hold_nothing_up(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    good = make_event(device.device_id, device.boot_id, 0)
    stolen = make_event("bed-02", str(uuid4()), 0)
    infinite = json.loads(encode(make_event(device.device_id, device.boot_id, 1)))
    infinite["evidence"] = {"silence_s": "much"}
    poison = next_event(good, 2, Transition.ACKNOWLEDGED, acknowledged_by="nul\0byte")
    bad = [b"{", b"\xff\xfe", encode(stolen), json.dumps(infinite).encode(), encode(poison)]
    device.publish(topics.ALERT, encode(good))
    for payload in bad:
        device.publish(topics.ALERT, payload)
    device.publish(topics.STRIP, b"\xc1")
    last = make_event(device.device_id, device.boot_id, 3, onset_ns=time.time_ns())
    device.publish(topics.ALERT, encode(last))
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 3, "watermark 3 over the letters")
    letters = cloud.client("admin").get("/api/dead-letters").json()
    assert len(letters) == 6
    reasons = " | ".join(letter["reason"] for letter in letters)
    assert "bed-02" in reasons
    assert "store refuses" in reasons
    assert cloud.client().get(f"/api/alerts/{last.alert_id}").status_code == 200
    assert cloud.client().get(f"/api/alerts/{stolen.alert_id}").status_code == 404


def test_no_device_can_write_into_another_devices_alert(
    cloud: CloudProcess, device: FakeDevice, mosquitto: MosquittoServer
) -> None:
    event = device.raise_alert()
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 0, "stored")
    with FakeDevice(mosquitto.url("bed-02"), "bed-02", "bed-b") as other:
        forged = next_event(event, 0, Transition.ENDED)
        document = json.loads(encode(forged))
        document |= {"device_id": "bed-02", "boot_id": other.boot_id}
        other.publish(topics.ALERT, json.dumps(document).encode())
        wait_until(lambda: other.watermarks.get(Lane.ALERT) == 0, "letter counted as handled")
    assert cloud.client().get(f"/api/alerts/{event.alert_id}").json()["presence"] == "on"
    letters = cloud.client("admin").get("/api/dead-letters").json()
    assert "is of device 'bed-01'" in letters[0]["reason"]


def test_a_strip_is_announced_and_served_with_its_gaps(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    client = cloud.client()
    with StreamReader(client) as reader:
        event = device.raise_alert()
        reader.wait_for(lambda e: _is_alert(e, event.alert_id))
        assert client.get(f"/api/alerts/{event.alert_id}/strip").status_code == 404
        device.send_strip(event)
        reader.wait_for(lambda e: e.event == "strip" and e.data == {"alert_id": event.alert_id})
    strip = client.get(f"/api/alerts/{event.alert_id}/strip").json()
    assert strip["onset_time_ns"] == event.onset_time_ns
    assert [channel["label"] for channel in strip["channels"]] == ["II", "V1"]
    first = strip["channels"][0]
    assert first["unit"] == "mV"
    assert first["sampling_rate_hz"] == 250.0
    assert first["samples"][7] is None
    assert first["samples"][25] == pytest.approx(np.sin(1.0), abs=1e-3)
    assert client.get(f"/api/alerts/{event.alert_id}").json()["has_strip"] is True
    wait_until(lambda: device.watermarks.get(Lane.STRIP) == 0, "strip watermark")


def test_a_second_replica_shows_what_the_first_took_in(
    cloud: CloudProcess, device: FakeDevice, database_url: str, mosquitto: MosquittoServer
) -> None:
    with (
        CloudProcess(database_url, mosquitto.url("cloud"), instance="1") as second,
        StreamReader(cloud.client()) as here,
        StreamReader(second.client()) as there,
    ):
        events = [device.raise_alert(onset_ns=time.time_ns() + i) for i in range(50)]
        for reader in (here, there):
            reader.wait_for(lambda e: _is_alert(e, events[-1].alert_id))
        nurse = second.client("nurse")
        nurse.post(f"/api/alerts/{events[0].alert_id}/acknowledgement").raise_for_status()
        for reader in (here, there):
            reader.wait_for(
                lambda e: (
                    _is_alert(e, events[0].alert_id)
                    and e.data["acknowledgement_state"] == "confirmed"
                )
            )
        wait_until(
            lambda: [e.event_id for e in here.alerts()] == [e.event_id for e in there.alerts()],
            "both streams the same",
        )
        ids = [event.event_id for event in here.alerts()]
        assert ids == sorted(set(ids))
    assert (
        count(
            database_url, f"alert_event WHERE device_id = 'bed-01' AND boot_id = '{device.boot_id}'"
        )
        == 51
    )


def test_a_silent_bed_raises_the_clouds_own_alert_and_ends_it_when_heard_again(
    database_url: str, mosquitto: MosquittoServer
) -> None:
    more = {"CLOUD_SILENCE_S": "5"}
    with (
        CloudProcess(database_url, mosquitto.url("cloud"), **more) as cloud,
        FakeDevice(mosquitto.url("bed-01"), "bed-01", "bed-a") as device,
        StreamReader(cloud.client()) as reader,
    ):
        device.beat()
        reader.wait_for(lambda e: e.event == "device" and e.data["bed_id"] == "bed-a")
        raised = reader.wait_for(
            lambda e: e.event == "alert" and e.data["condition"] == "device_silent"
        )
        assert raised.data["bed_id"] == "bed-a"
        assert raised.data["priority"] == "medium"
        bed = cloud.client().get("/api/beds").json()[0]
        assert bed["silent"] is True
        assert [alert["alert_id"] for alert in bed["alerts"]] == [raised.data["alert_id"]]
        path = f"/api/alerts/{raised.data['alert_id']}"
        cloud.client().post(f"{path}/acknowledgement").raise_for_status()
        confirmed = reader.wait_for(
            lambda e: (
                _is_alert(e, raised.data["alert_id"])
                and e.data["acknowledgement_state"] == "confirmed"
            )
        )
        cloud.kill()
        cloud.start()
        with StreamReader(cloud.client(), last_event_id=confirmed.event_id) as again:
            device.beat()
            again.wait_for(
                lambda e: _is_alert(e, raised.data["alert_id"]) and e.data["presence"] == "off"
            )
        assert cloud.client().get("/api/beds").json()[0]["silent"] is False
        device.beat(Connectivity.LOST)
        wait_until(lambda: cloud.client().get("/api/beds").json()[0]["silent"], "lost is silent")


def test_an_alert_that_outruns_its_boots_first_status_gets_its_bed_later(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    device.boot_id = str(uuid4())
    wait_until(lambda: bool(cloud.client().get("/api/beds").json()), "the first boot's status")
    event = device.raise_alert()
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 0, "stored")
    path = f"/api/alerts/{event.alert_id}"
    # The device has always stood in one bed, so that is where its alert is.
    assert cloud.client().get(path).json()["bed_id"] == "bed-a"


def test_killing_the_database_under_load_loses_and_doubles_nothing(
    make_postgres: Callable[..., PostgresServer], mosquitto: MosquittoServer
) -> None:
    server = make_postgres(timescaledb=False)
    url = server.url()
    migrate(url)
    with (
        CloudProcess(url, mosquitto.url("cloud")) as cloud,
        FakeDevice(mosquitto.url("bed-01"), "bed-01", "bed-a") as device,
        StreamReader(cloud.client()).reconnecting() as reader,
    ):
        device.beat()
        for round_number in range(3):
            for i in range(60):
                device.raise_alert(onset_ns=time.time_ns() + i)
                if i == 20:
                    server.kill()
                if i == 40 and round_number < 2:
                    server.start()
                time.sleep(0.01)
            if round_number == 2:
                time.sleep(3)
                server.start()
        wait_until(lambda: device.watermarks.get(Lane.ALERT) == 179, "all committed", 40)
        wait_until(lambda: len(reader.alerts()) >= 180, "all shown", 20)
        assert not device.outbox
        told = [event.data["sequence_number"] for event in reader.alerts()]
        assert sorted(told) == list(range(180))
        ids = [event.event_id for event in reader.alerts()]
        assert ids == sorted(set(ids))
    assert count(url, "alert_event") == 180
    assert count(url, "alert") == 180


def test_killing_the_api_and_the_broker_loses_and_doubles_nothing(
    cloud: CloudProcess, device: FakeDevice, mosquitto: MosquittoServer, database_url: str
) -> None:
    reader = StreamReader(cloud.client()).reconnecting()
    with reader:
        for i in range(120):
            device.raise_alert(onset_ns=time.time_ns() + i)
            if i == 30:
                cloud.kill()
            if i == 50:
                cloud.start(wait=False)
            if i == 80:
                mosquitto.kill()
            if i == 90:
                mosquitto.start()
            time.sleep(0.02)
        cloud.wait_ready()
        wait_until(device.connected.is_set, "device back at the broker")

        def all_covered() -> bool:
            device.resend()
            time.sleep(0.5)
            return device.watermarks.get(Lane.ALERT) == 119

        wait_until(all_covered, "all committed", 40)
        wait_until(lambda: len(reader.alerts()) >= 120, "all shown", 20)
        told = [event.data["sequence_number"] for event in reader.alerts()]
    assert sorted(told) == list(range(120))
    assert count(database_url, "alert_event") == 120


def test_the_api_stops_in_time_with_streams_open(cloud: CloudProcess) -> None:
    with StreamReader(cloud.client()) as reader:
        began = time.monotonic()
        assert cloud.stop() == 0
        assert time.monotonic() - began < 8
        assert reader.ended.wait(5)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{cloud.url}/api/health")


def test_a_retained_status_of_a_dead_boot_does_not_bring_it_back(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    wait_until(lambda: bool(cloud.client().get("/api/devices").json()), "first boot known")
    old_boot = device.boot_id
    device.boot_id = str(uuid4())
    device.beat()
    client = cloud.client()
    wait_until(
        lambda: client.get("/api/devices").json()[0]["boot_id"] == device.boot_id, "second boot"
    )
    will = make_status("bed-01", old_boot, "bed-a", Connectivity.LOST)
    device.publish(topics.STATUS, encode(will))
    time.sleep(0.5)
    assert client.get("/api/devices").json()[0]["connectivity"] == "online"
    assert topics.STATUS.address(SITE, "bed-01").endswith("/status")
