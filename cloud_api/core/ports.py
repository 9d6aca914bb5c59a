"""What the services and the HTTP side need from the world, in words of this tier.

Every coroutine raises `TransientError` where its server is away.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cloud_api.core.feed import FeedEntry
from cloud_api.core.intake import Accepted, Inbound, Refused
from cloud_api.core.orders import LimitsRequest, SilenceRequest
from cloud_api.core.staff import Principal, Role, SessionRow
from cloud_api.core.views import (
    AlertDetailView,
    AlertView,
    BedView,
    DeadLetterView,
    DeviceView,
    FrameView,
    ModelCommandView,
    ModelVersionView,
    TrendView,
    Verdict,
    VerdictView,
)
from wardstream.contracts.alert import AcknowledgeCommand
from wardstream.contracts.device import ModelAction, ModelCommand
from wardstream.contracts.identity import CommitWatermark

Clock = Callable[[], int]
"""Wall clock in nanoseconds UTC."""

NewId = Callable[[], str]
"""A fresh random UUID."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message with what is needed to acknowledge it to the broker."""

    inbound: Inbound
    token: object


class MessageSource(Protocol):
    """Where devices' messages come from; nothing is acknowledged by itself."""

    async def take(self, limit: int) -> list[Delivery]:
        """Between 1 and `limit` messages, in order of arrival; waits for the first."""
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that `deliveries` are in safe hands."""
        ...


class Publisher(Protocol):
    """The way to the devices."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be reached now."""
        ...

    def publish(
        self, address: str, payload: bytes, *, retained: bool, expires_in_s: int | None = None
    ) -> bool:
        """Send QoS 1; whether it was taken. Never waits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult:
    """What a committed batch led to.

    Attributes
    ----------
    watermarks : list of (site_id, CommitWatermark)
        Of every stream the batch touched, moved or not: who sent twice has not heard it.
    n_new_events : int
        Alert events that were not there before.
    letters : int
        Messages of the batch that were refused.
    """

    watermarks: list[tuple[str, CommitWatermark]] = field(
        default_factory=list[tuple[str, CommitWatermark]]
    )
    n_new_events: int = 0
    n_new_letters: int = 0


class IntakeStore(Protocol):
    """The writing side of the alarm path."""

    async def commit(
        self, accepted: Sequence[Accepted], refused: Sequence[Refused], now_ns: int
    ) -> CommitResult:
        """Write all of it in one transaction, each message once for ever.

        Raises
        ------
        ContractError
            One of the messages cannot be stored, whatever is tried; nothing was written.
        """
        ...


class JournalStore(Protocol):
    """The reading side of the journal."""

    async def newest_position(self) -> int:
        """Position of the last entry, 0 if there is none."""
        ...

    async def read(self, after: int, limit: int, *, up_to: int | None = None) -> list[FeedEntry]:
        """The first `limit` entries with ``after < position`` (``<= up_to``), in order."""
        ...


class Feed(Protocol):
    """The live journal and the present of the ward, for one HTTP stream each."""

    def follow(
        self, last_event_id: int | None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Server-sent events: what was missed since `last_event_id`, then what comes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WardRow:
    """A device and its newest stored second.

    Attributes
    ----------
    bed : BedView
        Without alerts; ``numerics.age_s`` as of the reading.
    heard_time_ns : int
        Last live status.
    frame_stored_time_ns : int or None
        When the newest frame was stored.
    """

    bed: BedView
    heard_time_ns: int
    frame_stored_time_ns: int | None


class WardStore(Protocol):
    """What the ward looks like now, for the once-a-second look at it."""

    async def ward(self, now_ns: int) -> list[WardRow]:
        """Every device with its newest second, in order of unit and bed."""
        ...

    async def set_silent(self, device_id: str, *, silent: bool, boot_id: str, now_ns: int) -> bool:
        """Raise or end the silence alert of a device; False if another replica was faster."""
        ...

    async def lapse_acknowledgements(self, *, boot_id: str, now_ns: int) -> int:
        """Take back acknowledgements of silence alerts that have lapsed; how many."""
        ...


class ReadStore(Protocol):
    """What REST answers from."""

    async def beds(self, now_ns: int) -> list[BedView]: ...
    async def frames(
        self, bed_id: str, from_ns: int | None, until_ns: int | None, limit: int
    ) -> list[FrameView]: ...
    async def trend(
        self,
        bed_id: str,
        features: Sequence[str],
        from_ns: int,
        until_ns: int,
        bucket_s: int | None,
    ) -> TrendView: ...
    async def alerts(
        self, *, active: bool | None, bed_id: str | None, limit: int, now_ns: int
    ) -> list[AlertView]: ...
    async def alert(self, alert_id: str, now_ns: int) -> AlertDetailView: ...
    async def strip_payload(self, alert_id: str) -> tuple[int, bytes]:
        """Onset of the alert and the encoded strip; `NotFoundError` until it arrived."""
        ...

    async def devices(self) -> list[DeviceView]: ...
    async def dead_letters(self, limit: int) -> list[DeadLetterView]: ...
    async def model_commands(self, limit: int) -> list[ModelCommandView]: ...
    async def ping(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAcknowledgement:
    """An acknowledgement to be sent (again).

    Attributes
    ----------
    site_id : str
        Site of the device.
    command : AcknowledgeCommand
        What it is told.
    for_device : bool
        False for an alert that the cloud itself raised, and has confirmed.
    """

    site_id: str
    command: AcknowledgeCommand
    for_device: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeRequest:
    """That a clinician saw an alert, before it is known which device to tell."""

    command_id: str
    alert_id: str
    author: str
    reason: str | None
    issued_time_ns: int
    expires_time_ns: int
    seen_revision: int | None = None


class CommandStore(Protocol):
    """What staff decided: written first, sent afterwards."""

    async def add_acknowledgement(
        self, request: AcknowledgeRequest, *, next_send_ns: int
    ) -> PendingAcknowledgement:
        """Record it and name its device; `NotFoundError`, or `ConflictError` once it is over."""
        ...

    async def add_verdict(self, alert_id: str, verdict: VerdictView) -> None: ...
    async def due_acknowledgements(
        self, now_ns: int, next_send_ns: int
    ) -> list[PendingAcknowledgement]:
        """Claim those not confirmed and due; they are due again at `next_send_ns`."""
        ...

    async def add_model_command(self, site_id: str, command: ModelCommand) -> None: ...
    async def unpublished_model_commands(self) -> list[tuple[str, ModelCommand]]: ...
    async def model_command_published(self, command_id: str, now_ns: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user as sign-in needs it."""

    username: str
    password_hash: str
    roles: frozenset[Role]
    disabled: bool


class StaffStore(Protocol):
    """Users and their sessions."""

    async def credential(self, username: str) -> Credential | None: ...
    async def open_session(self, session: SessionRow) -> None: ...
    async def session(self, session_id: str) -> SessionRow | None: ...
    async def touch_session(self, session_id: str, now_ns: int) -> None: ...
    async def end_session(self, session_id: str, username: str, now_ns: int) -> None: ...
    async def note_refused(self, username: str, now_ns: int) -> None: ...
    async def put_user(
        self, username: str, password_hash: str, roles: frozenset[Role], *, replace: bool
    ) -> bool:
        """Create (or with `replace` change) a user; False if it is there already."""
        ...


class PasswordHasher(Protocol):
    """Slow on purpose; called off the event loop."""

    def hash(self, password: str) -> str: ...
    def verify(self, password: str, password_hash: str) -> bool: ...


class TokenCodec(Protocol):
    """Signed session tokens."""

    def issue(self, principal: Principal, now_ns: int) -> str: ...
    def session_id(self, token: str, now_ns: int) -> str:
        """Session the token is of; `NotSignedInError` if it is forged, foreign or expired."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A fresh session."""

    principal: Principal
    access_token: str


class SignInDesk(Protocol):
    """Who comes in, and who is still in."""

    async def sign_in(self, username: str, password: str, client: str) -> SignedIn: ...
    async def authenticate(self, token: str) -> Principal: ...
    async def sign_out(self, principal: Principal) -> None: ...


class AlertDesk(Protocol):
    """What staff do with alerts and models."""

    async def acknowledge(
        self,
        principal: Principal,
        alert_id: str,
        reason: str | None,
        *,
        seen_revision: int | None = None,
    ) -> PendingAcknowledgement: ...
    async def judge(
        self, principal: Principal, alert_id: str, verdict: Verdict, comment: str | None
    ) -> VerdictView: ...
    async def command_model(
        self,
        principal: Principal,
        *,
        site_id: str,
        device_id: str | None,
        action: ModelAction,
        version: int,
    ) -> ModelCommandView: ...


class OrderDesk(Protocol):
    """What staff order at the beds."""

    async def silence(self, principal: Principal, request: SilenceRequest) -> str: ...
    async def end_silence(self, principal: Principal, silence_id: str, station_id: str) -> None: ...
    async def renew(self, principal: Principal, station_id: str) -> list[str]: ...
    async def set_limits(self, principal: Principal, request: LimitsRequest) -> str: ...


class EscalationDesk(Protocol):
    """Who was shown a call."""

    async def shown(self, principal: Principal, alert_id: str, level: int) -> bool: ...


class ModelRepository(Protocol):
    """The signed repository on disk, read only."""

    @property
    def directory(self) -> Path | None:
        """Where it lies; None if this site has none."""
        ...

    def versions(self) -> list[ModelVersionView]:
        """Every version it offers, newest first."""
        ...
