"""Watches that a bed is quiet only while somebody is proven to be there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self

from edge_agent.core.ports import Measurements
from edge_agent.services.bedside import Bedside
from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.leases import Leases
from wardstream.contracts.authority import StationLease
from wardstream.contracts.timebase import TimestampNs

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1


class LeaseWatch:
    """Takes leases, and tells the bedside within a tenth of a second when one has lapsed.

    Parameters
    ----------
    leases : Leases
        Those of this device.
    bedside : Bedside
        Told who is there.
    monotonic_ns : callable
        Clock that no one sets.
    measurements : Measurements
        Counts refusals.
    """

    name = "lease watch"

    def __init__(
        self,
        leases: Leases,
        bedside: Bedside,
        monotonic_ns: Callable[[], int],
        measurements: Measurements,
    ) -> None:
        self._leases = leases
        self._bedside = bedside
        self._monotonic_ns = monotonic_ns
        self._measurements = measurements
        self._holders: frozenset[Holder] = frozenset()

    def take(self, lease: StationLease) -> None:
        """Take in a lease whose signature is good; on the event loop."""
        now_ns = TimestampNs(self._bedside.clock_ns())
        why = self._leases.take(lease, now_ns, self._monotonic_ns())
        if why is not None:
            self._measurements.n_refused_messages += 1
            logger.warning("refused a lease of station %s: %s", lease.station_id, why)
            return
        self._look()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop`."""
        while not stop.is_set():
            self._look()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        holders = self._leases.holders(self._monotonic_ns())
        if holders != self._holders:
            self._holders = holders
            self._bedside.hold(holders)
