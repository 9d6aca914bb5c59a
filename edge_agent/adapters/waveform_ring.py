"""The raw curves of the last day, on the device's own disk and nowhere else.

Segments of ten minutes, appended block by block, each block with its checksum: what a crash
tears is the last block of the last segment, and a new life begins a new segment. The oldest
segments go when there are too many bytes or they are too old. Nothing here sends anything.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.core.outbox_port import StorageError
from edge_agent.core.waveform_block import BlockBuilder, bodies, chunk_of, head_of
from wardstream.contracts.errors import ContractError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import WaveformChunk

logger = logging.getLogger(__name__)

FOLDER: Final = "waveforms"
_SUFFIX: Final = ".wsb"
_SEGMENT_NS: Final = 600 * NS_PER_S
_SEGMENT_BYTES: Final = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLimits:
    """How much is kept.

    Attributes
    ----------
    max_bytes : int
        Of all segments together. Four channels at 250 Hz take about 100 MB a day.
    max_age_s : float
        Oldest curve kept, in seconds.
    """

    max_bytes: int = 1_000_000_000
    max_age_s: float = 72 * 3600.0


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the ring: `number` grows with each, over all lives."""

    path: Path
    number: int
    start_ns: int

    @classmethod
    def of(cls, path: Path) -> "Segment | None":
        """The segment at `path`, None if it is something else."""
        number, _, start = path.name.removesuffix(_SUFFIX).partition("-")
        if path.suffix != _SUFFIX or not (number.isdigit() and start.isdigit()):
            return None
        return cls(path, int(number), int(start))


def segments(folder: Path) -> list[Segment]:
    """Segments in `folder` (of a ring), oldest first; none if there is no folder."""
    try:
        found = [Segment.of(path) for path in folder.iterdir()]
    except OSError:
        return []
    return sorted((s for s in found if s is not None), key=lambda s: s.number)


def read(folder: Path, start_ns: int, end_ns: int) -> Iterator[WaveformChunk]:
    """Blocks of the ring in `folder` that overlap [start_ns, end_ns), in the order written.

    May be asked beside a running agent. Damaged blocks are passed over.
    """
    for segment in segments(folder):
        # A segment spans ten minutes at most; a clock that was set begins another one.
        if segment.start_ns >= end_ns or segment.start_ns + 2 * _SEGMENT_NS < start_ns:
            continue
        with suppress(OSError):
            for body in bodies(segment.path.read_bytes()):
                with suppress(ContractError):
                    head = head_of(body)
                    if head.start_time_ns < end_ns and head.end_time_ns > start_ns:
                        yield chunk_of(body)


class WaveformRing:
    """Writes the ring in `state_dir`. Every method may be called from any thread.

    Parameters
    ----------
    state_dir : Path
        State folder of the device.
    limits : RingLimits
        How much is kept; may be exchanged by `limit`.
    """

    def __init__(self, state_dir: Path, limits: RingLimits) -> None:
        self._folder = state_dir / FOLDER
        self._limits = limits
        self._lock = threading.Lock()
        self._builders: dict[tuple[str, ...], BlockBuilder] = {}
        self._sizes: dict[Segment, int] = {}
        for segment in segments(self._folder):
            with suppress(OSError):
                self._sizes[segment] = segment.path.stat().st_size
        self._next_number = max((s.number for s in self._sizes), default=-1) + 1
        self._current: Segment | None = None
        self._file: int | None = None

    @property
    def n_bytes(self) -> int:
        """Of all segments together."""
        return sum(self._sizes.values())

    def limit(self, limits: RingLimits) -> None:
        """Let `limits` hold from the next block on."""
        with self._lock:
            self._limits = limits

    def append(self, chunk: WaveformChunk) -> int:
        """Keep `chunk`; how many blocks went to the disk with it.

        Raises
        ------
        StorageError
            The disk refused a block; up to five seconds of this group are lost.
        """
        with self._lock:
            builder = self._builders.setdefault(chunk.codes, BlockBuilder())
            blocks = builder.add(chunk)
            for block in blocks:
                self._write(block, chunk.end_time_ns)
            return len(blocks)

    def flush(self) -> int:
        """Write what is not in a block yet, and have the disk keep it over a power cut.

        Raises
        ------
        StorageError
            The disk refused.
        """
        n_written = 0
        with self._lock:
            for builder in self._builders.values():
                pending = builder.pending()
                if pending is not None:
                    for block in builder.flush():
                        self._write(block, pending.end_time_ns)
                        n_written += 1
        return n_written

    def read(self, start_ns: TimestampNs, end_ns: TimestampNs) -> Sequence[WaveformChunk]:
        """Everything kept that overlaps [start_ns, end_ns), the newest seconds included."""
        with self._lock:
            pending = [builder.pending() for builder in self._builders.values()]
        kept = list(read(self._folder, start_ns, end_ns))
        kept.extend(
            chunk
            for chunk in pending
            if chunk is not None and chunk.start_time_ns < end_ns and chunk.end_time_ns > start_ns
        )
        return kept

    def close(self) -> None:
        """Flush and release the file; a disk that refuses now is only told."""
        try:
            self.flush()
        except StorageError as error:
            logger.warning("the last seconds of the curves are not kept: %s", error)
        with self._lock:
            self._end_segment()

    def _write(self, block: bytes, end_ns: int) -> None:
        try:
            if self._is_over(len(block), end_ns):
                self._end_segment()
            if self._current is None or self._file is None:
                self._begin_segment(end_ns)
            if self._current is None or self._file is None:
                return
            if os.write(self._file, block) < len(block):
                raise OSError("the disk took half a block")
            os.fdatasync(self._file)
            self._sizes[self._current] += len(block)
        except OSError as error:
            # A torn block is passed over by its checksum; the next one begins a new segment.
            self._end_segment()
            raise StorageError(f"the waveform ring cannot be written: {error}") from error
        self._make_room(end_ns)

    def _is_over(self, n_bytes: int, end_ns: int) -> bool:
        if self._current is None:
            return False
        since_ns = end_ns - self._current.start_ns
        too_long = not 0 <= since_ns <= _SEGMENT_NS
        return too_long or self._sizes[self._current] + n_bytes > _SEGMENT_BYTES

    def _begin_segment(self, end_ns: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Groups end their blocks at different moments, so the first one may begin earlier.
        start_ns = max(0, end_ns - 30 * NS_PER_S)
        name = f"{self._next_number:08d}-{start_ns}{_SUFFIX}"
        segment = Segment(self._folder / name, self._next_number, start_ns)
        self._next_number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(segment.path, flags, 0o600)
        self._current = segment
        self._sizes[segment] = 0

    def _end_segment(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
        self._file = self._current = None

    def _make_room(self, now_ns: int) -> None:
        oldest_ns = now_ns - round(self._limits.max_age_s * NS_PER_S)
        for segment in sorted(self._sizes, key=lambda s: s.number):
            too_old = segment.start_ns + 2 * _SEGMENT_NS < oldest_ns
            if segment == self._current or not (too_old or self.n_bytes > self._limits.max_bytes):
                return
            try:
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("an old segment of the curves cannot be removed: %s", error)
                return
            del self._sizes[segment]
