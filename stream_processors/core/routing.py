"""Messages of devices to Kafka records: checked, batched, or dead-lettered with the reason.

The frames of a whole batch of messages are checked in one go; only if that fails is each
message looked at by itself. A record of ``features`` holds frames of one schema from any
devices of one partition: a device always falls into the same partition, so its frames stay in
order, and the number of records does not grow with the number of beds.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from stream_processors.core.letters import dead_letter
from stream_processors.core.ports import DeviceMessage, OutgoingRecord
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.codec import MAX_MESSAGE_BYTES, decode, encode
from wardstream.contracts.device import DeviceStatus
from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.frame import FrameSchema, decode_batch, schema_by_id
from wardstream.contracts.identity import GapNotice
from wardstream.contracts.timebase import NS_PER_MS
from wardstream.contracts.topics import (
    ALERT,
    ALERTS,
    DEAD_LETTER,
    DEVICE_STATUS,
    FEATURES,
    FRAME,
    GAP,
    GAPS,
    STATUS,
    KafkaTopic,
    TopicAddress,
    parse_address,
)

MAX_RECORD_BYTES: Final = 256_000
"""Frames a record carries at most: about 1,100, well below a broker's default limit of 1 MB."""

_COPIED: Final[dict[str, tuple[type[Any], KafkaTopic]]] = {
    GAP.suffix: (GapNotice, GAPS),
    ALERT.suffix: (AlertEvent, ALERTS),
    STATUS.suffix: (DeviceStatus, DEVICE_STATUS),
}


@lru_cache(maxsize=65_536)
def partition_of(device_id: str, n_partitions: int) -> int:
    """Partition of everything keyed by `device_id`: murmur2, as Kafka's own partitioners do."""
    return (_murmur2(device_id.encode()) & 0x7FFFFFFF) % n_partitions


def route(messages: Sequence[DeviceMessage], n_partitions: int) -> list[OutgoingRecord]:
    """The Kafka records for `messages`, every message in exactly one of them."""
    frames: list[tuple[DeviceMessage, TopicAddress]] = []
    records: list[OutgoingRecord] = []
    for message in messages:
        try:
            address = _address(message.address)
            if address.topic.suffix == FRAME.suffix:
                frames.append((message, address))
            else:
                records.append(_copied(message, address, n_partitions))
        except ContractError as error:
            records.append(_refused(message, error))
    return records + _route_frames(frames, n_partitions)


@lru_cache(maxsize=65_536)
def _address(address: str) -> TopicAddress:
    return parse_address(address)


def _copied(message: DeviceMessage, address: TopicAddress, n_partitions: int) -> OutgoingRecord:
    if address.topic.suffix not in _COPIED:
        raise OutOfRangeError(f"devices do not write {address.topic.suffix!r}")
    message_type, topic = _COPIED[address.topic.suffix]
    decoded = decode(message.payload, message_type)
    if decoded.device_id != address.device_id:
        raise OutOfRangeError(
            f"message of {decoded.device_id!r} came on the topic of {address.device_id!r}"
        )
    if isinstance(decoded, DeviceStatus) and decoded.site_id != address.site_id:
        raise OutOfRangeError(f"status of site {decoded.site_id!r} came on {address.site_id!r}")
    return OutgoingRecord(
        topic=topic.name,
        key=address.device_id.encode(),
        value=message.payload,
        partition=partition_of(address.device_id, n_partitions),
        timestamp_ms=message.received_time_ns // NS_PER_MS,
    )


def _route_frames(
    frames: Sequence[tuple[DeviceMessage, TopicAddress]], n_partitions: int
) -> list[OutgoingRecord]:
    good: dict[int, list[tuple[DeviceMessage, TopicAddress]]] = {}
    records: list[OutgoingRecord] = []
    for message, address in frames:
        try:
            schema = _framed(message.payload)
            good.setdefault(schema.schema_id, []).append((message, address))
        except ContractError as error:
            records.append(_refused(message, error))
    for group in good.values():
        accepted = group
        try:
            _check_frames(group)
        except ContractError:
            accepted, refused = _sift(group)
            records.extend(refused)
        records.extend(_batched(accepted, n_partitions))
    return records


def _framed(payload: bytes) -> FrameSchema:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise OutOfRangeError(f"{len(payload)} bytes exceed {MAX_MESSAGE_BYTES}")
    schema = schema_by_id(int.from_bytes(payload[:2], "little"))
    if not payload or len(payload) % schema.n_bytes:
        decode_batch(payload)  # says which byte
    return schema


def _check_frames(group: Sequence[tuple[DeviceMessage, TopicAddress]]) -> None:
    schema, records = decode_batch(b"".join(message.payload for message, _ in group))
    counts = [len(message.payload) // schema.n_bytes for message, _ in group]
    expected = np.array([address.device_id for _, address in group], dtype="S24")
    wrong = records["device_id"] != np.repeat(expected, counts)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise OutOfRangeError(
            f"frame {row} of {records['device_id'][row].decode()!r} came on the topic of "
            f"{np.repeat(expected, counts)[row].decode()!r}",
            offset=row * schema.n_bytes + 8,
        )


def _sift(
    group: Iterable[tuple[DeviceMessage, TopicAddress]],
) -> tuple[list[tuple[DeviceMessage, TopicAddress]], list[OutgoingRecord]]:
    accepted: list[tuple[DeviceMessage, TopicAddress]] = []
    refused: list[OutgoingRecord] = []
    for message, address in group:
        try:
            _check_frames([(message, address)])
            accepted.append((message, address))
        except ContractError as error:
            refused.append(_refused(message, error))
    return accepted, refused


def _batched(
    group: Iterable[tuple[DeviceMessage, TopicAddress]], n_partitions: int
) -> list[OutgoingRecord]:
    open_batches: dict[int, list[DeviceMessage]] = {}
    sizes: dict[int, int] = {}
    records: list[OutgoingRecord] = []
    for message, address in group:
        partition = partition_of(address.device_id, n_partitions)
        if sizes.get(partition, 0) + len(message.payload) > MAX_RECORD_BYTES:
            records.append(_features(open_batches.pop(partition, []), partition))
            sizes[partition] = 0
        open_batches.setdefault(partition, []).append(message)
        sizes[partition] = sizes.get(partition, 0) + len(message.payload)
    records.extend(_features(batch, partition) for partition, batch in open_batches.items())
    return [record for record in records if record.value]


def _features(batch: Sequence[DeviceMessage], partition: int) -> OutgoingRecord:
    first_ns = min((message.received_time_ns for message in batch), default=0)
    return OutgoingRecord(
        topic=FEATURES.name,
        value=b"".join(message.payload for message in batch),
        partition=partition,
        timestamp_ms=first_ns // NS_PER_MS,
    )


def _refused(message: DeviceMessage, error: ContractError) -> OutgoingRecord:
    try:
        device_id = _address(message.address).device_id
    except ContractError:
        device_id = ""
    letter = dead_letter(
        origin=message.address,
        device_id=device_id,
        reason=str(error),
        payload=message.payload,
        received_time_ns=message.received_time_ns,
    )
    return OutgoingRecord(
        topic=DEAD_LETTER.name,
        key=device_id.encode() or None,
        value=encode(letter),
        timestamp_ms=message.received_time_ns // NS_PER_MS,
    )


def _murmur2(data: bytes) -> int:
    # Kafka's default partitioner (org.apache.kafka.common.utils.Utils.murmur2).
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(data)
    h = 0x9747B28C ^ length
    for i in range(0, length - length % 4, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    tail = data[length - length % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ (h >> 15)
