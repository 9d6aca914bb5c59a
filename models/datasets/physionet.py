"""The `wfdb` library without its noise, and the few of its answers used here."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def _quiet() -> Generator[None]:
    # wfdb 4.3 uses pandas keywords that pandas 3.1 announces to take away, when it is imported
    # and whenever it reads an annotation.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


with _quiet():
    import wfdb


def read_header(path: Path) -> Any:
    """The header of the record at `path` (no extension)."""
    return wfdb.rdheader(str(path))


def read_record(path: Path, *, stop: int | None = None) -> Any:
    """The record at `path` in physical units, up to sample `stop`."""
    return wfdb.rdrecord(str(path), sampto=stop)


def read_annotation(path: Path, extension: str = "atr") -> Any:
    """The annotation of the record at `path`."""
    with _quiet():
        return wfdb.rdann(str(path), extension)
