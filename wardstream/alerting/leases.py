"""Who is proven to be at which station now: leases, counted down by the device's own clock."""

from dataclasses import dataclass
from typing import Final

from wardstream.alerting.bed_alerts import Holder
from wardstream.contracts.authority import StationLease
from wardstream.contracts.timebase import TimestampNs

MAX_STATIONS: Final = 64
"""Stations of which the last number is remembered; those longest over are forgotten first."""


@dataclass(frozen=True, slots=True)
class _Held:
    person: str
    sequence_number: int
    until_monotonic_ns: int


class Leases:
    """The live leases of one device.

    A lease counts from its arrival, by the monotonic clock, for at most its own length, and not
    beyond its expiry by the wall clock: a clock that is wrong can only make it shorter. It names
    the life of the device it was given to, and its number must be greater than any before.

    Parameters
    ----------
    device_id, boot_id : str
        The device, and this life of it.
    """

    def __init__(self, device_id: str, boot_id: str) -> None:
        self._device_id = device_id
        self._boot_id = boot_id
        self._held: dict[str, _Held] = {}

    def take(self, lease: StationLease, now_ns: TimestampNs, monotonic_ns: int) -> str | None:
        """Take in a lease whose signature was found good; why it is refused, None: it is not."""
        if lease.device_id != self._device_id:
            return "it is for another device"
        if lease.boot_id != self._boot_id:
            return "it was given to another life of the device"
        before = self._held.get(lease.station_id)
        if before is not None and lease.sequence_number <= before.sequence_number:
            return "it was played back, or overtaken"
        left_ns = min(lease.expires_time_ns - lease.issued_time_ns, lease.expires_time_ns - now_ns)
        if left_ns <= 0:
            return "it has lapsed"
        self._held[lease.station_id] = _Held(
            lease.holder, lease.sequence_number, monotonic_ns + left_ns
        )
        if len(self._held) > MAX_STATIONS:
            oldest = min(self._held, key=lambda one: self._held[one].until_monotonic_ns)
            del self._held[oldest]
        return None

    def holders(self, monotonic_ns: int) -> frozenset[Holder]:
        """Who is proven to be at a station at `monotonic_ns`."""
        return frozenset(
            Holder(station_id, held.person)
            for station_id, held in self._held.items()
            if monotonic_ns < held.until_monotonic_ns
        )
