"""The journal that dashboards follow, and what one slow reader of it may lose.

Alerts, strips and acknowledgements have a position and are never lost: a reader that cannot
keep up is sent away and resumes from its last position. Numerics and device descriptions are
the present, so only their newest state waits.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

JOURNAL_CAPACITY: Final = 1_000
"""Journal entries that may wait for one reader; beyond it the reader is sent away."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One entry of the journal, ready to be sent.

    Attributes
    ----------
    position : int
        Greater than that of every entry before it.
    event : str
        ``alert`` or ``strip``.
    data : bytes
        JSON, one line.
    """

    position: int
    event: str
    data: bytes

    def frame(self) -> bytes:
        """Its server-sent event."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.position, self.event.encode(), self.data)


def live_frame(event: str, data: bytes) -> bytes:
    """Server-sent event of the present: without id, so it moves no reader's position."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data)


def position_frame(position: int, event: str, data: bytes) -> bytes:
    """Server-sent event that tells a reader where it stands."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (position, event.encode(), data)


@dataclass(slots=True)
class ReaderQueue:
    """What waits for one reader.

    Attributes
    ----------
    after : int
        Only entries beyond this position are taken; those up to it the reader replays.
    overflowed : bool
        Whether the journal outran the reader: it has to go and come back.
    n_numerics_dropped : int
        Seconds of numerics it missed.
    """

    after: int
    capacity: int = JOURNAL_CAPACITY
    overflowed: bool = False
    n_numerics_dropped: int = 0
    _journal: deque[FeedEntry] = field(default_factory=deque[FeedEntry])
    _devices: dict[str, bytes] = field(default_factory=dict[str, bytes])
    _numerics: bytes | None = None

    def add(self, entries: Sequence[FeedEntry]) -> None:
        """Let `entries` wait, in order."""
        for entry in entries:
            if entry.position <= self.after:
                continue
            if self.overflowed or len(self._journal) >= self.capacity:
                self.overflowed = True  # for good: what follows a hole must not be shown
                return
            self._journal.append(entry)

    def set_numerics(self, data: bytes) -> None:
        """Replace what waits of the numerics."""
        if self._numerics is not None:
            self.n_numerics_dropped += 1
        self._numerics = data

    def set_device(self, device_id: str, data: bytes) -> None:
        """Replace what waits about one device."""
        self._devices[device_id] = data

    def take(self) -> bytes:
        """Everything that waits as server-sent events, alerts first; empty if nothing does."""
        parts = [entry.frame() for entry in self._journal]
        if self._journal:
            self.after = self._journal[-1].position
        parts += [live_frame("device", data) for data in self._devices.values()]
        if self._numerics is not None:
            parts.append(live_frame("numerics", self._numerics))
        self._journal.clear()
        self._devices.clear()
        self._numerics = None
        return b"".join(parts)
