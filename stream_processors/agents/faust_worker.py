"""The Faust app: thin agents, each event one Kafka record, ended only when the store has it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import faust

from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.agents.quick_fetch import QuickFetchTransport
from stream_processors.agents.record_keeper import RecordKeeper
from stream_processors.core.fusion import LogRecord
from stream_processors.core.stall import Partition
from wardstream.contracts.timebase import NS_PER_MS
from wardstream.contracts.topics import (
    DEAD_LETTER,
    DEVICE_STATUS,
    FEATURES,
    GAPS,
    OBSERVATIONS,
    RECORD_EVENTS,
    KafkaTopic,
)

logger = logging.getLogger(__name__)

_BUFFERED_EVENTS: Final = 128
"""Records that wait in memory, each of up to `routing.MAX_RECORD_BYTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaustSettings:
    """What the app needs to be told.

    Attributes
    ----------
    bootstrap : str
        ``host:port[,host:port]`` of Kafka.
    group : str
        Consumer group.
    n_partitions : int
        Of each of our topics.
    datadir : str
        Folder Faust may write to.
    take_records : int
        Most records of one transaction.
    take_within_s : float
        How long a first record waits for company.
    """

    bootstrap: str
    group: str
    n_partitions: int
    datadir: str
    take_records: int = 256
    take_within_s: float = 0.02


def build_app(settings: FaustSettings) -> faust.App:
    """The app without agents.

    Every setting that is not Faust's default has its reason in reference/libraries.md section 4:
    no tables and no standbys (their recovery fails), at least once (exactly once duplicates and
    hangs), no web server (it would serve table data), short time-outs (the defaults take minutes
    to notice a dead worker), no waiting for empty streams (it hangs).
    """
    app = faust.App(
        settings.group,
        broker=[f"kafka://{address}" for address in settings.bootstrap.split(",")],
        autodiscover=False,
        origin="stream_processors",
        store="memory://",
        datadir=settings.datadir,
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1024 * 1024,
        broker_session_timeout=10,
        broker_heartbeat_interval=2,
        broker_rebalance_timeout=15,
        broker_request_timeout=20,
        broker_commit_interval=0.5,
        producer_request_timeout=30,
        table_standby_replicas=0,
        topic_partitions=settings.n_partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_buffer_maxsize=_BUFFERED_EVENTS,
        web_enabled=False,
    )
    app.transport = QuickFetchTransport(app.conf.broker_consumer, app)
    return app


class FaustWorker:
    """Runs the app inside our own event loop, and lets no failure pass for a restart of an agent.

    Faust starts a failed agent again and forgets its event; here any exception of an agent is
    `failure`, and the process ends with it, to begin again from the last commit.
    """

    name = "faust"

    def __init__(self, settings: FaustSettings, writer: FrameWriter, keeper: RecordKeeper) -> None:
        self._settings = settings
        self._writer = writer
        self._keeper = keeper
        self._app: faust.App | None = None
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises
        ------
        Exception
            What ended an agent, or Faust itself.
        """
        app = build_app(self._settings)
        self._app = app
        self._add_agents(app)
        await app.start()
        try:
            await self._wait(app, stop)
        finally:
            await app.stop()
        if self._failure is not None:
            raise self._failure

    @property
    def assignment(self) -> frozenset[Partition]:
        """Partitions this worker reads now."""
        if self._app is None or not self._app.started:
            return frozenset()
        return frozenset((tp.topic, tp.partition) for tp in self._app.consumer.assignment())

    async def _wait(self, app: faust.App, stop: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._failed)]
        while not any(wait.done() for wait in waits):
            await asyncio.wait(waits, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            if app.should_stop and not stop.is_set():
                self._failure = app.crash_reason or RuntimeError("Faust stopped unasked")
                break
        for wait in waits:
            wait.cancel()

    def _add_agents(self, app: faust.App) -> None:
        app.agent(_topic(app, FEATURES), name="frames", concurrency=1)(self._frames)
        for topic, keep in (
            (GAPS, self._keeper.keep_gap),
            (DEVICE_STATUS, self._keeper.keep_status),
            (RECORD_EVENTS, self._keeper.keep_record_event),
            (OBSERVATIONS, self._keeper.keep_observation),
            (DEAD_LETTER, self._keeper.keep_letter),
        ):
            app.agent(_topic(app, topic), name=topic.name, concurrency=1)(self._single(keep))

    async def _frames(self, stream: Any) -> None:
        # Events are acknowledged by hand, in order, after the commit. One batch is written at a
        # time: with several, Faust commits past the one still in flight (faust#606).
        taken = stream.noack_take(self._settings.take_records, within=self._settings.take_within_s)
        try:
            async for events in taken:
                await self._writer.write(
                    [
                        LogRecord(event.value, int(event.message.timestamp * 1000) * NS_PER_MS)
                        for event in events
                    ]
                )
                for event in events:
                    await stream.ack(event)
        except Exception as error:  # noqa: BLE001  # the process ends with it
            self._fail(error)

    def _single(self, keep: Callable[[bytes], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def agent(stream: Any) -> None:
            try:
                async for value in stream:
                    await keep(value)
            except Exception as error:  # noqa: BLE001  # the process ends with it
                self._fail(error)

        return agent

    def _fail(self, error: BaseException) -> None:
        logger.error("an agent failed", exc_info=error)
        self._failure = error
        self._failed.set()


def _topic(app: faust.App, topic: KafkaTopic) -> Any:
    return app.topic(topic.name, key_serializer="raw", value_serializer="raw")
