"""Who says something, in which of its lives, and as which number.

`(device_id, boot_id, lane, sequence_number)` identifies every message for ever. Device ids
are unique over all sites (a serial number or UDI); a device knows beds, never patients.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from wardstream.contracts.errors import OutOfRangeError

MAX_ID_LENGTH: Final = 24
"""Bytes that a device id has in a FeatureFrame."""

# What is safe as one MQTT topic level, one URL segment, one file name and one metric label.
_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,22}[a-z0-9])?")


class Lane(StrEnum):
    """Independently numbered streams of one device; alerts overtake every other lane."""

    ALERT = "alert"
    FRAME = "frame"
    STRIP = "strip"


def check_id(value: str, what: str) -> str:
    """`value` itself, if it may be a site, unit, device or bed id.

    Raises
    ------
    OutOfRangeError
        It is not 1 to 24 of ``a-z 0-9 . _ -``, beginning and ending with a letter or digit.
    """
    if _ID.fullmatch(value) is None:
        raise OutOfRangeError(
            f"{what} {value!r} must be 1 to {MAX_ID_LENGTH} of a-z 0-9 . _ - "
            "and begin and end with a letter or digit"
        )
    return value


def check_boot_id(value: str) -> str:
    """`value` itself, if it is a UUID in canonical lower-case form.

    Raises
    ------
    OutOfRangeError
        It is not.
    """
    try:
        canonical = str(UUID(value))
    except ValueError as error:
        raise OutOfRangeError(f"boot_id {value!r} is not a UUID") from error
    if canonical != value:
        raise OutOfRangeError(f"boot_id {value!r} is not canonical, expected {canonical!r}")
    return value


def check_sequence_number(value: int) -> int:
    """`value` itself, if it fits a signed 64-bit column and is not negative.

    Raises
    ------
    OutOfRangeError
        It is negative or 2**63 or more.
    """
    if not 0 <= value < 2**63:
        raise OutOfRangeError(f"sequence_number is {value}, expected 0 <= n < 2**63")
    return value


@dataclass(frozen=True, slots=True, order=True)
class StreamKey:
    """One numbered stream: what a watermark, a gap or a tracker is about."""

    device_id: str
    boot_id: str
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitWatermark:
    """Everything of one stream up to and including `sequence_number` is in the database.

    Published retained, per device and lane; the edge then frees its outbox up to there.

    Raises
    ------
    OutOfRangeError
        An id or the number is malformed.
    """

    device_id: str
    boot_id: str
    lane: Lane
    sequence_number: int

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_sequence_number(self.sequence_number)

    @property
    def stream(self) -> StreamKey:
        """The stream this watermark is about."""
        return StreamKey(self.device_id, self.boot_id, self.lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapNotice:
    """The edge gave up messages `first` to `last` (both included): they will never come.

    Without it a watermark would wait for them for ever; with it the loss is on record.

    Raises
    ------
    OutOfRangeError
        An id or a number is malformed, or `first_sequence_number` is above the last.
    """

    device_id: str
    boot_id: str
    lane: Lane
    first_sequence_number: int
    last_sequence_number: int
    reason: str

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_sequence_number(self.first_sequence_number)
        check_sequence_number(self.last_sequence_number)
        if self.first_sequence_number > self.last_sequence_number:
            raise OutOfRangeError(
                f"gap runs from {self.first_sequence_number} to {self.last_sequence_number}"
            )
