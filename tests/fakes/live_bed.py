"""A live source run for a test: collects what its packets hold until the test is content."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import Driver, LivePlan, LiveSource
from edge_agent.adapters.playback import Clocks
from edge_agent.core.ports import SourceEvent, SourceEventKind
from wardstream.contracts.waveform import NumericObservation, WaveformChunk


@dataclass
class Collected:
    """Everything the packets held so far."""

    chunks: list[WaveformChunk] = field(default_factory=list)
    observations: list[NumericObservation] = field(default_factory=list)
    events: list[SourceEvent] = field(default_factory=list)

    def summary(self) -> str:
        """What came, in a few lines."""
        curves = {code: self.n_samples(code) for chunk in self.chunks for code in chunk.codes}
        events = [f"{event.channel}: {event.kind} {event.text}" for event in self.events]
        return f"samples {curves}, {len(self.observations)} numerics, events {events[:12]}\n"

    def kinds(self) -> list[SourceEventKind]:
        return [event.kind for event in self.events]

    def n_samples(self, code: str) -> int:
        return sum(chunk.samples.shape[1] for chunk in self.chunks if code in chunk.codes)

    def values(self, code: str) -> list[float]:
        return [o.value for o in self.observations if o.code == code]


class LiveBed:
    """``async with LiveBed(lambda inbox: [driver]) as bed: await bed.until(lambda got: ...)``."""

    def __init__(self, make: Callable[[Inbox], list[Driver]], packet_ms: int = 20) -> None:
        self.inbox = Inbox(time.time_ns)
        plan = LivePlan(device_id="bed-1", boot_id=str(uuid4()), packet_ms=packet_ms)
        clocks = Clocks(time.time_ns, time.monotonic_ns)
        self.source = LiveSource(make(self.inbox), self.inbox, plan, clocks)
        self.got = Collected()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "LiveBed":
        await self.source.__aenter__()
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        failed = self._task.exception() if self._task.done() else None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.source.__aexit__(None, None, None)
        if failed is not None:
            raise failed

    async def until(
        self, content: Callable[[Collected], object], timeout_s: float = 8.0
    ) -> Collected:
        """Wait until `content` of what was collected holds; fail with what there was."""
        assert self._task is not None
        deadline_s = time.monotonic() + timeout_s
        while not content(self.got):
            if self._task.done():
                self._task.result()
            assert time.monotonic() < deadline_s, self.got.summary() + self.reasons()
            await asyncio.sleep(0.01)
        return self.got

    def reasons(self) -> str:
        """All quarantine reasons, one a line."""
        return "\n".join(f"{q.channel}: {q.reason} ({q.count})" for q in self.source.quarantined)

    async def _collect(self) -> None:
        async for packet in self.source.packets():
            self.got.chunks += packet.chunks
            self.got.observations += packet.observations
            self.got.events += packet.events
