"""The stack people run, `wardstream up --for N --json`, for tests that watch it from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from deploy.local.servers.ports import free_port

_CHECKOUT = Path(__file__).resolve().parents[2]


class RunningStack:
    """A stack with simulated patients in a folder of its own."""

    def __init__(self, folder: Path, *, seconds: int, beds: int) -> None:
        self.state = folder / "state"
        recordings = folder / "none"
        recordings.mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WARDSTREAM_DATA")}
        self._command = [sys.executable, "-m", "deploy.local.cli"]
        with (folder / "up.log").open("w") as log, (folder / "card.json").open("w") as card:
            self.process = subprocess.Popen(
                [
                    *self._command, "up", "--beds", str(beds), "--for", str(seconds), "--json",
                    "--data", str(recordings), "--state-dir", str(self.state),
                    "--port", str(free_port()),
                ],
                cwd=_CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=card, stderr=log,
            )  # fmt: skip
        self._card = folder / "card.json"
        self._clients: list[httpx.Client] = []

    def scorecard(self, deadline_s: float) -> dict[str, Any]:
        """What it printed when its time was up."""
        self.process.wait(deadline_s)
        return json.loads(self._card.read_text())

    def programs(self) -> dict[str, Any]:
        """What the supervisor says of each program."""
        try:
            return json.loads((self.state / "stack.json").read_text()).get("programs", {})
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def wait_until_ready(self, names: set[str], deadline_s: float) -> None:
        """Until all of `names` are ready."""
        end = time.monotonic() + deadline_s
        while not all(self.programs().get(name, {}).get("health") == "ready" for name in names):
            assert self.process.poll() is None, "the stack ended before it was ready"
            assert time.monotonic() < end, f"not ready after {deadline_s} s: {self.programs()}"
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """`kill -9` one program and wait until the supervisor has it back."""
        restarts = self.programs()[name]["restarts"]
        subprocess.run(
            [*self._command, "kill", name, "--state-dir", str(self.state)],
            cwd=_CHECKOUT, check=True, capture_output=True,
        )  # fmt: skip
        end = time.monotonic() + 60
        while self.programs()[name]["restarts"] == restarts:
            assert time.monotonic() < end, f"{name} was not started again"
            time.sleep(0.1)
        self.wait_until_ready({name}, 60)

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """The structured log of one program."""
        text = (self.state / "logs" / f"{name}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def stack_file(self) -> dict[str, Any]:
        """Everything the stack says of itself."""
        return json.loads((self.state / "stack.json").read_text())

    def api(self, user: str) -> httpx.Client:
        """A client of the API, signed in as one of the demo users."""
        secrets = json.loads((self.state / "secrets.json").read_text())
        client = httpx.Client(base_url=self.stack_file()["api_url"], timeout=10)
        self._clients.append(client)
        login = {"username": user, "password": secrets[f"{user}_password"]}
        answer = client.post("/api/session", json=login).raise_for_status().json()
        client.headers["Authorization"] = f"Bearer {answer['access_token']}"
        return client

    def command(self, *arguments: str, timeout_s: float = 120) -> str:
        """Standard output of a `wardstream` command about this stack."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=_CHECKOUT,
            env={**os.environ, "WARDSTREAM_STATE_DIR": str(self.state)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> None:
        """Stop it, if it still runs."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def until(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    """Wait for `condition`, or fail naming `what`."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline_s:.0f} s"
        time.sleep(0.3)
