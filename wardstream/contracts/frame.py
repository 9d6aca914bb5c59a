"""The 1 Hz `FeatureFrame`: what leaves the bed instead of raw samples.

A frame is a fixed-layout little-endian record: an 80-byte header, then one float32 per
feature of its schema. A Kafka record is any number of frames of one schema end to end, so a
whole batch decodes with one ``np.frombuffer``.

    offset  size  field            type
    0       2     schema_id        u2     which list of features follows
    2       2     n_bytes          u2     length of the whole frame
    4       1     generation_mode  u1     0 real, 1 test, 2 demo
    5       3     reserved         zero
    8       24    device_id        ASCII, padded with NUL
    32      16    boot_id          UUID bytes, big-endian as in RFC 9562
    48      8     sequence_number  u8     on the frame lane
    56      8     start_time_ns    i8     first nanosecond of the second described
    64      8     monotonic_ns     i8     the device's monotonic clock at that moment
    72      8     validity         u8     bit i set: feature i was measured
    80      4 n   features         f4     NaN where bit i is clear
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import (
    ContractError,
    OutOfRangeError,
    TruncatedError,
    UnknownSchemaError,
)
from wardstream.contracts.identity import (
    MAX_ID_LENGTH,
    check_boot_id,
    check_id,
    check_sequence_number,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import GenerationMode

HEADER_BYTES: Final = 80

_MODES: Final = (GenerationMode.REAL, GenerationMode.TEST, GenerationMode.DEMO)


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a frame.

    Attributes
    ----------
    name : str
        Column name in the store, unit suffix included.
    unit : Unit
        Unit of the value.
    mdc : str or None
        IEEE 11073-10101 reference id where the feature is a standard numeric.
    """

    name: str
    unit: Unit
    mdc: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameSchema:
    """A registered list of features; once released, never changed, only followed by another."""

    schema_id: int
    features: tuple[Feature, ...]
    dtype: np.dtype[np.void]

    @property
    def n_bytes(self) -> int:
        """Length of one frame."""
        return self.dtype.itemsize

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in their order."""
        return tuple(feature.name for feature in self.features)

    def index(self, name: str) -> int:
        """Position of feature `name`.

        Raises
        ------
        UnknownSchemaError
            The schema has no such feature.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise UnknownSchemaError(f"schema {self.schema_id} has no feature {name!r}") from None


def _schema(schema_id: int, *features: Feature) -> FrameSchema:
    if len(features) > 64:
        raise ValueError(f"schema {schema_id} has {len(features)} features, the bitmap holds 64")
    dtype = np.dtype(
        {
            "names": [
                "schema_id", "n_bytes", "generation_mode", "device_id", "boot_id",
                "sequence_number", "start_time_ns", "monotonic_ns", "validity", "features",
            ],
            "formats": [
                "<u2", "<u2", "u1", f"S{MAX_ID_LENGTH}", "V16",
                "<u8", "<i8", "<i8", "<u8", ("<f4", (len(features),)),
            ],
            "offsets": [0, 2, 4, 8, 32, 48, 56, 64, 72, HEADER_BYTES],
            "itemsize": HEADER_BYTES + 4 * len(features),
        }
    )  # fmt: skip
    return FrameSchema(schema_id, features, dtype)


BEDSIDE_V1: Final = _schema(
    1,
    Feature("heart_rate_per_min", Unit.PER_MINUTE, "MDC_ECG_HEART_RATE"),
    Feature("pulse_rate_ppg_per_min", Unit.PER_MINUTE, "MDC_PULS_OXIM_PULS_RATE"),
    Feature("pulse_rate_abp_per_min", Unit.PER_MINUTE, "MDC_BLD_PULS_RATE_INV"),
    Feature("spo2_percent", Unit.PERCENT, "MDC_PULS_OXIM_SAT_O2"),
    Feature("abp_systolic_mmhg", Unit.MMHG, "MDC_PRESS_BLD_ART_SYS"),
    Feature("abp_diastolic_mmhg", Unit.MMHG, "MDC_PRESS_BLD_ART_DIA"),
    Feature("abp_mean_mmhg", Unit.MMHG, "MDC_PRESS_BLD_ART_MEAN"),
    Feature("respiration_rate_per_min", Unit.PER_MINUTE, "MDC_RESP_RATE"),
    Feature("temperature_celsius", Unit.CELSIUS, "MDC_TEMP"),
    Feature("rr_mean_ms", Unit.MILLISECOND),
    Feature("rr_sdnn_ms", Unit.MILLISECOND),
    Feature("rr_rmssd_ms", Unit.MILLISECOND),
    Feature("rr_irregularity", Unit.DIMENSIONLESS),
    Feature("n_beats", Unit.COUNT),
    Feature("time_since_beat_s", Unit.SECOND),
    Feature("time_since_pulse_s", Unit.SECOND),
    Feature("ppg_amplitude", Unit.ARBITRARY),
    Feature("quality_ecg1", Unit.DIMENSIONLESS),
    Feature("quality_ecg2", Unit.DIMENSIONLESS),
    Feature("quality_ppg", Unit.DIMENSIONLESS),
    Feature("quality_abp", Unit.DIMENSIONLESS),
    Feature("quality_resp", Unit.DIMENSIONLESS),
    Feature("probability_sinus_like", Unit.DIMENSIONLESS),
    Feature("probability_af", Unit.DIMENSIONLESS),
    Feature("probability_vt", Unit.DIMENSIONLESS),
    Feature("probability_vf", Unit.DIMENSIONLESS),
    Feature("probability_asystole", Unit.DIMENSIONLESS),
    Feature("probability_paced", Unit.DIMENSIONLESS),
    Feature("probability_noise", Unit.DIMENSIONLESS),
    Feature("n_windows_judged", Unit.COUNT),
    Feature("n_samples_expected", Unit.COUNT),
    Feature("n_samples_missing", Unit.COUNT),
    Feature("decision_latency_ms", Unit.MILLISECOND),
    Feature("model_version", Unit.DIMENSIONLESS),
    Feature("n_alerts_active", Unit.COUNT),
)

SCHEMAS: Final[Mapping[int, FrameSchema]] = {schema.schema_id: schema for schema in (BEDSIDE_V1,)}


def schema_by_id(schema_id: int) -> FrameSchema:
    """The schema registered under `schema_id`.

    Raises
    ------
    UnknownSchemaError
        None is.
    """
    try:
        return SCHEMAS[schema_id]
    except KeyError:
        raise UnknownSchemaError(
            f"frame schema {schema_id} is not registered (known: {sorted(SCHEMAS)})", offset=0
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureFrame:
    """One second of one bed, as numbers.

    Attributes
    ----------
    device_id, boot_id, sequence_number
        Identity on the frame lane.
    start_time_ns : TimestampNs
        First nanosecond of the second described, on the clock of the data.
    monotonic_ns : int
        The device's monotonic clock when the frame was made; only differences mean anything.
    generation_mode : GenerationMode
        Real patient, test or demonstration.
    values : ndarray of float32, shape (n_features,)
        In the order and units of `schema`; NaN where not measured.
    schema : FrameSchema
        Which features these are.

    Raises
    ------
    OutOfRangeError
        A value is infinite, the shape is not that of the schema, or an id is malformed.
    """

    SCHEMA: ClassVar[str] = "feature_frame/1"

    device_id: str
    boot_id: str
    sequence_number: int
    start_time_ns: TimestampNs
    monotonic_ns: int
    generation_mode: GenerationMode
    values: NDArray[np.float32]
    schema: FrameSchema = BEDSIDE_V1

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_sequence_number(self.sequence_number)
        if self.values.shape != (len(self.schema.features),):
            raise OutOfRangeError(
                f"values has shape {self.values.shape}, expected ({len(self.schema.features)},)"
            )
        if np.isinf(self.values).any():
            bad = int(np.flatnonzero(np.isinf(self.values))[0])
            raise OutOfRangeError(f"feature {self.schema.names[bad]} is infinite")

    def __getitem__(self, name: str) -> float:
        """Value of feature `name`, NaN where it was not measured."""
        return float(self.values[self.schema.index(name)])


def encode_frame(frame: FeatureFrame) -> bytes:
    """The frame in its wire layout, `frame.schema.n_bytes` long."""
    record = np.zeros(1, dtype=frame.schema.dtype)
    record["schema_id"] = frame.schema.schema_id
    record["n_bytes"] = frame.schema.n_bytes
    record["generation_mode"] = _MODES.index(frame.generation_mode)
    record["device_id"] = frame.device_id.encode("ascii")
    record["boot_id"] = np.void(UUID(frame.boot_id).bytes)
    record["sequence_number"] = frame.sequence_number
    record["start_time_ns"] = frame.start_time_ns
    record["monotonic_ns"] = frame.monotonic_ns
    record["validity"] = _bitmap(frame.values)
    record["features"] = frame.values
    return record.tobytes()


def decode_batch(payload: bytes) -> tuple[FrameSchema, NDArray[np.void]]:
    """Frames of `payload`, all of one schema, without copying.

    Parameters
    ----------
    payload : bytes
        One or more frames end to end.

    Returns
    -------
    schema : FrameSchema
        Schema of every frame.
    records : structured ndarray, shape (n_frames,)
        Read-only view on `payload`; fields as in the module's table. ``records["features"]``
        is float32 of shape (n_frames, n_features), NaN where not measured.

    Raises
    ------
    UnknownSchemaError
        The first two bytes name no registered schema.
    TruncatedError
        The payload is empty, or not a whole number of frames.
    OutOfRangeError
        A value is infinite, a validity bit contradicts its value, an id is malformed, a
        frame is of another schema than the first. The message names the byte.

    Notes
    -----
    Cost about 0.15 µs a frame in batches of 512, all of it validation: see ``make bench``.
    """
    if len(payload) < HEADER_BYTES:
        raise TruncatedError(
            f"{len(payload)} bytes are fewer than a frame header ({HEADER_BYTES})",
            offset=len(payload),
        )
    schema = schema_by_id(int.from_bytes(payload[:2], "little"))
    excess = len(payload) % schema.n_bytes
    if excess:
        raise TruncatedError(
            f"{len(payload)} bytes are not a whole number of frames of {schema.n_bytes}",
            offset=len(payload) - excess,
        )
    records = np.frombuffer(payload, dtype=schema.dtype)
    _check(schema, records, payload)
    return schema, records


def decode_frame(payload: bytes) -> FeatureFrame:
    """The one frame of `payload`.

    Raises
    ------
    ContractError
        As `decode_batch`, or there is more than one frame.
    """
    schema, records = decode_batch(payload)
    if len(records) != 1:
        raise TruncatedError(f"{len(records)} frames where one was expected", offset=schema.n_bytes)
    return frame_of(schema, records[0])


def frame_of(schema: FrameSchema, record: Any) -> FeatureFrame:
    """One decoded record as a `FeatureFrame` that owns its values."""
    return FeatureFrame(
        device_id=record["device_id"].decode("ascii"),
        boot_id=str(UUID(bytes=record["boot_id"].tobytes())),
        sequence_number=int(record["sequence_number"]),
        start_time_ns=TimestampNs(int(record["start_time_ns"])),
        monotonic_ns=int(record["monotonic_ns"]),
        generation_mode=_MODES[int(record["generation_mode"])],
        values=record["features"].copy(),
        schema=schema,
    )


def _bitmap(values: NDArray[np.float32]) -> int:
    bits = np.flatnonzero(~np.isnan(values))
    return int(np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0)))


def _first(bad: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(bad)[0])


def _check(schema: FrameSchema, records: NDArray[np.void], payload: bytes) -> None:
    def refuse(row: int, byte: int, message: str) -> ContractError:
        return OutOfRangeError(f"frame {row}: {message}", offset=row * schema.n_bytes + byte)

    header = (
        (records["schema_id"] != schema.schema_id, 0, "another schema than the first frame"),
        (records["n_bytes"] != schema.n_bytes, 2, f"n_bytes is not {schema.n_bytes}"),
        (records["generation_mode"] >= len(_MODES), 4, "unknown generation_mode"),
        (records["sequence_number"] >= np.uint64(2**63), 48, "sequence_number is 2**63 or more"),
        (records["start_time_ns"] < 0, 56, "start_time_ns is negative"),
    )
    for bad, byte, message in header:
        if bad.any():
            raise refuse(_first(bad), byte, message)
    raw = np.frombuffer(payload, dtype=np.uint8).reshape(len(records), schema.n_bytes)
    if raw[:, 5:8].any():
        raise refuse(_first(np.asarray(raw[:, 5:8].any(axis=1))), 5, "reserved bytes are not zero")
    _check_device_ids(records["device_id"], refuse)
    features = records["features"]
    infinite = np.isinf(features)
    if infinite.any():
        row, column = (int(i) for i in np.argwhere(infinite)[0])
        raise refuse(row, HEADER_BYTES + 4 * column, f"{schema.names[column]} is infinite")
    bits = np.uint64(1) << np.arange(features.shape[1], dtype=np.uint64)
    stated = (records["validity"][:, None] & bits) != 0
    contradiction = stated == np.isnan(features)
    if contradiction.any():
        row, column = (int(i) for i in np.argwhere(contradiction)[0])
        raise refuse(row, 72, f"validity bit {column} contradicts {schema.names[column]}")
    excess = records["validity"] >> np.uint64(features.shape[1])
    if excess.any():
        raise refuse(
            _first(np.asarray(excess != 0)), 72, "validity has bits beyond the last feature"
        )


def _check_device_ids(device_ids: NDArray[np.bytes_], refuse: Any) -> None:
    # A batch mostly repeats a few devices, so each distinct id is checked once.
    ids: list[bytes] = device_ids.tolist()
    for device_id in set(ids):
        try:
            check_id(device_id.decode("ascii"), "device_id")
        except (OutOfRangeError, UnicodeDecodeError) as error:
            raise refuse(ids.index(device_id), 8, f"device_id is malformed: {error}") from error
