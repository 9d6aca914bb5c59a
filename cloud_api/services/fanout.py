"""From the journal to every open event stream of this replica."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud_api.core.feed import FeedEntry, ReaderQueue, live_frame, position_frame
from cloud_api.core.ports import Clock, JournalStore
from cloud_api.services.metrics import ApiMetrics
from cloud_api.services.pacing import Backoff, stopped_within
from wardstream.contracts.errors import TransientError

logger = logging.getLogger(__name__)

_PAGE = 500
_HEARTBEAT_S = 2.0
_RECHECK_S = 1.0


@dataclass(slots=True, eq=False)
class _Reader:
    queue: ReaderQueue
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """Whether what feeds the dashboards works; a receiver must not look healthy when it is not."""

    broker: bool
    store: bool


class FanOut:
    """Follows the journal and hands every entry to every reader.

    One path for all replicas: whoever commits rings, every replica then reads the journal on
    from where it stood. So what a reader sees is in order and whole, whoever took it in.
    """

    name = "fan-out"

    def __init__(
        self,
        journal: JournalStore,
        replays: JournalStore,
        *,
        clock: Clock,
        health: Callable[[], LinkHealth],
        metrics: ApiMetrics,
    ) -> None:
        self._journal = journal
        self._replays = replays
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._cursor: int | None = None
        self._rung = asyncio.Event()
        self._ready = asyncio.Event()
        self._closed = False
        self._readers: set[_Reader] = set()

    @property
    def is_following(self) -> bool:
        """Whether the journal's end was found, so that readers can join."""
        return self._cursor is not None

    def ring(self) -> None:
        """The journal may have grown."""
        self._rung.set()

    def tell_numerics(self, data: bytes) -> None:
        """Hand the present numerics to every reader."""
        for reader in self._readers:
            reader.queue.set_numerics(data)
            reader.arrived.set()

    def tell_device(self, device_id: str, data: bytes) -> None:
        """Hand a changed bed to every reader."""
        for reader in self._readers:
            reader.queue.set_device(device_id, data)
            reader.arrived.set()

    def close(self) -> None:
        """End every stream; readers come back to the next process, from their position."""
        self._closed = True
        self._ready.set()
        for reader in self._readers:
            reader.arrived.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the journal until `stop`."""
        backoff = Backoff()
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                try:
                    await self._follow_once()
                    backoff.reset()
                except TransientError:
                    if await stopped_within(stop, backoff.next_s()):
                        return
                    self._rung.set()
                    continue
                await self._wait_for_ring(stopping)
        finally:
            stopping.cancel()
            self.close()

    async def _follow_once(self) -> None:
        self._rung.clear()
        if self._cursor is None:
            self._cursor = await self._journal.newest_position()
            self._ready.set()
        began_ns = self._clock()
        while entries := await self._journal.read(self._cursor, _PAGE):
            # No await between these lines: a reader that joins has either all of it or none.
            self._cursor = entries[-1].position
            self._hand_over(entries)
            self._metrics.fanned_out((self._clock() - began_ns) / 1e9)
            if len(entries) < _PAGE:
                break

    def _hand_over(self, entries: list[FeedEntry]) -> None:
        for reader in self._readers:
            reader.queue.add(entries)
            reader.arrived.set()

    async def _wait_for_ring(self, stopping: asyncio.Future[Any]) -> None:
        # Also looks without a ring once a second: a bell may be missed, an alarm may not.
        rung = asyncio.ensure_future(self._rung.wait())
        try:
            await asyncio.wait(
                {rung, stopping}, timeout=_RECHECK_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            rung.cancel()

    @asynccontextmanager
    async def follow(self, last_event_id: int | None) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Server-sent events: what was missed since `last_event_id`, then what comes."""
        reader = _Reader(ReaderQueue(after=0))
        stream = self._stream(reader, last_event_id)
        try:
            yield stream
        finally:
            await stream.aclose()
            self._readers.discard(reader)
            self._metrics.readers(len(self._readers))

    async def _stream(
        self, reader: _Reader, last_event_id: int | None
    ) -> AsyncGenerator[bytes, None]:
        yield live_frame("heartbeat", self._heartbeat())
        while self._cursor is None and not self._closed:
            await _set_within(self._ready, _HEARTBEAT_S)
            yield live_frame("heartbeat", self._heartbeat())
        if self._cursor is None:
            return
        # From here on the reader's queue collects what lies beyond `joined`; what lies before
        # it comes from the store. Both meet exactly at `joined`.
        joined = self._cursor
        reader.queue.after = joined
        self._readers.add(reader)
        self._metrics.readers(len(self._readers))
        try:
            async for missed in self._replay(last_event_id, joined):
                yield missed
        except TransientError:
            return  # the reader comes back and asks for the rest
        yield position_frame(joined, "heartbeat", self._heartbeat())
        async for live in self._live(reader):
            yield live

    async def _live(self, reader: _Reader) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        next_beat_s = loop.time() + _HEARTBEAT_S
        while not self._closed:
            await _set_within(reader.arrived, next_beat_s - loop.time())
            reader.arrived.clear()
            if waiting := reader.queue.take():
                yield waiting
            if reader.queue.overflowed:
                self._metrics.sent_away()
                logger.warning("a reader of the event stream is too slow and was sent away")
                return
            if loop.time() >= next_beat_s:
                yield live_frame("heartbeat", self._heartbeat())
                next_beat_s = loop.time() + _HEARTBEAT_S

    async def _replay(self, after: int | None, up_to: int) -> AsyncIterator[bytes]:
        position = up_to if after is None else after
        while position < up_to and (
            entries := await self._replays.read(position, _PAGE, up_to=up_to)
        ):
            yield b"".join(entry.frame() for entry in entries)
            position = entries[-1].position

    def _heartbeat(self) -> bytes:
        health = self._health()
        return msgspec.json.encode(
            {
                "time_ns": self._clock(),
                "broker": "up" if health.broker else "down",
                "store": "up" if health.store else "down",
            }
        )


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    if not event.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), max(0.0, seconds))
