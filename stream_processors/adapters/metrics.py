"""Counters of the services as Prometheus metrics; labels name no patient."""

from dataclasses import fields, is_dataclass
from typing import Any

from prometheus_client import Gauge


def export_counts(role: str, counts: Any) -> None:
    """One gauge a field of `counts`, read when scraped: ``wardstream_{role}_{field}``.

    Raises
    ------
    TypeError
        `counts` is no dataclass.
    """
    if not is_dataclass(counts):
        raise TypeError(f"{counts!r} is no dataclass")
    for field in fields(counts):
        gauge = Gauge(f"wardstream_{role}_{field.name}", f"{field.name} of the {role} since start")
        gauge.set_function(_reader(counts, field.name))


def _reader(counts: Any, name: str) -> Any:
    return lambda: float(getattr(counts, name))
