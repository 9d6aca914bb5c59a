"""A dead letter said once more: what was mended goes, what is still wrong stays."""

import pytest
from fakes.stream_beds import SITE, make_frame

from stream_processors.core.letters import MAX_KEPT_BYTES
from stream_processors.core.replay import KeptLetter, replayed
from stream_processors.core.routing import partition_of
from wardstream.contracts.errors import ContractError
from wardstream.contracts.frame import encode_frame
from wardstream.contracts.topics import FEATURES, FRAME, GAPS

BOOT = "1b671a64-40d5-491e-99b0-da01ff1f3341"
FRAME_BYTES = encode_frame(make_frame("bed-01", BOOT, 3, 1_700_000_000_000_000_000))


def letter(origin: str, payload: bytes, device_id: str = "bed-01") -> KeptLetter:
    return KeptLetter(
        letter_id=BOOT, origin=origin, device_id=device_id, reason="then it was wrong",
        payload=payload, received_time_ns=1_700_000_000_000_000_000,
    )  # fmt: skip


def test_a_frame_refused_at_the_bridge_goes_the_way_of_its_device() -> None:
    (record,) = replayed(letter(FRAME.address(SITE, "bed-01"), FRAME_BYTES), 4)
    assert record.topic == FEATURES.name
    assert record.value == FRAME_BYTES
    assert record.partition == partition_of("bed-01", 4)
    assert record.timestamp_ms == 1_700_000_000_000


def test_a_frame_refused_by_the_worker_keeps_its_partition() -> None:
    (record,) = replayed(letter(FEATURES.name, FRAME_BYTES), 4)
    assert (record.topic, record.partition) == (FEATURES.name, partition_of("bed-01", 4))


def test_another_record_goes_to_its_topic_under_its_device() -> None:
    (record,) = replayed(letter(GAPS.name, b"{}"), 4)
    assert (record.topic, record.key, record.value) == (GAPS.name, b"bed-01", b"{}")


@pytest.mark.parametrize(
    ("origin", "payload", "why"),
    [
        (FRAME.address(SITE, "bed-01"), b"not a frame", "not registered"),
        (FRAME.address(SITE, "bed-02"), FRAME_BYTES, "came on the topic of"),
        (FEATURES.name, FRAME_BYTES[:-1], "whole number"),
        ("dead-letter", b"{}", "nothing is replayed"),
        ("no-topic", b"{}", "nothing is replayed"),
        (GAPS.name, bytes(MAX_KEPT_BYTES), "were kept"),
    ],
)
def test_what_is_still_wrong_is_told(origin: str, payload: bytes, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        replayed(letter(origin, payload), 4)
