"""cudb: intervals of ventricular fibrillation among normal beats; record = patient."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from models.datasets.labels import LabelledSpan
from models.datasets.physionet import read_annotation
from models.datasets.recording import Recording, read_leads, record_length_s, record_paths

MARGIN_S: Final = 1.0
"""VF onsets were marked by eye."""

LONGEST_RR_S: Final = 2.5
"""Beats further apart than this leave the time between them unlabelled: it may be a pause,
an unmarked arrhythmia or lost contact."""

NOISE_GUARD_S: Final = 2.0
"""A ``~`` marks a change of signal quality and gives no end, so what is near it is left out."""

# Said to be paced (data/README.md); the annotation does not tell paced beats apart.
PACED: Final = frozenset({"cu12", "cu15", "cu24", "cu25", "cu32"})

# cu02 holds marks of unknown meaning, probably VT, and no VF interval.
AMBIGUOUS: Final = frozenset({"cu02"})


def cudb_recordings(folder: Path) -> list[Recording]:
    """Recordings of the Creighton University Ventricular Tachyarrhythmia Database."""
    return [
        Recording(
            dataset="cudb",
            record=path.name,
            patient_id=f"cudb/{path.name}",
            spans=tuple(cudb_spans(path)),
            read=partial(read_leads, path),
        )
        for path in record_paths(folder)
        if path.name not in AMBIGUOUS
    ]


def cudb_spans(path: Path) -> list[LabelledSpan]:
    """VF intervals, and the runs of regular marked beats outside of them, in time order.

    None where the record has no annotation.
    """
    if not path.with_suffix(".atr").exists():
        return []
    annotation = read_annotation(path)
    times_s = [float(sample) / float(annotation.fs) for sample in annotation.sample]
    symbols = [str(symbol) for symbol in annotation.symbol]
    end_s = record_length_s(path)
    fibrillation = _fibrillation(times_s, symbols, end_s)
    noise = [t for t, symbol in zip(times_s, symbols, strict=True) if symbol == "~"]
    beats = [t for t, symbol in zip(times_s, symbols, strict=True) if symbol == "N"]
    spans = [
        LabelledSpan(
            start_s=start,
            end_s=stop,
            rhythm="VF",
            admissible=("vf",),
            margin_s=MARGIN_S,
            opens=start > 0,
            closes=stop < end_s - 0.1,
        )
        for start, stop in fibrillation
    ]
    admissible = ("paced", "sinus_like") if path.name in PACED else ("sinus_like",)
    rhythm = "P" if path.name in PACED else "N"
    for start, stop in _beating(
        beats, [*fibrillation, *((t - NOISE_GUARD_S, t + NOISE_GUARD_S) for t in noise)]
    ):
        spans.append(
            LabelledSpan(
                start_s=start,
                end_s=stop,
                rhythm=rhythm,
                admissible=admissible,
                # What leads to fibrillation is often ventricular tachycardia that has no mark.
                weight=1.0,
                margin_s=MARGIN_S,
            )
        )
    return sorted(spans, key=lambda span: span.start_s)


def _fibrillation(
    times_s: list[float], symbols: list[str], end_s: float
) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    onset: float | None = None
    for time_s, symbol in zip(times_s, symbols, strict=True):
        if symbol == "[" and onset is None:
            onset = time_s
        elif symbol == "]" and onset is not None:
            found.append((onset, time_s))
            onset = None
    if onset is not None:
        found.append((onset, end_s))
    return found


def _beating(beats: list[float], excluded: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Runs of beats no further apart than `LONGEST_RR_S` that touch no excluded stretch."""
    runs: list[tuple[float, float]] = []
    start: float | None = None
    for earlier, later in pairwise(beats):
        broken = later - earlier > LONGEST_RR_S or any(
            earlier < stop and later > begin for begin, stop in excluded
        )
        if broken:
            if start is not None:
                runs.append((start, earlier))
            start = None
        elif start is None:
            start = earlier
    if start is not None:
        runs.append((start, beats[-1]))
    return runs
