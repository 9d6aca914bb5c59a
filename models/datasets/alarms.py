"""cinc2015 for a verifier: which alarm, whose record, and its curves up to the alarm and no further."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.cinc2015 import ALARM_S, block_of
from models.datasets.physionet import read_header, read_record
from models.datasets.recording import is_ecg
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.alarms.curves import AlarmCurves

ALARM_TYPES: Final = (
    "Asystole",
    "Bradycardia",
    "Tachycardia",
    "Ventricular_Tachycardia",
    "Ventricular_Flutter_Fib",
)
N_FOLDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRecord:
    """One alarm of the monitor.

    Attributes
    ----------
    path : Path
        WFDB record, no extension. Its header comments carry the label and are never read.
    alarm_type : str
        A member of `ALARM_TYPES`.
    is_true : bool or None
        What the clinicians said; None where nobody did.
    block : str
        Stands for the patient.
    fold : int
        In ``range(N_FOLDS)``.
    """

    path: Path
    alarm_type: str
    is_true: bool | None
    block: str
    fold: int


def alarm_records(folder: Path) -> list[AlarmRecord]:
    """Every alarm of `folder`, in order of record number, with its fold.

    Notes
    -----
    Neighbouring numbers are often one patient (data/README.md). Records are ordered by number
    and cut into `N_FOLDS` runs of blocks, so that folds touch at four borders only.

    Raises
    ------
    ConfigurationError
        The table of alarms is not there, has no such columns, or names no record of the folder.
    """
    rows = [row for row in _alarm_rows(folder) if (folder / f"{row['record']}.hea").exists()]
    if not rows:
        raise ConfigurationError([f"ALARMS.csv in {folder} names no record that is there"])
    rows.sort(key=lambda row: (_number(row["record"]), row["record"]))
    fold_of = _folds_of_blocks([block_of(row["record"]) for row in rows])
    return [
        AlarmRecord(
            path=folder / row["record"],
            alarm_type=row["alarm_type"],
            is_true=_LABELS.get((row.get("label") or "").strip()),
            block=block_of(row["record"]),
            fold=fold_of[block_of(row["record"])],
        )
        for row in rows
    ]


_LABELS: Final = {"1": True, "0": False}


def _alarm_rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "ALARMS.csv"
    if not path.exists():
        raise ConfigurationError(
            [f"{path} is not there: it says record, alarm_type and label (1, 0 or empty)"]
        )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"record", "alarm_type"} - set(rows[0] if rows else ())
    if missing:
        raise ConfigurationError([f"{path} has no column {', '.join(sorted(missing))}"])
    return rows


def _number(record: str) -> int:
    return int("".join(character for character in record if character.isdigit()) or "0")


def _folds_of_blocks(blocks: list[str]) -> dict[str, int]:
    # Runs of whole blocks, of about equal numbers of records.
    fold_of: dict[str, int] = {}
    for position, block in enumerate(blocks):
        fold_of.setdefault(block, position * N_FOLDS // len(blocks))
    return fold_of


def read_alarm_curves(path: Path, reach_s: float) -> AlarmCurves:
    """The last `reach_s` before the alarm at 5:00; nothing after it is read from the file."""
    rate_hz = float(read_header(path).fs)
    stop = round(ALARM_S * rate_hz)
    record: Any = read_record(path, stop=min(stop, int(read_header(path).sig_len)))
    samples = np.asarray(record.p_signal, dtype=np.float32).T
    samples = samples[:, -round(reach_s * rate_hz) :]
    names = [str(name).upper().strip() for name in record.sig_name]

    def chosen(rows: list[int]) -> NDArray[np.float32]:
        return np.ascontiguousarray(samples[rows])

    return AlarmCurves(
        ecg=chosen([i for i, name in enumerate(names) if is_ecg(name)]),
        ppg=chosen([i for i, name in enumerate(names) if name in {"PLETH", "PPG"}]),
        abp=chosen([i for i, name in enumerate(names) if name in {"ABP", "ART"}]),
        resp=chosen([i for i, name in enumerate(names) if name == "RESP"]),
        sampling_rate_hz=rate_hz,
    )
