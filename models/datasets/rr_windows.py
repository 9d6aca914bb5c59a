"""Thirty seconds of beats at a time, with what is known of their rhythm, for AF."""

import csv
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import LabelledSpan
from models.datasets.physionet import read_annotation
from models.datasets.recording import Recording, record_length_s, record_paths
from models.datasets.rhythm_marks import mitdb_recordings

WINDOW_S: Final = 30.0
_BEATS: Final = frozenset("NSVFJALRBaeQ/fj")
_LONGEST_GAP_S: Final = 4.0
_NSRDB_HOP_S: Final = 600.0
_VITALDB_HOP_S: Final = 60.0

Beats = NDArray[np.float64]
BeatsOf = Callable[[Recording], Beats]
"""Times of the beats of a recording, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RrWindow:
    """One window.

    Attributes
    ----------
    dataset, record, patient : str
        Where from, whose.
    start_s : float
        Its first second.
    rr_ms : ndarray of float64, shape (n_intervals,)
        Intervals between its beats.
    af_share : float
        Part of it that is atrial fibrillation, 0 to 1; NaN where that is not known.
    """

    dataset: str
    record: str
    patient: str
    start_s: float
    rr_ms: Beats
    af_share: float


def mitdb_windows(folder: Path, beats_of: BeatsOf) -> Iterator[RrWindow]:
    """Windows from 0 on, of beats as `beats_of` finds them; flutter is not known to be either."""
    for recording in mitdb_recordings(folder):
        beats_s = beats_of(recording)
        end_s = record_length_s(folder / recording.record)
        for start_s in np.arange(0.0, end_s - WINDOW_S + 1e-6, WINDOW_S):
            yield RrWindow(
                dataset="mitdb",
                record=recording.record,
                patient=recording.patient_id,
                start_s=float(start_s),
                rr_ms=_rr_within(beats_s, float(start_s)),
                af_share=_af_share(recording.spans, float(start_s)),
            )


def _af_share(spans: Sequence[LabelledSpan], start_s: float) -> float:
    known, fibrillation, flutter = 0.0, 0.0, 0.0
    for span in spans:
        overlap = max(min(span.end_s, start_s + WINDOW_S) - max(span.start_s, start_s), 0.0)
        known += overlap
        fibrillation += overlap if span.rhythm == "AFIB" else 0.0
        flutter += overlap if span.rhythm == "AFL" else 0.0
    if known < 0.9 * WINDOW_S or flutter > 0.1 * WINDOW_S:
        return float("nan")
    return fibrillation / known


def afdb_windows(folder: Path) -> Iterator[RrWindow]:
    """Windows of afdb_rr, with a flag for each beat."""
    for path in sorted(folder.glob("*.npz")):
        arrays: Any = np.load(path)
        beats_s = arrays["qrs_sample"] / float(arrays["fs"])
        flags = arrays["is_af_beat"].astype(np.float64)
        yield from _flagged("afdb_rr", path.stem, beats_s, flags, WINDOW_S)


def nsrdb_windows(folder: Path) -> Iterator[RrWindow]:
    """Windows of rr_longterm/nsrdb, one in ten minutes: normal sinus rhythm throughout."""
    for path in record_paths(folder):
        annotation = read_annotation(path)
        keep = np.array([symbol in _BEATS for symbol in annotation.symbol])
        beats_s = np.asarray(annotation.sample)[keep] / float(annotation.fs or 128)
        yield from _flagged("nsrdb", path.name, beats_s, np.zeros(len(beats_s)), _NSRDB_HOP_S)


def vitaldb_windows(folder: Path) -> Iterator[RrWindow]:
    """Windows of vitaldb_rhythm_labels, one a minute, none with bad signal or noise."""
    cases: dict[str, list[tuple[float, float]]] = {}
    with lzma.open(folder / "beats.csv.xz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["beat_type"] not in {"N", "S", "V", "U", "P"}:
                continue
            bad = row["rhythm_label"] == "Noise" or row["bad_signal_quality"] == "True"
            flag = float("nan") if bad else float(row["rhythm_label"] == "AFIB/AFL")
            cases.setdefault(row["case_id"], []).append((float(row["time_second"]), flag))
    for case, beats in sorted(cases.items()):
        times_s, flags = np.array(sorted(beats)).T
        yield from _flagged("vitaldb", case, times_s, flags, _VITALDB_HOP_S)


def _flagged(
    dataset: str, record: str, beats_s: Beats, flags: Beats, hop_s: float
) -> Iterator[RrWindow]:
    for start_s in np.arange(float(beats_s[0]), float(beats_s[-1]) - WINDOW_S, hop_s):
        first, last = np.searchsorted(beats_s, [start_s, start_s + WINDOW_S])
        inside = beats_s[first:last]
        if len(inside) < 2 or np.diff(inside).max() > _LONGEST_GAP_S:
            continue
        yield RrWindow(
            dataset=dataset,
            record=record,
            patient=f"{dataset}/{record}",
            start_s=float(start_s),
            rr_ms=np.diff(inside) * 1000,
            af_share=float(flags[first:last].mean()),
        )


def _rr_within(beats_s: Beats, start_s: float) -> Beats:
    first, last = np.searchsorted(beats_s, [start_s, start_s + WINDOW_S])
    return np.diff(beats_s[first:last]) * 1000
