"""One contract, two outboxes: what holds for the fake holds for the disk."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from fakes.edge_outbox import MemoryOutbox

from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.core.outbox_port import Outbox, OutboxBatch, OutboxLimits, OutgoingMessage
from wardstream.contracts.identity import GapNotice, Lane

BOOT = str(uuid4())
LIMITS = OutboxLimits(max_bytes=10_000, max_age_s=100.0)
SECOND = 1_000_000_000


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    box: Outbox = (
        MemoryOutbox("bed-1", LIMITS)
        if request.param == "memory"
        else SqliteOutbox(tmp_path, "bed-1", LIMITS)
    )
    yield box
    box.close()


def message(lane: Lane, n: int, size: int = 10, boot: str = BOOT) -> OutgoingMessage:
    return OutgoingMessage(boot, lane, n, bytes([n % 256]) * size)


def put(outbox: Outbox, *messages: OutgoingMessage, now_ns: int = 0) -> None:
    outbox.append(OutboxBatch(messages=messages), now_ns)


def numbers(outbox: Outbox, lane: Lane) -> list[int]:
    return [row.message.sequence_number for row in outbox.peek(lane, 0, 10_000)]


def test_what_is_stored_comes_out_oldest_first_and_stays(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n) for n in range(5)))
    assert numbers(outbox, Lane.FRAME) == [0, 1, 2, 3, 4]
    assert numbers(outbox, Lane.FRAME) == [0, 1, 2, 3, 4]


def test_peeking_goes_on_after_a_position(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n) for n in range(5)))
    first = outbox.peek(Lane.FRAME, 0, 2)
    rest = outbox.peek(Lane.FRAME, first[-1].position, 10)
    assert [row.message.sequence_number for row in rest] == [2, 3, 4]


def test_lanes_do_not_mix(outbox: Outbox) -> None:
    put(outbox, message(Lane.FRAME, 0), message(Lane.ALERT, 0), message(Lane.STRIP, 0))
    assert [len(numbers(outbox, lane)) for lane in Lane] == [1, 1, 1]


def test_the_watermark_frees_up_to_and_including_its_number(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n) for n in range(5)))
    assert outbox.free(BOOT, Lane.FRAME, 2) == 3
    assert numbers(outbox, Lane.FRAME) == [3, 4]


def test_freeing_twice_is_freeing_once(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n) for n in range(5)))
    outbox.free(BOOT, Lane.FRAME, 2)
    assert outbox.free(BOOT, Lane.FRAME, 2) == 0
    assert outbox.free(BOOT, Lane.FRAME, 1) == 0
    assert numbers(outbox, Lane.FRAME) == [3, 4]


def test_a_watermark_of_one_life_frees_nothing_of_another(outbox: Outbox) -> None:
    other = str(uuid4())
    put(outbox, message(Lane.FRAME, 0), message(Lane.FRAME, 0, boot=other))
    outbox.free(other, Lane.FRAME, 0)
    assert [row.message.boot_id for row in outbox.peek(Lane.FRAME, 0, 10)] == [BOOT]


def test_a_position_is_never_reused(outbox: Outbox) -> None:
    put(outbox, message(Lane.FRAME, 0))
    (before,) = outbox.peek(Lane.FRAME, 0, 1)
    outbox.free(BOOT, Lane.FRAME, 0)
    put(outbox, message(Lane.FRAME, 1))
    (after,) = outbox.peek(Lane.FRAME, 0, 1)
    assert after.position > before.position


def test_when_full_strips_go_before_frames(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.STRIP, n, 1000) for n in range(3)))
    put(outbox, *(message(Lane.FRAME, n, 100) for n in range(80)))
    assert 0 not in numbers(outbox, Lane.STRIP)
    assert numbers(outbox, Lane.FRAME) == list(range(80))
    assert sum(outbox.stats().n_bytes.values()) <= LIMITS.max_bytes


def test_when_still_full_the_oldest_frames_go_and_leave_a_gap_notice(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n, 100) for n in range(150)))
    kept = numbers(outbox, Lane.FRAME)
    (gap,) = outbox.gaps()
    assert kept[-1] == 149
    assert (gap.notice.first_sequence_number, gap.notice.last_sequence_number) == (0, kept[0] - 1)
    assert gap.notice.lane is Lane.FRAME


def test_alerts_are_never_dropped_however_many(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.ALERT, n, 1000) for n in range(30)), now_ns=0)
    put(outbox, message(Lane.ALERT, 30, 1000), now_ns=1000 * SECOND)
    assert numbers(outbox, Lane.ALERT) == list(range(31))
    assert not outbox.gaps()


def test_frames_older_than_the_limit_go_with_a_gap_notice(outbox: Outbox) -> None:
    put(outbox, message(Lane.FRAME, 0), message(Lane.FRAME, 1), now_ns=0)
    put(outbox, message(Lane.FRAME, 2), now_ns=200 * SECOND)
    assert numbers(outbox, Lane.FRAME) == [2]
    assert [g.notice.last_sequence_number for g in outbox.gaps()] == [1]


def test_a_gap_is_told_until_the_watermark_has_passed_it(outbox: Outbox) -> None:
    gap = GapNotice(
        device_id="bed-1",
        boot_id=BOOT,
        lane=Lane.FRAME,
        first_sequence_number=3,
        last_sequence_number=5,
        reason="the disk refused them",
    )
    outbox.append(OutboxBatch(gaps=(gap,)), 0)
    outbox.free(BOOT, Lane.FRAME, 4)
    assert [g.notice for g in outbox.gaps()] == [gap]
    outbox.free(BOOT, Lane.FRAME, 5)
    assert not outbox.gaps()
    assert outbox.stats().gaps == 1


def test_numbered_counts_what_was_ever_given_a_number_freed_or_lost(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n, 100) for n in range(150)))
    put(outbox, message(Lane.FRAME, 0, boot=str(uuid4())), message(Lane.ALERT, 0))
    outbox.free(BOOT, Lane.FRAME, 140)
    assert outbox.stats().numbered == {"alert": 1, "frame": 151, "strip": 0}


def test_the_engine_state_is_that_of_the_newest_alert(outbox: Outbox) -> None:
    assert outbox.snapshot() is None
    outbox.append(OutboxBatch(messages=(message(Lane.ALERT, 0),), snapshot=b"one"), 0)
    outbox.append(OutboxBatch(messages=(message(Lane.ALERT, 1),), snapshot=b"two"), 0)
    put(outbox, message(Lane.FRAME, 0))
    assert outbox.snapshot() == b"two"


def test_a_command_is_known_once_its_effect_is_stored(outbox: Outbox) -> None:
    command_id = str(uuid4())
    assert not outbox.has_command(command_id)
    outbox.append(OutboxBatch(command_ids=(command_id,)), 0)
    assert outbox.has_command(command_id)


def test_stats_agree_with_what_is_there(outbox: Outbox) -> None:
    put(outbox, *(message(Lane.FRAME, n, 100) for n in range(20)), message(Lane.ALERT, 0, 7))
    outbox.free(BOOT, Lane.FRAME, 9)
    stats = outbox.stats()
    assert stats.rows == {"alert": 1, "frame": 10, "strip": 0}
    assert stats.n_bytes == {"alert": 7, "frame": 1000, "strip": 0}
