"""Single messages that become context or letters; what breaks a contract becomes a letter."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.agents.patience import Patience
from stream_processors.core.context import DeviceBed
from stream_processors.core.ledger import StatedObservation
from stream_processors.core.letters import dead_letter
from stream_processors.core.ports import Gap, RecordStore
from wardstream.contracts.codec import decode
from wardstream.contracts.device import DeviceStatus
from wardstream.contracts.errors import ContractError
from wardstream.contracts.identity import GapNotice, Lane, StreamKey
from wardstream.contracts.record import RecordEvent
from wardstream.contracts.topics import (
    DEAD_LETTER,
    DEVICE_STATUS,
    GAPS,
    OBSERVATIONS,
    RECORD_EVENTS,
    DeadLetter,
    KafkaTopic,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RecordKeeper:
    """One method a topic; each returns once its message is in the store.

    Parameters
    ----------
    store : RecordStore
        Where context and letters end.
    writer : FrameWriter
        Settles the numbers of gap notices.
    clock_ns : callable
        Wall clock.
    keep_stated : callable
        Stores what a record system stated; raises `TransientError` while the store is away.
    """

    def __init__(
        self,
        store: RecordStore,
        writer: FrameWriter,
        *,
        clock_ns: Callable[[], int],
        keep_stated: Callable[[StatedObservation], Awaitable[None]],
    ) -> None:
        self._keep_stated = keep_stated
        self._store = store
        self._writer = writer
        self._clock_ns = clock_ns
        self._known: dict[tuple[str, str], str] = {}
        self.patience = Patience("the store")

    async def keep_status(self, payload: bytes) -> None:
        """Of a heartbeat, where its device stands: once a life."""
        status = await self._decoded(payload, DeviceStatus, DEVICE_STATUS)
        if status is None or (status.device_id, status.boot_id) in self._known:
            return
        device_bed = DeviceBed(
            device_id=status.device_id,
            boot_id=status.boot_id,
            bed_id=status.bed_id,
            unit_id=status.unit_id,
            site_id=status.site_id,
        )
        if await self.patience.until_done(lambda: self._store.keep_device_bed(device_bed)):
            logger.info("%s stands at bed %s", status.device_id, status.bed_id)
            await self.patience.until_done(self._writer.refresh_context)
            self._writer.publish_unplaced()
        self._known[status.device_id, status.boot_id] = status.bed_id

    async def keep_record_event(self, payload: bytes) -> None:
        """Who is in a bed, or what is known of them, from when on."""
        event = await self._decoded(payload, RecordEvent, RECORD_EVENTS)
        if event is None:
            return
        if await self.patience.until_done(lambda: self._store.keep_record_event(event)):
            logger.info("bed %s: %s", event.bed_id, event.kind)

    async def keep_observation(self, payload: bytes) -> None:
        """What a record system states of a patient."""
        stated = await self._decoded(payload, StatedObservation, OBSERVATIONS)
        if stated is not None:
            await self.patience.until_done(lambda: self._keep_stated(stated))

    async def keep_gap(self, payload: bytes) -> None:
        """What a device gave up. Lanes other than frames are settled by who stores them."""
        notice = await self._decoded(payload, GapNotice, GAPS)
        if notice is None or notice.lane is not Lane.FRAME:
            return
        gap = Gap(
            stream=StreamKey(notice.device_id, notice.boot_id, notice.lane),
            first_sequence_number=notice.first_sequence_number,
            last_sequence_number=notice.last_sequence_number,
            reason=notice.reason,
        )
        await self._writer.write_gap(gap)

    async def keep_letter(self, payload: bytes) -> None:
        """A letter the bridge wrote."""
        letter = await self._decoded(payload, DeadLetter, DEAD_LETTER)
        if letter is not None:
            await self.patience.until_done(lambda: self._store.keep_letters([letter]))

    async def _decoded(self, payload: bytes, message_type: type[T], topic: KafkaTopic) -> T | None:
        try:
            return decode(payload, message_type)
        except ContractError as error:
            letter = dead_letter(
                origin=topic.name,
                device_id="",
                reason=str(error),
                payload=payload,
                received_time_ns=self._clock_ns(),
            )
        logger.warning("a record of %s broke its contract: %s", topic.name, letter.reason)
        await self.patience.until_done(lambda: self._store.keep_letters([letter]))
        return None
