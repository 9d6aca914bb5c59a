"""The supervisor, with real small programs."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.servers.program import Program, StartError
from deploy.local.supervisor import Backoff, Health, Supervisor, rotate

pytestmark = pytest.mark.timeout(30)

QUICK = Backoff(first_s=0.02, longest_s=0.1)


def program(folder: Path, name: str, code: str, **changes: object) -> Program:
    settings: dict[str, object] = {
        "name": name,
        "argv": (sys.executable, "-c", code),
        "environment": {"PATH": os.environ["PATH"], "FOLDER": str(folder)},
        "working_folder": folder,
        "log_path": folder / f"{name}.log",
        "grace_s": 2.0,
        "ready_deadline_s": 10.0,
    }
    return Program(**{**settings, **changes})  # pyright: ignore[reportArgumentType]


SLEEPER = "import time; time.sleep(60)"

TELLS_WHEN_IT_ENDS = """
import os, pathlib, signal, sys, time
folder, name = pathlib.Path(os.environ['FOLDER']), {name!r}
def end(*_):
    with (folder / 'ended').open('a') as out:
        out.write(name + '\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
(folder / (name + '.ready')).touch()
time.sleep(60)
"""


def teller(folder: Path, name: str) -> Program:
    ready = folder / f"{name}.ready"
    return program(folder, name, TELLS_WHEN_IT_ENDS.format(name=name), is_ready=ready.exists)


async def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the world outside has no event
            await asyncio.sleep(0.02)


async def test_programs_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    supervisor = Supervisor(backoff=QUICK)
    for name in ("database", "broker", "bed"):
        await supervisor.start(teller(tmp_path, name))
    assert [c.health for c in supervisor.children.values()] == [Health.READY] * 3
    await supervisor.stop_all()
    assert (tmp_path / "ended").read_text().split() == ["bed", "broker", "database"]
    assert [c.pid for c in supervisor.children.values()] == [None] * 3


async def test_what_dies_is_started_again_with_another_pid(tmp_path: Path) -> None:
    supervisor = Supervisor(backoff=QUICK)
    await supervisor.start(program(tmp_path, "server", SLEEPER))
    child = supervisor.children["server"]
    for n_kills in (1, 2):
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda n=n_kills: child.n_restarts == n and child.health is Health.READY)
        assert child.pid not in (None, first)
    await supervisor.stop_all()
    assert supervisor.n_restarts == 2


async def test_a_program_asked_to_stop_is_not_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(backoff=QUICK)
    await supervisor.start(program(tmp_path, "bed", SLEEPER), program(tmp_path, "api", SLEEPER))
    await supervisor.stop("bed")
    await asyncio.sleep(0.3)
    assert supervisor.children["bed"].pid is None
    assert supervisor.children["bed"].health is Health.STOPPED
    assert supervisor.children["api"].pid is not None
    await supervisor.stop_all()


async def test_a_wrong_configuration_is_told_at_once_with_the_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor(backoff=QUICK)
    code = "import sys; print('EDGE_BED_ID is missing', file=sys.stderr); sys.exit(78)"
    with pytest.raises(StartError, match="EDGE_BED_ID is missing"):
        await supervisor.start(program(tmp_path, "bed", code, is_ready=lambda: False))
    assert supervisor.children["bed"].n_restarts == 0
    await supervisor.stop_all()


async def test_a_program_that_fails_at_first_is_given_more_starts_until_it_is_ready(
    tmp_path: Path,
) -> None:
    marker = tmp_path / "tries"
    code = (
        "import pathlib, sys, time\n"
        f"tries = pathlib.Path({str(marker)!r})\n"
        "n = len(tries.read_text()) if tries.exists() else 0\n"
        "tries.write_text('x' * (n + 1))\n"
        "sys.exit(1) if n < 2 else time.sleep(60)\n"
    )
    supervisor = Supervisor(backoff=QUICK)
    ready = program(
        tmp_path, "worker", code, is_ready=lambda: marker.exists() and len(marker.read_text()) > 2
    )
    await supervisor.start(ready)
    assert supervisor.children["worker"].n_restarts == 2
    await supervisor.stop_all()


async def test_a_program_that_is_never_ready_fails_the_start_at_its_deadline(
    tmp_path: Path,
) -> None:
    supervisor = Supervisor(backoff=QUICK)
    slow = program(tmp_path, "api", SLEEPER, is_ready=lambda: False, ready_deadline_s=0.3)
    with pytest.raises(StartError, match="api was not ready within"):
        await supervisor.start(slow)
    await supervisor.stop_all()
    assert supervisor.children["api"].pid is None


async def test_a_program_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    supervisor = Supervisor(backoff=QUICK)
    await supervisor.start(program(tmp_path, "deaf", code, is_ready=pids.exists, grace_s=0.2))
    await until(lambda: pids.read_text() != "")
    grandchild = int(pids.read_text())
    started = time.monotonic()
    await supervisor.stop_all()
    assert time.monotonic() - started < 5
    await until(lambda: not lives(grandchild))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_programs_of_one_stage_stop_together(tmp_path: Path) -> None:
    slow = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.5)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[0]).exists()\n"
        "print('on', flush=True)\n"
        "time.sleep(60)\n"
    )
    supervisor = Supervisor(backoff=QUICK)
    logs = [tmp_path / f"bed-{i}.log" for i in range(4)]
    await supervisor.start(
        *(
            program(tmp_path, f"bed-{i}", slow, is_ready=lambda p=logs[i]: p.read_text() == "on\n")
            for i in range(4)
        )
    )
    started = time.monotonic()
    await supervisor.stop_all(lambda name: 0)
    assert time.monotonic() - started < 1.5


async def test_a_one_shot_that_fails_says_why(tmp_path: Path) -> None:
    supervisor = Supervisor()
    await supervisor.run_once(program(tmp_path, "migrate", "print('done')"), deadline_s=10)
    failing = program(tmp_path, "migrate", "raise SystemExit('relation is missing')")
    with pytest.raises(StartError, match="relation is missing"):
        await supervisor.run_once(failing, deadline_s=10)
    with pytest.raises(StartError, match="SIGKILL"):
        await supervisor.run_once(program(tmp_path, "slow", SLEEPER), deadline_s=0.2)


def test_waits_grow_to_their_limit_with_jitter() -> None:
    backoff = Backoff(first_s=1.0, longest_s=8.0)
    assert all(0.75 <= backoff.delay_s(1) <= 1.25 for _ in range(50))
    assert all(6.0 <= backoff.delay_s(99) <= 10.0 for _ in range(50))
    assert len({backoff.delay_s(1) for _ in range(20)}) > 1


def test_a_log_that_grew_is_moved_aside_and_the_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "bed.log"
    with log.open("a") as writer:
        writer.write("old\n" * 100)
        writer.flush()
        rotate(log, limit_bytes=100)
        writer.write("new\n")
    assert log.read_text() == "new\n"
    assert (tmp_path / "bed.log.1").read_text() == "old\n" * 100
    rotate(tmp_path / "absent.log", 1)


BEATS = """
import os, pathlib, time
beat = pathlib.Path(os.environ['FOLDER']) / 'beat'
while True:
    beat.touch()
    time.sleep(0.02)
"""


async def test_what_lives_but_does_nothing_is_killed_and_started_again(tmp_path: Path) -> None:
    beat = tmp_path / "beat"

    def beats() -> bool:
        return beat.exists() and time.time() - beat.stat().st_mtime < 0.3

    supervisor = Supervisor(backoff=QUICK)
    await supervisor.start(
        program(tmp_path, "bed", BEATS, is_ready=beats, is_alive=beats, stuck_after_s=0.5)
    )
    child = supervisor.children["bed"]
    await asyncio.sleep(1.0)
    assert child.n_restarts == 0
    child.signal(signal.SIGSTOP)
    await until(lambda: child.n_restarts == 1 and child.health is Health.READY)
    await supervisor.stop_all()
