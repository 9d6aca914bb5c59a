"""The scorecard's own measuring: what counts as live, what counts as lost."""

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from deploy.local.scorecard import DashboardEar, LaneCounts, Measurements, memory_mb, percentiles


class Api(BaseHTTPRequestHandler):
    """Speaks as much of the API as an ear needs: a login and one SSE stream."""

    protocol_version = "HTTP/1.1"
    events: ClassVar[list[bytes]] = []
    last_ids: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        login = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ok = login == {"username": "nurse", "password": "right"}
        body = json.dumps({"access_token": "token"} if ok else {"detail": "no"}).encode()
        self.send_response(200 if ok else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer token"
        self.last_ids.append(self.headers.get("Last-Event-ID", ""))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        time.sleep(0.1)
        now = str(time.time_ns()).encode()
        for event in self.events:
            self.wfile.write(event.replace(b"NOW", now))
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Keep quiet."""


@pytest.fixture
def api_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join(5)
    Api.events, Api.last_ids = [], []


def event(number: int, name: str, decided: str) -> bytes:
    data = f'{{"alert_id": "a", "transition": "onset", "decided_time_ns": {decided}}}'
    return f": keep-alive\nid: {number}\nevent: {name}\ndata: {data}\n\n".encode()


def wait_for(ear: DashboardEar, n_connections: int) -> None:
    end = time.monotonic() + 10
    while ear.n_connections < n_connections and time.monotonic() < end:
        time.sleep(0.02)
    assert ear.n_connections >= n_connections


def test_live_alerts_are_timed_and_replayed_ones_and_numerics_are_not(api_url: str) -> None:
    Api.events = [event(1, "alert", "1000"), event(2, "alert", "NOW"), event(3, "numerics", "NOW")]
    ear = DashboardEar(api_url, "nurse", "right")
    ear.start()
    wait_for(ear, 2)  # the stream ended, so it came again, and heard the same once more
    time.sleep(0.3)
    ear.end()
    ear.join(10)
    assert len(ear.latencies_ms) == 1
    assert 0 <= ear.latencies_ms[0] < 1000
    assert Api.last_ids[:2] == ["", "3"]


def test_a_decision_shown_again_with_a_note_of_the_cloud_is_timed_once(api_url: str) -> None:
    Api.events = [event(1, "alert", "NOW"), event(2, "alert", "NOW")]
    ear = DashboardEar(api_url, "nurse", "right")
    ear.start()
    wait_for(ear, 1)
    time.sleep(0.2)
    ear.end()
    ear.join(10)
    assert len(ear.latencies_ms) == 1


def test_a_refused_login_leaves_the_ear_without_figures(api_url: str) -> None:
    ear = DashboardEar(api_url, "nurse", "wrong")
    ear.start()
    time.sleep(0.2)
    ear.end()
    ear.join(10)
    assert ear.latencies_ms == []


def test_frames_given_up_on_record_are_not_lost() -> None:
    assert LaneCounts(published=100, committed=97, gaps=3, duplicated=0).lost == 0
    assert LaneCounts(published=100, committed=97, gaps=0, duplicated=0).lost == 3


def test_percentiles_of_nothing_are_unknown_not_zero() -> None:
    assert percentiles([]) == {"p50": None, "p99": None, "n": 0}
    assert percentiles([1.0, 2.0, 3.0])["p50"] == 2.0


def test_the_scorecard_has_the_keys_its_readers_rely_on() -> None:
    card = Measurements(rss_mb={"bed-01": 100.0}).as_dict()
    assert card["alerts"]["raised"] == 0
    assert {"published", "committed", "lost", "duplicated"} <= card["frames"].keys()
    for path in ("edge_decision", "dashboard"):
        assert {"p50", "p99"} <= card["latency_ms"][path].keys()
    assert card["rss_mb"] == {"bed-01": 100.0}
    json.dumps(card)


def test_memory_is_measured_by_program() -> None:
    found = memory_mb({"us": os.getpid(), "gone": None})
    assert found.keys() == {"us"}
    assert 5 < found["us"] < 5000
