"""Rows of devices and frames to views."""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from psycopg.sql import SQL, Identifier

from cloud_api.core.ports import WardRow
from cloud_api.core.views import (
    NUMERIC_FEATURES,
    BedView,
    DeviceQuarantineView,
    DeviceView,
    FrameView,
    ModelView,
    NumericsView,
    PatientView,
)
from wardstream.contracts.frame import BEDSIDE_V1

# The newest frame of a device is the newest of the boot it lives in: a replayed recording, or a
# clock set back, may give an older boot later times. The device's own word on how far its data
# reach bounds the search, or a boot without frames would have its whole history read.
WARD: Final = SQL("""
    SELECT d.device_id, d.unit_id, d.bed_id, d.site_id, d.connectivity, d.generation_mode,
           d.source, d.heard_time_ns, d.silent, d.model_state, d.model_version, d.model_reason,
           d.model_refused_version, f.start_time_ns, f.frame_stored_time_ns, f.pseudonym, f.age_years, f.problems,
           f.news2_low, f.news2_high, {features}
    FROM device d LEFT JOIN LATERAL (
        SELECT *, (extract(epoch FROM stored_time) * 1000000)::bigint * 1000
                  AS frame_stored_time_ns
        FROM feature_frame
        WHERE device_id = d.device_id AND boot_id = d.boot_id
          AND time > to_timestamp(d.last_sample_time_ns / 1e9) - interval '1 hour'
        ORDER BY time DESC, sequence_number DESC LIMIT 1
    ) f ON true
    ORDER BY d.unit_id, d.bed_id, d.device_id
""").format(
    features=SQL(", ").join(SQL("f.{}").format(Identifier(name)) for name in NUMERIC_FEATURES)
)

FRAMES: Final = SQL("""
    SELECT device_id, boot_id, sequence_number, start_time_ns, generation_mode, {features}
    FROM feature_frame
    WHERE device_id = ANY(%(device_ids)s) AND bed_id = %(bed_id)s
      AND time >= %(from_time)s AND time < %(until_time)s
    ORDER BY time DESC, sequence_number DESC LIMIT %(limit)s
""").format(features=SQL(", ").join(Identifier(name) for name in BEDSIDE_V1.names))

DEVICES: Final[LiteralString] = "SELECT * FROM device ORDER BY unit_id, bed_id, device_id"


def values_of(row: dict[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    """The features `names` of a row, NULL as None."""
    return {name: row[name] for name in names}


def model_view(row: dict[str, Any]) -> ModelView:
    """What judges on the device of a row of ``device``."""
    return ModelView(
        state=row["model_state"],
        version=row["model_version"],
        reason=row["model_reason"],
        refused_version=row["model_refused_version"],
    )


def ward_row(row: dict[str, Any], now_ns: int) -> WardRow:
    """A bed from a row of `WARD`."""
    stored_ns: int | None = row["frame_stored_time_ns"]
    bed = BedView(
        bed_id=row["bed_id"],
        unit_id=row["unit_id"],
        site_id=row["site_id"],
        device_id=row["device_id"],
        connectivity=row["connectivity"],
        generation_mode=row["generation_mode"],
        source=row["source"],
        last_seen_time_ns=max(row["heard_time_ns"], stored_ns or 0),
        silent=row["silent"],
        model=model_view(row),
        numerics=NumericsView(
            time_ns=row["start_time_ns"],
            age_s=None if stored_ns is None else max(0.0, (now_ns - stored_ns) / 1e9),
            values=values_of(row, NUMERIC_FEATURES),
        ),
        patient=_patient(row),
    )
    return WardRow(bed=bed, heard_time_ns=row["heard_time_ns"], frame_stored_time_ns=stored_ns)


def _patient(row: dict[str, Any]) -> PatientView | None:
    if row["pseudonym"] is None:
        return None
    return PatientView(
        pseudonym=row["pseudonym"],
        age_years=row["age_years"],
        problems=list(row["problems"] or ()),
        news2_low=row["news2_low"],
        news2_high=row["news2_high"],
    )


def frame_view(row: dict[str, Any]) -> FrameView:
    """A stored second from a row of `FRAMES`."""
    return FrameView(
        device_id=row["device_id"],
        boot_id=str(row["boot_id"]),
        sequence_number=row["sequence_number"],
        time_ns=row["start_time_ns"],
        generation_mode=row["generation_mode"],
        values=values_of(row, BEDSIDE_V1.names),
    )


def device_view(row: dict[str, Any]) -> DeviceView:
    """A device from a row of ``device``."""
    return DeviceView(
        device_id=row["device_id"],
        site_id=row["site_id"],
        unit_id=row["unit_id"],
        bed_id=row["bed_id"],
        boot_id=str(row["boot_id"]),
        connectivity=row["connectivity"],
        generation_mode=row["generation_mode"],
        source=row["source"],
        agent_version=row["agent_version"],
        reported_time_ns=row["reported_time_ns"],
        last_sample_time_ns=row["last_sample_time_ns"],
        last_seen_time_ns=row["heard_time_ns"],
        silent=row["silent"],
        model=model_view(row),
        model_sha256=row["model_sha256"],
        n_windows_judged=row["n_windows_judged"],
        n_windows_unjudged=row["n_windows_unjudged"],
        outbox_rows=row["outbox_rows"],
        outbox_bytes=row["outbox_bytes"],
        channels=list(row["channels"]),
        quarantined=[DeviceQuarantineView(**one) for one in row["quarantined"]],
    )
