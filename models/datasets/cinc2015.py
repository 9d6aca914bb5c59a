"""cinc2015: ICU alarms, judged true or false by clinicians.

The judgement holds for the alarm at exactly 5:00 and begins in the ten seconds before it.
Everything earlier is unlabelled and everything later must stay unseen by a real-time
detector, so neither is read.
"""

import csv
from functools import partial
from pathlib import Path
from typing import Final

from models.datasets.labels import LabelledSpan, everything_but
from models.datasets.recording import Recording, read_leads

ALARM_S: Final = 300.0

RECORDS_A_BLOCK: Final = 25
"""Neighbouring numbers are often one patient and even share stretches of waveform; patients
were not published. A block of numbers stands for a patient."""

# What a true alarm, and a false one, say of the last seconds; (classes, first second, weight).
# True: asystole is at least 4 s long and fires as the 4 s are over, so only the last window is
# wholly silent. The run of a ventricular tachycardia may lie anywhere in the ten seconds.
_TRUE: Final[dict[str, tuple[tuple[str, ...], float, float]]] = {
    "Asystole": (("asystole",), 295.5, 1.0),
    "Bradycardia": (everything_but("vt", "vf"), 292.0, 0.5),
    "Tachycardia": (everything_but("vf", "asystole"), 290.0, 0.5),
    "Ventricular_Tachycardia": (("vt",), 293.5, 0.5),
    "Ventricular_Flutter_Fib": (("vf",), 295.0, 1.0),
}
_FALSE: Final[dict[str, tuple[tuple[str, ...], float, float]]] = {
    "Asystole": (everything_but("asystole"), 286.0, 1.0),
    "Bradycardia": (everything_but("asystole", "vt", "vf"), 286.0, 0.5),
    "Tachycardia": (everything_but("asystole", "vf"), 286.0, 0.5),
    "Ventricular_Tachycardia": (everything_but("vt", "vf"), 286.0, 1.0),
    "Ventricular_Flutter_Fib": (everything_but("vt", "vf"), 286.0, 1.0),
}


def cinc2015_recordings(folder: Path) -> list[Recording]:
    """Recordings of the PhysioNet/CinC Challenge 2015 training set; patient = block of numbers."""
    with (folder / "ALARMS.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Recording(
            dataset="cinc2015",
            record=row["record"],
            patient_id=block_of(row["record"]),
            spans=(alarm_span(row["alarm_type"], is_true=row["label"] == "1"),),
            read=partial(read_leads, folder / row["record"], until_s=ALARM_S),
        )
        for row in sorted(rows, key=lambda row: row["record"])
        if (folder / f"{row['record']}.hea").exists()
    ]


def block_of(record: str) -> str:
    """The block that stands for the patient of `record`, for example ``v101l``.

    A record whose name holds no number stands for itself.
    """
    digits = "".join(character for character in record if character.isdigit())
    if not digits:
        return f"cinc2015/{record}"
    return f"cinc2015/block{int(digits) // RECORDS_A_BLOCK:02d}"


def alarm_span(alarm_type: str, *, is_true: bool) -> LabelledSpan:
    """What the judgement of the alarm says of the seconds before it."""
    admissible, start_s, weight = (_TRUE if is_true else _FALSE)[alarm_type]
    return LabelledSpan(
        start_s=start_s,
        end_s=ALARM_S,
        rhythm=f"{'true' if is_true else 'false'}_{alarm_type.lower()}",
        admissible=admissible,
        weight=weight,
        opens=False,
        closes=False,
    )
