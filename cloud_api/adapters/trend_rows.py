"""Trends of a bed from its roll-ups, and from frames where a roll-up is still due."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg.sql import SQL, Composed, Identifier, Literal

from cloud_api.core.views import TrendSeries, TrendView
from wardstream.contracts.storage import (
    ROLLUP_BUCKET_S,
    ROLLUP_LEVELS,
    RollupLevel,
    rollup_position,
)
from wardstream.contracts.timebase import NS_PER_S

_NS_PER_MS: Final = 1_000_000
_MOST_POINTS: Final = 6_000

# Buckets marked as due are recomputed from their frames here: what is asked a second after a frame
# was stored tells of it, as a continuous aggregate does by itself, where nothing is ever marked.
_TREND: Final = SQL("""
    WITH due AS MATERIALIZED (
        SELECT device_id, date_bin(%(reach)s, time, to_timestamp(0)) AS time FROM rollup_due
        WHERE device_id = ANY(%(device_ids)s)
          AND time >= %(from_time)s - %(reach)s AND time < %(until_time)s
        UNION
        SELECT device_id, time FROM rollup_due_15m
        WHERE %(long)s AND device_id = ANY(%(device_ids)s)
          AND time >= %(from_time)s - %(reach)s AND time < %(until_time)s
    )
    SELECT time, pseudonym, n_frames, {kept}
    FROM {table} r
    WHERE device_id = ANY(%(device_ids)s) AND bed_id = %(bed_id)s
      AND time >= %(from_time)s AND time < %(until_time)s
      AND NOT EXISTS (SELECT FROM due WHERE due.device_id = r.device_id
                      AND r.time >= due.time AND r.time < due.time + %(reach)s)
    UNION ALL
    SELECT date_bin(%(bucket)s, f.time, to_timestamp(0)), coalesce(f.pseudonym, ''),
           count(*)::integer, {fresh}
    FROM due JOIN feature_frame f ON f.device_id = due.device_id
      AND f.time >= due.time AND f.time < due.time + %(reach)s
    WHERE f.bed_id = %(bed_id)s AND f.time >= %(from_time)s AND f.time < %(until_time)s
    GROUP BY f.device_id, 1, 2
    ORDER BY 1, 2
""")


def level_for(span_s: float, bucket_s: int | None) -> RollupLevel:
    """The level asked for, or the finest that gives at most 6,000 points over `span_s`.

    Raises
    ------
    KeyError
        There are no roll-ups of `bucket_s`.
    """
    if bucket_s is not None:
        return {level.bucket_s: level for level in ROLLUP_LEVELS}[bucket_s]
    fitting = [level for level in ROLLUP_LEVELS if span_s / level.bucket_s <= _MOST_POINTS]
    return fitting[0] if fitting else ROLLUP_LEVELS[-1]


def trend_query(level: RollupLevel, features: Sequence[str]) -> Composed:
    """The statement for `features` from `level`."""
    kept = [
        SQL("{}[{}]").format(Identifier(array), Literal(rollup_position(feature)))
        for feature in features
        for array in ("minimum", "mean", "maximum")
    ]
    fresh = [
        SQL("{}(f.{})::real").format(SQL(function), Identifier(feature))
        for feature in features
        for function in ("min", "avg", "max")
    ]
    return _TREND.format(
        table=Identifier(level.table), kept=SQL(", ").join(kept), fresh=SQL(", ").join(fresh)
    )


def trend_parameters(
    level: RollupLevel,
    bed_id: str,
    device_ids: Sequence[str],
    from_time: datetime,
    until_time: datetime,
) -> dict[str, Any]:
    """Parameters of `trend_query`; buckets that begin in ``[from_time, until_time)``."""
    return {
        "bed_id": bed_id,
        "device_ids": list(device_ids),
        "from_time": from_time,
        "until_time": until_time,
        "bucket": timedelta(seconds=level.bucket_s),
        "reach": timedelta(seconds=max(level.bucket_s, ROLLUP_BUCKET_S)),
        "long": level.bucket_s > ROLLUP_BUCKET_S,
    }


def trend_view(
    bed_id: str, level: RollupLevel, features: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> TrendView:
    """Columns from the rows of `trend_query`."""
    columns = list(zip(*rows, strict=True)) or [()] * (3 + 3 * len(features))
    return TrendView(
        bed_id=bed_id,
        bucket_s=level.bucket_s,
        time_ns=[round(time.timestamp() * 1000) * _NS_PER_MS for time in columns[0]],
        pseudonym=list(columns[1]),
        n_frames=list(columns[2]),
        features={
            feature: TrendSeries(
                minimum=list(columns[3 + 3 * number]),
                mean=list(columns[4 + 3 * number]),
                maximum=list(columns[5 + 3 * number]),
            )
            for number, feature in enumerate(features)
        },
    )


def span_s(from_ns: int, until_ns: int) -> float:
    """Length of a stretch in s."""
    return (until_ns - from_ns) / NS_PER_S
