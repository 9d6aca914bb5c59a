"""Names of the store: the only meeting point of who writes (stream, cloud) and who reads.

The SQL stands in ``deploy/database/migrations``; a contract test holds the two together.
Missing is NULL in the store and NaN in arrays; times are ``timestamptz`` in microseconds,
with the exact nanoseconds beside them where they identify something.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wardstream.contracts.frame import BEDSIDE_V1


class Table(StrEnum):
    """Every table, by who writes it."""

    # stream_processors (0001)
    FEATURE_FRAME = "feature_frame"
    FEATURE_ROLLUP = "feature_rollup"
    FRAME_GAP = "frame_gap"
    COMMIT_WATERMARK = "commit_watermark"
    DEVICE_BED = "device_bed"
    BED_ASSIGNMENT = "bed_assignment"
    PATIENT_CONTEXT = "patient_context"
    DEAD_LETTER = "dead_letter"
    # stream_processors, its own book-keeping
    CONTEXT_VERSION = "context_version"
    RESTATEMENT_DUE = "restatement_due"
    ROLLUP_DUE = "rollup_due"
    FEATURE_ROLLUP_10S = "feature_rollup_10s"
    FEATURE_ROLLUP_15M = "feature_rollup_15m"
    ROLLUP_DUE_15M = "rollup_due_15m"
    KEPT_SERIES = "kept_series"
    # stream_processors: scores (0007)
    PATIENT_SCORE = "patient_score"
    SCORE_DUE = "score_due"
    ALERT_SUPPORT = "alert_support"
    DRIFT_STATISTIC = "drift_statistic"
    # cloud_api (0002)
    DEVICE = "device"
    DEVICE_BOOT = "device_boot"
    ALERT = "alert"
    ALERT_EVENT = "alert_event"
    ALERT_STRIP = "alert_strip"
    ACKNOWLEDGEMENT = "acknowledgement"
    VERDICT = "verdict"
    MODEL_COMMAND = "model_command"
    STAFF_USER = "staff_user"
    STAFF_SESSION = "staff_session"
    AUDIT_LOG = "audit_log"
    # cloud_api (0003)
    PERSON_ORDER = "person_order"
    ESCALATION = "escalation"
    # stream_processors, what the record says (0006)
    OBSERVATIONS = "observations"
    QUARANTINE = "quarantine"
    LOCAL_MAPPINGS = "local_mappings"
    # written by a trigger on `device` (0004)
    DEVICE_CHANGE = "device_change"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        Its name.
    sql_type : str
        Its PostgreSQL type, as ``format_type`` prints it.
    """

    name: str
    sql_type: str


FRAME_IDENTITY_COLUMNS: Final = (
    Column("device_id", "text"),
    Column("boot_id", "uuid"),
    Column("sequence_number", "bigint"),
    Column("time", "timestamp with time zone"),
    Column("start_time_ns", "bigint"),
    Column("monotonic_ns", "bigint"),
    Column("received_time_ns", "bigint"),
    Column("generation_mode", "text"),
)
"""What the device said, and when the bridge received it."""

FRAME_CONTEXT_COLUMNS: Final = (
    Column("bed_id", "text"),
    Column("pseudonym", "text"),
    Column("age_years", "smallint"),
    Column("problems", "text[]"),
    Column("news2_low", "smallint"),
    Column("news2_high", "smallint"),
)
"""What was joined at event time; NULL where it was not known."""

FRAME_FEATURE_COLUMNS: Final = tuple(Column(name, "real") for name in BEDSIDE_V1.names)
"""One per feature, in the order of the schema; NULL where it was not measured."""

FRAME_COPY_COLUMNS: Final = (
    *FRAME_IDENTITY_COLUMNS,
    *FRAME_CONTEXT_COLUMNS,
    *FRAME_FEATURE_COLUMNS,
)
"""Columns of ``feature_frame`` in COPY order; the server adds ``stored_time``."""

ROLLUP_FEATURES: Final = BEDSIDE_V1.names
"""Meaning of the elements of a roll-up's arrays ``minimum mean maximum n_values``."""

ROLLUP_BUCKET_S: Final = 60
"""Length of the buckets that are marked when frames come; ``feature_rollup.time`` is the start."""


@dataclass(frozen=True, slots=True)
class RollupLevel:
    """Roll-ups of one length of bucket.

    Attributes
    ----------
    table : Table
        Where they are read: a table, or a view on a continuous aggregate.
    bucket_s : int
        Length in s; buckets begin at multiples of it since the epoch.
    """

    table: Table
    bucket_s: int


ROLLUP_LEVELS: Final = (
    RollupLevel(Table.FEATURE_ROLLUP_10S, 10),
    RollupLevel(Table.FEATURE_ROLLUP, ROLLUP_BUCKET_S),
    RollupLevel(Table.FEATURE_ROLLUP_15M, 900),
)
"""From fine to coarse."""


def rollup_position(feature: str) -> int:
    """One-based position of `feature` in the roll-up arrays, as SQL counts them.

    Raises
    ------
    ValueError
        No such feature.
    """
    return ROLLUP_FEATURES.index(feature) + 1


COMMIT_HANDLED: Final = "commit_handled"
"""SQL function ``commit_handled(device_id, boot_id uuid, lane, handled int8multirange) → bigint``.

Adds positions to what ``commit_watermark`` holds as handled and returns the new watermark, -1
while position 0 is missing. A union, so repeats and any number of writers do no harm. Called in
the transaction that writes the rows.
"""
