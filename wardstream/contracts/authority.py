"""Orders that a bed obeys only when they are signed: silences, their leases, limits, a site's table.

The cloud, which knows who is signed in and in which role, signs with an Ed25519 key; a device
holds the public key. What is signed is the message's schema, a zero byte and its own encoding
with an empty signature, so a signature can neither be moved to another message nor to another
kind of message. Each order names its device, and whatever ends with a life of the device also
names its `boot_id`: nothing recorded in one life can be played to the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

from wardstream.contracts.alert import SILENCES, AcknowledgeCommand, Condition
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_boot_id, check_id, check_sequence_number
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

LONGEST_LEASE_NS: Final = 5 * NS_PER_S
"""A station's silence is noticed within this, whatever a site configures."""

LONGEST_PAUSE_NS: Final = 600 * NS_PER_S
"""Longest timed silence."""

LONGEST_ORDER_NS: Final = 7 * 24 * 3600 * NS_PER_S
"""Longest life of a patient's limits."""


class Authority(StrEnum):
    """What the author of a silence may do, as the cloud found at the moment of the order."""

    CARE = "care"
    """May pause, for a time."""
    ORDER = "order"
    """May also switch off."""


TIMED: Final = frozenset({Condition.AUDIO_PAUSED, Condition.ALARM_PAUSED})
"""Silences that end by themselves; the other two need `Authority.ORDER` and are reminded of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceCommand:
    """A person silences a bed or one condition, or ends such a silence.

    Attributes
    ----------
    command_id : str
        UUID; a repeat is recognised and changes nothing.
    silence_id : str
        UUID of the silence, and id of the alert that tells of it.
    device_id : str
        Which bed's device.
    kind : Condition
        One of the four of `SILENCES`.
    ends : bool
        True: the silence is over.
    author, authority : str, Authority
        Who, and what that person may do.
    station_id : str
        UUID of the station; only its live lease keeps the silence working.
    scope : Condition or None
        The condition it is about; None: the whole bed.
    issued_time_ns, expires_time_ns : TimestampNs
        From when until when; an off silence expires with the order, at the latest.
    seen : mapping of alert id to int
        Active high-priority alerts that the author saw, with their revision. A bed that has
        another one by now refuses.
    reason : str or None
        Why; a silence that does not end by itself needs one.
    signature : str
        See the module.

    Raises
    ------
    OutOfRangeError
        An id is malformed, the kind is no silence, it lasts too long, or a reason is missing.
    """

    SCHEMA: ClassVar[str] = "silence_command/1"

    command_id: str
    silence_id: str
    device_id: str
    kind: Condition
    author: str
    authority: Authority
    station_id: str
    issued_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    ends: bool = False
    scope: Condition | None = None
    seen: Mapping[str, int] = field(default_factory=dict[str, int])
    reason: str | None = None
    signature: str = ""

    def __post_init__(self) -> None:
        for uuid in (self.command_id, self.silence_id, self.station_id, *self.seen):
            check_boot_id(uuid)
        check_id(self.device_id, "device_id")
        if self.kind not in SILENCES:
            raise OutOfRangeError(f"{self.kind} is no silence; there are {sorted(SILENCES)}")
        if self.scope in SILENCES:
            raise OutOfRangeError("a silence cannot be silenced")
        if self.scope is not None and self.kind not in _ALARM_SILENCES:
            raise OutOfRangeError("audio is paused or off for a whole bed, not for one condition")
        if not self.author:
            raise OutOfRangeError("a silence has an author")
        lasts_ns = self.expires_time_ns - self.issued_time_ns
        longest_ns = LONGEST_PAUSE_NS if self.kind in TIMED else LONGEST_ORDER_NS
        if not 0 < lasts_ns <= longest_ns:
            raise OutOfRangeError(f"a {self.kind} lasts 0 to {longest_ns // NS_PER_S} s")
        if self.kind not in TIMED and not self.reason:
            raise OutOfRangeError(f"{self.kind} needs a reason")


_ALARM_SILENCES: Final = frozenset({Condition.ALARM_PAUSED, Condition.ALARM_OFF})


@dataclass(frozen=True, slots=True, kw_only=True)
class StationLease:
    """That a named person's station is alive and shows the alarms of a bed; renewed twice a second.

    Attributes
    ----------
    station_id : str
        UUID of the station.
    device_id, boot_id : str
        The device, and the life of it that was heard last.
    holder : str
        Staff user name of who is signed in there.
    sequence_number : int
        Grows with each lease of the station for this device.
    issued_time_ns, expires_time_ns : TimestampNs
        From when until when, at most `LONGEST_LEASE_NS`.
    signature : str
        See the module.

    Raises
    ------
    OutOfRangeError
        An id is malformed, there is no holder, or it lasts too long.
    """

    SCHEMA: ClassVar[str] = "station_lease/1"

    station_id: str
    device_id: str
    boot_id: str
    holder: str
    sequence_number: int
    issued_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    signature: str = ""

    def __post_init__(self) -> None:
        check_boot_id(self.station_id)
        check_boot_id(self.boot_id)
        check_id(self.device_id, "device_id")
        check_sequence_number(self.sequence_number)
        if not self.holder:
            raise OutOfRangeError("a lease has a holder")
        if not 0 < self.expires_time_ns - self.issued_time_ns <= LONGEST_LEASE_NS:
            raise OutOfRangeError(f"a lease lasts 0 to {LONGEST_LEASE_NS // NS_PER_S} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPair:
    """Lower and upper limit of one measure, each may be missing.

    Raises
    ------
    OutOfRangeError
        Both are missing, or they are crossed.
    """

    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise OutOfRangeError("a pair of limits needs one of them")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise OutOfRangeError(f"limits {self.lower} and {self.upper} are crossed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientLimitsCommand:
    """Limits of the patient in this bed, ordered by a person; in force until they expire.

    Attributes
    ----------
    command_id : str
        UUID; also the id of the alert that discloses them.
    device_id : str
        Which bed's device.
    author : str
        Who ordered them.
    limits : mapping of measure to LimitPair
        Names of `wardstream.alerting.numerics.Measure`; a measure not named keeps the site's.
        Empty: back to the site's.
    issued_time_ns, expires_time_ns : TimestampNs
        From when until when, at most 7 days.
    reason : str or None
        Why.
    signature : str
        See the module.

    Raises
    ------
    OutOfRangeError
        An id is malformed, there is no author, or they last too long.
    """

    SCHEMA: ClassVar[str] = "patient_limits/1"

    command_id: str
    device_id: str
    author: str
    limits: Mapping[str, LimitPair]
    issued_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    reason: str | None = None
    signature: str = ""

    def __post_init__(self) -> None:
        check_boot_id(self.command_id)
        check_id(self.device_id, "device_id")
        if not self.author:
            raise OutOfRangeError("limits have an author")
        if not 0 < self.expires_time_ns - self.issued_time_ns <= LONGEST_ORDER_NS:
            raise OutOfRangeError(f"limits hold for 0 to {LONGEST_ORDER_NS // NS_PER_S} s")


Order = AcknowledgeCommand | SilenceCommand | StationLease | PatientLimitsCommand
"""What a device obeys under a signature."""

O_co = TypeVar("O_co", AcknowledgeCommand, SilenceCommand, StationLease, PatientLimitsCommand)


def signing_bytes(order: Any) -> bytes:
    """What the signature of a signed message is made over."""
    return order.SCHEMA.encode() + b"\0" + encode(replace(order, signature=""))


def signed(order: O_co, signature: str) -> O_co:
    """`order` with its signature."""
    return replace(order, signature=signature)
