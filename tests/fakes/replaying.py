"""A recording through the whole pipeline as fast as it goes: alerts with their record time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edge_agent.core.pipeline import BedPipeline
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs
from wardstream.contracts.waveform import NumericObservation, WaveformChunk

TICK_NS = NS_PER_S // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedAlert:
    """One alert event of a replay.

    Attributes
    ----------
    event : AlertEvent
        As the bed would have told it.
    record_time_s : float
        Event time, from the first sample of the recording.
    onset_time_s : float
        Onset of the condition, likewise.
    decision_latency_ms : float
        From the packet's arrival to the decision, measured on this machine.
    """

    event: AlertEvent
    record_time_s: float
    onset_time_s: float
    decision_latency_ms: float


def replay(
    pipeline: BedPipeline,
    items: Iterable[WaveformChunk | NumericObservation],
    *,
    clock_ns: Callable[[], int],
    tell: Callable[[object], None] | None = None,
) -> Iterator[ReplayedAlert]:
    """Alert events of a recording, in order, as the bed would raise them.

    Parameters
    ----------
    pipeline : BedPipeline
        New; its ``clock_ns`` is the one given here.
    items : iterable of WaveformChunk or NumericObservation
        In order of time.
    clock_ns : callable
        Wall clock, for latencies only.
    tell : callable, optional
        Receives every output, frames and strips included.
    """
    begin_ns: int | None = None
    next_tick_ns = 0
    for item in items:
        if isinstance(item, NumericObservation):
            pipeline.observe(item)
            continue
        if begin_ns is None:
            begin_ns, next_tick_ns = item.start_time_ns, item.start_time_ns + TICK_NS
        outputs = list(pipeline.push(item, clock_ns()))
        while next_tick_ns <= item.end_time_ns:
            outputs.extend(pipeline.tick(TimestampNs(next_tick_ns), clock_ns()))
            next_tick_ns += TICK_NS
        for output in outputs:
            if tell is not None:
                tell(output)
            if isinstance(output, AlertEvent):
                yield _replayed(output, begin_ns)


def _replayed(event: AlertEvent, begin_ns: int) -> ReplayedAlert:
    return ReplayedAlert(
        event=event,
        record_time_s=(event.event_time_ns - begin_ns) / NS_PER_S,
        onset_time_s=(event.onset_time_ns - begin_ns) / NS_PER_S,
        decision_latency_ms=(event.decided_time_ns - event.received_time_ns) / NS_PER_MS,
    )
