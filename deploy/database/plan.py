"""How much room a number of beds will take, from measured bytes a row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

MEASURED_BYTES: Final = {
    "feature_frame": 424.0,
    "feature_rollup_10s": 779.0,
    "feature_rollup": 803.0,
    "feature_rollup_15m": 803.0,
    "alert_event": 1_000.0,
    "alert_strip": 25_000.0,
}
"""Bytes a row with its indexes. The first three: 120,000 full frames, every feature measured, and
what was rolled up of them, PostgreSQL 17.10 with TimescaleDB 2.19.3 (plain: 422, 778, 795). A row
of 15 min has the columns of one of a minute. Alert events and strips are assumed, generously:
they are no time series, and `--url` measures a site's own."""

MEASURED_COMPRESSION: Final = {"feature_frame": 3.3}
"""Size before over after, TimescaleDB 2.23 (WebAssembly): 20,000 frames whose features are random
numbers, the worst there is; values held for 5 s gave 8.7. Roll-ups are counted as not compressed."""

_ROWS_A_BED_DAY: Final = {
    "feature_frame": 86_400,
    "feature_rollup_10s": 8_640,
    "feature_rollup": 1_440,
    "feature_rollup_15m": 96,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """Periods in days, as the stream worker is told them; None keeps for ever."""

    frames_days: int | None = 30
    fine_rollups_days: int | None = 90
    rollups_days: int | None = 400
    compress_after_days: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One table after the period.

    Attributes
    ----------
    table : str
        Which.
    days : int
        Days of it that are kept then.
    rows : int
        Rows.
    bytes_a_row : float
        Uncompressed, indexes and all.
    gigabytes, gigabytes_compressed : float
        10^9 bytes, without and with compression of what is old enough.
    """

    table: str
    days: int
    rows: int
    bytes_a_row: float
    gigabytes: float
    gigabytes_compressed: float


def plan(
    *,
    beds: int,
    days: int,
    retained: Retained,
    alerts_a_bed_day: float = 40.0,
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> list[PlanLine]:
    """Room after `days` of `beds` beds that never pause.

    Parameters
    ----------
    beds, days : int
        At least 1.
    retained : Retained
        How long what is kept.
    alerts_a_bed_day : float
        Alerts a bed and day; each has about four events and one strip, which are kept for ever.
    measured : mapping, optional
        Result of `layout.bytes_a_row`: a site's own figures, in place of ours.

    Raises
    ------
    ValueError
        `beds` or `days` is below 1.
    """
    if beds < 1 or days < 1:
        raise ValueError(f"{beds} beds for {days} days: both must be 1 at least")
    own = measured or {}
    kept = {
        "feature_frame": retained.frames_days,
        "feature_rollup_10s": retained.fine_rollups_days,
        "feature_rollup": retained.rollups_days,
        "feature_rollup_15m": retained.rollups_days,
    }
    lines: list[PlanLine] = []
    for table, a_day in _ROWS_A_BED_DAY.items():
        limit = kept[table]
        n_days = days if limit is None else min(days, limit + 1)  # whole days are dropped
        size = own.get(table, {}).get("bytes", MEASURED_BYTES[table])
        factor = own.get(table, {}).get("compression", MEASURED_COMPRESSION.get(table, 1.0))
        young = min(n_days, retained.compress_after_days + 1)
        rows = beds * a_day * n_days
        dense = beds * a_day * (young + (n_days - young) / factor)
        lines.append(_line(table, n_days, rows, size, dense))
    alerts = round(beds * days * alerts_a_bed_day)
    lines.append(_line("alert_event", days, 4 * alerts, MEASURED_BYTES["alert_event"]))
    lines.append(_line("alert_strip", days, alerts, MEASURED_BYTES["alert_strip"]))
    return lines


def _line(
    table: str, days: int, rows: int, size: float, rows_dense: float | None = None
) -> PlanLine:
    dense = rows if rows_dense is None else rows_dense
    return PlanLine(
        table=table,
        days=days,
        rows=rows,
        bytes_a_row=size,
        gigabytes=round(rows * size / 1e9, 1),
        gigabytes_compressed=round(dense * size / 1e9, 1),
    )


def plan_as_dict(lines: list[PlanLine]) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "tables": [asdict(line) for line in lines],
        "gigabytes": round(sum(line.gigabytes for line in lines), 1),
        "gigabytes_compressed": round(sum(line.gigabytes_compressed for line in lines), 1),
    }
