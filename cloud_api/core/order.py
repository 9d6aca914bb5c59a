"""What is newer: the device's own order decides, never the order of arrival."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.device import Connectivity, DeviceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPosition:
    """Where an alert stands.

    Attributes
    ----------
    device_id, boot_id, sequence_number
        Identity of its newest event.
    event_time_ns, decided_time_ns : int
        When that event happened, on the clock of the data and of the device.
    """

    device_id: str
    boot_id: str
    sequence_number: int
    event_time_ns: int
    decided_time_ns: int


def position_of(event: AlertEvent) -> AlertPosition:
    """The position `event` takes an alert to."""
    return AlertPosition(
        device_id=event.device_id,
        boot_id=event.boot_id,
        sequence_number=event.sequence_number,
        event_time_ns=event.event_time_ns,
        decided_time_ns=event.decided_time_ns,
    )


def moves_forward(current: AlertPosition | None, event: AlertEvent) -> bool:
    """Whether `event` is newer than where the alert stands.

    Within one boot the sequence number decides. Between two boots (an alert outlives a restart
    of the agent) it cannot; there the time of the event on the clock of the data does, and
    the device's wall clock where that is the same.
    """
    if current is None:
        return True
    if current.boot_id == event.boot_id:
        return event.sequence_number > current.sequence_number
    return (event.event_time_ns, event.decided_time_ns) > (
        current.event_time_ns,
        current.decided_time_ns,
    )


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
