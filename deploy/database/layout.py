"""How much room the store's time series take, asked of the server itself."""

from typing import Any, Final

import psycopg
from psycopg import sql

_ROOM_PLAIN: Final = (
    "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree({})"
)
_ROOM_TIMESCALE: Final = "SELECT coalesce(hypertable_size({}), 0)::bigint"
_COMPRESSION: Final = (
    "SELECT sum(before_compression_total_bytes)::bigint, sum(after_compression_total_bytes)::bigint"
    " FROM {}({})"
)


def bytes_a_row(url: str) -> dict[str, dict[str, float]]:
    """Room a row of each time series takes at `url`, indexes and all.

    Returns
    -------
    dict of str to dict
        By series: ``rows``, ``bytes`` a row as it lies; where chunks are compressed also
        ``compression``, their size before over that after. Series without rows are left out.

    Raises
    ------
    psycopg.Error
        The database is away or not migrated.
    """
    found: dict[str, dict[str, float]] = {}
    with psycopg.connect(url, autocommit=True) as link:
        plain = _one(link, sql.SQL("SELECT store_tier() = 'plain'"))
        for (series,) in link.execute("SELECT series FROM kept_series ORDER BY 1").fetchall():
            rows = _one(link, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(series)))
            if not rows:
                continue
            room, before, after = 0, 0, 0
            for (store,) in link.execute("SELECT stores_of(%s)", (series,)).fetchall():
                name = sql.Literal(store)
                if plain:
                    room += _one(link, sql.SQL(_ROOM_PLAIN).format(name))
                    continue
                room += _one(link, sql.SQL(_ROOM_TIMESCALE).format(name))
                before_after = _compression(link, name)
                before, after = before + before_after[0], after + before_after[1]
            found[series] = {"rows": rows, "bytes": round(room / rows, 1)}
            if after:
                found[series]["compression"] = round(before / after, 2)
    return found


def _compression(link: psycopg.Connection[Any], name: sql.Literal) -> tuple[int, int]:
    # 2.18 gave it the second name; before the community licence's code is loaded neither is there.
    for function in ("hypertable_columnstore_stats", "hypertable_compression_stats"):
        if not _one(
            link, sql.SQL("SELECT count(*) FROM pg_proc WHERE proname = {}").format(function)
        ):
            continue
        try:
            row = link.execute(
                sql.SQL(_COMPRESSION).format(sql.Identifier(function), name)
            ).fetchone()
        except psycopg.errors.FeatureNotSupported:
            return 0, 0  # the Apache licence names it and refuses it
        return (0, 0) if row is None or row[0] is None else (int(row[0]), int(row[1]))
    return 0, 0


def _one(link: psycopg.Connection[Any], statement: sql.SQL | sql.Composed) -> int:
    row = link.execute(statement).fetchone()
    return 0 if row is None else int(row[0])
