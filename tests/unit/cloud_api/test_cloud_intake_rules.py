"""What a message is, what is newer, what is silent: the rules, without any server."""

import json
from dataclasses import replace
from uuid import uuid4

import pytest
from fakes.cloud_device import make_event, make_status, make_strip, next_event
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.core.intake import Accepted, Inbound, Refused, classify
from cloud_api.core.order import Place, moves_forward, place_of_alert, position_of, status_applies
from cloud_api.core.silence import SeenDevice, is_silent, silence_event
from wardstream.contracts.alert import AlertEvent, Presence, Transition
from wardstream.contracts.codec import encode
from wardstream.contracts.device import Connectivity
from wardstream.contracts.identity import Lane, StreamKey
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import GenerationMode

BOOT, LATER = str(uuid4()), str(uuid4())
EVENT = make_event("bed-01", BOOT, 3)
S = NS_PER_S


def inbound(address: str, payload: bytes) -> Inbound:
    return Inbound(address=address, payload=payload, retained=False, received_time_ns=5)


def test_a_good_message_is_accepted_with_the_site_of_its_topic() -> None:
    found = classify(inbound("wardstream/v1/site-1/bed-01/alert", encode(EVENT)))
    assert isinstance(found, Accepted)
    assert found.site_id == "site-1"
    assert found.message == EVENT


def test_a_payload_of_another_device_is_refused_and_its_place_is_not_believed() -> None:
    found = classify(inbound("wardstream/v1/site-1/bed-02/alert", encode(EVENT)))
    assert isinstance(found, Refused)
    assert "'bed-01'" in found.letter.reason
    assert found.letter.device_id == "bed-02"
    assert found.stream is None


def test_a_broken_message_whose_place_can_be_read_counts_as_handled() -> None:
    document = json.loads(encode(EVENT)) | {"priority": "urgent"}
    found = classify(inbound("wardstream/v1/site-1/bed-01/alert", json.dumps(document).encode()))
    assert isinstance(found, Refused)
    assert found.stream == StreamKey("bed-01", BOOT, Lane.ALERT)
    assert found.sequence_number == 3


def test_a_place_beyond_all_numbering_is_not_believed() -> None:
    document = json.loads(encode(EVENT)) | {"priority": "urgent", "sequence_number": 2**62}
    found = classify(inbound("wardstream/v1/site-1/bed-01/alert", json.dumps(document).encode()))
    assert isinstance(found, Refused)
    assert found.stream is None


def test_the_same_bad_message_twice_is_one_letter() -> None:
    letters = [classify(inbound("wardstream/v1/s/bed-01/alert", b"{")) for _ in range(2)]
    assert len({one.letter.letter_id for one in letters if isinstance(one, Refused)}) == 1


@given(st.binary(max_size=300), st.sampled_from(["alert", "strip", "status", "gap", "frame", "x"]))
def test_no_payload_whatever_raises(payload: bytes, suffix: str) -> None:
    found = classify(inbound(f"wardstream/v1/site-1/bed-01/{suffix}", payload))
    assert isinstance(found, Refused)


@given(st.integers(0, 200), st.integers(0, 255))
def test_no_damaged_strip_raises(position: int, value: int) -> None:
    payload = bytearray(encode(make_strip(EVENT, 0)))
    payload[position % len(payload)] = value
    classify(inbound("wardstream/v1/site-1/bed-01/strip", bytes(payload)))


def test_within_a_boot_the_number_decides_whatever_the_clock_says() -> None:
    earlier = replace(EVENT, sequence_number=4, event_time_ns=EVENT.onset_time_ns)
    assert moves_forward(position_of(EVENT), earlier)
    assert not moves_forward(position_of(earlier), EVENT)
    assert not moves_forward(position_of(EVENT), EVENT)


def test_between_boots_the_time_of_the_event_decides() -> None:
    later = replace(
        next_event(EVENT, 0, Transition.CLEARED),
        boot_id=LATER,
        event_time_ns=TimestampNs(EVENT.event_time_ns + S),
    )
    assert moves_forward(position_of(EVENT), later)
    assert not moves_forward(position_of(later), EVENT)


@given(st.permutations(range(6)), st.data())
def test_whatever_the_order_of_arrival_an_alert_ends_where_its_device_left_it(
    order: list[int], data: st.DataObject
) -> None:
    story: list[AlertEvent] = [EVENT]
    for number in range(1, 6):
        boot = BOOT if number < 3 else LATER
        base = next_event(story[-1], number, Transition.CLEARED)
        time_ns = TimestampNs(EVENT.event_time_ns + number * S)
        story.append(replace(base, boot_id=boot, event_time_ns=time_ns))
    repeats = data.draw(st.lists(st.sampled_from(order), max_size=6))
    position = None
    for index in [*order, *repeats]:
        if moves_forward(position, story[index]):
            position = position_of(story[index])
    assert position == position_of(story[-1])


def test_a_boot_that_has_ended_says_nothing_more() -> None:
    will = make_status("bed-01", BOOT, "bed-a", Connectivity.LOST)
    assert not status_applies(LATER, {BOOT, LATER}, will)
    assert status_applies(BOOT, {BOOT}, will)
    assert status_applies(BOOT, {BOOT}, make_status("bed-01", LATER, "bed-a"))


def test_an_alert_stands_in_its_own_boots_bed_and_is_never_guessed_into_one() -> None:
    here, there = Place("s", "u", "bed-a"), Place("s", "u", "bed-b")
    assert place_of_alert("s", BOOT, {BOOT: here, LATER: there}) == here
    assert place_of_alert("s", "unknown", {BOOT: here, LATER: here}) == here
    assert place_of_alert("s", "unknown", {BOOT: here, LATER: there}).bed_id == ""
    assert place_of_alert("s", "unknown", {}).bed_id == ""


def seen(seen_s: float, connectivity: Connectivity, *, silent: bool) -> SeenDevice:
    return SeenDevice(
        device_id="bed-01",
        connectivity=connectivity,
        generation_mode=GenerationMode.TEST,
        seen_time_ns=round(seen_s * S),
        silent=silent,
    )


@pytest.mark.parametrize(
    ("seen_s", "since_s", "connectivity", "was_silent", "expected"),
    [
        pytest.param(95, 0, Connectivity.ONLINE, False, False, id="heard 5 s ago"),
        pytest.param(90, 0, Connectivity.ONLINE, False, True, id="heard 10 s ago"),
        pytest.param(50, 95, Connectivity.ONLINE, False, False, id="we just began to listen"),
        pytest.param(
            50, 95, Connectivity.ONLINE, True, True, id="beginning to listen ends nothing"
        ),
        pytest.param(99, 0, Connectivity.ONLINE, True, False, id="heard again"),
        pytest.param(99, 99, Connectivity.LOST, False, True, id="its will says so at once"),
        pytest.param(10, 0, Connectivity.STOPPED, False, False, id="stopped on purpose"),
        pytest.param(10, 0, Connectivity.STOPPED, True, False, id="stopped ends the silence"),
    ],
)
def test_silence(
    seen_s: float, since_s: float, connectivity: Connectivity, was_silent: bool, expected: bool
) -> None:
    device = seen(seen_s, connectivity, silent=was_silent)
    result = is_silent(
        device, now_ns=100 * S, watching_since_ns=round(since_s * S), silence_ns=10 * S
    )
    assert result is expected


def test_a_silence_ends_under_the_id_it_was_raised_with_also_by_another_life_of_the_cloud() -> None:
    device = seen(90, Connectivity.ONLINE, silent=True)
    raised = silence_event(device, boot_id=BOOT, sequence_number=0, now_ns=100 * S, open_alert=None)
    ended = silence_event(
        device, boot_id=LATER, sequence_number=0, now_ns=120 * S, open_alert=raised
    )
    assert raised.evidence == {"silence_s": 10.0}
    assert ended.alert_id == raised.alert_id
    assert (raised.presence, ended.presence) == (Presence.ON, Presence.OFF)
    assert moves_forward(position_of(raised), ended)
