"""What a person at a station asks of a bed, and how it becomes a signed order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloud_api.core.errors import ConflictError
from cloud_api.core.staff import Permission, Principal
from wardstream.contracts.alert import Condition
from wardstream.contracts.authority import TIMED, Authority, LimitPair, O_co

REFRESH_S: Final = 60.0
"""How long an order is sent again: later the bed refuses it as too old."""

DEFAULT_PAUSE_S: Final = 120.0
OFF_LASTS_S: Final = 12 * 3600.0
"""A silence without a timer ends with the longest shift."""

LIMITS_LAST_S: Final = 24 * 3600.0


class Signer(Protocol):
    """Signs an order."""

    def __call__(self, order: O_co) -> O_co:
        """`order` with its signature."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceRequest:
    """A silence, as the page asks for it.

    Attributes
    ----------
    device_id : str
        Which bed's device.
    kind : Condition
        One of the four.
    station_id : str
        UUID of the page.
    scope : Condition or None
        What it is about; None: the whole bed.
    seconds : float or None
        How long; None: as is usual.
    reason : str or None
        Why.
    seen : mapping of alert id to int
        Alerts on the page when the person pressed, with their revision.
    """

    device_id: str
    kind: Condition
    station_id: str
    scope: Condition | None = None
    seconds: float | None = None
    reason: str | None = None
    seen: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def lasts_s(self) -> float:
        """Its length in seconds."""
        if self.seconds is not None:
            return self.seconds
        return DEFAULT_PAUSE_S if self.kind in TIMED else OFF_LASTS_S


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsRequest:
    """Limits for the patient in a bed; without any, the site's are in force again."""

    device_id: str
    limits: Mapping[str, LimitPair]
    seconds: float = LIMITS_LAST_S
    reason: str | None = None


def authority_of(principal: Principal, kind: Condition) -> Authority:
    """What `principal` may do, where `kind` is asked for.

    Raises
    ------
    ForbiddenError
        Not this.
    """
    principal.require(Permission.SILENCE)
    if kind in TIMED:
        return Authority.CARE
    principal.require(Permission.SWITCH_OFF)
    return Authority.ORDER


def require_signer(signer: Signer | None) -> Signer:
    """`signer` itself.

    Raises
    ------
    ConflictError
        This server has no key, so no bed would obey.
    """
    if signer is None:
        raise ConflictError(
            "this server signs no orders (CLOUD_ORDERS_KEY is not set), so no bed obeys any"
        )
    return signer


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedDevice:
    """Where a device is to be reached, and which life of it was heard last."""

    device_id: str
    site_id: str
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """A signed order on its way.

    Attributes
    ----------
    command_id, subject_id : str
        Its id, and that of the alert by which the bed will tell of it.
    device_id, site_id : str
        Where to.
    kind : str
        ``silence``, ``end`` or ``limits``.
    author, station_id : str
        Who, where; no station for limits.
    payload : bytes
        As it goes over the wire.
    issued_time_ns, send_until_time_ns : int
        From when until when it is sent.
    """

    command_id: str
    subject_id: str
    device_id: str
    site_id: str
    kind: str
    author: str
    station_id: str
    payload: bytes
    issued_time_ns: int
    send_until_time_ns: int


class OrderStore(Protocol):
    """Orders of people: written first, sent afterwards."""

    async def device(self, device_id: str) -> PlacedDevice:
        """Where it is; `NotFoundError`."""
        ...

    async def add(self, order: StoredOrder, *, next_send_ns: int, what: str) -> None:
        """Record `order`, and `what` it is in the audit log."""
        ...

    async def due(self, now_ns: int, next_send_ns: int) -> list[StoredOrder]:
        """Claim those not confirmed and due."""
        ...

    async def silence(self, silence_id: str) -> tuple[PlacedDevice, Condition]:
        """Device and kind of a silence that is not over; `NotFoundError`, `ConflictError`."""
        ...

    async def held_by(self, station_id: str, person: str, now_ns: int) -> Sequence[PlacedDevice]:
        """Devices with a silence that this person gave at this station."""
        ...
