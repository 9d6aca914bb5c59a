"""Curves for a station that looks: only while its lease lives, only as long as it asked."""

import logging
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Final

from edge_agent.core.ports import Measurements
from wardstream.alerting.bed_alerts import Holder
from wardstream.contracts.codec import encode
from wardstream.contracts.live import LiveCurves, LiveViewCommand
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.waveform import WaveformChunk

logger = logging.getLogger(__name__)

MAX_VIEWS: Final = 4
"""Stations that look at one bed at once."""


@dataclass(slots=True)
class _View:
    command: LiveViewCommand
    until_monotonic_ns: int
    next_number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveViewParts:
    """What a live view needs.

    Attributes
    ----------
    device_id, boot_id : str
        This device, and this life of it.
    is_signed : callable or None
        Whether a trusted key signed an order; None: no key is trusted, and nobody may look.
    holders : callable
        Who is proven to be at a station now.
    send : callable
        Sends encoded `LiveCurves` now or never; False: left out.
    clock_ns, monotonic_ns : callable
        Wall clock of the device, and the clock that no one sets.
    allowed : callable
        Whether curves may be shown at all now (a hot device sheds them).
    """

    device_id: str
    boot_id: str
    is_signed: Callable[[object], bool] | None
    holders: Callable[[], Set[Holder]]
    send: Callable[[bytes], bool]
    clock_ns: Callable[[], int]
    monotonic_ns: Callable[[], int]
    allowed: Callable[[], bool] = lambda: True


class LiveView:
    """The one place that turns chunks into messages while they are fresh. On the event loop."""

    def __init__(self, parts: LiveViewParts, measurements: Measurements) -> None:
        self._parts = parts
        self._measurements = measurements
        self._views: dict[str, _View] = {}
        self._newest_ns: dict[str, int] = {}

    @property
    def n_views(self) -> int:
        """Stations that look now."""
        return len(self._views)

    def take(self, command: LiveViewCommand) -> None:
        """Open the view `command` asks for, or say why not."""
        why = self._refusal(command)
        if why is not None:
            self._measurements.n_refused_messages += 1
            logger.warning("refused a live view of station %s: %s", command.station_id, why)
            return
        self._newest_ns[command.station_id] = command.issued_time_ns
        until_ns = self._parts.monotonic_ns() + round(command.seconds * NS_PER_S)
        self._views[command.station_id] = _View(command, until_ns)
        self._log("live_view_opened", command, f"for {command.seconds:g} s")

    def show(self, chunk: WaveformChunk) -> None:
        """Send `chunk` to whoever may see it."""
        if not self._views:
            return
        self._close_what_lapsed()
        if not self._parts.allowed():
            return
        for view in self._views.values():
            curves = LiveCurves(
                device_id=self._parts.device_id,
                boot_id=self._parts.boot_id,
                sequence_number=view.next_number,
                view_id=view.command.command_id,
                chunks=(chunk,),
            )
            view.next_number += 1
            if self._parts.send(encode(curves)):
                self._measurements.n_live_sent += 1
            else:
                self._measurements.n_live_left_out += 1

    def _refusal(self, command: LiveViewCommand) -> str | None:
        parts, now_ns = self._parts, self._parts.clock_ns()
        if parts.is_signed is None:
            return "this device trusts no key (EDGE_ORDERS_KEY), so nobody may look"
        if not parts.is_signed(command):
            return "no trusted key signed it"
        if (command.device_id, command.boot_id) != (parts.device_id, parts.boot_id):
            return "it was made for another device, or another life of this one"
        if not command.issued_time_ns - NS_PER_S <= now_ns < command.expires_time_ns:
            return "it has expired, or the clocks differ"
        if command.issued_time_ns <= self._newest_ns.get(command.station_id, 0):
            return "it was played back, or overtaken"
        if Holder(command.station_id, command.author) not in parts.holders():
            return f"{command.author} holds no live lease there"
        if command.station_id not in self._views and len(self._views) >= MAX_VIEWS:
            return f"{MAX_VIEWS} stations look already"
        return None

    def _close_what_lapsed(self) -> None:
        holders, now_ns = self._parts.holders(), self._parts.monotonic_ns()
        for station_id, view in list(self._views.items()):
            command = view.command
            if Holder(station_id, command.author) not in holders:
                why = "the lease has lapsed"
            elif now_ns >= view.until_monotonic_ns:
                why = "its time is up"
            else:
                continue
            del self._views[station_id]
            self._log("live_view_closed", command, why)

    @staticmethod
    def _log(event: str, command: LiveViewCommand, text: str) -> None:
        fields = {
            "event": event,
            "station_id": command.station_id,
            "author": command.author,
            "view_id": command.command_id,
        }
        logger.warning("%s looks at the curves: %s", command.author, text, extra={"fields": fields})
