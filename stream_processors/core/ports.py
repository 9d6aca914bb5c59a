"""What the services need from the outside, in their own words; adapters provide it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wardstream.contracts.identity import CommitWatermark


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
