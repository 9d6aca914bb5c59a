"""A batch of frames, joined with who was in the bed then, and scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from stream_processors.core.context import ContextTable
from stream_processors.core.copy_rows import JoinedFrames
from stream_processors.core.letters import dead_letter
from stream_processors.core.news2 import news2_intervals, vitals_of
from stream_processors.core.ports import Gap
from stream_processors.core.positions import Run, runs_of
from wardstream.contracts.errors import ContractError
from wardstream.contracts.frame import FrameSchema, decode_batch
from wardstream.contracts.identity import Lane, StreamKey
from wardstream.contracts.storage import ROLLUP_BUCKET_S
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.topics import FEATURES, DeadLetter

LATEST_NS_AHEAD: Final = 24 * 3600 * NS_PER_S
"""A frame that claims to be from further ahead is refused: its clock is wrong."""
OLDEST_NS_BACK: Final = 366 * 24 * 3600 * NS_PER_S
"""Likewise one from longer ago: no outbox keeps a year."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the ``features`` topic: frames end to end, and when the bridge had them."""

    payload: bytes
    received_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameBatch:
    """Decoded frames, not joined yet.

    Attributes
    ----------
    schema : FrameSchema
        Of every frame.
    records : structured ndarray, shape (n_frames,)
        As `decode_batch` gives them.
    received_time_ns : ndarray of int64, shape (n_frames,)
        When the bridge received each.
    streams : list of (device_id, boot_id)
        Lives of devices that occur.
    stream_index : ndarray of intp, shape (n_frames,)
        Which of `streams` each frame is from.
    plausible : ndarray of bool, shape (n_frames,)
        Whether its time can be.
    """

    schema: FrameSchema
    records: NDArray[np.void]
    received_time_ns: NDArray[np.int64]
    streams: list[tuple[str, str]]
    stream_index: NDArray[np.intp]
    plausible: NDArray[np.bool_]

    def handled(self) -> dict[StreamKey, list[Run]]:
        """The numbers this batch settles, by stream."""
        numbers = self.records["sequence_number"].astype(np.int64)
        order = np.argsort(self.stream_index, kind="stable")
        bounds = np.searchsorted(self.stream_index[order], np.arange(len(self.streams) + 1))
        return {
            StreamKey(device_id, boot_id, Lane.FRAME): runs_of(
                numbers[order[bounds[number] : bounds[number + 1]]]
            )
            for number, (device_id, boot_id) in enumerate(self.streams)
        }

    def buckets(self) -> set[tuple[str, int]]:
        """The roll-up buckets it touches, by device and start in ns."""
        bucket_ns = ROLLUP_BUCKET_S * NS_PER_S
        starts = self.records["start_time_ns"] // bucket_ns
        pairs = set(
            zip(
                self.stream_index[self.plausible].tolist(),
                starts[self.plausible].tolist(),
                strict=True,
            )
        )
        return {(self.streams[stream][0], start * bucket_ns) for stream, start in pairs}


def decode_records(
    log_records: Sequence[LogRecord], now_ns: int
) -> tuple[list[FrameBatch], list[DeadLetter]]:
    """The frames of many records as one batch a schema, and letters for what breaks the contract.

    The bridge has checked every frame already, so records are decoded together; only if that
    fails is each looked at by itself.
    """
    by_schema: dict[bytes, list[LogRecord]] = {}
    for record in log_records:
        by_schema.setdefault(record.payload[:2], []).append(record)
    batches: list[FrameBatch] = []
    letters: list[DeadLetter] = []
    for group in by_schema.values():
        try:
            batches.append(_batch(group, now_ns))
        except ContractError:
            good, refused = _sift(group)
            letters.extend(refused)
            if good:
                batches.append(_batch(good, now_ns))
    return batches, letters


def refuse_implausible(batch: FrameBatch) -> list[tuple[Gap, DeadLetter]]:
    """For each frame whose time cannot be: its number as a loss on record, and the frame whole."""
    refused: list[tuple[Gap, DeadLetter]] = []
    for row in np.flatnonzero(~batch.plausible).tolist():
        record: Any = batch.records[row]
        device_id, boot_id = batch.streams[batch.stream_index[row]]
        number = int(record["sequence_number"])
        reason = f"start_time_ns {int(record['start_time_ns'])} cannot be"
        gap = Gap(
            stream=StreamKey(device_id, boot_id, Lane.FRAME),
            first_sequence_number=number,
            last_sequence_number=number,
            reason=reason,
        )
        letter = dead_letter(
            origin=FEATURES.name,
            device_id=device_id,
            reason=reason,
            payload=record.tobytes(),
            received_time_ns=int(batch.received_time_ns[row]),
        )
        refused.append((gap, letter))
    return refused


def join(batch: FrameBatch, table: ContextTable) -> JoinedFrames | None:
    """The plausible frames of `batch`, joined and scored; None if there are none."""
    kept = np.flatnonzero(batch.plausible)
    if kept.size == 0:
        return None
    records: Any = batch.records if kept.size == len(batch.records) else batch.records[kept]
    stream_index = batch.stream_index[kept]
    times_ns = np.ascontiguousarray(records["start_time_ns"])
    contexts, context_index = table.join(batch.streams, stream_index, times_ns)
    # A copy always: of a single row the view would do, but it is read-only, which to a
    # compiled loop is another type, and the next batch would wait for a compiler.
    features = records["features"].copy()
    low, high = news2_intervals(vitals_of(batch.schema, features), contexts, context_index)
    return JoinedFrames(
        streams=batch.streams,
        stream_index=stream_index,
        contexts=contexts,
        context_index=context_index,
        sequence_number=records["sequence_number"].astype(np.int64),
        start_time_ns=times_ns,
        monotonic_ns=records["monotonic_ns"],
        received_time_ns=batch.received_time_ns[kept],
        generation_mode=records["generation_mode"],
        news2_low=low,
        news2_high=high,
        features=features,
    )


def _batch(log_records: Sequence[LogRecord], now_ns: int) -> FrameBatch:
    schema, records = decode_batch(b"".join(record.payload for record in log_records))
    counts = [len(record.payload) // schema.n_bytes for record in log_records]
    received = np.repeat(
        np.array([record.received_time_ns for record in log_records], dtype=np.int64), counts
    )
    streams, stream_index = _streams(records)
    times = records["start_time_ns"]
    return FrameBatch(
        schema=schema,
        records=records,
        received_time_ns=received,
        streams=streams,
        stream_index=stream_index,
        plausible=(times < now_ns + LATEST_NS_AHEAD) & (times > now_ns - OLDEST_NS_BACK),
    )


def _streams(records: NDArray[np.void]) -> tuple[list[tuple[str, str]], NDArray[np.intp]]:
    # The 40 bytes of device and boot are looked up as one key: 0.2 µs a frame, a sort is slower.
    n_bytes = records.dtype.itemsize
    raw = records.view(np.uint8).reshape(len(records), n_bytes)
    keys: list[bytes] = np.ascontiguousarray(raw[:, 8:48]).view("V40").ravel().tolist()
    numbers: dict[bytes, int] = {}
    index = np.fromiter(
        (numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.intp, count=len(keys)
    )
    streams = [
        (key[:24].rstrip(b"\x00").decode("ascii"), str(UUID(bytes=key[24:]))) for key in numbers
    ]
    return streams, index


def _sift(log_records: Sequence[LogRecord]) -> tuple[list[LogRecord], list[DeadLetter]]:
    good: list[LogRecord] = []
    letters: list[DeadLetter] = []
    for record in log_records:
        try:
            decode_batch(record.payload)
            good.append(record)
        except ContractError as error:
            letters.append(
                dead_letter(
                    origin=FEATURES.name,
                    device_id="",
                    reason=str(error),
                    payload=record.payload,
                    received_time_ns=record.received_time_ns,
                )
            )
    return good, letters
