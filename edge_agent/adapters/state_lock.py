"""One agent a state folder: two would give each other's numbers away."""

import fcntl
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.core.outbox_port import StorageError


class StateLock:
    """Holds ``lock`` in the state folder as long as the process lives, however it ends.

    Raises
    ------
    StorageError
        Another agent holds it, or the folder cannot be written; on entering.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise StorageError(f"another agent uses {self._path.parent}") from error
        except OSError as error:
            raise StorageError(f"{self._path.parent} cannot be written: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
