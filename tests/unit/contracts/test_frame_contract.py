"""The frame's layout, decoded against a naive reader that follows the table byte by byte."""

import contextlib
import struct
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wardstream.contracts.errors import (
    ContractError,
    OutOfRangeError,
    TruncatedError,
    UnknownSchemaError,
)
from wardstream.contracts.frame import (
    BEDSIDE_V1,
    HEADER_BYTES,
    FeatureFrame,
    decode_batch,
    decode_frame,
    encode_frame,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

N = len(BEDSIDE_V1.features)
BOOT = "5f0ab1f6-62a4-5d5e-9a52-9ad1a1e3c0d7"

values = npst.arrays(
    np.float32, N, elements=st.floats(width=32, allow_infinity=False, allow_nan=True)
)
device_ids = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,22}[a-z0-9])?", fullmatch=True)
frames = st.builds(
    FeatureFrame,
    device_id=device_ids,
    boot_id=st.uuids().map(str),
    sequence_number=st.integers(0, 2**63 - 1),
    start_time_ns=st.integers(0, 2**63 - 1).map(TimestampNs),
    monotonic_ns=st.integers(-(2**63), 2**63 - 1),
    generation_mode=st.sampled_from(GenerationMode),
    values=values,
)


def a_frame(**changes: object) -> FeatureFrame:
    fields: dict[str, object] = {
        "device_id": "bed-01",
        "boot_id": BOOT,
        "sequence_number": 7,
        "start_time_ns": 1_700_000_000_000_000_000,
        "monotonic_ns": 5,
        "generation_mode": GenerationMode.DEMO,
        "values": np.arange(N, dtype=np.float32),
    }
    return FeatureFrame(**(fields | changes))  # type: ignore[arg-type]


def naive_decode(payload: bytes) -> dict[str, object]:
    """The module's table, read with struct, one field at a time."""
    schema_id, n_bytes, mode = struct.unpack_from("<HHB", payload, 0)
    sequence_number, start, monotonic, validity = struct.unpack_from("<QqqQ", payload, 48)
    return {
        "schema_id": schema_id,
        "n_bytes": n_bytes,
        "mode": mode,
        "device_id": payload[8:32].rstrip(b"\0").decode(),
        "boot_id": str(UUID(bytes=payload[32:48])),
        "sequence_number": sequence_number,
        "start_time_ns": start,
        "monotonic_ns": monotonic,
        "validity": validity,
        "features": struct.unpack_from(f"<{N}f", payload, 80),
    }


@given(frames)
def test_a_frame_comes_back_as_it_went(frame: FeatureFrame) -> None:
    back = decode_frame(encode_frame(frame))
    assert back.device_id == frame.device_id
    assert back.boot_id == frame.boot_id
    assert back.sequence_number == frame.sequence_number
    assert back.start_time_ns == frame.start_time_ns
    assert back.monotonic_ns == frame.monotonic_ns
    assert back.generation_mode is frame.generation_mode
    np.testing.assert_array_equal(back.values, frame.values)


@given(frames)
def test_the_layout_is_the_one_in_the_table(frame: FeatureFrame) -> None:
    naive = naive_decode(encode_frame(frame))
    assert naive["schema_id"] == 1
    assert naive["n_bytes"] == BEDSIDE_V1.n_bytes == HEADER_BYTES + 4 * N
    assert naive["device_id"] == frame.device_id
    assert naive["boot_id"] == frame.boot_id
    assert naive["sequence_number"] == frame.sequence_number
    assert naive["start_time_ns"] == frame.start_time_ns
    assert naive["monotonic_ns"] == frame.monotonic_ns
    measured = sum(1 << i for i, value in enumerate(frame.values) if not np.isnan(value))
    assert naive["validity"] == measured
    np.testing.assert_array_equal(np.float32(naive["features"]), frame.values)  # type: ignore[arg-type]


@given(st.lists(frames, min_size=1, max_size=8))
def test_a_batch_is_its_frames_end_to_end(batch: list[FeatureFrame]) -> None:
    schema, records = decode_batch(b"".join(map(encode_frame, batch)))
    assert schema is BEDSIDE_V1
    assert records["sequence_number"].tolist() == [frame.sequence_number for frame in batch]
    np.testing.assert_array_equal(records["features"], np.stack([f.values for f in batch]))


@settings(max_examples=500)
@given(st.binary(max_size=3 * BEDSIDE_V1.n_bytes))
def test_noise_is_refused_or_decoded_but_never_crashes(payload: bytes) -> None:
    with contextlib.suppress(ContractError):
        decode_batch(payload)


@settings(max_examples=500)
@given(
    st.integers(0, 2 * BEDSIDE_V1.n_bytes - 1),
    st.integers(0, 255),
    st.integers(0, 2 * BEDSIDE_V1.n_bytes),
)
def test_a_damaged_batch_is_refused_or_decoded_but_never_crashes(
    position: int, byte: int, length: int
) -> None:
    payload = bytearray(encode_frame(a_frame()) + encode_frame(a_frame(sequence_number=8)))
    payload[position] = byte
    try:
        _, records = decode_batch(bytes(payload[:length]))
    except ContractError:
        return
    assert not np.isinf(records["features"]).any()


def damaged(offset: int, patch: bytes, *, frame: int = 0) -> bytes:
    payload = bytearray(encode_frame(a_frame()) * 2)
    start = frame * BEDSIDE_V1.n_bytes + offset
    payload[start : start + len(patch)] = patch
    return bytes(payload)


@pytest.mark.parametrize(
    ("payload", "error", "byte"),
    [
        pytest.param(b"", TruncatedError, 0, id="nothing"),
        pytest.param(encode_frame(a_frame())[:79], TruncatedError, 79, id="half a header"),
        pytest.param(encode_frame(a_frame())[:-1], TruncatedError, 0, id="one byte short"),
        pytest.param(encode_frame(a_frame()) + b"x", TruncatedError, 220, id="one byte over"),
        pytest.param(damaged(0, b"\x09\x00"), UnknownSchemaError, 0, id="unknown schema"),
        pytest.param(damaged(0, b"\x09\x00", frame=1), OutOfRangeError, 220, id="mixed schemas"),
        pytest.param(damaged(2, b"\x00\x00", frame=1), OutOfRangeError, 222, id="wrong length"),
        pytest.param(damaged(4, b"\x03"), OutOfRangeError, 4, id="unknown mode"),
        pytest.param(damaged(6, b"\x01"), OutOfRangeError, 5, id="reserved byte set"),
        pytest.param(damaged(8, b"Bed/1"), OutOfRangeError, 8, id="topic-breaking device id"),
        pytest.param(damaged(8, b"\xff"), OutOfRangeError, 8, id="device id is not ASCII"),
        pytest.param(damaged(55, b"\x80"), OutOfRangeError, 48, id="sequence number too large"),
        pytest.param(damaged(63, b"\x80"), OutOfRangeError, 56, id="time before 1970"),
        pytest.param(damaged(88, struct.pack("<f", float("inf"))), OutOfRangeError, 88, id="infinite"),
        pytest.param(
            damaged(84, struct.pack("<f", float("nan")), frame=1), OutOfRangeError, 292,
            id="NaN where the bitmap says measured",
        ),
        pytest.param(damaged(79, b"\x80"), OutOfRangeError, 72, id="bit beyond the last feature"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_byte(payload: bytes, error: type[ContractError], byte: int) -> None:
    with pytest.raises(error) as refusal:
        decode_batch(payload)
    assert refusal.value.offset == byte
    assert f"byte {byte}:" in str(refusal.value)


def test_an_infinite_value_cannot_become_a_frame() -> None:
    infinite = np.full(N, np.inf, dtype=np.float32)
    with pytest.raises(OutOfRangeError, match="heart_rate_per_min is infinite"):
        a_frame(values=infinite)


def test_one_frame_where_two_came_is_refused() -> None:
    with pytest.raises(TruncatedError):
        decode_frame(encode_frame(a_frame()) * 2)


def test_feature_names_are_unique_and_say_their_unit() -> None:
    assert len(set(BEDSIDE_V1.names)) == N
    with pytest.raises(UnknownSchemaError):
        BEDSIDE_V1.index("vital")
