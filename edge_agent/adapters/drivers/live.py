"""A live bed: drivers deliver as their devices please, packets come aligned and regular."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from edge_agent.adapters.drivers.inbox import Inbox, Refusal
from edge_agent.adapters.playback import Clocks
from edge_agent.core.aligner import AlignedRun, StreamAligner
from edge_agent.core.arrivals import NumericArrival, WaveformArrival
from edge_agent.core.numeric_clock import NumericClock
from edge_agent.core.ports import (
    Packet,
    Quarantined,
    SourceEvent,
    SourceEventKind,
    UnreadableSourceError,
)
from edge_agent.core.quarantine import QuarantineLedger
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import NumericObservation, WaveformChunk

logger = logging.getLogger(__name__)

HOST_STEP_NS: Final = NS_PER_S // 2
"""A change of the host clock against the monotonic one that was no slewing."""

RECONNECT_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a lost device is tried again; the last repeats."""


class DeviceLostError(Exception):
    """The device does not answer, or hung up; trying again may help."""


class Driver(Protocol):
    """Speaks to one device and delivers into the inbox it was made with."""

    @property
    def name(self) -> str:
        """Kind and address of the device, for people; no secret in it."""
        ...

    async def converse(self) -> None:
        """Connect and deliver until the device is lost or the task is cancelled.

        Raises
        ------
        DeviceLostError
            It does not answer or hung up. The driver is asked again after a pause.
        UnreadableSourceError
            Trying again cannot help.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """How a live bed is read.

    Attributes
    ----------
    device_id, boot_id : str
        Stamped on every chunk.
    packet_ms : int
        How often what came is handed on.
    codes : tuple of str
        Channels the configuration promises; () where only the device knows.
    max_channels : int
        Most channels the board is meant for; a stream beyond is quarantined.
    max_rate_hz : float
        Highest rate it is meant for.
    """

    device_id: str
    boot_id: str
    packet_ms: int = 40
    codes: tuple[str, ...] = ()
    max_channels: int = 64
    max_rate_hz: float = 4000.0


@dataclass(slots=True)
class _Stream:
    aligner: StreamAligner
    codes: tuple[str, ...]
    unit: Unit
    number: int = 0


class LiveSource:
    """`WaveformSource` of one or several live drivers.

    A driver that loses its device is asked again, for ever; a driver that fails for good ends
    the source only when it is the only one.
    """

    def __init__(
        self, drivers: Sequence[Driver], inbox: Inbox, plan: LivePlan, clocks: Clocks
    ) -> None:
        self._drivers = tuple(drivers)
        self._inbox = inbox
        self._plan = plan
        self._clocks = clocks
        self._ledger = QuarantineLedger()
        self._streams: dict[str, _Stream] = {}
        self._numerics = NumericClock()
        self._events: list[SourceEvent] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._offset_ns = 0

    @property
    def description(self) -> str:
        """The drivers' names."""
        return "+".join(driver.name for driver in self._drivers)

    @property
    def codes(self) -> tuple[str, ...]:
        """Channels promised, and those that came."""
        found = [code for stream in self._streams.values() for code in stream.codes]
        return tuple(dict.fromkeys((*self._plan.codes, *found)))

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """What came and could not be taken, so far."""
        return self._ledger.entries

    def data_time_ns(self) -> TimestampNs:
        """Now: a live bed lives on the host's clock."""
        return TimestampNs(self._clocks.wall_ns())

    async def __aenter__(self) -> Self:
        self._offset_ns = self._clocks.wall_ns() - self._clocks.monotonic_ns()
        self._tasks = [
            asyncio.create_task(self._keep(driver), name=driver.name) for driver in self._drivers
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def packets(self) -> AsyncIterator[Packet]:
        """A packet every `packet_ms`, with whatever came; it never ends by itself.

        Raises
        ------
        UnreadableSourceError
            No driver is left that could deliver.
        """
        period_s = self._plan.packet_ms / 1000
        loop = asyncio.get_running_loop()
        due_s = loop.time() + period_s
        while True:
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            due_s = max(due_s + period_s, loop.time())
            yield self._packet()
            if all(task.done() for task in self._tasks):
                self._fail()

    # ---- drivers ------------------------------------------------------------------------

    async def _keep(self, driver: Driver) -> None:
        attempt = 0
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                await driver.converse()
                why = "it hung up"
            except DeviceLostError as error:
                why = str(error)
            except UnreadableSourceError as error:
                self._inbox.connected(driver.name, False, str(error))
                raise
            self._inbox.connected(driver.name, False, why)
            lasted_s = asyncio.get_running_loop().time() - began_s
            attempt = 0 if lasted_s > RECONNECT_S[-1] else attempt
            await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
            attempt += 1

    def _fail(self) -> None:
        errors = [task.exception() for task in self._tasks if not task.cancelled()]
        for error in errors:
            if error is not None and not isinstance(error, UnreadableSourceError):
                raise error
        raise UnreadableSourceError("; ".join(str(error) for error in errors) or "no driver")

    # ---- packets ------------------------------------------------------------------------

    def _packet(self) -> Packet:
        now_ns = self._clocks.wall_ns()
        self._follow_host_clock(now_ns)
        chunks: list[WaveformChunk] = []
        observations: list[NumericObservation] = []
        for item in self._inbox.take():
            if isinstance(item, WaveformArrival):
                chunks += self._waveform(item)
            elif isinstance(item, NumericArrival):
                observations += self._numeric(item)
            elif isinstance(item, Refusal):
                self._quarantine(item)
            else:
                self._events.append(item)
        for stream in self._streams.values():
            chunks += self._chunks(stream, stream.aligner.poll(now_ns))
            self._events += stream.aligner.take_events()
        self._events += self._numerics.take_events()
        events, self._events = tuple(self._events), []
        observations.sort(key=lambda observation: observation.determination_time_ns)
        return Packet(tuple(chunks), tuple(observations), TimestampNs(now_ns), events=events)

    def _follow_host_clock(self, now_ns: int) -> None:
        offset_ns = now_ns - self._clocks.monotonic_ns()
        by_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        if abs(by_ns) < HOST_STEP_NS:
            return
        for stream in self._streams.values():
            stream.aligner.move_host(by_ns)
        self._numerics.move_host(by_ns)
        self._events.append(
            SourceEvent(
                kind=SourceEventKind.CLOCK_STEP,
                channel="host",
                text=f"the host's clock was set by {by_ns / NS_PER_S:.3f} s",
                time_ns=TimestampNs(now_ns),
                amount=by_ns / NS_PER_S,
            )
        )

    def _waveform(self, arrival: WaveformArrival) -> list[WaveformChunk]:
        stream = self._streams.get(arrival.stream)
        if (
            stream is None
            or stream.codes != arrival.codes
            or stream.unit is not arrival.unit
            or stream.aligner.sampling_rate_hz != arrival.sampling_rate_hz
        ):
            why = self._refusal(arrival)
            if why:
                self._quarantine(Refusal(arrival.stream, why, arrival.arrived_ns))
                return []
            aligner = StreamAligner(arrival.stream, arrival.sampling_rate_hz)
            number = 0 if stream is None else stream.number + 2
            stream = _Stream(aligner, arrival.codes, arrival.unit, number)
            self._streams[arrival.stream] = stream
        return self._chunks(stream, stream.aligner.push(arrival))

    def _refusal(self, arrival: WaveformArrival) -> str:
        """Why this stream is not taken; "" if it is."""
        others = [
            code
            for name, other in self._streams.items()
            if name != arrival.stream
            for code in other.codes
        ]
        twice = sorted(set(others) & set(arrival.codes))
        if twice:
            return f"another stream delivers {twice} already"
        if len(others) + len(arrival.codes) > self._plan.max_channels:
            return f"more than the {self._plan.max_channels} channels the board is meant for"
        if arrival.sampling_rate_hz > self._plan.max_rate_hz:
            return f"faster than the {self._plan.max_rate_hz:g} Hz the board is meant for"
        return ""

    def _chunks(self, stream: _Stream, runs: list[AlignedRun]) -> list[WaveformChunk]:
        chunks: list[WaveformChunk] = []
        for run in runs:
            # A skipped number says that something is missing, as the contract has it.
            stream.number += 1 if run.follows else 2
            chunks.append(
                WaveformChunk(
                    device_id=self._plan.device_id,
                    boot_id=self._plan.boot_id,
                    sequence_number=stream.number,
                    codes=stream.codes,
                    unit=stream.unit,
                    sampling_rate_hz=stream.aligner.sampling_rate_hz,
                    start_time_ns=run.start_time_ns,
                    samples=run.samples,
                )
            )
        return chunks

    def _numeric(self, arrival: NumericArrival) -> list[NumericObservation]:
        time_ns = self._numerics.place(arrival)
        if time_ns is None:
            return []
        try:
            observation = NumericObservation(
                code=arrival.code,
                value=arrival.value,
                unit=arrival.unit,
                determination_time_ns=time_ns,
            )
        except OutOfRangeError as error:
            self._quarantine(Refusal(arrival.code, str(error), arrival.arrived_ns))
            return []
        return [observation]

    def _quarantine(self, refusal: Refusal) -> None:
        if self._ledger.note(refusal.channel, refusal.reason):
            self._events.append(
                SourceEvent(
                    kind=SourceEventKind.QUARANTINED,
                    channel=refusal.channel,
                    text=refusal.reason,
                    time_ns=TimestampNs(refusal.arrived_ns),
                )
            )
