"""A few seconds of one channel group as bytes, and chunks put together until there are enough."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from edge_agent.core.sample_codec import ChannelCodec, decode
from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import WaveformChunk

BLOCK_S: Final = 5.0
"""Longest block, and so the most that `kill -9` takes of the curves."""

MAGIC: Final = b"WSB1"
_FRAME: Final = struct.Struct("<4sII")
"""Magic, bytes that follow, their CRC-32."""

_LONGEST_BYTES: Final = 4_000_000
_JITTER: Final = 0.5
"""Chunks that are this far from continuous, in samples, are continuous."""


class BlockHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a block says before its samples.

    Attributes
    ----------
    device_id, boot_id, sequence_number
        Of the first chunk in it.
    codes, unit, sampling_rate_hz, start_time_ns, n_samples
        As in `WaveformChunk`.
    lengths : list of int
        Bytes of each channel, in the order of `codes`.
    """

    device_id: str
    boot_id: str
    sequence_number: int
    codes: list[str]
    unit: Unit
    sampling_rate_hz: float
    start_time_ns: int
    n_samples: int
    lengths: list[int]

    @property
    def end_time_ns(self) -> int:
        """When the sample after the last would be taken."""
        return self.start_time_ns + round(self.n_samples * NS_PER_S / self.sampling_rate_hz)


def framed(chunk: WaveformChunk, codecs: list[ChannelCodec]) -> bytes:
    """`chunk` as a block with its checksum."""
    channels = [
        codec.encode(np.ascontiguousarray(row))
        for codec, row in zip(codecs, chunk.samples, strict=True)
    ]
    head = BlockHead(
        device_id=chunk.device_id,
        boot_id=chunk.boot_id,
        sequence_number=chunk.sequence_number,
        codes=list(chunk.codes),
        unit=chunk.unit,
        sampling_rate_hz=chunk.sampling_rate_hz,
        start_time_ns=chunk.start_time_ns,
        n_samples=chunk.samples.shape[1],
        lengths=[len(channel) for channel in channels],
    )
    text = msgspec.msgpack.encode(head)
    body = b"".join((struct.pack("<H", len(text)), text, *channels))
    return _FRAME.pack(MAGIC, len(body), zlib.crc32(body)) + body


def bodies(content: bytes) -> Iterator[bytes]:
    """Every whole block in `content`; what is torn or damaged is passed over."""
    at = content.find(MAGIC)
    while 0 <= at <= len(content) - _FRAME.size:
        _, length, checksum = _FRAME.unpack_from(content, at)
        begin = at + _FRAME.size
        body = content[begin : begin + length]
        whole = length <= _LONGEST_BYTES and len(body) == length and zlib.crc32(body) == checksum
        if whole:
            yield body
        at = content.find(MAGIC, begin + length if whole else at + 1)


def head_of(body: bytes) -> BlockHead:
    """What the block says of itself.

    Raises
    ------
    OutOfRangeError
        It is none of ours.
    """
    try:
        (length,) = struct.unpack_from("<H", body)
        return msgspec.msgpack.decode(body[2 : 2 + length], type=BlockHead)
    except (struct.error, msgspec.DecodeError) as error:
        raise OutOfRangeError(f"a block of curves cannot be read: {error}") from error


def chunk_of(body: bytes) -> WaveformChunk:
    """The samples of a block.

    Raises
    ------
    OutOfRangeError
        It is none of ours.
    """
    head = head_of(body)
    (length,) = struct.unpack_from("<H", body)
    at = 2 + length
    rows: list[np.ndarray] = []
    for n_bytes in head.lengths:
        rows.append(decode(body[at : at + n_bytes]))
        at += n_bytes
    try:
        return WaveformChunk(
            device_id=head.device_id,
            boot_id=head.boot_id,
            sequence_number=head.sequence_number,
            codes=tuple(head.codes),
            unit=head.unit,
            sampling_rate_hz=head.sampling_rate_hz,
            start_time_ns=TimestampNs(head.start_time_ns),
            samples=np.stack(rows),
        )
    except (ValueError, ContractError) as error:
        raise OutOfRangeError(f"a block of curves cannot be read: {error}") from error


@dataclass(slots=True)
class BlockBuilder:
    """Puts chunks of one channel group together, gaps as NaN, until a block is full."""

    codecs: list[ChannelCodec] = field(default_factory=list[ChannelCodec])
    _chunks: list[WaveformChunk] = field(default_factory=list[WaveformChunk])

    def add(self, chunk: WaveformChunk) -> list[bytes]:
        """Take `chunk`; the blocks that are complete with it."""
        done: list[bytes] = []
        if self._chunks and not self._continues(chunk):
            done.extend(self.flush())
        self._chunks.append(chunk)
        first = self._chunks[0]
        if chunk.end_time_ns - first.start_time_ns >= BLOCK_S * NS_PER_S:
            done.extend(self.flush())
        return done

    def pending(self) -> WaveformChunk | None:
        """What is not in a block yet."""
        if not self._chunks:
            return None
        return self._joined()

    def flush(self) -> list[bytes]:
        """Make a block of what there is."""
        chunk = self.pending()
        if chunk is None or chunk.samples.shape[1] == 0:
            self._chunks.clear()
            return []
        if len(self.codecs) != len(chunk.codes):
            self.codecs = [ChannelCodec() for _ in chunk.codes]
        self._chunks.clear()
        return [framed(chunk, self.codecs)]

    def _continues(self, chunk: WaveformChunk) -> bool:
        first = self._chunks[0]
        if (chunk.device_id, chunk.boot_id, chunk.unit, chunk.sampling_rate_hz) != (
            first.device_id,
            first.boot_id,
            first.unit,
            first.sampling_rate_hz,
        ):
            return False
        late_ns = chunk.start_time_ns - self._chunks[-1].end_time_ns
        jitter_ns = _JITTER * NS_PER_S / first.sampling_rate_hz
        return -jitter_ns <= late_ns < BLOCK_S * NS_PER_S

    def _joined(self) -> WaveformChunk:
        first = self._chunks[0]
        rate = first.sampling_rate_hz
        starts = [
            round((chunk.start_time_ns - first.start_time_ns) * rate / NS_PER_S)
            for chunk in self._chunks
        ]
        at = 0
        places: list[int] = []
        for start, chunk in zip(starts, self._chunks, strict=True):
            places.append(max(start, at))  # jitter of half a sample overwrites nothing
            at = places[-1] + chunk.samples.shape[1]
        samples = np.full((len(first.codes), at), np.nan, dtype=np.float32)
        for place, chunk in zip(places, self._chunks, strict=True):
            samples[:, place : place + chunk.samples.shape[1]] = chunk.samples
        return WaveformChunk(
            device_id=first.device_id,
            boot_id=first.boot_id,
            sequence_number=first.sequence_number,
            codes=first.codes,
            unit=first.unit,
            sampling_rate_hz=rate,
            start_time_ns=first.start_time_ns,
            samples=samples,
        )
