"""A real API process and a client for it, for tests."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

CHECKOUT = Path(__file__).resolve().parents[2]
ADMIN_PASSWORD = "admin-password-1"
NURSE_PASSWORD = "nurse-password-1"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class CloudProcess:
    """``python -m cloud_api`` as an operator starts it."""

    def __init__(
        self, database_url: str, mqtt_url: str, *, instance: str = "0", **more: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            "CLOUD_DATABASE_URL": database_url,
            "CLOUD_MQTT_URL": mqtt_url,
            "CLOUD_HTTP_PORT": str(self.port),
            "CLOUD_SESSION_SECRET": "0123456789abcdef0123456789abcdef",
            "CLOUD_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "CLOUD_DEMO_NURSE_PASSWORD": NURSE_PASSWORD,
            "CLOUD_INSTANCE": instance,
            # Nobody is called in tests that are not about it: a call is an event too.
            "CLOUD_ESCALATE_AFTER_S": "[0, 3600, 7200]",
            "CLOUD_ESCALATION_DELIVERY_S": "600",
            **more,
        }
        self.process: subprocess.Popen[str] | None = None
        self.log: list[str] = []
        self._clients: dict[str, httpx.Client] = {}

    def __enter__(self) -> "CloudProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for client in self._clients.values():
            client.close()

    def start(self, *, wait: bool = True) -> None:
        """Start it and, with `wait`, return once it is ready."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CLOUD_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloud_api"],
            cwd=CHECKOUT,
            env={**inherited, **self._environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read_log, args=(self.process,), daemon=True).start()
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return once it serves and its users exist."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the API ended:\n{self.tail()}")
            try:
                if httpx.get(f"{self.url}/api/ready", timeout=2).status_code == 200:
                    self.client("nurse")
                    return
            except (httpx.TransportError, httpx.HTTPStatusError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"the API is not ready:\n{self.tail()}")

    def stop(self) -> int:
        """End it as a supervisor does; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=20)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return code

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=10)
            if self.process.stderr is not None:
                self.process.stderr.close()

    def command(self, *arguments: str, stdin: str = "") -> int:
        """Exit code of another command of the same installation."""
        return self._run(arguments, {}, stdin).returncode

    def try_start(self, more: dict[str, str]) -> tuple[int, str]:
        """Exit code and errors of a start with other variables, which is expected to fail."""
        done = self._run(("serve",), more, "")
        return done.returncode, done.stderr

    def _run(
        self, arguments: tuple[str, ...], more: dict[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CLOUD_")}
        return subprocess.run(
            [sys.executable, "-m", "cloud_api", *arguments],
            cwd=CHECKOUT,
            env={**inherited, **self._environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def tail(self) -> str:
        """Its last log lines."""
        return "\n".join(self.log[-40:])

    def client(self, username: str = "nurse", password: str | None = None) -> httpx.Client:
        """A signed-in client, by bearer token; closed with the process."""
        if username in self._clients:
            return self._clients[username]
        if password is None:
            password = ADMIN_PASSWORD if username == "admin" else NURSE_PASSWORD
        answer = httpx.post(
            f"{self.url}/api/session", json={"username": username, "password": password}, timeout=10
        )
        answer.raise_for_status()
        token = answer.json()["access_token"]
        client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        self._clients[username] = client
        return client

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        if process.stderr is not None:
            try:
                for line in process.stderr:
                    self.log.append(line.rstrip())
            except ValueError:
                return  # closed while we read: the test is over


@dataclass(frozen=True)
class Event:
    """One server-sent event and when it arrived."""

    event: str
    event_id: int | None
    data: Any
    arrived_ns: int


class StreamReader:
    """Follows the event stream on a thread of its own; reconnects as a browser does."""

    def __init__(self, client: httpx.Client, *, last_event_id: int | None = None) -> None:
        self._client = client
        self.last_event_id = last_event_id
        self.events: list[Event] = []
        self.ended = threading.Event()
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._reconnect = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "StreamReader":
        self._thread.start()
        self.wait_for(lambda event: event.event == "heartbeat" and event.event_id is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=15)

    def reconnecting(self) -> "StreamReader":
        """The same, coming back whenever it is cut off."""
        self._reconnect = True
        return self

    def wait_for(self, wanted: Callable[[Event], bool], timeout_s: float = 15.0) -> Event:
        """The next event that is `wanted`."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError("the event did not come")
            try:
                event = self._queue.get(timeout=left)
            except queue.Empty:
                continue
            if wanted(event):
                return event

    def alerts(self) -> list[Event]:
        """All alert events so far."""
        return [event for event in self.events if event.event == "alert"]

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(httpx.HTTPError):
                self._read()
            if not self._reconnect:
                break
            self._stop.wait(0.3)
        self.ended.set()

    def _read(self) -> None:
        headers = {} if self.last_event_id is None else {"Last-Event-ID": str(self.last_event_id)}
        with self._client.stream(
            "GET", "/api/stream", headers=headers, timeout=httpx.Timeout(10, read=10)
        ) as response:
            if response.status_code != 200:
                return
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                if self._stop.is_set():
                    return
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    self._take(fields)
                    fields = {}

    def _take(self, fields: dict[str, str]) -> None:
        event_id = int(fields["id"]) if "id" in fields else None
        if event_id is not None:
            self.last_event_id = event_id
        event = Event(fields["event"], event_id, json.loads(fields["data"]), time.time_ns())
        self.events.append(event)
        self._queue.put(event)
