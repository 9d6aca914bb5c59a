"""What a message from a device is, decided before anything is written.

Nothing may write to the wrong patient: the device a payload names must be the device of its
topic, on which alone the broker's access list stands.
"""

import base64
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

import msgspec

from wardstream.contracts import topics
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.codec import decode
from wardstream.contracts.device import DeviceStatus
from wardstream.contracts.errors import ContractError, UnknownSchemaError
from wardstream.contracts.identity import (
    GapNotice,
    Lane,
    StreamKey,
    check_boot_id,
    check_id,
    check_sequence_number,
)
from wardstream.contracts.topics import DeadLetter, TopicAddress, parse_address
from wardstream.contracts.waveform import AlertStrip

_LETTER_NAMESPACE: Final = UUID("0d6f7a9e-6f3b-5c55-9d0c-0e2f8c3f52d1")

OWN_LANES: Final = frozenset({Lane.ALERT, Lane.STRIP})
"""Lanes whose watermark this tier commits; frames are the stream tier's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A message as the broker delivered it.

    Attributes
    ----------
    address : str
        Concrete topic.
    payload : bytes
        As it came.
    retained : bool
        Kept by the broker from earlier: no sign of life.
    received_time_ns : int
        Wall clock of this process.
    """

    address: str
    payload: bytes
    retained: bool
    received_time_ns: int


DeviceMessage = AlertEvent | AlertStrip | DeviceStatus | GapNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A message that keeps its contract, and how it came."""

    site_id: str
    message: DeviceMessage
    inbound: Inbound


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message that breaks its contract.

    Attributes
    ----------
    site_id : str
        Site its topic names; empty if the topic itself was malformed.
    letter : DeadLetter
        What is kept of it.
    stream, sequence_number : StreamKey or None, int
        Its place in a lane where that could still be read and is believed: the device is that
        of the topic. The place then counts as handled, or the watermark would wait for ever.
    """

    site_id: str
    letter: DeadLetter
    stream: StreamKey | None = None
    sequence_number: int = 0


class _Place(msgspec.Struct):
    device_id: str
    boot_id: str
    sequence_number: int


_TYPES: Final = {
    topics.ALERT.suffix: AlertEvent,
    topics.STRIP.suffix: AlertStrip,
    topics.STATUS.suffix: DeviceStatus,
    topics.GAP.suffix: GapNotice,
}
_HIGHEST_BELIEVED: Final = 2**53
"""A place in a lane beyond this (285,000 years of alerts at 1/ms) was not numbered by an agent."""
_LANES: Final = {topics.ALERT.suffix: Lane.ALERT, topics.STRIP.suffix: Lane.STRIP}


def classify(inbound: Inbound) -> Accepted | Refused:
    """The message in `inbound`, or why it is none; never raises for what a payload holds."""
    address: TopicAddress | None = None
    try:
        address = parse_address(inbound.address)
        message = _decode(address, inbound.payload)
        if message.device_id != address.device_id:
            raise ContractError(
                f"payload is of device {message.device_id!r}, its topic of {address.device_id!r}"
            )
        if isinstance(message, DeviceStatus) and message.site_id != address.site_id:
            raise ContractError(
                f"status is of site {message.site_id!r}, its topic of {address.site_id!r}"
            )
    except ContractError as error:
        return _refuse(inbound, address, str(error))
    return Accepted(site_id=address.site_id, message=message, inbound=inbound)


def refuse(accepted: Accepted, reason: str) -> Refused:
    """`accepted` refused after all: the store would not have it."""
    return _refuse(accepted.inbound, parse_address(accepted.inbound.address), reason)


def _decode(address: TopicAddress, payload: bytes) -> DeviceMessage:
    message_type = _TYPES.get(address.topic.suffix)
    if message_type is None:
        raise UnknownSchemaError(f"{address.topic.suffix} is not for this intake")
    return decode(payload, message_type)


def _refuse(inbound: Inbound, address: TopicAddress | None, reason: str) -> Refused:
    letter = DeadLetter(
        letter_id=str(uuid5(_LETTER_NAMESPACE, f"{inbound.address}\n{inbound.payload.hex()}")),
        origin=inbound.address,
        device_id="" if address is None else address.device_id,
        reason=reason.replace("\0", "\\0"),  # which no text column would take
        payload_base64=base64.b64encode(inbound.payload).decode("ascii"),
        received_time_ns=inbound.received_time_ns,
    )
    if address is None:
        return Refused(site_id="", letter=letter)
    place = _place(address, inbound.payload)
    if place is None:
        return Refused(site_id=address.site_id, letter=letter)
    return Refused(
        site_id=address.site_id,
        letter=letter,
        stream=StreamKey(place.device_id, place.boot_id, _LANES[address.topic.suffix]),
        sequence_number=place.sequence_number,
    )


def _place(address: TopicAddress, payload: bytes) -> _Place | None:
    lane = _LANES.get(address.topic.suffix)
    if lane is None:
        return None
    try:
        read = msgspec.json.decode if lane is Lane.ALERT else msgspec.msgpack.decode
        place = read(payload, type=_Place)
        check_id(place.device_id, "device_id")
        check_boot_id(place.boot_id)
        check_sequence_number(place.sequence_number)
        if place.sequence_number > _HIGHEST_BELIEVED:
            return None
    except (msgspec.DecodeError, ContractError, UnicodeDecodeError, RecursionError):
        return None
    return place if place.device_id == address.device_id else None
