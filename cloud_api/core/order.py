"""What is newer: the device's own order decides, never the order of arrival."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from wardstream.alerting.convergence import AlertPosition, moves_forward, position_of
from wardstream.contracts.device import Connectivity, DeviceStatus

__all__ = [
    "AlertPosition",
    "Place",
    "is_sign_of_life",
    "moves_forward",
    "place_of_alert",
    "position_of",
    "status_applies",
]


def status_applies(
    current_boot_id: str | None, known_boot_ids: Set[str], status: DeviceStatus
) -> bool:
    """Whether `status` describes the device as it is now.

    A boot id is drawn once: one that was seen and is not the current one has ended, and a late
    will of it must not declare its successor lost. Wall clocks are not asked, they step back.
    """
    if current_boot_id is None or status.boot_id == current_boot_id:
        return True
    return status.boot_id not in known_boot_ids


def is_sign_of_life(status: DeviceStatus, *, retained: bool) -> bool:
    """Whether the device itself spoke just now: neither its will nor a kept copy is that."""
    return not retained and status.connectivity is not Connectivity.LOST


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device stands. An empty `bed_id` means nobody has said yet."""

    site_id: str
    unit_id: str
    bed_id: str


def place_of_alert(site_id: str, boot_id: str, places: Mapping[str, Place]) -> Place:
    """The bed an alert of `boot_id` belongs to, given the `places` of the device's boots by id.

    A boot that never described itself (it fell before its first status left the bed) is taken
    to stand where all other boots of the device stood; where those differ the bed is left
    open rather than guessed.
    """
    if boot_id in places:
        return places[boot_id]
    distinct = set(places.values())
    return distinct.pop() if len(distinct) == 1 else Place(site_id, "", "")
