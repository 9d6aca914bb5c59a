"""How a receiver of alert events comes to know what the bed knows, whatever the order of arrival.

A receiver keeps, of every alert, the greatest event by a total order that the bed's own counting
makes. Keeping the greatest is commutative, associative and idempotent: lost and sent again,
doubled or reordered, the same events leave every receiver in the same state, and once the last
one has arrived that is the bed's.
"""

from dataclasses import dataclass

from wardstream.contracts.alert import NOTES, AlertEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPosition:
    """Where an alert stands.

    Attributes
    ----------
    device_id, boot_id, sequence_number
        Identity of its newest event.
    event_time_ns, decided_time_ns : int
        When that event happened, on the clock of the data and of the device.
    revision : int
        Of that event; 0 from an agent that did not count.
    """

    device_id: str
    boot_id: str
    sequence_number: int
    event_time_ns: int
    decided_time_ns: int
    revision: int = 0


def position_of(event: AlertEvent) -> AlertPosition:
    """The position `event` takes an alert to."""
    return AlertPosition(
        device_id=event.device_id,
        boot_id=event.boot_id,
        sequence_number=event.sequence_number,
        event_time_ns=event.event_time_ns,
        decided_time_ns=event.decided_time_ns,
        revision=event.revision,
    )


def moves_forward(current: AlertPosition | None, event: AlertEvent) -> bool:
    """Whether `event` is newer than where the alert stands.

    The revision decides; a note never does anything. Events of agents that did not count (all
    have revision 0) go by the sequence number within one boot, and between two boots, which an
    alert may outlive, by the time of the event and then the device's wall clock.
    """
    if event.transition in NOTES:
        return False
    if current is None:
        return True
    if current.revision or event.revision:
        return event.revision > current.revision
    if current.boot_id == event.boot_id:
        return event.sequence_number > current.sequence_number
    return (event.event_time_ns, event.decided_time_ns) > (
        current.event_time_ns,
        current.decided_time_ns,
    )
