"""The stack by its own command: one in a folder, none left behind, the next one starts."""

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
import pytest

from deploy.local.layout import ProcessId, StateFolder
from wardstream.contracts.errors import ExitCode

pytestmark = pytest.mark.timeout(420)

CHECKOUT = Path(__file__).resolve().parents[2]


def wardstream(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deploy.local.cli", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        wardstream(*arguments),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def until(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(0.1)


def programs(state: StateFolder) -> dict[str, Any]:
    return state.read_stack().get("programs", {})


def process_of(state: StateFolder, name: str) -> ProcessId | None:
    found = programs(state).get(name, {}).get("process")
    return None if found is None else ProcessId(found["pid"], found["start_ticks"])


def is_up(state: StateFolder, beds: int) -> bool:
    ready = [name for name, program in programs(state).items() if program["health"] == "ready"]
    return len([name for name in ready if name.startswith("bed-")]) == beds and "api" in ready


def test_a_killed_supervisor_leaves_nothing_running_and_the_next_start_succeeds(
    server_folder: Path,
) -> None:
    state = StateFolder(server_folder / "stack-of-one")
    arguments = ("--state-dir", str(state.path), "--beds", "1")
    environment = {**os.environ, "WARDSTREAM_DATA": ""}
    with subprocess.Popen(wardstream("up", *arguments), cwd=CHECKOUT, env=environment) as stack:
        until(lambda: is_up(state, 1) or stack.poll() is not None, 240, "the stack starts")
        port = state.read_stack()["ports"]["api"]
        assert httpx.get(f"http://127.0.0.1:{port}/api/ready", timeout=10).status_code == 200
        refused = run("up", *arguments)
        assert refused.returncode == ExitCode.UNAVAILABLE
        assert "wardstream down" in refused.stderr
        running = [process_of(state, name) for name in programs(state)]
        assert all(process is not None and process.lives for process in running)
        stack.send_signal(signal.SIGKILL)
    for process in running:
        until(lambda p=process: p is None or not p.lives, 30, f"{process} ends")
    again = run("up", *arguments, "--for", "5", "--json")
    assert again.returncode == 0, again.stderr
    card = json.loads(again.stdout)
    assert (card["frames"]["lost"], card["frames"]["duplicated"]) == (0, 0), card
    assert state.read_stack()["ports"]["api"] == port
    assert run("status", "--state-dir", str(state.path)).returncode == ExitCode.UNAVAILABLE
