"""Alert intake: what devices say, committed, then acknowledged. The heart of the alarm path.

Order is the proof here. (1) Take what has arrived. (2) Commit it in one transaction. (3) Ring the
fan-out, so dashboards read the journal. (4) Publish the watermark, so the edge may forget. (5)
PUBACK, so the broker may forget. A crash between any two repeats work and loses none.

The fan-out comes after the commit, on purpose. What a dashboard shows is then always in the
journal under a position, so a reconnect resumes without gap or double, every replica shows the
same, and an acknowledgement always finds its alert. It costs one small transaction, a few
milliseconds of a budget of 250; and while the database is away the bed itself keeps alarming,
dashboards are told so by the heartbeat, and the outbox keeps what happened.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from cloud_api.core.intake import Accepted, Refused, classify, refuse
from cloud_api.core.ports import (
    Clock,
    CommitResult,
    Delivery,
    IntakeStore,
    MessageSource,
    Publisher,
)
from cloud_api.services.metrics import ApiMetrics
from cloud_api.services.pacing import Backoff, stopped_within
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import ContractError, TransientError
from wardstream.contracts.identity import StreamKey
from wardstream.contracts.topics import WATERMARK

logger = logging.getLogger(__name__)

BATCH: Final = 200
"""Messages of one transaction at most: bounds how long the journal's lock is held."""


class AlertIntake:
    """Commits what devices say."""

    name = "alert intake"

    def __init__(
        self,
        source: MessageSource,
        store: IntakeStore,
        publisher: Publisher,
        *,
        clock: Clock,
        ring: Callable[[], None],
        metrics: ApiMetrics,
    ) -> None:
        self._source = source
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._ring = ring
        self._metrics = metrics
        self._store_is_up = True

    @property
    def store_is_up(self) -> bool:
        """Whether the last commit went through."""
        return self._store_is_up

    async def run(self, stop: asyncio.Event) -> None:
        """Take in until `stop`; the batch being written is finished first.

        Raises
        ------
        Exception
            Whatever the source raises when it can no longer be trusted.
        """
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                taking = asyncio.ensure_future(self._source.take(BATCH))
                await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    await asyncio.gather(taking, return_exceptions=True)
                    return
                await self._take_in(taking.result(), stop)
        finally:
            stopping.cancel()

    async def _take_in(self, deliveries: Sequence[Delivery], stop: asyncio.Event) -> None:
        messages = [classify(delivery.inbound) for delivery in deliveries]
        if await self._commit(messages, stop):
            self._source.acknowledge(deliveries)

    async def _commit(self, messages: Sequence[Accepted | Refused], stop: asyncio.Event) -> bool:
        # Whether it is committed; False only where `stop` came first, and then nothing may be
        # acknowledged.
        accepted = [one for one in messages if isinstance(one, Accepted)]
        refused = [one for one in messages if isinstance(one, Refused)]
        backoff = Backoff()
        while True:
            try:
                result = await self._store.commit(accepted, refused, self._clock())
            except TransientError as error:
                self._note_store(up=False, error=error)
                if await stopped_within(stop, backoff.next_s()):
                    return False
            except ContractError as error:
                return await self._commit_apart(messages, error, stop)
            else:
                self._note_store(up=True)
                self._tell(refused, result)
                return True

    async def _commit_apart(
        self, messages: Sequence[Accepted | Refused], error: ContractError, stop: asyncio.Event
    ) -> bool:
        # One message of the batch can never be stored. Halving finds it; it becomes a dead
        # letter, and the others are not kept waiting.
        if len(messages) > 1:
            middle = len(messages) // 2
            return await self._commit(messages[:middle], stop) and await self._commit(
                messages[middle:], stop
            )
        match messages[0]:
            case Accepted() as poison:
                return await self._commit([refuse(poison, str(error))], stop)
            case Refused(stream=StreamKey(), letter=letter):
                # Even its place in the lane is not believed; the letter itself always fits.
                return await self._commit([Refused(site_id="", letter=letter)], stop)
            case Refused():
                raise error

    def _tell(self, refused: Sequence[Refused], result: CommitResult) -> None:
        for one in refused:
            logger.warning("dead letter from %s: %s", one.letter.origin, one.letter.reason)
        self._ring()
        for site_id, watermark in result.watermarks:
            address = WATERMARK[watermark.lane].address(site_id, watermark.device_id)
            self._publisher.publish(address, encode(watermark), retained=True)
        self._metrics.committed(result.n_new_events, result.n_new_letters)

    def _note_store(self, *, up: bool, error: Exception | None = None) -> None:
        if self._store_is_up and not up:
            logger.warning("store lost, nothing is acknowledged until it is back: %s", error)
        if up and not self._store_is_up:
            logger.info("store is back")
        self._store_is_up = up
