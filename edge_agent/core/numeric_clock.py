"""When a monitor's numeric was determined, on the host's clock."""

from typing import Final

from edge_agent.core.arrivals import NumericArrival
from edge_agent.core.ports import SourceEvent, SourceEventKind
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

STEP_NS: Final = 2 * NS_PER_S
"""By how much the device's clock must be ahead of all it showed before to have been set."""

BACK_NS: Final = 30 * NS_PER_S
"""Later than this for `BACK_IN_A_ROW` new values, the clock was set back, not the network slow."""

BACK_IN_A_ROW: Final = 5

_SPREAD_NS: Final = 5 * NS_PER_S


class NumericClock:
    """Offset of the device's clock: the least delay any value ever showed.

    A value that was stored and forwarded keeps its age; a clock that was set is an event. A
    value older than the newest of its code is told as late and left out, for the judgement
    knows only the newest.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._behind: list[int] = []
        self._last_device_ns = 0
        self._newest: dict[str, int] = {}
        self._events: list[SourceEvent] = []

    def take_events(self) -> list[SourceEvent]:
        """Steps and late values since the last call."""
        events, self._events = self._events, []
        return events

    def move_host(self, by_ns: int) -> None:
        """The host's clock was set by `by_ns`."""
        if self._offset_ns is not None:
            self._offset_ns += by_ns
        self._newest = {code: time_ns + by_ns for code, time_ns in self._newest.items()}

    def place(self, arrival: NumericArrival) -> TimestampNs | None:
        """When `arrival` was determined; None if it is older than what is known."""
        time_ns = arrival.arrived_ns
        if arrival.device_time_ns is not None and arrival.clock_is_utc:
            if arrival.device_time_ns > arrival.arrived_ns + STEP_NS:
                ahead_s = (arrival.device_time_ns - arrival.arrived_ns) / NS_PER_S
                self._tell(
                    SourceEventKind.CLOCK_STEP,
                    arrival,
                    f"a value is dated {ahead_s:.0f} s into the future; it is taken as of now",
                    ahead_s,
                )
            time_ns = min(time_ns, arrival.device_time_ns)
        elif arrival.device_time_ns is not None:
            self._learn(arrival.arrived_ns - arrival.device_time_ns, arrival)
            time_ns = min(time_ns, arrival.device_time_ns + (self._offset_ns or 0))
        if time_ns < self._newest.get(arrival.code, 0):
            self._tell(SourceEventKind.LATE, arrival, "an older value came after a newer one")
            return None
        self._newest[arrival.code] = time_ns
        return TimestampNs(time_ns)

    def _learn(self, delay_ns: int, arrival: NumericArrival) -> None:
        if self._offset_ns is None:
            self._offset_ns = delay_ns
            return
        behind_ns = delay_ns - self._offset_ns
        if behind_ns < -STEP_NS:
            self._step(delay_ns, arrival)
        elif behind_ns < 0:
            self._offset_ns = delay_ns
        if behind_ns < BACK_NS:
            self._behind.clear()
            return
        if arrival.device_time_ns == self._last_device_ns:
            return  # several values of one message are one piece of evidence
        self._last_device_ns = arrival.device_time_ns or 0
        self._behind.append(delay_ns)
        if max(self._behind) - min(self._behind) > _SPREAD_NS:
            self._behind = [delay_ns]  # a backlog catches up; a set clock stays where it is
        if len(self._behind) >= BACK_IN_A_ROW:
            self._step(min(self._behind), arrival)

    def _step(self, delay_ns: int, arrival: NumericArrival) -> None:
        by_s = ((self._offset_ns or 0) - delay_ns) / NS_PER_S
        self._offset_ns = delay_ns
        self._behind.clear()
        self._newest.clear()
        self._tell(
            SourceEventKind.CLOCK_STEP, arrival, f"the device's clock was set by {by_s:.0f} s", by_s
        )

    def _tell(
        self, kind: SourceEventKind, arrival: NumericArrival, text: str, amount: float = 0.0
    ) -> None:
        self._events.append(
            SourceEvent(
                kind=kind,
                channel=arrival.code,
                text=text,
                time_ns=TimestampNs(arrival.arrived_ns),
                amount=amount,
            )
        )
