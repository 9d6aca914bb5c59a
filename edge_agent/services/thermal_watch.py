"""Reads the temperature every two seconds and has shed what the profile says."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self

from edge_agent.core.thermal import Shed, Telemetry, ThermalGovernor

logger = logging.getLogger(__name__)

PERIOD_S: Final = 2.0


class ThermalWatch:
    """Never touches what decides or annunciates: it calls `apply` with what to do without.

    Parameters
    ----------
    telemetry : Telemetry
        Read on a thread.
    governor : ThermalGovernor
        Decides.
    apply : callable
        Carries it out, on the event loop; called when something changes.
    """

    name = "thermal"

    def __init__(
        self,
        telemetry: Telemetry,
        governor: ThermalGovernor,
        apply: Callable[[frozenset[Shed]], None],
        period_s: float = PERIOD_S,
    ) -> None:
        self._telemetry = telemetry
        self._governor = governor
        self._apply = apply
        self._period_s = period_s

    @property
    def shed(self) -> frozenset[Shed]:
        """What is done without now."""
        return self._governor.shed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop`."""
        while not stop.is_set():
            before = self._governor.shed
            reading = await asyncio.to_thread(self._telemetry.read)
            shed = self._governor.observe(reading)
            if shed != before:
                logger.warning(
                    "%.0f °C%s: without %s",
                    reading.celsius,
                    ", throttled" if reading.throttled else "",
                    ", ".join(sorted(shed)) or "nothing; everything is back",
                    extra={"fields": {"event": "thermal", "shed": sorted(shed)}},
                )
                self._apply(shed)
            try:
                await asyncio.wait_for(stop.wait(), self._period_s)
            except TimeoutError:
                continue
