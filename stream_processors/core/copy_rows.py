"""Whole batches of joined frames as PostgreSQL's binary COPY format, built by one compiled loop.

Building the rows value by value in Python costs about 40 µs a frame, this about 0.4 µs. The
columns and their order are `storage.FRAME_COPY_COLUMNS`.

    file header   "PGCOPY\\n\\377\\r\\n\\0", flags int32 0, extension length int32 0
    tuple         int16 number of fields, then per field int32 length (-1 NULL) and bytes,
                  everything big-endian
    trailer       int16 -1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from stream_processors.core.context import JoinedContext
from wardstream.contracts.storage import FRAME_COPY_COLUMNS
from wardstream.contracts.waveform import GenerationMode
from wardstream.kernels.compile import kernel

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"

_TEXT_OID: Final = 25
_NULL: Final = (-1).to_bytes(4, "big", signed=True)
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01T00:00:00Z, from which PostgreSQL counts."""
_MODES: Final = (GenerationMode.REAL, GenerationMode.TEST, GenerationMode.DEMO)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JoinedFrames:
    """Frames with what was joined to them, column by column.

    Attributes
    ----------
    streams : sequence of (device_id, boot_id)
        Lives of devices that occur.
    stream_index, context_index : ndarray of intp, shape (n_frames,)
        Which of `streams` and of `contexts` each frame belongs to.
    contexts : sequence of JoinedContext
        What was joined.
    sequence_number, start_time_ns, monotonic_ns, received_time_ns : ndarray of int64, (n_frames,)
        As the device and the bridge said.
    generation_mode : ndarray of uint8, shape (n_frames,)
        Code of the wire.
    news2_low, news2_high : ndarray of int16, shape (n_frames,)
        NEWS2 interval; -1 where there is no patient to score.
    features : ndarray of float32, shape (n_frames, n_features)
        NaN where not measured.
    """

    streams: Sequence[tuple[str, str]]
    stream_index: NDArray[np.intp]
    contexts: Sequence[JoinedContext]
    context_index: NDArray[np.intp]
    sequence_number: NDArray[np.int64]
    start_time_ns: NDArray[np.int64]
    monotonic_ns: NDArray[np.int64]
    received_time_ns: NDArray[np.int64]
    generation_mode: NDArray[np.uint8]
    news2_low: NDArray[np.int16]
    news2_high: NDArray[np.int16]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.sequence_number)


@dataclass(frozen=True, slots=True, eq=False)
class _Blobs:
    """Byte strings end to end; blob i is ``data[offsets[i]:offsets[i + 1]]``."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @property
    def longest(self) -> int:
        return int(np.diff(self.offsets).max(initial=0))


def copy_rows(frames: JoinedFrames) -> bytes:
    """`frames` as a complete binary COPY file."""
    streams = _blobs([_field(d.encode()) + _field(UUID(b).bytes) for d, b in frames.streams])
    contexts = _blobs([_context_fields(context) for context in frames.contexts])
    modes = _blobs([_field(mode.value.encode()) for mode in _MODES])
    n_features = frames.features.shape[1]
    longest = 2 + streams.longest + 5 * 12 + modes.longest + contexts.longest + 12 + 8 * n_features
    out = np.empty(len(frames) * longest, dtype=np.uint8)
    integers = np.empty((len(frames), 5), dtype=np.int64)
    integers[:, 0] = frames.sequence_number
    integers[:, 1] = frames.start_time_ns // 1000 - _POSTGRES_EPOCH_US
    integers[:, 2] = frames.start_time_ns
    integers[:, 3] = frames.monotonic_ns
    integers[:, 4] = frames.received_time_ns
    scores = np.stack((frames.news2_low, frames.news2_high), axis=1).astype(np.int16)
    bits = np.ascontiguousarray(frames.features).view(np.uint32).reshape(len(frames), n_features)
    length = _fill(
        out, len(FRAME_COPY_COLUMNS), bits, np.isnan(frames.features), integers, scores,
        streams.data, streams.offsets, np.asarray(frames.stream_index, dtype=np.int64),
        modes.data, modes.offsets, np.asarray(frames.generation_mode, dtype=np.int64),
        contexts.data, contexts.offsets, np.asarray(frames.context_index, dtype=np.int64),
    )  # fmt: skip
    return HEADER + out[:length].tobytes() + TRAILER


def _field(value: bytes | None) -> bytes:
    return _NULL if value is None else len(value).to_bytes(4, "big") + value


def _text(value: str | None) -> bytes:
    return _field(None if value is None else value.encode())


def _context_fields(context: JoinedContext) -> bytes:
    age = context.age_years
    return (
        _text(context.bed_id)
        + _text(context.pseudonym)
        + _field(None if age is None else age.to_bytes(2, "big", signed=True))
        + _field(None if context.problems is None else _text_array(context.problems))
    )


def _text_array(values: Sequence[str]) -> bytes:
    # array_recv: dimensions, has-null flag, element type, then length and lower bound of each
    # dimension, then the elements as fields. An empty array has no dimension.
    def int32(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(4, "big") for number in numbers)

    if not values:
        return int32(0, 0, _TEXT_OID)
    return int32(1, 0, _TEXT_OID, len(values), 1) + b"".join(_text(value) for value in values)


def _blobs(values: Sequence[bytes]) -> _Blobs:
    offsets = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return _Blobs(np.frombuffer(b"".join(values), dtype=np.uint8), offsets)


@kernel
def _fill(
    out: Bytes, n_fields: int,
    bits: NDArray[np.uint32], missing: NDArray[np.bool_], integers: Integers,
    scores: NDArray[np.int16],
    stream_data: Bytes, stream_offsets: Integers, stream_index: Integers,
    mode_data: Bytes, mode_offsets: Integers, mode_index: Integers,
    context_data: Bytes, context_offsets: Integers, context_index: Integers,
) -> int:  # fmt: skip
    at = 0
    for row in range(bits.shape[0]):
        out[at] = n_fields >> 8
        out[at + 1] = n_fields & 0xFF
        at = _put_blob(out, at + 2, stream_data, stream_offsets, stream_index[row])
        for column in range(integers.shape[1]):
            at = _put_int64(out, at, integers[row, column])
        at = _put_blob(out, at, mode_data, mode_offsets, mode_index[row])
        at = _put_blob(out, at, context_data, context_offsets, context_index[row])
        for column in range(scores.shape[1]):
            at = _put_score(out, at, scores[row, column])
        for column in range(bits.shape[1]):
            if missing[row, column]:
                at = _put_int32(out, at, np.uint32(0xFFFFFFFF))
            else:
                at = _put_int32(out, at, np.uint32(4))
                at = _put_int32(out, at, bits[row, column])
    return at


@kernel
def _put_blob(out: Bytes, at: int, data: Bytes, offsets: Integers, index: int) -> int:
    for i in range(offsets[index], offsets[index + 1]):
        out[at] = data[i]
        at += 1
    return at


@kernel
def _put_int32(out: Bytes, at: int, value: Any) -> int:
    out[at] = (value >> 24) & 0xFF
    out[at + 1] = (value >> 16) & 0xFF
    out[at + 2] = (value >> 8) & 0xFF
    out[at + 3] = value & 0xFF
    return at + 4


@kernel
def _put_int64(out: Bytes, at: int, value: Any) -> int:
    at = _put_int32(out, at, np.uint32(8))
    for i in range(8):
        out[at + i] = (value >> (56 - 8 * i)) & 0xFF
    return at + 8


@kernel
def _put_score(out: Bytes, at: int, value: Any) -> int:
    if value < 0:
        return _put_int32(out, at, np.uint32(0xFFFFFFFF))
    at = _put_int32(out, at, np.uint32(2))
    out[at] = (value >> 8) & 0xFF
    out[at + 1] = value & 0xFF
    return at + 2
