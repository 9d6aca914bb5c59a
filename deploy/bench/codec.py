"""Decoding frames: our fixed layout against the usual message formats, validation included."""

import json
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from deploy.bench.measure import median_s, with_ratios
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame, decode_batch, encode_frame
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

_BATCH = 512
_REPEATS = 20


class _Frame(msgspec.Struct):
    """The same content as a peer would carry it."""

    device_id: str
    boot_id: str
    sequence_number: int
    start_time_ns: int
    monotonic_ns: int
    values: dict[str, float | None]


def measure() -> dict[str, Any]:
    """Microseconds a frame to encode one and to decode batches of 512, beside peers."""
    generator = np.random.default_rng(0)
    values = generator.normal(80, 20, len(BEDSIDE_V1.features)).astype(np.float32)
    values[::7] = np.nan
    frame = FeatureFrame(
        device_id="bed-01",
        boot_id=str(UUID(int=generator.integers(2**60).item(), version=4)),
        sequence_number=7,
        start_time_ns=TimestampNs(1_700_000_000_000_000_000),
        monotonic_ns=5,
        generation_mode=GenerationMode.TEST,
        values=values,
    )
    payload = encode_frame(frame) * _BATCH
    named = {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(BEDSIDE_V1.names, values, strict=True)
    }
    peer = _Frame(frame.device_id, frame.boot_id, 7, frame.start_time_ns, frame.monotonic_ns, named)
    packed, text = msgspec.msgpack.encode(peer), msgspec.json.encode(peer)
    unpack = msgspec.msgpack.Decoder(_Frame).decode
    read = msgspec.json.Decoder(_Frame).decode

    def ours() -> None:
        for _ in range(_REPEATS):
            decode_batch(payload)

    def each(decode: Any, message: bytes) -> Any:
        def work() -> None:
            for _ in range(_BATCH * _REPEATS):
                decode(message)

        return work

    n_frames = _BATCH * _REPEATS
    decoded_s = median_s(ours)
    peers = {
        "msgspec_msgpack": median_s(each(unpack, packed)),
        "msgspec_json": median_s(each(read, text)),
        "json_stdlib": median_s(each(json.loads, text)),
    }
    encoded_s = median_s(lambda: [encode_frame(frame) for _ in range(1000)])
    return {
        "frame_bytes": BEDSIDE_V1.n_bytes,
        "json_bytes": len(text),
        "encode_us": encoded_s / 1000 * 1e6,
        "decode_us": decoded_s / n_frames * 1e6,
        "peers": with_ratios(decoded_s, peers),
    }
