"""`kill -9` of every part, one after the other, while beds run: nothing is lost, nothing doubled.

The stack is the one people run (`wardstream up`), its beds are simulated patients in crisis.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
_RUN_S = 150
_WITNESS = "bed-01"
"""Fibrillates every two minutes, and is never killed."""


class RunningStack:
    """`wardstream up --for N --json` in a folder of its own."""

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
                ],
                cwd=_CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=card, stderr=log,
            )  # fmt: skip
        self._card = folder / "card.json"

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


@pytest.fixture
def stack(server_folder: Path) -> Iterator[RunningStack]:
    folder = server_folder / "every-part-may-die"
    folder.mkdir()
    running = RunningStack(folder, seconds=_RUN_S, beds=2)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        try:
            running.process.wait(60)
        except subprocess.TimeoutExpired:
            running.process.kill()


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_whatever_is_killed(stack: RunningStack) -> None:
    parts = ("mosquitto", "kafka", "worker", "postgres", "api", "bridge", "bed-02")
    stack.wait_until_ready({*parts, _WITNESS}, 240)
    for part in parts:
        stack.kill(part)
        time.sleep(2)

    card = stack.scorecard(_RUN_S + 120)
    assert card["frames"]["lost"] == 0
    assert card["frames"]["duplicated"] == 0
    assert card["frames"]["published"] > _RUN_S
    assert card["alerts"]["lost"] == 0
    assert card["alerts"]["duplicated"] == 0
    assert stack.process.returncode == 0
    assert card["restarts"] >= len(parts)

    # The bed that was left alone watched without a break and called out while the rest died.
    assert stack.programs()[_WITNESS]["restarts"] == 0
    onsets = [
        line
        for line in stack.log_lines(_WITNESS)
        if line.get("event") == "alert" and line.get("transition") == "onset"
    ]
    assert {"ventricular_fibrillation"} <= {line["condition"] for line in onsets}
