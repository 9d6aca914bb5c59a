"""From a station's HTTP request to a quiet loudspeaker, and back when the station is gone."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.cloud_device import wait_until
from fakes.cloud_process import CloudProcess
from fakes.edge_process import AgentProcess
from test_bedside_authority import LEASE_S, Bed

from deploy.local.servers.mosquitto import MosquittoServer

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize("postgres", ["timescale"], indirect=True),
]


class Page:
    """What the dashboard does for a nurse: it asks, and renews twice a second while it lives."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.station_id = str(uuid4())
        self.alive = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._stop.wait(0.5):
            if self.alive.is_set():
                body = {"station_id": self.station_id}
                self.http.post("/api/stations/renewal", json=body, timeout=5).raise_for_status()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(6)

    def alerts(self) -> list[dict[str, Any]]:
        return self.http.get("/api/alerts", params={"active": True}).json()

    def high(self) -> list[dict[str, Any]]:
        return [one for one in self.alerts() if one["priority"] == "high"]

    def silences(self) -> list[dict[str, Any]]:
        return [one for one in self.alerts() if one["condition"] == "audio_paused"]

    def order(self, kind: str, **more: Any) -> httpx.Response:
        body = {"kind": kind, "station_id": self.station_id, **more}
        body["seen"] = {one["alert_id"]: one["revision"] for one in self.alerts()}
        return self.http.post("/api/devices/bed-01/silences", json=body)


@pytest.fixture
def bed(mosquitto: MosquittoServer, tmp_path: Path) -> Bed:
    return Bed(tmp_path, mosquitto)


@pytest.fixture
def cloud(
    database_url: str, mosquitto: MosquittoServer, bed: Bed, tmp_path: Path
) -> Iterator[CloudProcess]:
    private = tmp_path / "private.pem"
    private.write_bytes(bed.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    url = mosquitto.url("cloud")
    with CloudProcess(database_url, url, CLOUD_ORDERS_KEY=str(private)) as process:
        yield process


@pytest.fixture
def page(cloud: CloudProcess) -> Iterator[Page]:
    opened = Page(cloud.client("nurse"))
    yield opened
    opened.close()


def silence(page: Page) -> dict[str, Any]:
    def quiet() -> bool:
        return bool(page.high()) and all(one["audible"] == "paused" for one in page.high())

    for _ in range(3):  # another alert of high priority may come in between, and breaks it
        assert page.order("audio_paused", seconds=120).status_code == 202
        deadline_s = time.monotonic() + 4
        while time.monotonic() < deadline_s:
            if quiet():
                return page.silences()[0]
            time.sleep(0.05)
    raise AssertionError([(one["condition"], one["audible"]) for one in page.alerts()])


def stays_silent(page: Page, bed: Bed, seconds: float = 4.0) -> dict[str, Any]:
    """A silence under which the bed was quiet for so long; what breaks one has to be told."""
    for _ in range(5):
        shown = silence(page)
        quiet_s = time.time()
        time.sleep(seconds)
        if not bed.heard(quiet_s + 0.3):
            return shown
        # Another alert of high priority came, or this machine was too busy for a lease.
        story = page.http.get(f"/api/alerts/{shown['alert_id']}").json()
        told = [(one["transition"], one["reason"]) for one in story["events"]]
        assert {name for name, _ in told} & {"ended", "lease_lost"}, told
    raise AssertionError("no silence held for long enough")


def test_a_station_silences_a_bed_for_as_long_as_it_lives(
    cloud: CloudProcess, bed: Bed, page: Page
) -> None:
    with AgentProcess(bed.environment) as agent:
        wait_until(lambda: bool(page.high()), "a high-priority alert", timeout_s=90)
        assert page.order("audio_off", reason="because").status_code == 403  # a nurse may not
        page.alive.set()
        shown = stays_silent(page, bed)
        assert shown["terms"]["author"] == "nurse"

        page.alive.clear()  # the page hangs, or was closed
        gone_s = time.time()
        took_s = bed.first_heard(gone_s)
        print(f"sound {took_s:.2f} s after the station was heard last")
        assert took_s < LEASE_S + 2.0
        path = f"/api/alerts/{shown['alert_id']}"

        def told(name: str) -> bool:
            return name in [one["transition"] for one in page.http.get(path).json()["events"]]

        wait_until(lambda: told("lease_lost"), "the lapse is told")
        page.alive.set()  # it is back
        wait_until(lambda: told("lease_held") or told("ended"), "it holds again")
        if told("ended"):  # an alert of high priority came in the meantime
            shown = stays_silent(page, bed)
        ended = page.http.post(
            f"/api/silences/{shown['alert_id']}/end", json={"station_id": page.station_id}
        )
        assert ended.status_code == 202
        wait_until(lambda: not page.silences(), "it is over")
        assert bed.first_heard(time.time() - 0.5) < 5
        events = page.http.get(f"/api/alerts/{shown['alert_id']}").json()["events"]
        assert (events[0]["transition"], events[-1]["transition"]) == ("onset", "ended")
        assert events[-1]["actor"] == "nurse"
        agent.stop()


def test_a_server_without_a_key_quiets_no_bed(
    database_url: str, mosquitto: MosquittoServer, bed: Bed
) -> None:
    with CloudProcess(database_url, mosquitto.url("cloud")) as keyless:
        page = Page(keyless.client("nurse"))
        with AgentProcess(bed.environment) as agent:
            wait_until(lambda: bool(page.high()), "a high-priority alert", timeout_s=90)
            refused = page.order("audio_paused")
            assert refused.status_code == 409
            assert "CLOUD_ORDERS_KEY" in refused.json()["detail"]
            # Its acknowledgement is unsigned, so the bed does not believe that either.
            alert_id = page.high()[0]["alert_id"]
            page.http.post(f"/api/alerts/{alert_id}/acknowledgement", json={})
            agent.wait_for(lambda a: "no trusted key signed it" in a.text, 10)
            agent.stop()
        page.close()
