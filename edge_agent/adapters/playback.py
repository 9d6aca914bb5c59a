"""A recording, or a simulated one, played as if a device delivered it packet by packet.

Due times are multiplied out from one anchor on the monotonic clock, so nothing drifts. The
anchor is kept in the state folder: a bed that was killed goes on where wall time says that
the patient is now, and what passed meanwhile is a gap, as with a real device.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.playback_blocks import (
    BLOCK_S,
    Block,
    BlockCache,
    ChannelGroup,
    FrameReader,
)
from edge_agent.core.ports import Packet, Quarantined
from wardstream.contracts.errors import ContractError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs, sample_time_ns
from wardstream.contracts.waveform import NumericObservation, WaveformChunk

logger = logging.getLogger(__name__)

MAX_LAG_S: Final = 2.0
"""Later than this, packets are left out rather than caught up: a monitor has no memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackPlan:
    """How a recording is played.

    Attributes
    ----------
    device_id, boot_id : str
        Stamped on every chunk.
    realtime : bool
        One second a second, or as fast as it can be judged.
    loop : bool
        Begin again at the end.
    start_s : float
        Where in the recording to begin, in seconds.
    packet_ms : int
        Length of a packet.
    state_dir : Path or None
        Where the anchor is kept; None: nowhere.
    """

    device_id: str
    boot_id: str
    realtime: bool
    loop: bool
    start_s: float = 0.0
    packet_ms: int = 40
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from, both in nanoseconds."""

    wall_ns: Callable[[], int]
    monotonic_ns: Callable[[], int]


class PlaybackSource:
    """`WaveformSource` that plays `reader` by `plan`."""

    def __init__(self, reader: FrameReader, plan: PlaybackPlan, clocks: Clocks) -> None:
        self._reader = reader
        self._plan = plan
        self._clocks = clocks
        self._rate_hz = reader.frame_rate_hz
        self._packet_s = plan.packet_ms / 1000
        self._first_frame = round(plan.start_s * self._rate_hz)
        self._blocks = BlockCache(reader, plan.loop, max(1, round(BLOCK_S * self._rate_hz)))
        self._newest_ns = TimestampNs(0)
        self._anchor_ns = TimestampNs(0)
        self._anchor_monotonic_ns = 0
        self._finished = False

    @property
    def description(self) -> str:
        """What is played."""
        return self._reader.description

    @property
    def codes(self) -> tuple[str, ...]:
        """Reference ids of the channels it delivers."""
        return tuple(code for group in self._reader.groups for code in group.codes)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Channels of the recording that are not delivered."""
        return self._reader.quarantined

    @property
    def start_time_ns(self) -> TimestampNs:
        """Clock of the data at second `start_s` of the recording."""
        return self._anchor_ns

    async def __aenter__(self) -> Self:
        self._set_anchor()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._blocks.drop()
        if kind is None and self._plan.state_dir is not None:
            # A clean stop ends the recording's patient; only a crash is to be survived.
            self._anchor_path(self._plan.state_dir).unlink(missing_ok=True)

    def data_time_ns(self) -> TimestampNs:
        """Now, on the clock of the data."""
        if not self._plan.realtime:
            return self._newest_ns
        passed_ns = self._clocks.monotonic_ns() - self._anchor_monotonic_ns
        return TimestampNs(self._anchor_ns + passed_ns)

    async def packets(self) -> AsyncIterator[Packet]:
        """Packets in time order; ends where the recording ends, unless it loops."""
        first_index = index = self._index_now() if self._plan.realtime else 0
        while not self._is_past_end(index):
            if self._plan.realtime:
                index, lag_s = await self._wait_until_due(index)
            else:
                lag_s = 0.0
                if index % 64 == 0:
                    await asyncio.sleep(0)
            yield await self._packet(index, index - first_index, lag_s)
            index += 1
        self._finished = True

    # ---- time ---------------------------------------------------------------------------

    def _set_anchor(self) -> None:
        wall_ns, monotonic_ns = self._clocks.wall_ns(), self._clocks.monotonic_ns()
        anchor_ns = wall_ns
        if not self._plan.realtime:
            # Played fast, the recording ends about now: nothing is dated into the future.
            n_frames = self._reader.n_frames or 0
            left_s = max(0.0, (n_frames - self._first_frame) / self._rate_hz)
            anchor_ns = wall_ns - round(left_s * NS_PER_S)
        elif self._plan.state_dir is not None:
            anchor_ns = self._kept_anchor(self._plan.state_dir, wall_ns)
        self._anchor_ns = self._newest_ns = TimestampNs(anchor_ns)
        self._anchor_monotonic_ns = monotonic_ns - (wall_ns - anchor_ns)

    def _kept_anchor(self, state_dir: Path, wall_ns: int) -> int:
        path = self._anchor_path(state_dir)
        playing = {"source": self.description, "start_s": self._plan.start_s}
        try:
            kept = json.loads(path.read_text())
            if kept["playing"] == playing and int(kept["anchor_time_ns"]) <= wall_ns:
                anchor_ns = int(kept["anchor_time_ns"])
                if not self._is_past_end(int((wall_ns - anchor_ns) / 1e9 / self._packet_s)):
                    return anchor_ns
        except (OSError, ValueError, KeyError, TypeError):
            logger.debug("no anchor of an earlier life in %s", path)
        self._keep_anchor(path, {"playing": playing, "anchor_time_ns": wall_ns})
        return wall_ns

    def _keep_anchor(self, path: Path, anchor: dict[str, object]) -> None:
        fresh = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w") as file:
                json.dump(anchor, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            logger.warning("the position in the recording cannot be kept: %s", error)

    @staticmethod
    def _anchor_path(state_dir: Path) -> Path:
        return state_dir / "playback.json"

    def _index_now(self) -> int:
        passed_ns = self._clocks.monotonic_ns() - self._anchor_monotonic_ns
        return max(0, int(passed_ns / NS_PER_S / self._packet_s))

    async def _wait_until_due(self, index: int) -> tuple[int, float]:
        while True:
            due_ns = self._anchor_monotonic_ns + round((index + 1) * self._packet_s * NS_PER_S)
            left_s = (due_ns - self._clocks.monotonic_ns()) / NS_PER_S
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)
        if -left_s > MAX_LAG_S:
            logger.warning("%.1f s late: what the device delivered meanwhile is lost", -left_s)
            return self._index_now(), 0.0
        return index, -left_s

    # ---- samples ------------------------------------------------------------------------

    def _frame_of(self, index: int) -> int:
        return round(index * self._packet_s * self._rate_hz)

    def _is_past_end(self, index: int) -> bool:
        n_frames = self._reader.n_frames
        if n_frames is None or self._plan.loop:
            return False
        return self._first_frame + self._frame_of(index) >= n_frames

    async def _packet(self, index: int, number: int, lag_s: float) -> Packet:
        first, last = self._frame_of(index), self._frame_of(index + 1)
        pieces = await self._pieces(first, last)
        start_ns = sample_time_ns(self._anchor_ns, self._rate_hz, first)
        chunks: list[WaveformChunk] = []
        for i, group in enumerate(self._reader.groups):
            samples = np.concatenate([piece.samples[i] for piece in pieces], axis=1)
            chunks.append(self._chunk(group, samples, number, start_ns))
        delivered = any(not np.isnan(chunk.samples).all() for chunk in chunks)
        self._newest_ns = sample_time_ns(self._anchor_ns, self._rate_hz, last)
        return Packet(
            chunks=tuple(chunks) if delivered else (),
            observations=self._observations(pieces, start_ns),
            end_time_ns=self._newest_ns,
            lag_s=lag_s,
        )

    def _chunk(
        self, group: ChannelGroup, samples: NDArray[np.float32], number: int, start_ns: TimestampNs
    ) -> WaveformChunk:
        return WaveformChunk(
            device_id=self._plan.device_id,
            boot_id=self._plan.boot_id,
            sequence_number=number,
            codes=group.codes,
            unit=group.unit,
            sampling_rate_hz=self._rate_hz * group.samples_per_frame,
            start_time_ns=start_ns,
            samples=samples,
        )

    async def _pieces(self, first: int, last: int) -> list[Block]:
        """Frames `first` to `last` since the start, cut where blocks or laps meet."""
        pieces: list[Block] = []
        n_frames = self._reader.n_frames
        at = first
        while at < last:
            frame = self._first_frame + at
            if n_frames is not None:
                if not self._plan.loop and frame >= n_frames:
                    break
                frame %= n_frames
            block = await self._blocks.holding(frame)
            n = min(last - at, block.last - frame)
            pieces.append(self._cut(block, frame, n))
            at += n
        return pieces

    def _cut(self, block: Block, frame: int, n: int) -> Block:
        a, b = frame - block.first, frame - block.first + n
        samples = tuple(
            part[:, a * group.samples_per_frame : b * group.samples_per_frame]
            for part, group in zip(block.samples, self._reader.groups, strict=True)
        )
        numerics = tuple(num for num in block.numerics if frame <= num.frame < frame + n)
        return Block(frame, frame + n, samples, numerics)

    def _observations(
        self, pieces: list[Block], start_ns: TimestampNs
    ) -> tuple[NumericObservation, ...]:
        found: list[NumericObservation] = []
        offset = 0
        for piece in pieces:
            for num in piece.numerics:
                frame = offset + num.frame - piece.first
                try:
                    observation = NumericObservation(
                        code=num.code,
                        value=num.value,
                        unit=num.unit,
                        determination_time_ns=sample_time_ns(start_ns, self._rate_hz, frame),
                    )
                except ContractError as error:
                    logger.warning("a numeric is left out: %s", error)
                    continue
                found.append(observation)
            offset += piece.last - piece.first
        return tuple(found)
