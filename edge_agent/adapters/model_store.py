"""Installed models on disk: ``models/{version}`` with links ``current`` and ``previous``."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.core.outbox_port import StorageError


class ModelStore:
    """`ModelShelf` in ``models/`` of the state folder.

    Each link is replaced by a rename, ``previous`` before ``current``, and only after the
    files have been synced: whenever the power goes, both links name a whole model.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "models"

    def current(self) -> Path | None:
        """Folder of the installed model."""
        return self._target("current")

    def previous(self) -> Path | None:
        """Folder of the model before it."""
        return self._target("previous")

    def incoming(self, version: int) -> Path:
        """A fresh, empty folder."""
        with _translated("no room for a model"):
            folder = self._folder / f".incoming-{version}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            return folder

    def install(self, version: int) -> Path:
        """Make what is in `incoming` the current model."""
        with _translated(f"model {version} cannot be installed"):
            incoming = self._folder / f".incoming-{version}"
            for file in incoming.iterdir():
                _sync(file)
            _sync(incoming)
            final = self._folder / str(version)
            if final.exists():
                # Left by an earlier rollback; the one just verified replaces it.
                final.rename(self._folder / f".replaced-{version}")
            incoming.rename(final)
            shutil.rmtree(self._folder / f".replaced-{version}", ignore_errors=True)
            current = self._target("current")
            if current is None:
                (self._folder / "previous").unlink(missing_ok=True)
            elif current != final:
                self._point("previous", current.name)
            self._point("current", final.name)
            self._forget_others()
            return final

    def roll_back(self) -> None:
        """Make the previous model the current one."""
        with _translated("the model cannot be taken back"):
            previous = self._target("previous")
            if previous is None:
                (self._folder / "current").unlink(missing_ok=True)
            else:
                self._point("current", previous.name)
                (self._folder / "previous").unlink(missing_ok=True)
            _sync(self._folder)

    def _target(self, link: str) -> Path | None:
        path = self._folder / link
        try:
            target = self._folder / path.readlink()
        except OSError:
            return None
        return target if target.is_dir() else None

    def _point(self, link: str, name: str) -> None:
        fresh = self._folder / f".{link}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        fresh.rename(self._folder / link)
        _sync(self._folder)

    def _forget_others(self) -> None:
        kept = {path for path in (self._target("current"), self._target("previous")) if path}
        for folder in self._folder.iterdir():
            if folder.is_dir() and not folder.is_symlink() and folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _translated(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error}") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
