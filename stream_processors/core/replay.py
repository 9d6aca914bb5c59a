"""A dead letter said once more: what has been mended meanwhile goes the way it would have gone."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_processors.core.letters import MAX_KEPT_BYTES
from stream_processors.core.ports import DeviceMessage, OutgoingRecord
from stream_processors.core.routing import MAX_RECORD_BYTES, partition_of, route
from wardstream.contracts.codec import decode
from wardstream.contracts.errors import OutOfRangeError, TruncatedError
from wardstream.contracts.frame import decode_batch
from wardstream.contracts.timebase import NS_PER_MS
from wardstream.contracts.topics import DEAD_LETTER, FEATURES, KAFKA_TOPICS, ROOT, DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLetter:
    """A letter as the store keeps it: see `wardstream.contracts.topics.DeadLetter`."""

    letter_id: str
    origin: str
    device_id: str
    reason: str
    payload: bytes
    received_time_ns: int


def replayed(letter: KeptLetter, n_partitions: int) -> list[OutgoingRecord]:
    """The records the message of `letter` becomes now; sending them twice does no harm.

    Raises
    ------
    ContractError
        It still breaks its contract; the text says how.
    """
    if len(letter.payload) >= MAX_KEPT_BYTES:
        raise TruncatedError(f"only its first {MAX_KEPT_BYTES} bytes were kept")
    if letter.origin.startswith(f"{ROOT}/"):
        return _from_device(letter, n_partitions)
    if letter.origin == FEATURES.name:
        return _from_features(letter, n_partitions)
    known = {topic.name for topic in KAFKA_TOPICS} - {DEAD_LETTER.name}
    if letter.origin not in known:
        raise OutOfRangeError(f"nothing is replayed to {letter.origin!r}")
    # Who reads the topic checks it, and writes the same letter again if it is still wrong.
    return [_record(letter, letter.origin, letter.payload, None)]


def _from_device(letter: KeptLetter, n_partitions: int) -> list[OutgoingRecord]:
    message = DeviceMessage(letter.origin, letter.payload, letter.received_time_ns, (0, 0))
    records = route([message], n_partitions)
    _raise_if_refused(records)
    return records


def _raise_if_refused(records: Sequence[OutgoingRecord]) -> None:
    for record in records:
        if record.topic == DEAD_LETTER.name:
            raise OutOfRangeError(decode(record.value, DeadLetter).reason)


def _from_features(letter: KeptLetter, n_partitions: int) -> list[OutgoingRecord]:
    _, frames = decode_batch(letter.payload)
    if len(letter.payload) > MAX_RECORD_BYTES:
        raise OutOfRangeError(f"{len(letter.payload)} bytes are more than a record carries")
    devices = {bytes(device_id).decode("ascii") for device_id in frames["device_id"]}
    partitions = {partition_of(device_id, n_partitions) for device_id in devices}
    if len(partitions) != 1:
        raise OutOfRangeError("its frames belong to several partitions")
    return [_record(letter, FEATURES.name, letter.payload, partitions.pop())]


def _record(
    letter: KeptLetter, topic: str, payload: bytes, partition: int | None
) -> OutgoingRecord:
    return OutgoingRecord(
        topic=topic,
        value=payload,
        timestamp_ms=letter.received_time_ns // NS_PER_MS,
        key=None if partition is not None else letter.device_id.encode() or None,
        partition=partition,
    )
