"""From blocks as a device sends them to an unbroken run of samples on the host's clock.

Order, gaps, drift and steps are put right here once for all drivers:

1. A block has a position in the device's own counting, stated or computed from its time stamp.
2. Blocks that overtook others wait, a bounded time and number, for those they overtook.
3. What never came is NaN, exactly as long as it was, and an event.
4. Where the device clock lies on the host's clock is a regression over the arrivals
   (`ClockMap`). Drift is followed by leaving out or repeating one sample at a time, never
   faster than one a second, so sample times stay on one grid and never run backwards.
5. A device that sets its clock or counts anew is recognised when several blocks in a row
   contradict the numbering; the samples go on by the host's clock, and the step is an event.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.arrivals import WaveformArrival
from edge_agent.core.clock_map import ClockMap
from edge_agent.core.ports import SourceEvent, SourceEventKind
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs, sample_time_ns

REORDER_NS: Final = 200 * NS_PER_MS
"""How long a block waits for one that it overtook."""

MAX_WAITING: Final = 64
"""Most blocks that wait; beyond, the oldest goes on without what it waited for."""

SETTLE_NS: Final = 300 * NS_PER_MS
"""Arrivals looked at before the first sample gets its time: the first may be the slowest."""

MAX_FILL_S: Final = 10.0
"""Longest gap that is filled with NaN; after a longer one the run begins anew."""

STAMP_JITTER_NS: Final = 20 * NS_PER_MS
"""How far a time stamp may stray before it means that samples are missing."""

SLIP_NS: Final = 8 * NS_PER_MS
"""How far the grid may stray from the device clock before a sample is left out or repeated."""

SLIP_EVERY_NS: Final = NS_PER_S
"""Shortest time between two slips; 250 Hz can follow 4000 ppm with that."""

STEP_NS: Final = NS_PER_S
"""How far a position may run ahead of the time that passed before it is doubted."""

_SUSPECTS: Final = 3
_SUSPECT_NS: Final = 250 * NS_PER_MS
_STALL_NS: Final = 200 * NS_PER_MS  # host time beyond which a step also lost samples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedRun:
    """Samples on the grid.

    Attributes
    ----------
    samples : ndarray of float32, shape (n_channels, n_samples)
        NaN where the device took a sample that never came.
    start_time_ns : TimestampNs
        Of the first of them, on the host's clock.
    follows : bool
        Whether the first sample is the one after the last given before.
    """

    samples: NDArray[np.float32]
    start_time_ns: TimestampNs
    follows: bool


@dataclass(slots=True)
class AlignerCounts:
    """What happened to blocks and samples so far."""

    n_repeated: int = 0
    n_late: int = 0
    n_missing: int = 0
    n_slipped: int = 0
    n_steps: int = 0


@dataclass(slots=True)
class _Waiting:
    position: int
    arrival: WaveformArrival

    @property
    def end(self) -> int:
        return self.position + self.arrival.samples.shape[1]


class StreamAligner:
    """Aligns one stream of one device. Pure: time comes in with the blocks."""

    def __init__(self, stream: str, sampling_rate_hz: float) -> None:
        self.stream = stream
        self.sampling_rate_hz = sampling_rate_hz
        self.counts = AlignerCounts()
        self._period_ns = NS_PER_S / sampling_rate_hz
        self._slip_ns = max(SLIP_NS, 0.75 * self._period_ns)
        self._clock = ClockMap()
        self._events: list[SourceEvent] = []
        self._waiting: list[_Waiting] = []
        self._suspects: list[_Waiting] = []
        self._recent: OrderedDict[int, int] = OrderedDict()
        """Position of what was given lately -> hash of its samples, to know a repeat."""
        self._running = False
        self._expected = 0  # position of the sample that is due, once running
        self._shift = 0  # from the device's own numbers to positions
        self._base_ns: int | None = None  # device time of position 0, where stamps count
        self._anchor_ns: int | None = None  # host time of the grid's slot 0
        self._n_out = 0
        self._slipped_ns = 0
        self._first_arrived_ns = 0
        self._last_arrived_ns = 0

    @property
    def drift_ppm(self) -> float:
        """Drift of the device's sample clock against the host, in parts per million."""
        return self._clock.drift_ppm

    @property
    def end_time_ns(self) -> TimestampNs:
        """When the next sample is due; 0 before the first."""
        if self._anchor_ns is None:
            return TimestampNs(0)
        return sample_time_ns(TimestampNs(self._anchor_ns), self.sampling_rate_hz, self._n_out)

    def take_events(self) -> list[SourceEvent]:
        """Gaps, steps and late blocks since the last call."""
        events, self._events = self._events, []
        return events

    def push(self, arrival: WaveformArrival) -> list[AlignedRun]:
        """What goes on now that `arrival` is here, in order."""
        if arrival.samples.shape[1] == 0:
            return []
        if self._is_next(arrival):
            return self._follow(arrival)
        now_ns = arrival.arrived_ns
        waiting = _Waiting(self._position(arrival), arrival)
        if not self._running and not self._waiting:
            self._first_arrived_ns = now_ns
        if self._is_repeat(waiting):
            self.counts.n_repeated += 1
            return self.poll(now_ns)
        if self._running and self._is_doubtful(waiting):
            return self._doubt(waiting)
        self._refuse_suspects()
        self._clock.note(self._device_ns(waiting.end), now_ns)
        self._last_arrived_ns = now_ns
        self._waiting.append(waiting)
        self._waiting.sort(key=lambda held: held.position)
        return self.poll(now_ns)

    def poll(self, now_ns: int) -> list[AlignedRun]:
        """What goes on because time has passed."""
        if not self._running:
            if not self._waiting or now_ns - self._first_arrived_ns < SETTLE_NS:
                return []
            self._running, self._expected = True, self._waiting[0].position
        runs: list[AlignedRun] = []
        while self._waiting:
            head = self._waiting[0]
            missing = head.position - self._expected
            waited = now_ns - head.arrival.arrived_ns >= REORDER_NS
            if missing > 0 and not waited and len(self._waiting) <= MAX_WAITING:
                break
            self._waiting.pop(0)
            runs += self._give(head, max(0, missing), skip=max(0, -missing))
        return runs

    def move_host(self, by_ns: int) -> None:
        """The host's clock was set by `by_ns`: the grid moves with it."""
        self._clock.move_host(by_ns)
        self._first_arrived_ns += by_ns
        self._last_arrived_ns += by_ns
        if self._anchor_ns is not None:
            self._anchor_ns += by_ns
            self._slipped_ns += by_ns

    # ---- the usual case, in one look ----------------------------------------------------

    def _is_next(self, arrival: WaveformArrival) -> bool:
        return (
            self._running
            and self._anchor_ns is not None
            and not self._waiting
            and not self._suspects
            and arrival.position is not None
            and arrival.position + self._shift == self._expected
        )

    def _follow(self, arrival: WaveformArrival) -> list[AlignedRun]:
        """What `push` gives for the block that was due, without asking what else it may be."""
        samples, start = arrival.samples, self._expected
        self._expected += samples.shape[1]
        self._last_arrived_ns = arrival.arrived_ns
        self._clock.note(self._device_ns(self._expected), arrival.arrived_ns)
        self._remember(start, hash(samples.tobytes()))
        at_ns = self.end_time_ns
        samples = self._slipped(samples, self._device_ns(start), at_ns)
        self._n_out += samples.shape[1]
        if samples.shape[1] == 0:
            return []
        return [AlignedRun(samples=samples, start_time_ns=at_ns, follows=True)]

    # ---- positions ----------------------------------------------------------------------

    def _position(self, arrival: WaveformArrival) -> int:
        if arrival.position is not None:
            return arrival.position + self._shift
        stamp_ns = arrival.device_time_ns or 0
        if self._base_ns is None:
            self._base_ns = stamp_ns
        exact = (stamp_ns - self._base_ns) * self.sampling_rate_hz / NS_PER_S
        position = round(exact)
        nearest = [held.end for held in (*self._waiting, *self._suspects)]
        if self._running:
            nearest.append(self._expected)
        best = min(nearest, key=lambda end: abs(exact - end), default=position)
        # Half a block at most, or a short block that was overtaken would seem to follow.
        most = min(STAMP_JITTER_NS * self.sampling_rate_hz / NS_PER_S, arrival.samples.shape[1] / 2)
        if abs(exact - best) > most:
            return position
        # It follows what came before; the stamps' own drift against the nominal rate is taken up.
        period_ns = NS_PER_S / self.sampling_rate_hz
        self._base_ns += round(max(-1, min(1, exact - best)) * 0.02 * period_ns)
        return best

    def _device_ns(self, position: int) -> int:
        """Position on a device clock that never steps."""
        return round(position * self._period_ns)

    def _is_repeat(self, block: _Waiting) -> bool:
        content = hash(block.arrival.samples.tobytes())
        if self._recent.get(block.position) == content:
            return True
        self._remember(block.position, content)
        return False

    def _remember(self, position: int, content: int) -> None:
        self._recent[position] = content
        if len(self._recent) > MAX_WAITING:
            self._recent.popitem(last=False)

    # ---- doubt --------------------------------------------------------------------------

    def _is_doubtful(self, block: _Waiting) -> bool:
        if block.end <= self._expected:
            return True
        newest = max((held.end for held in self._waiting), default=self._expected)
        ahead_s = (block.position - newest) / self.sampling_rate_hz
        passed_ns = max(0, block.arrival.arrived_ns - self._last_arrived_ns)
        return ahead_s * NS_PER_S > passed_ns + STEP_NS

    def _doubt(self, block: _Waiting) -> list[AlignedRun]:
        """Hold a block that contradicts the numbering; several in a row are believed."""
        now_ns = block.arrival.arrived_ns
        if self._suspects and not 0 <= block.position - self._suspects[-1].end <= (
            self.sampling_rate_hz
        ):
            self._refuse_suspects()
        self._suspects.append(block)
        first = self._suspects[0]
        believed = (
            len(self._suspects) >= _SUSPECTS
            and now_ns - first.arrival.arrived_ns >= _SUSPECT_NS
            and now_ns - self._last_arrived_ns >= _SUSPECT_NS
        )
        if believed:
            return self._rebase()
        if len(self._suspects) > MAX_WAITING:
            self._refuse_suspects()
        return []

    def _refuse_suspects(self) -> None:
        for block in self._suspects:
            self.counts.n_late += 1
            self._tell(
                SourceEventKind.LATE,
                "a block came when it did not belong, and was left out",
                block.arrival.arrived_ns,
                float(block.arrival.samples.shape[1]),
            )
        self._suspects.clear()

    def _rebase(self) -> list[AlignedRun]:
        """Begin to count anew; the run goes on where the host's clock says."""
        suspects, self._suspects = self._suspects, []
        first = suspects[0]
        runs = self.poll(first.arrival.arrived_ns + REORDER_NS)  # what waited will wait in vain
        step_s = (first.position - self._expected) / self.sampling_rate_hz
        stalled_ns = first.arrival.arrived_ns - self._last_arrived_ns
        n_first = first.arrival.samples.shape[1]
        lost_ns = stalled_ns - n_first * NS_PER_S / self.sampling_rate_hz
        lost = 0 if lost_ns < _STALL_NS else round(lost_ns * self.sampling_rate_hz / NS_PER_S)
        self.counts.n_steps += 1
        self._tell(
            SourceEventKind.CLOCK_STEP,
            f"the device's clock or numbering stepped by {step_s:.3f} s",
            first.arrival.arrived_ns,
            step_s,
        )
        # Everything is renumbered so that positions go on from the run, and drift with them.
        shift = self._expected + lost - first.position
        if first.arrival.position is None and self._base_ns is not None:
            self._base_ns -= round(shift * NS_PER_S / self.sampling_rate_hz)
        else:
            self._shift += shift
        self._recent.clear()
        for block in suspects:
            self._clock.note(self._device_ns(block.end + shift), block.arrival.arrived_ns)
            self._last_arrived_ns = block.arrival.arrived_ns
            self._waiting.append(_Waiting(block.position + shift, block.arrival))
        return runs + self.poll(self._last_arrived_ns)

    # ---- the grid -----------------------------------------------------------------------

    def _give(self, block: _Waiting, missing: int, skip: int) -> list[AlignedRun]:
        samples = block.arrival.samples[:, skip:]
        if samples.shape[1] == 0:
            self.counts.n_late += 1
            return []
        self._expected = block.end
        if missing:
            self.counts.n_missing += missing
            seconds = missing / self.sampling_rate_hz
            self._tell(
                SourceEventKind.GAP,
                f"{seconds:.3f} s never came",
                block.arrival.arrived_ns,
                float(missing),
            )
        start_device_ns = self._device_ns(block.end - samples.shape[1])
        if self._anchor_ns is None or missing > MAX_FILL_S * self.sampling_rate_hz:
            return [self._begin(samples, start_device_ns)]
        if missing:
            gap = np.full((samples.shape[0], missing), np.nan, dtype=np.float32)
            samples = np.concatenate([gap, samples], axis=1)
            start_device_ns -= round(missing * NS_PER_S / self.sampling_rate_hz)
        at_ns = self.end_time_ns
        samples = self._slipped(samples, start_device_ns, at_ns)
        run = AlignedRun(samples=samples, start_time_ns=at_ns, follows=True)
        self._n_out += samples.shape[1]
        return [run] if samples.shape[1] else []

    def _begin(self, samples: NDArray[np.float32], start_device_ns: int) -> AlignedRun:
        earliest_ns = self.end_time_ns
        self._anchor_ns = max(self._clock.host_ns(start_device_ns), earliest_ns)
        self._slipped_ns = self._anchor_ns
        self._n_out = samples.shape[1]
        start_ns = TimestampNs(self._anchor_ns)
        return AlignedRun(samples=samples, start_time_ns=start_ns, follows=False)

    def _slipped(
        self, samples: NDArray[np.float32], device_ns: int, at_ns: int
    ) -> NDArray[np.float32]:
        """`samples`, one left out or repeated where the grid has strayed from the device."""
        stray_ns = self._clock.host_ns(device_ns) - at_ns
        if abs(stray_ns) <= self._slip_ns or at_ns - self._slipped_ns < SLIP_EVERY_NS:
            return samples
        self._slipped_ns = at_ns
        self.counts.n_slipped += 1
        if stray_ns < 0:
            return samples[:, 1:]
        return np.concatenate([samples[:, :1], samples], axis=1)

    def _tell(self, kind: SourceEventKind, text: str, time_ns: int, amount: float) -> None:
        event = SourceEvent(
            kind=kind,
            channel=self.stream,
            text=text,
            time_ns=TimestampNs(time_ns),
            amount=amount,
        )
        self._events.append(event)
