"""Writing to Kafka so that "sent" means acknowledged, and coming back when it lost everything."""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, UnknownError

from stream_processors.core.ports import OutgoingRecord
from wardstream.contracts.errors import TransientError
from wardstream.contracts.topics import KAFKA_TOPICS

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT_MS = 8_000
_TOPIC_EXISTS = 36

_RESEND_PAUSE_S = 0.02


async def ensure_topics(bootstrap: str, n_partitions: int, replication: int) -> None:
    """Make the topics that are missing; safe to repeat.

    Raises
    ------
    TransientError
        Kafka is away, or refuses.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        wanted = [NewTopic(topic.name, n_partitions, replication) for topic in KAFKA_TOPICS]
        response: Any = await admin.create_topics(wanted)
    except (KafkaError, OSError) as error:
        raise TransientError(f"Kafka does not make topics: {error!r}") from error
    finally:
        await admin.close()
    refused = [
        f"{name}: {message}" for name, code, message in response.topic_errors
        if code not in (0, _TOPIC_EXISTS)
    ]  # fmt: skip
    if refused:
        raise TransientError(f"Kafka refuses topics: {'; '.join(refused)}")


class KafkaSink:
    """A producer that is thrown away and made anew after any failure.

    An aiokafka producer may stay broken after its broker came back empty, so a fresh one, after
    the topics were made again, is the one recovery that always holds. It is idempotent where the
    broker can be (Tansu cannot); what a retry then doubles, the store takes once.
    """

    def __init__(self, bootstrap: str, *, n_partitions: int, replication: int) -> None:
        self._bootstrap = bootstrap
        self._n_partitions = n_partitions
        self._replication = replication
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened yet: Kafka may still be starting."""
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._discard()

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        """Write `records` and wait for the broker's word on each.

        Raises
        ------
        TransientError
            Some may not be there; sending all of them again is right.
        """
        try:
            async with asyncio.timeout(2 * _REQUEST_TIMEOUT_MS / 1000):
                producer = self._producer or await self._open()
                left = await _send(producer, records)
                while left:
                    await asyncio.sleep(_RESEND_PAUSE_S)
                    left = await _send(producer, left)
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            # AssertionError: aiokafka's answer to a partition the broker no longer knows.
            await self._discard()
            raise TransientError(f"Kafka: {error!r}") from error

    async def _open(self) -> AIOKafkaProducer:
        await ensure_topics(self._bootstrap, self._n_partitions, self._replication)
        try:
            producer = await self._start(idempotent=True)
        except UnknownError:
            producer = await self._start(idempotent=False)
        self._producer = producer
        return producer

    async def _start(self, *, idempotent: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=30_000,
            max_request_size=1_000_000,
            max_batch_size=262_144,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), 3)
        except (KafkaError, OSError, TimeoutError) as error:
            logger.info("the old Kafka producer did not close in order: %r", error)
            # stop() waits for a flush that cannot come; its sender would go on for ever.
            sender: Any = producer._sender  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            await sender.close()
            await producer.client.close()


async def _send(
    producer: AIOKafkaProducer, records: Sequence[OutgoingRecord]
) -> list[OutgoingRecord]:
    # Gives back what is to be sent again at once. Tansu, come back empty and asked by several
    # clients for topics that are gone, may make a topic twice: the second time its end is set
    # back to 0, and each record is refused with "unknown error" until the end has counted up,
    # one a record, past those that are there.
    pending = [
        await producer.send(
            record.topic,
            record.value,
            key=record.key,
            partition=record.partition,
            timestamp_ms=record.timestamp_ms,
        )
        for record in records
    ]
    results = await asyncio.gather(*pending, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, UnknownError):
            raise result
    return [
        record
        for record, result in zip(records, results, strict=True)
        if isinstance(result, UnknownError)
    ]
