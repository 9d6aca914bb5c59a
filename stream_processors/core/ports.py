"""What the services need from the outside, in their own words; adapters provide it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from stream_processors.core.context import Assignment, ContextTable, DeviceBed, Knowledge
from stream_processors.core.copy_rows import JoinedFrames
from stream_processors.core.positions import Run
from wardstream.contracts.identity import CommitWatermark, StreamKey
from wardstream.contracts.record import RecordEvent
from wardstream.contracts.topics import DeadLetter


@dataclass(frozen=True, slots=True)
class DeviceMessage:
    """One MQTT message that waits for its acknowledgement.

    Attributes
    ----------
    address : str
        Concrete topic it came on.
    payload : bytes
        As it came.
    received_time_ns : int
        Wall clock of the bridge.
    receipt : tuple of int
        Connection and packet number, for `Inbox.acknowledge`.
    """

    address: str
    payload: bytes
    received_time_ns: int
    receipt: tuple[int, int]


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One Kafka record to be written; `partition` None lets the key decide."""

    topic: str
    value: bytes
    timestamp_ms: int
    key: bytes | None = None
    partition: int | None = None


class Inbox(Protocol):
    """Messages of devices, each kept by the broker until it is acknowledged."""

    async def take(self, *, linger_s: float, max_messages: int) -> list[DeviceMessage]:
        """What has come, oldest first: waits for a first message, then `linger_s` for more."""
        ...

    def acknowledge(self, messages: Sequence[DeviceMessage]) -> None:
        """Let the broker forget `messages`."""
        ...

    def ask_again(self) -> None:
        """Have the broker say again what it retains: a log may have lost it."""
        ...


class RecordSink(Protocol):
    """A durable log."""

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        """Write `records`; returns once the broker has acknowledged every one.

        Raises
        ------
        TransientError
            Some may not be there; sending all of them again is right.
        """
        ...


class WatermarkPublisher(Protocol):
    """The way back to the devices."""

    def publish(self, site_id: str, watermark: CommitWatermark) -> None:
        """Have the broker keep `watermark` for its device; returns at once, the newest wins."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextChanges:
    """What changed in the stored context up to `version`."""

    version: int
    devices: Sequence[DeviceBed] = ()
    assignments: Sequence[Assignment] = ()
    knowledge: Sequence[Knowledge] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Numbers of a stream that will never be stored, and why."""

    stream: StreamKey
    first_sequence_number: int
    last_sequence_number: int
    reason: str


class StoreUnit(Protocol):
    """One transaction: all of it is stored, or nothing."""

    async def context_changes(self, since: int) -> ContextChanges:
        """What changed after version `since`; the context stands still until the unit ends."""
        ...

    async def write_frames(self, frames: JoinedFrames) -> int:
        """Store `frames`; those already there stay as they are. Returns how many were new."""
        ...

    async def write_gaps(self, gaps: Sequence[Gap]) -> None:
        """Put losses on record; repeats do no harm."""
        ...

    async def write_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; repeats do no harm."""
        ...

    async def mark_rollups(self, buckets: Sequence[tuple[str, int]]) -> None:
        """Note that roll-ups are due, by device and bucket start in ns."""
        ...

    async def commit_handled(
        self, handled: Mapping[StreamKey, Sequence[Run]]
    ) -> dict[StreamKey, int]:
        """Add handled numbers; returns each stream's watermark, -1 while 0 is missing."""
        ...


class FrameStore(Protocol):
    """Where frames end."""

    def unit(self) -> AbstractAsyncContextManager[StoreUnit]:
        """A transaction: committed on leaving, rolled back if the block raises.

        Raises
        ------
        TransientError
            The store is away; nothing of the unit is there.
        """
        ...

    async def ensure_chunks(self, first_ns: int, last_ns: int) -> None:
        """Make room for frames of that stretch of event time.

        Raises
        ------
        TransientError
            The store is away.
        """
        ...


class RecordStore(Protocol):
    """Where context and letters end. Every method raises `TransientError` while it is away."""

    async def keep_device_bed(self, device_bed: DeviceBed) -> bool:
        """Store where a life of a device stands; False if that was known."""
        ...

    async def keep_record_event(self, event: RecordEvent) -> bool:
        """Store one change of the record; False if it was known."""
        ...

    async def keep_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Store letters; repeats do no harm."""
        ...


class Housekeeper(Protocol):
    """What is done beside the stream, from what the store says is due."""

    async def roll_up(self) -> int:
        """Recompute roll-ups that are due; returns how many buckets."""
        ...

    async def restate(self, table: ContextTable) -> int | None:
        """Join stored rows again that one change of context reaches back to.

        Returns how many rows changed, None if nothing was due.
        """
        ...

    async def maintain(self, now_ns: int) -> None:
        """Make room ahead, drop what is beyond its retention."""
        ...
