"""Frames of a recording, read ahead in blocks off the event loop."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.ports import Quarantined
from wardstream.contracts.units import Unit

BLOCK_S: Final = 8.0
"""Read at once, off the event loop; two of these are all that is held."""


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels of one rate and unit."""

    codes: tuple[str, ...]
    unit: Unit
    samples_per_frame: int


@dataclass(frozen=True, slots=True)
class RecordedNumeric:
    """A monitor's numeric at a frame of the recording."""

    frame: int
    code: str
    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class Block:
    """Frames `first` to `last` (half open) of every group."""

    first: int
    last: int
    samples: tuple[NDArray[np.float32], ...]
    """One per group, shape (n_channels, n_frames * samples_per_frame); NaN = not delivered."""
    numerics: tuple[RecordedNumeric, ...] = ()


class FrameReader(Protocol):
    """Where the frames come from. `read` may block; it is called off the event loop."""

    @property
    def description(self) -> str:
        """For people."""
        ...

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second; a group has a whole number of samples in each."""
        ...

    @property
    def n_frames(self) -> int | None:
        """Length; None: it never ends."""
        ...

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """What a block holds."""
        ...

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """What is left out."""
        ...

    def read(self, first: int, last: int) -> Block:
        """Frames `first` to `last`.

        Raises
        ------
        UnreadableSourceError
            They cannot be read.
        """
        ...


@dataclass(slots=True)
class BlockCache:
    """The block in use and the one being read ahead."""

    reader: FrameReader
    loop: bool
    size: int
    current: Block | None = None
    ahead: "asyncio.Task[Block] | None" = None
    ahead_first: int = field(default=-1)

    async def holding(self, frame: int) -> Block:
        """The block that holds `frame` of the recording."""
        if self.current is not None and self.current.first <= frame < self.current.last:
            return self.current
        first = frame - frame % self.size
        if self.ahead is not None and self.ahead_first == first:
            self.current = await self.ahead
        else:
            self.drop()
            self.current = await asyncio.to_thread(self.reader.read, *self._bounds(first))
        self._read_ahead(self.current.last)
        return self.current

    def drop(self) -> None:
        if self.ahead is not None:
            self.ahead.cancel()
        self.ahead = None

    def _read_ahead(self, first: int) -> None:
        n_frames = self.reader.n_frames
        self.ahead = None
        if n_frames is not None and first >= n_frames:
            if not self.loop:
                return
            first = 0
        self.ahead_first = first
        self.ahead = asyncio.create_task(
            asyncio.to_thread(self.reader.read, *self._bounds(first)), name="read ahead"
        )
        # A block that failed but is never reached is nobody's error.
        self.ahead.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _bounds(self, first: int) -> tuple[int, int]:
        n_frames = self.reader.n_frames
        last = first + self.size
        return first, last if n_frames is None else min(last, n_frames)
