"""Every data set by name: which reader, which folder."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from models.datasets.cinc2015 import cinc2015_recordings
from models.datasets.cudb import cudb_recordings
from models.datasets.recording import Recording
from models.datasets.rhythm_marks import mitdb_recordings, vfdb_recordings
from wardstream.contracts.errors import ConfigurationError

READERS: Final[dict[str, Callable[[Path], list[Recording]]]] = {
    "vfdb": vfdb_recordings,
    "cudb": cudb_recordings,
    "mitdb": mitdb_recordings,
    "cinc2015": cinc2015_recordings,
}


def recordings_of(data_dir: Path, datasets: Iterable[str]) -> list[Recording]:
    """Labelled recordings of `datasets`, one folder each under `data_dir`.

    Raises
    ------
    ConfigurationError
        A data set has no reader, or its folder is not there.
    """
    problems: list[str] = []
    found: list[Recording] = []
    for name in datasets:
        folder = data_dir / name
        if name not in READERS:
            problems.append(f"data set {name!r} has no reader (known: {', '.join(READERS)})")
        elif not folder.is_dir():
            problems.append(f"{folder} is not there: set WARDSTREAM_DATA to the recordings")
        else:
            found.extend(READERS[name](folder))
    if problems:
        raise ConfigurationError(problems)
    return found
