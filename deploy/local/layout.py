"""What lies where in a state folder, and which stack runs in it."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from deploy.local.servers.account import Account, is_reachable
from wardstream.contracts.errors import RefusedError

CHECKOUT = Path(__file__).resolve().parents[2]


class AlreadyRunningError(RefusedError):
    """Another stack runs in this state folder."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where a stack keeps what survives it.

    Attributes
    ----------
    path : Path
        Absolute.
    """

    path: Path

    @property
    def stack_file(self) -> Path:
        """Addresses, ports and process ids of the stack that runs or ran last; mode 0600."""
        return self.path / "stack.json"

    @property
    def logs(self) -> Path:
        """One log file a program."""
        return self.path / "logs"

    @property
    def secrets_file(self) -> Path:
        """Passwords drawn for this state folder; mode 0600."""
        return self.path / "secrets.json"

    def part(self, *names: str) -> Path:
        """A folder in it, made if need be."""
        folder = self.path.joinpath(*names)
        if not folder.is_symlink():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def servers(self, account: Account | None) -> Path:
        """Folder for the servers' data, where `account` can reach it.

        It is a part of this folder, unless this lies where only root may go (a checkout under
        ``/root``): then it is ``/var/lib/wardstream/``, and a link here leads there.
        """
        inside = self.part("servers")
        if is_reachable(inside, account):
            return inside.resolve()
        if inside.is_symlink():
            outside = inside.readlink()
        else:
            key = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
            outside = Path("/var/lib/wardstream") / key
            inside.rmdir()
            inside.symlink_to(outside)
        outside.mkdir(parents=True, exist_ok=True)
        return outside

    def wipe(self) -> None:
        """Remove everything in it, the servers' data wherever it lies included."""
        servers = self.path / "servers"
        if servers.is_symlink():
            shutil.rmtree(servers.resolve(), ignore_errors=True)
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            if entry.name == "lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def read_stack(self) -> dict[str, Any]:
        """What `stack_file` says; empty if there was no stack yet."""
        try:
            return json.loads(self.stack_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def write_stack(self, stack: dict[str, Any]) -> None:
        """Replace `stack_file` at once, readable by its owner alone."""
        write_private(self.stack_file, json.dumps(stack, indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, mode 0600."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    new.rename(path)


class StackLock:
    """Held while a stack runs in a state folder; the kernel frees it when we die."""

    def __init__(self, folder: StateFolder) -> None:
        self._path = folder.path / "lock"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode().strip()
            os.close(descriptor)
            raise AlreadyRunningError(
                f"a stack runs in {self._path.parent} already (process {holder}); see "
                "`wardstream status`, end it with `wardstream down`, or give another --state-dir"
            ) from error
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.truncate(self._descriptor, 0)
            os.close(self._descriptor)


def lock_holder(folder: StateFolder) -> int | None:
    """Process id of the stack that runs in `folder`, None if none does."""
    path = folder.path / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 20).decode().strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for certain: ids are used again, a pair of id and start time is not."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process that has `pid` now, None if there is none or it is a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return ProcessId.of(self.pid) == self

    def signal(self, number: int) -> None:
        """Send `number` if it still runs."""
        if self.lives:
            os.kill(self.pid, number)

    def wait(self, deadline_s: float) -> bool:
        """Whether it ended within `deadline_s`."""
        end = time.monotonic() + deadline_s
        while self.lives:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True
