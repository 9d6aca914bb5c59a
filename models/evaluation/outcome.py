"""What one run of a protocol leaves behind: figures, decisions, and what a report shows."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import Interval

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """Decisions that anyone can score again without our code.

    Attributes
    ----------
    columns : tuple of str
        Names, fixed by the protocol.
    rows : sequence of tuple
        One decision each.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]

    def write(self, path: Path) -> None:
        """Write the table as CSV."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A stretch of a recording worth looking at.

    Attributes
    ----------
    record : Path
        WFDB record, no extension.
    start_s, end_s : float
        Stretch in seconds of the record.
    caption : str
        What went wrong.
    marks : tuple of (str, tuple of float)
        Named sets of moments in seconds of the record, for example beats missed.
    """

    record: Path
    start_s: float
    end_s: float
    caption: str
    marks: tuple[tuple[str, tuple[float, ...]], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores with the truth, for ROC and precision-recall curves, both of shape (n,)."""

    scores: NDArray[np.float64]
    truth: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts by what is true (rows) and what was decided (columns)."""

    truths: tuple[str, ...]
    decisions: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A protocol's answer.

    Attributes
    ----------
    report : ProtocolReport
        The JSON: figures, intervals, folds.
    predictions : PredictionTable
        The decisions.
    confusions : mapping of str to Confusion
        By what is confused.
    scored : mapping of str to Scored
        Where decisions have scores.
    reliability : mapping of str to Scored
        Where scores claim to be probabilities.
    worst : tuple of Strip
        Worst cases first, at most ten.
    notes : tuple of str
        How the protocol was followed, and where it could not be.
    """

    report: ProtocolReport
    predictions: PredictionTable
    confusions: Mapping[str, Confusion] = field(default_factory=dict[str, Confusion])
    scored: Mapping[str, Scored] = field(default_factory=dict[str, Scored])
    reliability: Mapping[str, Scored] = field(default_factory=dict[str, Scored])
    worst: tuple[Strip, ...] = ()
    notes: tuple[str, ...] = ()


def ends(interval: Interval) -> list[float] | None:
    """``[low, high]`` for JSON, None where there is no interval."""
    if np.isnan(interval.low) or np.isnan(interval.high):
        return None
    return [rounded(interval.low), rounded(interval.high)]


def rounded(value: float) -> float:
    """`value` to five places, as figures stand in a report."""
    return round(float(value), 5)


def present(values: Mapping[str, float | None]) -> dict[str, float]:
    """Those of `values` that exist: a figure nothing rests on is left out, not made up."""
    return {
        name: rounded(value)
        for name, value in values.items()
        if value is not None and not np.isnan(value)
    }
