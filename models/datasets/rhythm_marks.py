"""vfdb and mitdb: rhythm marks that hold until the next one."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from models.datasets.labels import CLASS_OF_RHYTHM, LabelledSpan
from models.datasets.physionet import read_annotation
from models.datasets.recording import Recording, read_leads, record_length_s, record_paths

# vfdb: its own page says that changes are marked seconds late or early. mitdb marks are exact.
MARGIN_S: Final = {"vfdb": 1.5, "mitdb": 0.25}

CERTAIN_TACHYCARDIA_S: Final = 12.0

# mitdb 201 and 202 are the same patient (MIT-BIH directory).
_SAME_PATIENT: Final = {"202": "201"}


def vfdb_recordings(folder: Path) -> list[Recording]:
    """Recordings of the MIT-BIH Malignant Ventricular Ectopy Database; record = patient."""
    return _recordings(folder, "vfdb")


def mitdb_recordings(folder: Path) -> list[Recording]:
    """Recordings of the MIT-BIH Arrhythmia Database; 201 and 202 are one patient."""
    return _recordings(folder, "mitdb")


def _recordings(folder: Path, dataset: str) -> list[Recording]:
    found: list[Recording] = []
    for path in record_paths(folder):
        patient = _SAME_PATIENT.get(path.name, path.name)
        found.append(
            Recording(
                dataset=dataset,
                record=path.name,
                patient_id=f"{dataset}/{patient}",
                spans=tuple(rhythm_spans(path, margin_s=MARGIN_S[dataset])),
                read=partial(read_leads, path),
            )
        )
    return found


def rhythm_spans(path: Path, *, margin_s: float) -> list[LabelledSpan]:
    """Rhythm stretches of the record at `path`; what comes before the first mark is unknown.

    None where the record has no annotation: it can be judged, but not scored.
    """
    if not path.with_suffix(".atr").exists():
        return []
    annotation = read_annotation(path)
    rate_hz = float(annotation.fs)
    marks = [
        (float(sample) / rate_hz, note.strip("\x00 ").removeprefix("("))
        for sample, note in zip(annotation.sample, annotation.aux_note, strict=True)
        if note.strip("\x00 ").startswith("(")
    ]
    end_s = record_length_s(path)
    borders = [start for start, _ in marks[1:]] + [end_s]
    spans: list[LabelledSpan] = []
    for i, ((start_s, rhythm), stop_s) in enumerate(zip(marks, borders, strict=True)):
        if rhythm not in CLASS_OF_RHYTHM:
            continue
        span = LabelledSpan(
            start_s=start_s,
            end_s=stop_s,
            rhythm=rhythm,
            admissible=CLASS_OF_RHYTHM[rhythm],
            margin_s=margin_s,
            opens=i > 0,
            closes=i + 1 < len(marks),
        )
        spans += [span] if rhythm != "VT" else _degenerating(span)
    return spans


def _degenerating(span: LabelledSpan) -> list[LabelledSpan]:
    """A tachycardia that lasts: its first seconds are certain, later it may be fibrillation.

    vfdb marks the onset and not what becomes of it: 427, 614 and others fibrillate for minutes
    under a ``(VT`` mark.
    """
    turn_s = span.start_s + CERTAIN_TACHYCARDIA_S
    if span.end_s <= turn_s:
        return [span]
    return [
        replace(span, end_s=turn_s, closes=False),
        replace(span, start_s=turn_s, opens=False, admissible=("vt", "vf")),
    ]
