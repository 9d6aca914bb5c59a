"""The durable end of the device, as the services see it, and what gives way when it is full."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from wardstream.contracts.errors import TransientError
from wardstream.contracts.identity import GapNotice, Lane


class StorageError(TransientError):
    """The disk did not take it: full, read-only, or failing. What was offered is not stored."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One numbered message in its wire form."""

    boot_id: str
    lane: Lane
    sequence_number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in the outbox; positions grow in the order of storing, over all boots."""

    position: int
    message: OutgoingMessage


@dataclass(frozen=True, slots=True)
class StoredGap:
    """A recorded loss that the cloud has not yet covered."""

    position: int
    notice: GapNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxBatch:
    """What is stored in one transaction: all of it or none.

    Attributes
    ----------
    messages : tuple of OutgoingMessage
        New messages, ascending within a lane.
    gaps : tuple of GapNotice
        Losses that happened before they could be stored.
    snapshot : bytes or None
        State of the alert engine after the last of `messages`.
    command_ids : tuple of str
        Commands whose effect these messages are.
    """

    messages: tuple[OutgoingMessage, ...] = ()
    gaps: tuple[GapNotice, ...] = ()
    snapshot: bytes | None = None
    command_ids: tuple[str, ...] = ()

    @property
    def holds_alert(self) -> bool:
        """Whether it must survive a power cut once stored."""
        return bool(self.command_ids) or any(m.lane is Lane.ALERT for m in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats:
    """What waits for the watermark, and what was ever numbered."""

    rows: Mapping[str, int]
    n_bytes: Mapping[str, int]
    numbered: Mapping[str, int]
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """How much may wait.

    Attributes
    ----------
    max_bytes : int
        Payload bytes over all lanes. Alerts count but are never dropped.
    max_age_s : float
        Oldest frame or strip kept, in seconds.
    """

    max_bytes: int = 512_000_000
    max_age_s: float = 7 * 86_400.0


class Outbox(Protocol):
    """The durable end of the device: nothing leaves it before the cloud has committed it.

    Every method may be called from any thread. `stats` never waits for the disk.
    """

    def append(self, batch: OutboxBatch, now_ns: int) -> None:
        """Store `batch`, then make room by `DROP_ORDER` if the limits are passed.

        Raises
        ------
        StorageError
            Nothing of it was stored.
        """
        ...

    def peek(self, lane: Lane, after: int, limit: int) -> Sequence[StoredMessage]:
        """The `limit` oldest messages of `lane` with a position above `after`."""
        ...

    def gaps(self) -> Sequence[StoredGap]:
        """Recorded losses that no watermark has passed yet, oldest first."""
        ...

    def free(self, boot_id: str, lane: Lane, up_to: int) -> int:
        """Drop what the watermark covers; return how many messages. Idempotent.

        Raises
        ------
        StorageError
            The disk refused; the rows are still there.
        """
        ...

    def stats(self) -> OutboxStats:
        """Counters."""
        ...

    def snapshot(self) -> bytes | None:
        """State of the alert engine as last stored."""
        ...

    def has_command(self, command_id: str) -> bool:
        """Whether the command was carried out already, in this life or an earlier one."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


@dataclass(frozen=True, slots=True)
class DropRule:
    """What becomes of a lane when the outbox is full.

    Attributes
    ----------
    lane : Lane
        Which messages.
    may_drop : bool
        False: they stay whatever the limits say.
    reason : str
        What the gap notice says.
    """

    lane: Lane
    may_drop: bool
    reason: str


DROP_ORDER: Final = (
    DropRule(Lane.STRIP, True, "the outbox was full: waveform strips go first"),
    DropRule(Lane.FRAME, True, "the outbox was full: oldest frames go after the strips"),
    DropRule(Lane.ALERT, False, ""),
)
"""What may be dropped, in this order, oldest first within a lane. Alerts never."""
