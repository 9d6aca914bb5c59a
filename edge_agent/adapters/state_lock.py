"""One agent a state folder: two would give each other's numbers away."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.core.outbox_port import StorageError


class StateLock:
    """Holds the state folder as long as the process lives, however it ends.

    The folder itself is locked, so that nothing has to be written: a bed is watched on a disk
    that has become read-only as well.

    Raises
    ------
    StorageError
        Another agent holds it, or there is no such folder and it cannot be made; on entering.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be used: {error}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise StorageError(f"another agent uses {self._folder}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)
