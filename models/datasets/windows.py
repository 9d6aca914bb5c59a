"""Labelled windows of many recordings: which, whose, and the filtered samples.

Windows are kept *filtered but not yet normalised*, in mV, so that noise can be mixed in where
it would have been; `normalised` is the last step of ``ecg250`` and the bed's own code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import N_CLASSES, LabelledSpan, admissible_bits
from models.datasets.recording import EcgSignal, Recording
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import (
    PREPROCESSING_ID,
    WINDOW_S,
    WINDOW_SAMPLES,
    filtered_record,
    normalise_window,
)

ROW: Final = np.dtype(
    [
        ("recording", "<i4"),
        ("lead", "<i2"),
        ("end_sample", "<i8"),
        ("admissible", "<u1"),
        ("weight", "<f4"),
        ("rhythm", "<i2"),
        ("transition_s", "<f4"),
    ]
)
"""One window: which recording and lead, where it ends (250 Hz samples, half open), what may be
true of it, and how far its nearest edge is from a change of rhythm."""

MIN_PRESENT: Final = 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowTable:
    """Windows and what is known of them.

    Attributes
    ----------
    filtered_mv : ndarray of float16, shape (n_windows, 1000)
        Band-passed samples at 250 Hz, before normalisation; NaN = missing. May be a memory map.
    rows : structured ndarray of `ROW`, shape (n_windows,)
        One row a window.
    datasets, records, patients : tuple of str, length n_recordings
        Names by `rows`' ``recording``.
    rhythms : tuple of str
        Labels as the data sets give them, by `rows`' ``rhythm``.
    digests : mapping of data set to sha256
        Over record list and labels.
    """

    filtered_mv: NDArray[np.float16]
    rows: NDArray[np.void]
    datasets: tuple[str, ...]
    records: tuple[str, ...]
    patients: tuple[str, ...]
    rhythms: tuple[str, ...]
    digests: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def patient_of(self) -> NDArray[np.str_]:
        """Patient of each window, shape (n_windows,)."""
        return np.asarray(self.patients)[self.rows["recording"]]

    @property
    def rhythm_of(self) -> NDArray[np.str_]:
        """Label of each window as the data set gives it, shape (n_windows,)."""
        return np.asarray(self.rhythms)[self.rows["rhythm"]]

    @property
    def dataset_of(self) -> NDArray[np.str_]:
        """Data set of each window, shape (n_windows,)."""
        return np.asarray(self.datasets)[self.rows["recording"]]

    @property
    def admissible(self) -> NDArray[np.bool_]:
        """Which classes may be true, shape (n_windows, n_classes)."""
        return _classes_of(self.rows["admissible"])

    def admissible_of(self, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which classes may be true of windows `indices`, shape (n, n_classes)."""
        return _classes_of(self.rows["admissible"][indices])

    @property
    def certain_class(self) -> NDArray[np.intp]:
        """Index into `RHYTHM_CLASSES` where the label names one class, else -1."""
        admissible = self.admissible
        return np.where(admissible.sum(axis=1) == 1, admissible.argmax(axis=1), -1)

    def class_counts(self) -> dict[str, NDArray[np.float64]]:
        """Windows of each certain class by patient; an uncertain one counts 0 everywhere."""
        counts = {patient: np.zeros(N_CLASSES) for patient in sorted(set(self.patients))}
        patient_of, certain = self.patient_of, self.certain_class
        for patient, found in counts.items():
            classes = certain[(patient_of == patient) & (certain >= 0)]
            found += np.bincount(classes, minlength=N_CLASSES)
        return counts

    @cached_property
    def companions(self) -> NDArray[np.intp]:
        """Rows of the same 4 s, shape (n_windows, n_leads); -1 where there is no such lead.

        The first column is the window itself, the next ones the leads that follow in turn.
        """
        order = np.lexsort((self.rows["lead"], self.rows["end_sample"], self.rows["recording"]))
        keys = np.stack([self.rows["recording"][order], self.rows["end_sample"][order]])
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
        group = np.cumsum(is_first) - 1
        first = np.flatnonzero(is_first)
        size = np.diff(np.append(first, len(order)))[group] if len(order) else group
        place = np.arange(len(order)) - first[group]
        found = np.full((len(order), int(size.max(initial=1))), -1, dtype=np.intp)
        for turn in range(found.shape[1]):
            there = turn < size
            other = first[group[there]] + (place[there] + turn) % size[there]
            found[order[there], turn] = order[other]
        return found

    def joined_mv(self, indices: NDArray[np.intp], n_leads: int) -> NDArray[np.float32]:
        """Windows `indices` and the other leads of the same 4 s, in mV, shape (n, n_leads, 1000).

        A lead that is not there is all NaN; of more than `n_leads` the rest is left out.
        """
        joined = np.full((len(indices), n_leads, WINDOW_SAMPLES), np.nan, dtype=np.float32)
        members = self.companions[indices, :n_leads]
        for channel, rows in enumerate(members.T):
            there = rows >= 0
            joined[there, channel] = self.filtered_mv[rows[there]]
        return joined

    def normalised(
        self,
        indices: NDArray[np.intp],
        n_leads: int = 1,
        preprocessing: str = PREPROCESSING_ID,
    ) -> NDArray[np.float32]:
        """Windows `indices` as the model sees them, float32 of shape (n, n_leads, 1000)."""
        return normalised(self.joined_mv(indices, n_leads), preprocessing)


def _classes_of(bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return ((bits[:, None] >> np.arange(N_CLASSES, dtype=np.uint8)) & 1).astype(bool)


def normalised(
    filtered_mv: NDArray[np.float32], preprocessing: str = PREPROCESSING_ID
) -> NDArray[np.float32]:
    """`filtered_mv`, shape (n, n_leads, 1000), as the model sees it; a missing lead is all 0."""
    windows = np.empty(filtered_mv.shape, dtype=np.float32)
    scratch = np.empty(WINDOW_SAMPLES, dtype=np.float32)
    for row, out in zip(
        filtered_mv.reshape(-1, WINDOW_SAMPLES), windows.reshape(-1, WINDOW_SAMPLES), strict=True
    ):
        normalise_window(row, out, scratch, preprocessing)
    return windows


def hop_s_of(span: LabelledSpan) -> float:
    """Distance of two training windows: rare and dangerous rhythms are cut more densely."""
    if span.rhythm.startswith(("true_", "false_")):
        return 0.5
    if set(span.admissible) <= {"vt", "vf", "asystole"}:
        return 0.5
    return 4.0 if "sinus_like" in span.admissible else 2.0


def window_ends(span: LabelledSpan, hop_s: float) -> NDArray[np.int64]:
    """Ends, in 250 Hz samples, of the windows that lie wholly within `span` and its margin."""
    first = span.start_s + (span.margin_s if span.opens else 0.0) + WINDOW_S
    last = span.end_s - (span.margin_s if span.closes else 0.0)
    n = int((last - first) / hop_s + 1e-9) + 1 if last >= first else 0
    ends = np.floor((first + hop_s * np.arange(n)) * TARGET_RATE_HZ + 1e-6)
    return np.asarray(np.maximum(ends, WINDOW_SAMPLES), dtype=np.int64)


def planned_rows(
    recording: Recording,
    recording_index: int,
    n_leads: int,
    rhythms: Sequence[str],
    hop_of: Callable[[LabelledSpan], float],
) -> NDArray[np.void]:
    """Rows of every window of one recording, lead by lead."""
    parts: list[NDArray[np.void]] = []
    for lead in range(n_leads):
        for span in recording.spans:
            ends = window_ends(span, hop_of(span))
            rows = np.zeros(len(ends), dtype=ROW)
            rows["recording"] = recording_index
            rows["lead"] = lead
            rows["end_sample"] = ends
            rows["admissible"] = admissible_bits(span.admissible)
            rows["weight"] = span.weight
            rows["rhythm"] = rhythms.index(span.rhythm)
            end_s = ends / TARGET_RATE_HZ
            before = end_s - WINDOW_S - span.start_s if span.opens else np.full(len(ends), 1e6)
            after = span.end_s - end_s if span.closes else np.full(len(ends), 1e6)
            rows["transition_s"] = np.minimum(before, after)
            parts.append(rows)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=ROW)


def cut_windows(
    signal: EcgSignal, rows: NDArray[np.void]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float16]]]:
    """The windows of one recording, lead by lead: indices into `rows`, and their samples.

    A window that ends after the last filtered sample (resampling looks a few samples ahead)
    is moved back to it. One of which less than `MIN_PRESENT` was delivered says nothing about
    a rhythm and is left out.
    """
    for lead in range(len(signal.samples_mv)):
        indices = np.flatnonzero(rows["lead"] == lead)
        if not len(indices):
            continue
        filtered = filtered_record(signal.samples_mv[lead], signal.sampling_rate_hz)
        windows = np.full((len(indices), WINDOW_SAMPLES), np.nan, dtype=np.float16)
        for i, end in enumerate(rows["end_sample"][indices]):
            stop = min(int(end), len(filtered))
            piece = filtered[max(stop - WINDOW_SAMPLES, 0) : stop]
            windows[i, WINDOW_SAMPLES - len(piece) :] = np.clip(piece, -6e4, 6e4)
        kept = np.isfinite(windows).mean(axis=1) >= MIN_PRESENT
        yield indices[kept], windows[kept]


def describe(table: WindowTable) -> dict[str, dict[str, int]]:
    """Windows, records and patients of each certain class, for reports."""
    certain, patient_of = table.certain_class, table.patient_of
    found: dict[str, dict[str, int]] = {}
    for index, name in enumerate(RHYTHM_CLASSES):
        mask = certain == index
        found[name] = {
            "n_windows": int(mask.sum()),
            "n_records": len(set(table.rows["recording"][mask].tolist())),
            "n_patients": len(set(patient_of[mask].tolist())),
        }
    return found
