"""Frames of a recording, read ahead in blocks off the event loop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.ports import Quarantined, UnreadableSourceError
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


Channel = TypeVar("Channel")


class RecordingReader(ABC, Generic[Channel]):
    """What the readers of recordings have in common: a file, and channels by rate and unit.

    Parameters
    ----------
    path : Path
        Of the recording.
    """

    scheme: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frame_rate_hz = 0.0
        self._n_frames = 0
        self._quarantined: list[Quarantined] = []
        self._groups: list[tuple[ChannelGroup, list[Channel]]] = []

    @property
    def description(self) -> str:
        """Kind and name of the recording."""
        return f"{self.scheme}:{self._path.name}"

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self._frame_rate_hz

    @property
    def n_frames(self) -> int | None:
        """Length of the recording."""
        return self._n_frames

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """Delivered channels by rate and unit."""
        return tuple(group for group, _ in self._groups)

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Channels that cannot be judged, with the reason."""
        return tuple(self._quarantined)

    @abstractmethod
    def read(self, first: int, last: int) -> Block:
        """Frames `first` to `last`."""

    def _check_any(self, channels: Sequence[Channel]) -> None:
        if not channels:
            reasons = "; ".join(f"{q.channel}: {q.reason}" for q in self._quarantined)
            raise UnreadableSourceError(
                f"no channel of {self._path} can be judged: {reasons or 'it has none'}"
            )


def grouped(
    channels: Iterable[tuple[str, Unit, int, Channel]],
) -> list[tuple[ChannelGroup, list[Channel]]]:
    """Groups of `channels`, each given as code, unit, samples a frame and itself."""
    found: dict[tuple[Unit, int], list[tuple[str, Channel]]] = {}
    for code, unit, per_frame, channel in channels:
        found.setdefault((unit, per_frame), []).append((code, channel))
    return [
        (
            ChannelGroup(tuple(code for code, _ in members), unit, per_frame),
            [channel for _, channel in members],
        )
        for (unit, per_frame), members in found.items()
    ]


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
