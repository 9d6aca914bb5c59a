"""The device's retained status: every two seconds, and at once when something changes."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from edge_agent.core.outbox_port import OutboxStats
from edge_agent.core.ports import JudgeReport, Measurements, Quarantined, percentile
from wardstream.contracts.codec import encode
from wardstream.contracts.device import (
    MAX_QUARANTINE_REPORTS,
    Connectivity,
    DeviceStatus,
    ModelReport,
    QuarantineReport,
)
from wardstream.contracts.timebase import TimestampNs

logger = logging.getLogger(__name__)

PERIOD_S: Final = 2.0
LOG_PERIOD_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class StatusParts:
    """Where the heartbeat's figures come from.

    Attributes
    ----------
    fixed : DeviceStatus
        What never changes in one life, as the will says it.
    judged, model, outbox : callable
        What does.
    channels, quarantined : callable
        What the source delivers and what is not judged, as far as it is known by now.
    clock_ns : callable
        Wall clock of the device.
    correct_clock : callable
        Follow the system clock; return the step in nanoseconds.
    """

    fixed: DeviceStatus
    judged: Callable[[], JudgeReport]
    model: Callable[[], ModelReport]
    outbox: Callable[[], OutboxStats]
    channels: Callable[[], tuple[str, ...]]
    quarantined: Callable[[], Sequence[Quarantined]]
    clock_ns: Callable[[], int]
    correct_clock: Callable[[], int]

    def status(self, connectivity: Connectivity) -> bytes:
        """The encoded status now."""
        judged, stats = self.judged(), self.outbox()
        model = replace(
            self.model(),
            n_windows_judged=judged.n_windows_judged,
            n_windows_unjudged=judged.n_windows_unjudged,
        )
        return encode(
            replace(
                self.fixed,
                connectivity=connectivity,
                reported_time_ns=TimestampNs(self.clock_ns()),
                last_sample_time_ns=judged.last_sample_time_ns,
                model=model,
                outbox_rows=dict(stats.rows),
                outbox_bytes=dict(stats.n_bytes),
                channels=self.channels(),
                quarantined=reported(self.quarantined()),
            )
        )


def reported(quarantined: Sequence[Quarantined]) -> tuple[QuarantineReport, ...]:
    """Those that came most often, and how many more there are, for a status of bounded size."""
    ordered = sorted(quarantined, key=lambda one: -one.count)
    told, rest = ordered[:MAX_QUARANTINE_REPORTS], ordered[MAX_QUARANTINE_REPORTS:]
    if rest:
        rest = [told.pop(), *rest]
        n = sum(one.count for one in rest)
        told.append(Quarantined("(others)", f"{len(rest)} more kinds of refused input", n))
    return tuple(
        QuarantineReport(channel=one.channel, reason=one.reason, count=one.count) for one in told
    )


class Heartbeat:
    """Says how the device is.

    Parameters
    ----------
    parts : StatusParts
        What to say.
    say : callable or None
        Where; None without a broker.
    measurements : Measurements
        Logged once a minute.
    """

    name = "heartbeat"

    def __init__(
        self, parts: StatusParts, say: Callable[[bytes], None] | None, measurements: Measurements
    ) -> None:
        self._parts = parts
        self._say = say
        self._measurements = measurements
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Say it now rather than later; called on the event loop."""
        self._changed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop`."""
        beats = 0
        while not stop.is_set():
            stepped_ns = self._parts.correct_clock()
            if stepped_ns:
                logger.warning("the system clock was set by %.3f s", stepped_ns / 1e9)
            if self._say is not None:
                self._say(self._parts.status(Connectivity.ONLINE))
            if beats % round(LOG_PERIOD_S / PERIOD_S) == 1:
                self._log()
            beats += 1
            try:
                await asyncio.wait_for(self._changed.wait(), PERIOD_S)
            except TimeoutError:
                continue
            self._changed.clear()

    def _log(self) -> None:
        m, stats = self._measurements, self._parts.outbox()
        fields: dict[str, object] = {
            "event": "measurements",
            "packets": m.n_packets,
            "alert_events": m.n_alert_events,
            "outbox_rows": dict(stats.rows),
            "storage_failures": m.n_storage_failures,
            "resent": m.n_resent,
        }
        for name, values in (("decision_ms", m.decision_ms), ("lag_ms", m.lag_ms)):
            fields[f"{name}_p50"] = percentile(values, 50)
            fields[f"{name}_p99"] = percentile(values, 99)
        logger.info("measurements", extra={"fields": fields})
