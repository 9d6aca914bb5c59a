"""What every protocol answers, as JSON that can be read again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from models.evaluation.intervals import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One of the worst cases.

    Attributes
    ----------
    caption : str
        What went wrong, and where.
    image : str
        Its strip, a path within the bundle.
    """

    caption: str
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolReport:
    """Outcome of one protocol.

    Attributes
    ----------
    protocol, model : str
        What was run, on what: ``rhythm/3 <sha256 prefix>``.
    cross_validated : bool
        Whether no patient was judged by a model that learned from it. Where it is False, the
        figures say how well the model fits, not how good it is.
    n_records : int
        Recordings judged.
    metrics : dict
        Figures by name.
    confidence : dict
        ``[low, high]`` of those figures that have an interval, 90 %, bootstrap by patient.
    support : dict
        ``[windows, patients]`` a figure rests on.
    folds : list of list of str
        Patients of each fold.
    failures : list of Failure
        Worst cases with a picture, where the report was kept with a bundle.
    """

    protocol: str
    model: str
    cross_validated: bool
    n_records: int
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    confidence: dict[str, Any] = field(default_factory=dict[str, Any])
    support: dict[str, Any] = field(default_factory=dict[str, Any])
    folds: list[list[str]] = field(default_factory=list[list[str]])
    failures: list[Failure] = field(default_factory=list[Failure])

    def add(self, name: str, rate: Rate) -> None:
        """Record `rate` under `name`; figures that do not exist are left out, not made up."""
        if math.isnan(rate.value):
            return
        self.metrics[name] = round(rate.value, 5)
        self.support[name] = [rate.n_windows, rate.n_patients]
        if not math.isnan(rate.low):
            self.confidence[name] = [round(rate.low, 5), round(rate.high, 5)]

    def to_json(self) -> bytes:
        """The report, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def to_text(self) -> str:
        """The report for people, a line a figure."""
        kind = "cross-validated" if self.cross_validated else "NOT on unseen patients"
        lines = [f"{self.protocol} of {self.model}, {self.n_records} records, {kind}"]
        for name, value in self.metrics.items():
            low, high = self.confidence.get(name, (None, None))
            interval = f"  [{low:.4f}, {high:.4f}]" if low is not None else ""
            support = self.support.get(name)
            count = f"  {support[0]} windows, {support[1]} patients" if support else ""
            lines.append(f"  {name:<28}{value:8.4f}{interval}{count}")
        return "\n".join(lines)


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of `metrics`, those of tables within it named ``table.name``."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= flat(cast("Mapping[str, Any]", value), f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = float(value)
    return found
