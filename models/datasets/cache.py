"""Windows are cut once and kept on disk, keyed by everything that made them what they are."""

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import LabelledSpan
from models.datasets.recording import Recording, label_digest
from models.datasets.windows import (
    MIN_PRESENT,
    ROW,
    WindowTable,
    cut_windows,
    hop_s_of,
    planned_rows,
)
from wardstream.kernels.windows import FILTER_ID, WINDOW_SAMPLES, filtered_record

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


class _Index(msgspec.Struct):
    datasets: list[str]
    records: list[str]
    patients: list[str]
    rhythms: list[str]
    digests: dict[str, str]


def default_cache_dir() -> Path:
    """``$WARDSTREAM_CACHE_DIR/models``, else ``wardstream/models`` in the user's cache folder."""
    chosen = os.environ.get("WARDSTREAM_CACHE_DIR")
    if chosen:
        return Path(chosen) / "models"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wardstream" / "models"


def windows_of(
    recordings: Sequence[Recording],
    cache_dir: Path,
    *,
    hop_of: Callable[[LabelledSpan], float] = hop_s_of,
    progress: Progress | None = None,
) -> WindowTable:
    """Every labelled window of `recordings`, from the cache where it holds them already.

    Parameters
    ----------
    recordings : sequence of Recording
        What to cut.
    cache_dir : Path
        Where tables are kept, about 2 kB a window; made if it is not there.
    hop_of : callable
        Distance of two windows of a span, in seconds.
    progress : callable or None
        Told after each recording.

    Notes
    -----
    Memory: one recording at a time; the samples go to a memory map and are read from it.
    """
    ordered = sorted(recordings, key=lambda r: (r.dataset, r.record))
    folder = cache_dir / f"windows-{_key(ordered, hop_of)}"
    if not (folder / "index.json").exists():
        _write(ordered, folder, hop_of, progress)
    return _read(folder)


def _key(recordings: Sequence[Recording], hop_of: Callable[[LabelledSpan], float]) -> str:
    digest = sha256(label_digest(recordings).encode())
    digest.update(repr([hop_of(span) for r in recordings for span in r.spans]).encode())
    # The id is a promise; while the code is young, its answer to a fixed input is a proof.
    probe = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    digest.update(FILTER_ID.encode() + filtered_record(probe, 360.0).tobytes())
    digest.update(f"{ROW!r} {MIN_PRESENT}".encode())
    return digest.hexdigest()[:16]


def _write(
    recordings: Sequence[Recording],
    folder: Path,
    hop_of: Callable[[LabelledSpan], float],
    progress: Progress | None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rhythms = sorted({span.rhythm for r in recordings for span in r.spans})
    scratch = folder / f"samples.{os.getpid()}"
    all_rows: list[NDArray[np.void]] = []
    with scratch.open("wb") as file:
        for i, recording in enumerate(recordings):
            signal = recording.read()
            rows = planned_rows(recording, i, len(signal.samples_mv), rhythms, hop_of)
            for indices, windows in cut_windows(signal, rows):
                all_rows.append(rows[indices])
                file.write(windows.tobytes())
            if progress is not None:
                progress(i + 1, len(recordings), f"{recording.dataset}/{recording.record}")
    np.save(folder / "rows.npy", np.concatenate(all_rows) if all_rows else np.zeros(0, ROW))
    scratch.replace(folder / "samples.f2")
    names = sorted({recording.dataset for recording in recordings})
    index = _Index(
        datasets=[r.dataset for r in recordings],
        records=[r.record for r in recordings],
        patients=[r.patient_id for r in recordings],
        rhythms=rhythms,
        digests={n: label_digest([r for r in recordings if r.dataset == n]) for n in names},
    )
    # The index comes last: a table without one was interrupted and is written again.
    temporary = folder / f"index.{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(index))
    temporary.replace(folder / "index.json")


def _read(folder: Path) -> WindowTable:
    index = msgspec.json.decode((folder / "index.json").read_bytes(), type=_Index)
    rows: Any = np.load(folder / "rows.npy")
    shape = (len(rows), WINDOW_SAMPLES)
    samples: Any = (
        np.memmap(folder / "samples.f2", dtype=np.float16, mode="r", shape=shape)
        if len(rows)
        else np.zeros(shape, dtype=np.float16)
    )
    return WindowTable(
        filtered_mv=samples,
        rows=rows,
        datasets=tuple(index.datasets),
        records=tuple(index.records),
        patients=tuple(index.patients),
        rhythms=tuple(index.rhythms),
        digests=index.digests,
    )
