"""What the escalation of unanswered alerts needs from the store."""

from dataclasses import dataclass
from typing import Protocol

from wardstream.alerting.escalation import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A high-priority alert that calls for someone.

    Attributes
    ----------
    alert_id : str
        Which.
    activated_event_id : int
        The onset or reactivation that nobody answered.
    activated_time_ns : int
        When the cloud stored it, on the cloud's clock.
    calls : tuple of Call
        Made about this activation.
    """

    alert_id: str
    activated_event_id: int
    activated_time_ns: int
    calls: tuple[Call, ...]


class EscalationStore(Protocol):
    """Calls: written first, shown afterwards."""

    async def unanswered(self) -> list[Unanswered]:
        """Every high-priority alert nobody has answered, or began to."""
        ...

    async def call(self, alert: Unanswered, level: int, role: str, now_ns: int) -> bool:
        """Write the call down and tell of it; False if another replica was faster."""
        ...

    async def shown(self, alert_id: str, level: int, username: str, now_ns: int) -> bool:
        """Note who was shown the newest such call; False if it is noted already."""
        ...
