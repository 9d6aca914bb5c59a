"""MQTT to Kafka: a message is acknowledged to its device's broker only when Kafka has it.

Nothing is kept here beyond what is unacknowledged, and of that the broker hands out no more
than the connection's receive maximum: while Kafka is away, MQTT waits.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from stream_processors.core.ports import DeviceMessage, Inbox, OutgoingRecord, RecordSink
from stream_processors.core.routing import route
from wardstream.contracts.errors import TransientError
from wardstream.contracts.topics import DEAD_LETTER, FEATURES

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_ASK_AGAIN_S = 20.0


@dataclass(slots=True)
class BridgeCounts:
    """Since start; for the metrics endpoint."""

    n_messages: int = 0
    n_frame_records: int = 0
    n_dead_letters: int = 0
    n_retries: int = 0


class Bridge:
    """Takes what devices say, batches it, and acknowledges it once it is safe.

    Parameters
    ----------
    inbox, sink
        Where it comes from and goes to.
    n_partitions : int
        Of every Kafka topic of ours.
    linger_s : float
        How long a first message waits for company.
    max_messages : int
        Most messages of one turn.
    """

    name = "bridge"

    def __init__(
        self,
        inbox: Inbox,
        sink: RecordSink,
        *,
        n_partitions: int,
        linger_s: float,
        max_messages: int,
    ) -> None:
        self._inbox = inbox
        self._sink = sink
        self._n_partitions = n_partitions
        self._linger_s = linger_s
        self._max_messages = max_messages
        self._lost_touch = False
        self.counts = BridgeCounts()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. What is unacknowledged then comes again at the next start."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        while not stop.is_set():
            messages = await self._inbox.take(
                linger_s=self._linger_s, max_messages=self._max_messages
            )
            if messages and await self._forward(messages, stop):
                self._inbox.acknowledge(messages)
            if self._lost_touch or loop.time() - asked_s > _ASK_AGAIN_S:
                # A volatile log that came back empty has lost where the devices stand.
                self._inbox.ask_again()
                self._lost_touch = False
                asked_s = loop.time()

    async def _forward(self, messages: Sequence[DeviceMessage], stop: asyncio.Event) -> bool:
        records = route(messages, self._n_partitions)
        pause_s = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                await self._sink.send_all(records)
            except TransientError as error:
                if pause_s == _FIRST_PAUSE_S:
                    logger.warning("Kafka does not take records, MQTT waits: %s", error)
                self.counts.n_retries += 1
                # Jitter, so that several bridges do not come back in step.
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                if pause_s != _FIRST_PAUSE_S:
                    logger.warning("Kafka takes records again")
                    self._lost_touch = True
                self._count(messages, records)
                return True
        return False

    def _count(self, messages: Sequence[DeviceMessage], records: Sequence[OutgoingRecord]) -> None:
        self.counts.n_messages += len(messages)
        self.counts.n_frame_records += sum(r.topic == FEATURES.name for r in records)
        letters = [r for r in records if r.topic == DEAD_LETTER.name]
        self.counts.n_dead_letters += len(letters)
        if letters:
            logger.warning("%d messages broke a contract and were dead-lettered", len(letters))
