"""Every message ends in exactly one record: where it belongs, or in a letter with the reason."""

import os
from uuid import uuid4

import pytest
from aiokafka.partitioner import murmur2
from fakes.stream_beds import SITE, make_frame
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.ports import DeviceMessage, OutgoingRecord
from stream_processors.core.routing import MAX_RECORD_BYTES, partition_of, route
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.frame import BEDSIDE_V1, decode_batch, encode_frame
from wardstream.contracts.identity import GapNotice, Lane
from wardstream.contracts.topics import ACKNOWLEDGEMENT, DEAD_LETTER, FRAME, GAP, DeadLetter

BOOT = str(uuid4())
NOW = 1_790_000_000_000_000_000


def message(address: str, payload: bytes) -> DeviceMessage:
    return DeviceMessage(address, payload, NOW, (1, 1))


def frames(device_id: str, first: int, n_frames: int = 1) -> bytes:
    return b"".join(
        encode_frame(make_frame(device_id, BOOT, first + i, NOW + i)) for i in range(n_frames)
    )


def frame_message(device_id: str, first: int, n_frames: int = 1) -> DeviceMessage:
    return message(FRAME.address(SITE, device_id), frames(device_id, first, n_frames))


def letters(records: list[OutgoingRecord]) -> list[DeadLetter]:
    return [decode(r.value, DeadLetter) for r in records if r.topic == DEAD_LETTER.name]


def test_frames_of_many_devices_become_one_record_a_partition_each_device_in_order() -> None:
    messages = [
        frame_message(f"dev-{device}", number) for number in range(5) for device in range(12)
    ]
    records = route(messages, 4)
    assert len(records) == len({partition_of(f"dev-{device}", 4) for device in range(12)})
    seen: dict[bytes, list[int]] = {}
    for record in records:
        for row in decode_batch(record.value)[1]:
            assert partition_of(row["device_id"].decode(), 4) == record.partition
            seen.setdefault(row["device_id"], []).append(int(row["sequence_number"]))
    assert all(numbers == list(range(5)) for numbers in seen.values())
    assert len(seen) == 12


def test_no_record_grows_beyond_its_limit() -> None:
    per_message = 400
    records = route([frame_message("dev-1", n * per_message, per_message) for n in range(9)], 1)
    assert all(len(record.value) <= MAX_RECORD_BYTES for record in records)
    assert sum(len(record.value) for record in records) == 9 * per_message * BEDSIDE_V1.n_bytes


def test_a_frame_on_another_devices_topic_is_refused_and_the_stream_goes_on() -> None:
    stray = message(FRAME.address(SITE, "dev-2"), frames("dev-1", 0))
    records = route([frame_message("dev-1", 1), stray, frame_message("dev-2", 0)], 1)
    (letter,) = letters(records)
    assert "dev-1" in letter.reason
    assert letter.device_id == "dev-2"
    (kept,) = [record for record in records if record.topic == "features"]
    assert len(decode_batch(kept.value)[1]) == 2


def spoil(payload: bytes, at: int, value: int) -> bytes:
    return payload[:at] + bytes([value]) + payload[at + 1 :]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", "schema 0", id="empty"),
        pytest.param(frames("dev-1", 0)[:-1], "whole number", id="truncated"),
        pytest.param(spoil(frames("dev-1", 0), 0, 99), "99 is not registered", id="schema"),
        pytest.param(spoil(frames("dev-1", 0), 4, 9), "generation_mode", id="mode"),
        pytest.param(os.urandom(1) + b"\xff" * 50, "not registered", id="noise"),
    ],
)
def test_a_malformed_frame_becomes_a_letter_that_says_why(payload: bytes, reason: str) -> None:
    records = route([message(FRAME.address(SITE, "dev-1"), payload), frame_message("dev-1", 3)], 2)
    (letter,) = letters(records)
    assert reason in letter.reason
    assert sum(record.topic == "features" for record in records) == 1


def test_the_same_bad_message_twice_is_one_letter() -> None:
    bad = message(FRAME.address(SITE, "dev-1"), b"junk")
    first, second = letters(route([bad, bad], 1))
    assert first.letter_id == second.letter_id


def test_a_huge_bad_message_makes_a_letter_below_every_limit() -> None:
    (letter,) = letters(route([message(FRAME.address(SITE, "dev-1"), b"\x01" * 1_200_000)], 1))
    assert "bytes are kept" in letter.reason


def test_a_gap_goes_to_its_topic_and_partition() -> None:
    notice = GapNotice(
        device_id="dev-1", boot_id=BOOT, lane=Lane.FRAME,
        first_sequence_number=1, last_sequence_number=2, reason="age",
    )  # fmt: skip
    (record,) = route([message(GAP.address(SITE, "dev-1"), encode(notice))], 4)
    assert (record.topic, record.partition) == ("gaps", partition_of("dev-1", 4))


@pytest.mark.parametrize(
    "address", [ACKNOWLEDGEMENT.address(SITE, "dev-1"), "wardstream/v1/x", "$SYS/broker"]
)
def test_what_devices_do_not_say_is_refused(address: str) -> None:
    assert len(letters(route([message(address, b"{}")], 1))) == 1


@given(st.binary(max_size=30))
def test_partitions_are_those_of_kafkas_own_partitioner(key: bytes) -> None:
    device_id = key.hex()
    expected = (murmur2(device_id.encode()) & 0x7FFFFFFF) % 7
    assert partition_of(device_id, 7) == expected
