"""Bytes to messages and back, one codec a message type.

Frames have their fixed layout (`frame`); strips are msgpack, for they hold samples;
everything else is JSON that a person can read. Decoding is strict: a missing field, an
unknown field, a wrong type or a refused value is a `ContractError`, never a guess.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar, cast

import msgspec
import numpy as np

from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.frame import FeatureFrame, decode_frame, encode_frame
from wardstream.contracts.live import LiveCurves
from wardstream.contracts.units import Unit, parse_unit
from wardstream.contracts.waveform import AlertStrip, WaveformChunk

T = TypeVar("T")

MAX_MESSAGE_BYTES: Final = 1_000_000
"""Longest message any tier accepts (a 15 s strip of 4 channels at 250 Hz is 60 kB)."""


class _Chunk(msgspec.Struct, forbid_unknown_fields=True):
    sequence_number: int
    codes: tuple[str, ...]
    unit: str
    sampling_rate_hz: float
    start_time_ns: int
    n_samples: int
    scale: float
    samples: bytes


class _Strip(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    device_id: str
    boot_id: str
    sequence_number: int
    alert_id: str
    chunks: list[_Chunk]


class _Live(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    device_id: str
    boot_id: str
    sequence_number: int
    view_id: str
    chunks: list[_Chunk]


_MISSING: Final = -32768


def encode(message: object) -> bytes:
    """The wire form of any message of `wardstream.contracts`.

    Raises
    ------
    OutOfRangeError
        A float is infinite or NaN where JSON would have to carry it.
    """
    match message:
        case FeatureFrame():
            return encode_frame(message)
        case AlertStrip():
            return _encode_strip(message)
        case LiveCurves():
            return _encode_live(message)
        case _:
            _refuse_non_finite(message)
            return msgspec.json.encode(message)


def decode(payload: bytes, message_type: type[T]) -> T:
    """The message of type `message_type` in `payload`.

    Raises
    ------
    ContractError
        Any deviation from the contract; the message names the field or the byte.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise OutOfRangeError(f"{len(payload)} bytes exceed {MAX_MESSAGE_BYTES}")
    if message_type is FeatureFrame:
        return cast("T", decode_frame(payload))
    if message_type is AlertStrip:
        return cast("T", _decode_strip(payload))
    if message_type is LiveCurves:
        return cast("T", _decode_live(payload))
    try:
        raw = msgspec.json.decode(payload)
        _refuse_unknown_fields(raw, message_type)
        return msgspec.json.decode(payload, type=message_type)
    except ContractError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _contract_error(error, message_type) from error


def _contract_error(error: Exception, message_type: type) -> ContractError:
    # msgspec wraps what __post_init__ raises only if it is a ValueError or TypeError, so a
    # ContractError arrives unchanged above; what is left is malformed JSON or a wrong type.
    return ContractError(f"{message_type.__name__}: {error}")


def _refuse_unknown_fields(raw: object, message_type: type) -> None:
    if not isinstance(raw, dict) or not is_dataclass(message_type):
        return
    known = {field.name for field in fields(message_type)}
    unknown = sorted(str(key) for key in cast("dict[Any, Any]", raw) if key not in known)
    if unknown:
        raise ContractError(f"{message_type.__name__}: unknown fields {unknown}")


def _refuse_non_finite(message: object) -> None:
    for name, value in _floats(message):
        if not math.isfinite(value):
            raise OutOfRangeError(
                f"{type(message).__name__}.{name} is {value}, JSON has no such number"
            )


def _floats(message: object, prefix: str = "") -> list[tuple[str, float]]:
    if isinstance(message, float):
        return [(prefix.rstrip("."), message)]
    if isinstance(message, dict):
        items = cast("dict[Any, Any]", message).items()
        return [found for key, value in items for found in _floats(value, f"{prefix}{key}.")]
    if isinstance(message, tuple | list):
        entries = enumerate(cast("list[Any]", message))
        return [found for i, value in entries for found in _floats(value, f"{prefix}{i}.")]
    if is_dataclass(message):
        named = ((f.name, getattr(message, f.name)) for f in fields(message))
        return [found for name, value in named for found in _floats(value, f"{prefix}{name}.")]
    return []


def _encode_strip(strip: AlertStrip) -> bytes:
    return msgspec.msgpack.encode(
        _Strip(
            schema=AlertStrip.SCHEMA,
            device_id=strip.device_id,
            boot_id=strip.boot_id,
            sequence_number=strip.sequence_number,
            alert_id=strip.alert_id,
            chunks=[_encode_chunk(chunk) for chunk in strip.chunks],
        )
    )


def _encode_chunk(chunk: WaveformChunk) -> _Chunk:
    # Sixteen bits over the strip's own range: the error is below range / 65,000, less than
    # the 12 to 16 bits of any bedside ADC resolve.
    samples = chunk.samples.astype(np.float64)
    largest = float(np.nanmax(np.abs(samples), initial=0.0))
    scale = largest / 32767 if largest > 0 else 1.0
    counts = np.where(np.isnan(samples), _MISSING, np.rint(samples / scale))
    return _Chunk(
        sequence_number=chunk.sequence_number,
        codes=chunk.codes,
        unit=chunk.unit.value,
        sampling_rate_hz=chunk.sampling_rate_hz,
        start_time_ns=chunk.start_time_ns,
        n_samples=chunk.samples.shape[1],
        scale=scale,
        samples=counts.astype("<i2").tobytes(),
    )


def _decode_strip(payload: bytes) -> AlertStrip:
    try:
        strip = msgspec.msgpack.decode(payload, type=_Strip)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"AlertStrip: {error}") from error
    if strip.schema != AlertStrip.SCHEMA:
        raise ContractError(f"AlertStrip: schema {strip.schema!r}, expected {AlertStrip.SCHEMA!r}")
    return AlertStrip(
        device_id=strip.device_id,
        boot_id=strip.boot_id,
        sequence_number=strip.sequence_number,
        alert_id=strip.alert_id,
        chunks=tuple(_decode_chunk(chunk, strip) for chunk in strip.chunks),
    )


def _encode_live(curves: LiveCurves) -> bytes:
    return msgspec.msgpack.encode(
        _Live(
            schema=LiveCurves.SCHEMA,
            device_id=curves.device_id,
            boot_id=curves.boot_id,
            sequence_number=curves.sequence_number,
            view_id=curves.view_id,
            chunks=[_encode_chunk(chunk) for chunk in curves.chunks],
        )
    )


def _decode_live(payload: bytes) -> LiveCurves:
    try:
        live = msgspec.msgpack.decode(payload, type=_Live)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"LiveCurves: {error}") from error
    if live.schema != LiveCurves.SCHEMA:
        raise ContractError(f"LiveCurves: schema {live.schema!r}, expected {LiveCurves.SCHEMA!r}")
    return LiveCurves(
        device_id=live.device_id,
        boot_id=live.boot_id,
        sequence_number=live.sequence_number,
        view_id=live.view_id,
        chunks=tuple(_decode_chunk(chunk, live) for chunk in live.chunks),
    )


def _decode_chunk(chunk: _Chunk, strip: _Strip | _Live) -> WaveformChunk:
    expected = 2 * len(chunk.codes) * chunk.n_samples
    if chunk.n_samples < 0 or len(chunk.samples) != expected:
        raise ContractError(f"curves: {len(chunk.samples)} sample bytes, expected {expected}")
    if not 0 < chunk.scale < math.inf:
        raise OutOfRangeError(f"curves: scale is {chunk.scale}, expected > 0")
    counts = np.frombuffer(chunk.samples, dtype="<i2").reshape(len(chunk.codes), chunk.n_samples)
    samples = np.where(counts == _MISSING, np.nan, counts * chunk.scale).astype(np.float32)
    unit: Unit = parse_unit(chunk.unit)
    return WaveformChunk(
        device_id=strip.device_id,
        boot_id=strip.boot_id,
        sequence_number=chunk.sequence_number,
        codes=chunk.codes,
        unit=unit,
        sampling_rate_hz=chunk.sampling_rate_hz,
        start_time_ns=cast("Any", chunk.start_time_ns),
        samples=samples,
    )
