"""`kill -9` of every part, one after the other, while beds run: nothing is lost, nothing doubled.

The stack is the one people run (`wardstream up`), its beds are simulated patients in crisis.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.running_stack import RunningStack

_RUN_S = 130
_WITNESS = "bed-01"
"""Fibrillates every two minutes, and is never killed."""


@pytest.fixture
def stack(server_folder: Path) -> Iterator[RunningStack]:
    folder = server_folder / "every-part-may-die"
    folder.mkdir()
    running = RunningStack(folder, seconds=_RUN_S, beds=2)
    yield running
    running.end()


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
