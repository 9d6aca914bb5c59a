"""Where drivers put what came, from whatever thread, and what becomes of what is malformed."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_agent.core.arrivals import NumericArrival, WaveformArrival
from edge_agent.core.ports import SourceEvent, SourceEventKind
from wardstream.contracts.errors import ContractError
from wardstream.contracts.timebase import TimestampNs

CAPACITY: Final = 4096
"""Most that waits to be taken; 40 s of four streams in 40 ms blocks. The oldest gives way."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that came and could not be taken."""

    channel: str
    reason: str
    arrived_ns: int


Item = WaveformArrival | NumericArrival | Refusal | SourceEvent


class Inbox:
    """A bounded queue from the drivers' threads to the event loop.

    Parameters
    ----------
    clock_ns : callable
        The host's clock.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self.now_ns = clock_ns
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._n_dropped = 0
        self._connected: dict[str, bool] = {}

    def put(self, item: Item) -> None:
        """Take `item`; where it is full the oldest is dropped and counted."""
        with self._lock:
            self._items.append(item)
            if len(self._items) > CAPACITY:
                self._items.popleft()
                self._n_dropped += 1

    def take(self) -> list[Item]:
        """Everything that waits, oldest first."""
        with self._lock:
            items, self._items = list(self._items), deque()
            n_dropped, self._n_dropped = self._n_dropped, 0
        if n_dropped:
            items.append(
                self._event(
                    SourceEventKind.OVERFLOW,
                    "source",
                    f"{n_dropped} arrivals were dropped: the host was too slow",
                    float(n_dropped),
                )
            )
        return items

    def deliver(self, channel: str, make: Callable[[], WaveformArrival | NumericArrival]) -> None:
        """Put what `make` returns, or its refusal where it breaks a contract."""
        try:
            item: Item = make()
        except (ContractError, ValueError, OverflowError) as error:
            self.refuse(channel, str(error))
            return
        self.put(item)

    def refuse(self, channel: str, reason: str) -> None:
        """Quarantine something of `channel`; the reason must not quote a patient's data."""
        self.put(Refusal(channel, reason, self.now_ns()))

    def connected(self, device: str, yes: bool, why: str = "") -> None:
        """Say whether `device` answers: once when it is lost, once when it is back."""
        with self._lock:
            before = self._connected.get(device)
            self._connected[device] = yes
        if before is yes or (before is None and yes):
            return
        kind = SourceEventKind.BACK if yes else SourceEventKind.LOST
        text = "answers again" if yes else f"does not answer: {why}"
        self.put(self._event(kind, device, text))

    def _event(
        self, kind: SourceEventKind, channel: str, text: str, amount: float = 0.0
    ) -> SourceEvent:
        return SourceEvent(
            kind=kind,
            channel=channel,
            text=text,
            time_ns=TimestampNs(self.now_ns()),
            amount=amount,
        )
