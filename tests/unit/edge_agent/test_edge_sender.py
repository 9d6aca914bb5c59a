"""What is sent, in which order, and again until it is committed."""

from itertools import pairwise
from uuid import uuid4

import pytest
from fakes.edge_link import MemoryLink
from fakes.edge_outbox import MemoryOutbox

from edge_agent.core.outbox_port import OutboxBatch, OutboxLimits, OutgoingMessage
from edge_agent.core.ports import Measurements
from edge_agent.services.sender import FRAMES_A_MESSAGE, STUCK_S, Sender
from wardstream.contracts.identity import CommitWatermark, GapNotice, Lane

BOOT = str(uuid4())


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox("bed-1", OutboxLimits())


@pytest.fixture
def link() -> MemoryLink:
    return MemoryLink()


@pytest.fixture
def sender(outbox: MemoryOutbox, link: MemoryLink) -> Sender:
    return Sender(outbox, link, "site-1", "bed-1", Measurements())


def put(outbox: MemoryOutbox, lane: Lane, *numbers: int, boot: str = BOOT) -> None:
    messages = tuple(OutgoingMessage(boot, lane, n, b"%d," % n) for n in numbers)
    outbox.append(OutboxBatch(messages=messages), 0)


def confirm(sender: Sender, link: MemoryLink) -> None:
    for message_id in link.unconfirmed:
        sender.published(message_id, taken=True)
    link.unconfirmed.clear()


def watermark(lane: Lane, number: int, boot: str = BOOT) -> CommitWatermark:
    return CommitWatermark(device_id="bed-1", boot_id=boot, lane=lane, sequence_number=number)


def test_alerts_overtake_any_backlog(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.FRAME, *range(1000))
    put(outbox, Lane.STRIP, 0)
    put(outbox, Lane.ALERT, 0)
    sender.step(0)
    assert [topic.rsplit("/", 1)[1] for topic, _ in link.published][:2] == ["alert", "strip"]


def test_frames_of_a_backlog_travel_together_live_ones_alone(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.FRAME, *range(100))
    sender.step(0)
    assert [payload.count(b",") for payload in link.sent("frame")] == [FRAMES_A_MESSAGE, 36]
    put(outbox, Lane.FRAME, 100)
    sender.step(1)
    assert link.sent("frame")[-1] == b"100,"


def test_two_lives_never_share_a_message(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.FRAME, 7, 8)
    put(outbox, Lane.FRAME, 0, boot=str(uuid4()))
    sender.step(0)
    assert link.sent("frame") == [b"7,8,", b"0,"]


def test_a_full_window_stops_frames_and_still_lets_an_alert_through(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.STRIP, *range(60))
    sender.step(0)
    assert len(link.unconfirmed) == link.window - 4
    put(outbox, Lane.ALERT, 0)
    sender.step(0.1)
    assert link.published[-1][0].endswith("/alert")


def test_what_the_watermark_covers_is_never_sent_again(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.FRAME, 0, 1)
    sender.step(0)
    confirm(sender, link)
    sender.covered(watermark(Lane.FRAME, 1), 1)
    sender.step(1000)
    assert link.sent("frame") == [b"0,1,"]
    assert outbox.stats().rows["frame"] == 0


def test_what_it_does_not_cover_is_sent_again_though_new_frames_keep_coming(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    for second in range(30):
        put(outbox, Lane.FRAME, second)
        sender.step(second)
        confirm(sender, link)
    assert sum(b"0," in f.split(b" ")[0][:2] for f in link.sent("frame")) >= 2


def test_patience_grows_while_nobody_commits(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.ALERT, 0)
    times = []
    for second in range(600):
        before = len(link.published)
        sender.step(second)
        confirm(sender, link)
        if len(link.published) > before:
            times.append(second)
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert 4 <= len(times) <= 9


def test_no_more_is_sent_ahead_than_the_cloud_can_be_waited_for(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.FRAME, *range(10_000))
    for _ in range(300):
        sender.step(0)
        confirm(sender, link)
    assert sum(f.count(b",") for f in link.sent("frame")) <= 4096 + FRAMES_A_MESSAGE
    sender.covered(watermark(Lane.FRAME, 4000), 1)
    for _ in range(300):
        sender.step(1)
        confirm(sender, link)
    assert sum(f.count(b",") for f in link.sent("frame")) > 8000


def test_a_gap_is_told_until_the_watermark_passes_it(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    gap = GapNotice(
        device_id="bed-1",
        boot_id=BOOT,
        lane=Lane.FRAME,
        first_sequence_number=0,
        last_sequence_number=4,
        reason="full",
    )
    outbox.append(OutboxBatch(gaps=(gap,)), 0)
    for second in range(30):
        sender.step(second)
        confirm(sender, link)
    told = len(link.sent("gap"))
    assert 2 <= told <= 5
    sender.covered(watermark(Lane.FRAME, 4), 30)
    for second in range(30, 60):
        sender.step(second)
    assert len(link.sent("gap")) == told


def test_a_broker_that_confirms_nothing_gets_a_new_connection_and_everything_again(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.ALERT, 0)
    sender.step(0)
    sender.step(STUCK_S + 1)
    assert link.n_restarts == 1
    sender.step(STUCK_S + 2)
    assert link.sent("alert") == [b"0,", b"0,"]


def test_nothing_is_published_into_a_closed_connection(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    link.connected = False
    put(outbox, Lane.ALERT, 0)
    sender.say(b"status")
    sender.step(0)
    assert not link.published
    link.connected = True
    sender.step(1)
    assert [topic.rsplit("/", 1)[1] for topic, _ in link.published] == ["status", "alert"]


def test_of_several_statuses_only_the_newest_is_sent(link: MemoryLink, sender: Sender) -> None:
    sender.say(b"one")
    sender.step(0)
    sender.say(b"two")
    sender.say(b"three")
    sender.step(1)
    assert link.sent("status") == [b"one"], "the first is not confirmed yet"
    confirm(sender, link)
    sender.step(2)
    assert link.sent("status") == [b"one", b"three"]


def test_held_lanes_wait_and_alerts_never_do(
    outbox: MemoryOutbox, link: MemoryLink, sender: Sender
) -> None:
    put(outbox, Lane.FRAME, 0)
    put(outbox, Lane.STRIP, 0)
    put(outbox, Lane.ALERT, 0)
    sender.hold(frozenset(Lane))
    sender.step(0)
    assert [topic.rsplit("/", 1)[1] for topic, _ in link.published] == ["alert"]
    sender.hold(frozenset())
    sender.step(1)
    assert {topic.rsplit("/", 1)[1] for topic, _ in link.published} == {"alert", "strip", "frame"}
