"""Where the log ends and where the group is, asked from outside the group."""

import asyncio
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_processors.core.stall import Partition, Progress
from wardstream.contracts.errors import TransientError
from wardstream.contracts.topics import DEVICE_STATUS, FEATURES, GAPS, RECORD_EVENTS

_TOPICS = (FEATURES, GAPS, DEVICE_STATUS, RECORD_EVENTS)


class KafkaProgress:
    """Answers from fresh connections after any failure."""

    def __init__(self, bootstrap: str, group: str, n_partitions: int) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._partitions = [
            TopicPartition(topic.name, number)
            for topic in _TOPICS
            for number in range(n_partitions)
        ]
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what is open."""
        await self._close()

    async def ask(self) -> dict[Partition, Progress]:
        """End and committed offset of every partition the worker reads.

        Raises
        ------
        TransientError
            Kafka is away.
        """
        try:
            async with asyncio.timeout(5):
                return await self._ask()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._close()
            raise TransientError(f"Kafka: {error!r}") from error

    async def _ask(self) -> dict[Partition, Progress]:
        if self._consumer is None or self._admin is None:
            self._consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, request_timeout_ms=4_000
            )
            self._admin = AIOKafkaAdminClient(
                bootstrap_servers=self._bootstrap, request_timeout_ms=4_000
            )
            await self._consumer.start()
            await self._admin.start()
        ends = await self._consumer.end_offsets(self._partitions)
        committed = await self._admin.list_consumer_group_offsets(
            self._group, partitions=self._partitions
        )
        return {
            (partition.topic, partition.partition): Progress(
                end=end, committed=max(0, committed[partition].offset)
            )
            for partition, end in ends.items()
        }

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        admin, self._admin = self._admin, None
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()
