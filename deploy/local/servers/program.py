"""One program: what to run, how to see that it is ready, how to end it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.servers.account import Account
from wardstream.contracts.errors import TransientError

_LAUNCHER = Path(__file__).with_name("launcher.py")


class StartError(TransientError):
    """A program ended or stayed unready before its deadline; the text carries its last words."""


def _always_ready() -> bool:
    return True


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run.

    Attributes
    ----------
    name : str
        How people call it.
    argv : tuple of str
        Program and arguments.
    environment : mapping of str to str
        Its whole environment.
    working_folder, log_path : Path
        Where it runs, and where its output is appended.
    account : Account or None
        Whom to become; None to stay.
    is_ready : callable
        Answers within a second whether it does its work.
    before_start : callable
        Done before each start, for example to clear what a dead life left behind.
    is_alive : callable
        Answers within some seconds whether a program that was ready still makes progress.
    stuck_after_s : float
        How long it may not before it is killed, to be started again.
    ready_deadline_s, grace_s : float
        Longest wait for readiness, and for an orderly end before SIGKILL.
    stop_signal, death_signal : Signals
        What asks it to end, and what it gets when the process that started it dies.
    retry_early_exit_s : float
        How long after the first start an early exit is answered by another start.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_folder: Path
    log_path: Path
    account: Account | None = None
    is_ready: Callable[[], bool] = field(default=_always_ready)
    is_alive: Callable[[], bool] = field(default=_always_ready)
    stuck_after_s: float = 15.0
    before_start: Callable[[], None] = field(default=_nothing)
    ready_deadline_s: float = 30.0
    grace_s: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    retry_early_exit_s: float = 0.0


def launch(program: Program) -> subprocess.Popen[bytes]:
    """Start `program` in a session of its own, its output appended to its log file.

    Raises
    ------
    StartError
        There is no such program.
    """
    binary = shutil.which(program.argv[0], path=program.environment.get("PATH", os.defpath))
    if binary is None:
        raise StartError(f"{program.name}: there is no program {program.argv[0]}")
    account = program.account
    identity = ("-", "-") if account is None else (str(account.uid), str(account.gid))
    program.before_start()
    program.log_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(program.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(_LAUNCHER)),
                *(str(os.getpid()), str(int(program.death_signal)), *identity),
                *(binary, *program.argv[1:]),
            ],
            env=dict(program.environment),
            cwd=program.working_folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send `number` to the process and everything it started; nothing if it is gone."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def last_words(log_path: Path, n_characters: int = 1500) -> str:
    """The end of a log file, for an error message."""
    try:
        return log_path.read_text(errors="replace")[-n_characters:].strip()
    except OSError:
        return "(no output)"


class LocalServer(ABC):
    """A server this process starts, kills and starts again, on the same port and data."""

    def __init__(self) -> None:
        self._program: Program | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> Program:
        """Make data and configuration where they are missing; say what to run.

        Raises
        ------
        ConfigurationError
            It cannot be run here; the text says what to do.
        """

    @property
    def program(self) -> Program:
        """What runs, prepared on first use."""
        if self._program is None:
            self._program = self.prepare()
        return self._program

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises
        ------
        StartError
            It does not run.
        """
        if self._process is None or self._process.poll() is not None:
            raise StartError(f"{self.program.name} does not run")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it is ready; nothing if it runs.

        Raises
        ------
        StartError
            It ended, or was not ready in time.
        """
        program = self.program
        started = time.monotonic()
        while not self.is_running:
            self._process = launch(program)
            if self._wait_ready(program, started):
                return
            if time.monotonic() - started > program.retry_early_exit_s:
                raise StartError(f"{program.name} ended:\n{last_words(program.log_path)}")
            time.sleep(0.3)

    def _wait_ready(self, program: Program, started: float) -> bool:
        while self.is_running:
            if program.is_ready():
                return True
            if time.monotonic() - started > program.ready_deadline_s:
                self.kill()
                raise StartError(
                    f"{program.name} was not ready within {program.ready_deadline_s:.0f} s:\n"
                    f"{last_words(program.log_path)}"
                )
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not within its grace; nothing if it is gone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(self.program.stop_signal)
        try:
            process.wait(self.program.grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to it and everything it started, as a crash would."""
        if self._process is not None:
            signal_group(self._process, signal.SIGKILL)
            self._process.wait(10)

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class ProgramServer(LocalServer):
    """Any program as a server: what tests use to kill a tier's process and start it again."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._given = program

    def prepare(self) -> Program:
        """The program itself."""
        return self._given
