"""Keeps programs running: starts them in order, restarts what dies, stops them in reverse.

One asyncio task a program. Output goes straight to a log file, so a program never blocks on
us; each has a session of its own, and dies with us even if we are killed (`launcher`).
"""

import asyncio
import logging
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.local.servers.program import (
    Program,
    StartError,
    last_words,
    launch,
    signal_group,
)
from wardstream.contracts.errors import ExitCode

logger = logging.getLogger(__name__)

_POLL_S = 0.05
_LOG_LIMIT_BYTES = 20_000_000
_LIFE_SIGN_S = 2.0
"""Between two questions whether a ready program still makes progress."""

_SETTLED_S = 20.0
"""A program that ran so long had started well: the next failure begins a new back-off."""

_HOPELESS = {ExitCode.USAGE, ExitCode.DATA_ERROR, ExitCode.CONFIGURATION}
"""Ends that another start cannot mend."""


class Health(StrEnum):
    """How a program stands."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between restarts: `first_s`, doubled up to `longest_s`, each with 25 % jitter."""

    first_s: float = 0.25
    longest_s: float = 8.0

    def delay_s(self, n_failures: int) -> float:
        """Wait before the start after `n_failures` failures in a row."""
        delay = min(self.longest_s, self.first_s * 2 ** max(0, min(n_failures - 1, 16)))
        return delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret


class Child:
    """One program under supervision."""

    def __init__(self, program: Program, backoff: Backoff) -> None:
        self.program = program
        self.health = Health.STARTING
        self.n_restarts = 0
        self._backoff = backoff
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = asyncio.Event()
        self._first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    async def keep(self, on_change: Callable[[], None]) -> None:
        """Run it until `stop`, starting it again whenever it ends."""
        n_failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            self.health = Health.STARTING
            try:
                self._process = launch(self.program)
            except StartError as error:
                self._fail_first(error)
                return
            on_change()
            await self._watch(self._process, started, on_change)
            if self._stopping.is_set():
                break
            n_failures = 1 if time.monotonic() - started > _SETTLED_S else n_failures + 1
            if self._refuses_to_start():
                return
            self.n_restarts += 1
            self.health = Health.BACKOFF
            on_change()
            await self._pause(self._backoff.delay_s(n_failures))
        self.health = Health.STOPPED
        on_change()

    async def _watch(
        self, process: subprocess.Popen[bytes], started: float, on_change: Callable[[], None]
    ) -> None:
        name, deadline_s = self.program.name, self.program.ready_deadline_s
        watchdog: asyncio.Task[None] | None = None
        while process.poll() is None:
            if self.health is Health.STARTING:
                if await asyncio.to_thread(self.program.is_ready):
                    self.health = Health.READY
                    logger.info("%s ready after %.1f s", name, time.monotonic() - started)
                    on_change()
                    watchdog = asyncio.create_task(self._kill_when_stuck(process))
                    if not self._first_ready.done():
                        self._first_ready.set_result(None)
                elif time.monotonic() - started > deadline_s and not self._stopping.is_set():
                    logger.warning("%s not ready within %.0f s, killing it", name, deadline_s)
                    self._fail_first(self._error(f"was not ready within {deadline_s:.0f} s"))
                    signal_group(process, signal.SIGKILL)
            await asyncio.sleep(_POLL_S)
        if watchdog is not None:
            watchdog.cancel()
        if not self._stopping.is_set():
            logger.warning("%s ended with %s", name, _describe(process.returncode))
        signal_group_leftovers(process)

    async def _kill_when_stuck(self, process: subprocess.Popen[bytes]) -> None:
        # A program that lives and does nothing is the end nobody reports.
        program, progress_s = self.program, time.monotonic()
        while process.poll() is None and not self._stopping.is_set():
            await asyncio.sleep(min(_LIFE_SIGN_S, program.stuck_after_s / 4))
            if await asyncio.to_thread(program.is_alive):
                progress_s = time.monotonic()
            elif time.monotonic() - progress_s > program.stuck_after_s:
                logger.warning(
                    "%s lives but does nothing for %.0f s, killing it",
                    program.name,
                    program.stuck_after_s,
                )
                signal_group(process, signal.SIGKILL)
                return

    def _refuses_to_start(self) -> bool:
        code = None if self._process is None else self._process.returncode
        if code in _HOPELESS and not self._first_ready.done():
            self._fail_first(self._error(f"ended with {_describe(code)}"))
            return True
        return self._first_ready.done() and self._first_ready.exception() is not None

    def _error(self, what: str) -> StartError:
        return StartError(f"{self.program.name} {what}:\n{last_words(self.program.log_path)}")

    def _fail_first(self, error: StartError) -> None:
        if not self._first_ready.done():
            self._first_ready.set_exception(error)

    async def _pause(self, delay_s: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), delay_s)
        except TimeoutError:
            return

    async def ready(self) -> None:
        """Wait until it is ready for the first time.

        Raises
        ------
        StartError
            It never was.
        """
        await asyncio.shield(self._first_ready)

    async def stop(self) -> None:
        """Ask it to end; kill it after its grace. Its keeper ends as well."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(self.program.stop_signal)
            deadline = time.monotonic() + self.program.grace_s
            while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)  # a process has no event to wait for
            if process.poll() is None:
                grace_s = self.program.grace_s
                logger.warning("%s did not end within %.0f s, killed", self.program.name, grace_s)
                signal_group(process, signal.SIGKILL)
        if self.keeper is not None:
            await self.keeper

    def kill(self) -> None:
        """SIGKILL now."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to its process group now."""
        if self._process is not None:
            signal_group(self._process, number)


def signal_group_leftovers(process: subprocess.Popen[bytes]) -> None:
    """Kill what an ended process left running in its group."""
    try:
        # Its pid stays reserved as long as the group has a member, so this cannot hit another.
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


class Supervisor:
    """All programs of the stack, in the order they were started."""

    def __init__(
        self, *, on_change: Callable[[], None] = lambda: None, backoff: Backoff | None = None
    ) -> None:
        self._on_change = on_change
        self._backoff = backoff or Backoff()
        self._children: dict[str, Child] = {}
        self._rotating: asyncio.Task[None] | None = None

    @property
    def children(self) -> Mapping[str, Child]:
        """By name, in start order."""
        return self._children

    @property
    def n_restarts(self) -> int:
        """Restarts of all programs together."""
        return sum(child.n_restarts for child in self._children.values())

    def add(self, program: Program) -> Child:
        """Start keeping `program`; wait for it with `Child.ready`."""
        child = Child(program, self._backoff)
        self._children[program.name] = child
        child.keeper = asyncio.create_task(child.keep(self._on_change), name=program.name)
        if self._rotating is None:
            self._rotating = asyncio.create_task(self._rotate_logs(), name="log rotation")
        return child

    async def start(self, *programs: Program) -> None:
        """Start `programs` together and wait until all are ready.

        Raises
        ------
        StartError
            One was not.
        """
        children = [self.add(program) for program in programs]
        for child in children:
            await child.ready()

    async def run_once(self, program: Program, deadline_s: float) -> None:
        """Run `program` to its end.

        Raises
        ------
        StartError
            It failed, or took longer than `deadline_s`.
        """
        process = launch(program)
        deadline = time.monotonic() + deadline_s
        try:
            while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)  # a process has no event to wait for
        finally:
            if process.poll() is None:
                signal_group(process, signal.SIGKILL)
                process.wait(5)
        if process.returncode != 0:
            raise StartError(
                f"{program.name} ended with {_describe(process.returncode)}:\n"
                f"{last_words(program.log_path)}"
            )

    async def stop(self, *names: str) -> None:
        """Stop these together; unknown names are an error."""
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._children[name].stop())

    async def stop_all(self, order: Callable[[str], int] | None = None) -> None:
        """Stop everything in reverse start order; programs of equal `order` stop together."""
        names = list(reversed(self._children))
        while names:
            together = [names[0]]
            if order is not None:
                together = [name for name in names if order(name) == order(names[0])]
            await self.stop(*together)
            names = [name for name in names if name not in together]
        if self._rotating is not None:
            self._rotating.cancel()
            await asyncio.gather(self._rotating, return_exceptions=True)

    def kill_all(self) -> None:
        """SIGKILL everything now."""
        for child in self._children.values():
            child.kill()

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(5)
            for child in self._children.values():
                rotate(child.program.log_path, _LOG_LIMIT_BYTES)


def rotate(path: Path, limit_bytes: int) -> None:
    """Move a log that grew beyond `limit_bytes` aside as ``.1``, in place.

    Copied and truncated, for the program holds the file open (in append mode); lines written
    between the two steps are lost, which a log of a developer's machine may.
    """
    try:
        if path.stat().st_size > limit_bytes:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+") as handle:
                handle.truncate(0)
    except FileNotFoundError:
        return
