"""From the source to the judge, packet by packet, and the watchdog beside it."""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from edge_agent.core.ports import SourceEvent, SourceEventKind, WaveformSource
from edge_agent.services.bedside import Bedside
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.waveform import WaveformChunk

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25

_LEVELS: Final = {
    SourceEventKind.GAP: logging.DEBUG,
    SourceEventKind.LATE: logging.DEBUG,
    SourceEventKind.BACK: logging.INFO,
}
"""What is not a warning: gaps and late blocks are counted, and show as missing samples."""


class Acquisition:
    """Takes every packet of the source to the judge, on the event loop.

    The loop does nothing else that takes long: reading, storing, sending and hooks have
    their own threads.

    Parameters
    ----------
    source : WaveformSource
        Opened and closed here.
    bedside : Bedside
        Judges.
    ticks_by_data : bool
        Whether this service drives the watchdog by the clock of the data, as it must when
        a recording is played faster than time passes.
    keep : callable
        Given every chunk after it was judged; must not wait.
    """

    name = "acquisition"

    def __init__(
        self,
        source: WaveformSource,
        bedside: Bedside,
        *,
        ticks_by_data: bool,
        keep: Callable[[WaveformChunk], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._bedside = bedside
        self._ticks_by_data = ticks_by_data
        self._keep = keep
        self._next_tick_ns = 0

    async def __aenter__(self) -> Self:
        for channel in self._source.quarantined:
            logger.warning(
                "channel %s is not judged: %s",
                channel.channel,
                channel.reason,
                extra={"fields": {"event": "quarantined", "channel": channel.channel}},
            )
        await self._source.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._source.__aexit__(kind, error, trace)

    async def run(self, stop: asyncio.Event) -> None:
        """Judge until `stop`; after the end of a recording the bed is silent, not stopped."""
        async for packet in self._source.packets():
            self._bedside.take(packet)
            for chunk in packet.chunks:
                self._keep(chunk)
            for event in packet.events:
                self._note(event)
            if self._ticks_by_data and packet.end_time_ns >= self._next_tick_ns:
                self._bedside.tick(packet.end_time_ns)
                self._next_tick_ns = packet.end_time_ns + round(TICK_S * NS_PER_S)
            if stop.is_set():
                return
        logger.warning(
            "%s has ended; nothing is acquired any more",
            self._source.description,
            extra={"fields": {"event": "source_ended"}},
        )
        await stop.wait()

    def _note(self, event: SourceEvent) -> None:
        counts = self._bedside.measurements.source_events
        counts[event.kind.value] = counts.get(event.kind.value, 0) + 1
        logger.log(
            _LEVELS.get(event.kind, logging.WARNING),
            "%s: %s",
            event.channel,
            event.text,
            extra={
                "fields": {
                    "event": event.kind.value,
                    "channel": event.channel,
                    "amount": event.amount,
                }
            },
        )


class Watchdog:
    """Tells the judge four times a second what time it is on the clock of the data."""

    name = "watchdog"

    def __init__(self, source: WaveformSource, bedside: Bedside) -> None:
        self._source = source
        self._bedside = bedside

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    async def run(self, stop: asyncio.Event) -> None:
        """Tick until `stop`."""
        while not stop.is_set():
            self._bedside.tick(self._source.data_time_ns())
            await asyncio.sleep(TICK_S)
