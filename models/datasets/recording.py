"""One recording of a data set: whose it is, what is known of it, and how to read its curves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import LabelledSpan
from models.datasets.physionet import read_header, read_record


@dataclass(frozen=True, slots=True, eq=False)
class EcgSignal:
    """The ECG leads of one recording.

    Attributes
    ----------
    samples_mv : ndarray of float32, shape (n_leads, n_samples)
        In mV where the record is calibrated; NaN = missing sample.
    sampling_rate_hz : float
        Rate of every lead.
    """

    samples_mv: NDArray[np.float32]
    sampling_rate_hz: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """A labelled recording whose samples are read only when they are needed.

    Attributes
    ----------
    dataset, record : str
        Name of the data set and of the record in it.
    patient_id : str
        Whose it is, unique over all data sets: the unit of folds and of the bootstrap.
    spans : tuple of LabelledSpan
        What is known of it, in time order.
    read : callable
        Reads the ECG leads.
    """

    dataset: str
    record: str
    patient_id: str
    spans: tuple[LabelledSpan, ...]
    read: Callable[[], EcgSignal]


def label_digest(recordings: Sequence[Recording]) -> str:
    """Sha256 over record names, patients and labels: what the manifest says was learned from."""
    digest = sha256()
    for recording in sorted(recordings, key=lambda r: (r.dataset, r.record)):
        digest.update(
            msgspec.json.encode(
                [recording.dataset, recording.record, recording.patient_id, recording.spans]
            )
        )
    return digest.hexdigest()


def read_leads(
    path: Path, *, until_s: float | None = None, every_channel: bool = False
) -> EcgSignal:
    """The ECG leads of the WFDB record at `path` (no extension).

    Parameters
    ----------
    path : Path
        Record to read.
    until_s : float or None
        Read nothing from this second on, for recordings whose end must stay unseen.
    every_channel : bool
        Whatever the channels are called, for recordings of noise.
    """
    header = read_header(path)
    rate_hz = float(header.fs)
    stop = None if until_s is None else min(round(until_s * rate_hz), int(header.sig_len))
    record = read_record(path, stop=stop)
    leads = [i for i, name in enumerate(record.sig_name) if every_channel or is_ecg(str(name))]
    samples: NDArray[np.float64] = record.p_signal
    return EcgSignal(np.ascontiguousarray(samples[:, leads].T, dtype=np.float32), rate_hz)


def is_ecg(channel: str) -> bool:
    """Whether a WFDB channel name is an ECG lead."""
    name = channel.upper().removeprefix("ECG").strip()
    return name in {
        "",
        "1",
        "2",
        "I",
        "II",
        "III",
        "AVR",
        "AVL",
        "AVF",
        "V",
        "MCL",
        "MLI",
        "MLII",
    } | {f"V{n}" for n in range(1, 7)} | {"MCL1", "MLIII"}


def record_length_s(path: Path) -> float:
    """Length of the WFDB record at `path`, in seconds."""
    header = read_header(path)
    return float(header.sig_len) / float(header.fs)


def record_paths(folder: Path) -> list[Path]:
    """Every WFDB record of `folder`, without extension, in order of name."""
    return sorted(header.with_suffix("") for header in folder.glob("*.hea"))
