"""Faust's Kafka transport with a shorter long poll.

Faust asks brokers to hold an empty fetch for up to 1.5 s. Apache Kafka answers at once when
records come; Tansu looks only about twice in that time, so every record would wait for 0.4 s
(measured: median 392 ms at 1,500 ms, 18 ms at 100 ms, 5 ms at 20 ms). Faust has no setting.
"""

from typing import Any, ClassVar, Final

import aiokafka
from faust.transport.drivers import aiokafka as driver

FETCH_WAIT_MS: Final = 40


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class QuickFetchTransport(driver.Transport):
    """`faust.transport.drivers.aiokafka.Transport`, fetching more often."""

    Consumer: ClassVar[Any] = _Consumer
