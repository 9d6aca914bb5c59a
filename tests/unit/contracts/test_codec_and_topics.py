"""JSON and msgpack messages: strict both ways, on topics that know their type."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertEvent,
    AlertKind,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
    Transition,
    alert_id_for,
)
from wardstream.contracts.codec import MAX_MESSAGE_BYTES, decode, encode
from wardstream.contracts.errors import ContractError, OutOfRangeError, UnknownSchemaError
from wardstream.contracts.identity import CommitWatermark, GapNotice, Lane, check_id
from wardstream.contracts.timebase import TimestampNs, from_datetime, sample_time_ns, to_datetime
from wardstream.contracts.topics import ALERT, FLEET, FRAME, MQTT_TOPICS, parse_address
from wardstream.contracts.units import Unit, convert, parse_unit
from wardstream.contracts.waveform import AlertStrip, GenerationMode, WaveformChunk

BOOT = "5f0ab1f6-62a4-5d5e-9a52-9ad1a1e3c0d7"
times = st.integers(0, 2**62).map(TimestampNs)


def an_event(**changes: Any) -> AlertEvent:
    fields: dict[str, Any] = {
        "device_id": "bed-01",
        "boot_id": BOOT,
        "sequence_number": 3,
        "alert_id": alert_id_for("bed-01", BOOT, Condition.ASYSTOLE, 5),
        "condition": Condition.ASYSTOLE,
        "kind": AlertKind.PHYSIOLOGICAL,
        "priority": AlertPriority.HIGH,
        "transition": Transition.ONSET,
        "presence": Presence.ON,
        "signal": AlertSignal(audible=SignalState.ON, visible=SignalState.ON),
        "onset_time_ns": 5,
        "event_time_ns": 6,
        "received_time_ns": 7,
        "decided_time_ns": 8,
        "model_version": "none",
        "rule_version": "1",
        "generation_mode": GenerationMode.DEMO,
        "evidence": {"silence_s": 4.25},
    }
    return AlertEvent(**(fields | changes))


events = st.builds(
    an_event,
    sequence_number=st.integers(0, 2**63 - 1),
    condition=st.sampled_from(Condition),
    priority=st.sampled_from(AlertPriority),
    transition=st.sampled_from(Transition),
    presence=st.sampled_from(Presence),
    evidence=st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False)),
    acknowledged_by=st.none() | st.text(min_size=1, max_size=8),
)


@given(events)
def test_an_event_comes_back_as_it_went(event: AlertEvent) -> None:
    assert decode(encode(event), AlertEvent) == event


@settings(max_examples=500)
@given(st.data())
def test_a_damaged_event_is_refused_or_decoded_but_never_crashes(data: st.DataObject) -> None:
    payload = bytearray(encode(an_event()))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ContractError):
        decode(bytes(payload[: data.draw(st.integers(0, len(payload)))]), AlertEvent)


@pytest.mark.parametrize("topic", MQTT_TOPICS, ids=lambda topic: topic.suffix)
@given(payload=st.binary(max_size=200))
def test_noise_on_any_topic_is_a_contract_error(topic: Any, payload: bytes) -> None:
    with pytest.raises(ContractError):
        decode(payload, topic.message_type)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"evidence": {"silence_s": "long"}}, "float"),
        ({"vital": 1}, "unknown fields"),
        ({"priority": "urgent"}, "priority"),
        ({"device_id": "bed/../02"}, "device_id"),
        ({"boot_id": "not-a-uuid"}, "boot_id"),
        ({"sequence_number": -1}, "sequence_number"),
        ({"event_time_ns": 1}, "event_time_ns"),
        ({"decided_time_ns": 1}, "decided_time_ns"),
    ],
)
def test_a_refusal_says_what_is_wrong(change: dict[str, Any], says: str) -> None:
    payload = json.dumps(json.loads(encode(an_event())) | change).encode()
    with pytest.raises(ContractError, match=says):
        decode(payload, AlertEvent)


def test_a_missing_field_is_refused() -> None:
    raw = json.loads(encode(an_event()))
    del raw["priority"]
    with pytest.raises(ContractError, match="priority"):
        decode(json.dumps(raw).encode(), AlertEvent)


def test_nan_in_evidence_cannot_be_sent() -> None:
    with pytest.raises(OutOfRangeError, match=r"evidence\.silence_s"):
        encode(an_event(evidence={"silence_s": float("nan")}))


def test_an_over_long_payload_is_refused_before_it_is_read() -> None:
    with pytest.raises(OutOfRangeError):
        decode(b"[" * (MAX_MESSAGE_BYTES + 1), AlertEvent)


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(ContractError):
        decode(b"[" * 100_000, AlertEvent)


def test_the_same_onset_is_the_same_alert() -> None:
    first = alert_id_for("bed-01", BOOT, Condition.ASYSTOLE, 5)
    assert first == alert_id_for("bed-01", BOOT, Condition.ASYSTOLE, 5)
    assert first != alert_id_for("bed-02", BOOT, Condition.ASYSTOLE, 5)


def a_chunk(rows: Any, **changes: Any) -> WaveformChunk:
    fields: dict[str, Any] = {
        "device_id": "bed-01",
        "boot_id": BOOT,
        "sequence_number": 0,
        "codes": ("MDC_ECG_ELEC_POTL_II",),
        "unit": Unit.MILLIVOLT,
        "sampling_rate_hz": 250.0,
        "start_time_ns": 1_000,
        "samples": np.asarray(rows, dtype=np.float32),
    }
    return WaveformChunk(**(fields | changes))


@given(st.lists(st.floats(-500, 500, width=32) | st.just(float("nan")), min_size=1, max_size=50))
def test_a_strip_keeps_its_samples_to_a_65000th_of_its_range(samples: list[float]) -> None:
    strip = AlertStrip(
        device_id="bed-01", boot_id=BOOT, sequence_number=1,
        alert_id=BOOT, chunks=(a_chunk([samples]),),
    )  # fmt: skip
    back = decode(encode(strip), AlertStrip).chunks[0]
    finite = np.abs(strip.chunks[0].samples[np.isfinite(strip.chunks[0].samples)])
    tolerance = finite.max(initial=0.0) / 65_000 + 1e-6
    np.testing.assert_allclose(back.samples, strip.chunks[0].samples, atol=tolerance, rtol=1e-6)
    assert back.codes == strip.chunks[0].codes
    assert back.start_time_ns == strip.chunks[0].start_time_ns


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_rate_hz": 0.0},
        {"sampling_rate_hz": float("nan")},
        {"samples": np.zeros((2, 5), dtype=np.float32)},
        {"samples": np.zeros((1, 5))},
        {"samples": np.full((1, 5), np.inf, dtype=np.float32)},
        {"codes": ("MDC_ECG_ELEC_POTL_XYZ",)},
    ],
)
def test_a_chunk_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        a_chunk([[0.0] * 5], **changes)


def test_a_strip_of_another_devices_samples_is_refused() -> None:
    with pytest.raises(OutOfRangeError):
        AlertStrip(
            device_id="bed-02", boot_id=BOOT, sequence_number=1,
            alert_id=BOOT, chunks=(a_chunk([[0.0]]),),
        )  # fmt: skip


@pytest.mark.parametrize("topic", MQTT_TOPICS, ids=lambda topic: topic.suffix)
def test_a_topic_is_found_again_from_its_address(topic: Any) -> None:
    found = parse_address(topic.address("icu1", "bed-01"))
    assert (found.site_id, found.device_id, found.topic) == ("icu1", "bed-01", topic)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "wardstream/v1/icu1/bed-01",
        "wardstream/v2/icu1/bed-01/alert",
        "wardstream/v1/icu1/bed-01/alert/x",
        "wardstream/v1/ICU/bed-01/alert",
    ],
)
def test_a_foreign_topic_is_refused(address: str) -> None:
    with pytest.raises((UnknownSchemaError, OutOfRangeError)):
        parse_address(address)


@pytest.mark.parametrize("bad", ["", "a/b", "+", "#", "A", "-a", "a-", "a" * 25, "bett·1", "a\0"])
def test_an_id_cannot_leave_its_topic_level(bad: str) -> None:
    with pytest.raises(OutOfRangeError):
        check_id(bad, "device_id")
    with pytest.raises(OutOfRangeError):
        ALERT.address("icu1", bad)


def test_filters_cover_all_devices_and_may_be_shared() -> None:
    assert FRAME.filter() == "wardstream/v1/+/+/frame"
    assert FRAME.filter("icu1", shared_group="bridge") == "$share/bridge/wardstream/v1/icu1/+/frame"
    assert check_id(FLEET, "device_id") == FLEET


def test_a_gap_runs_forwards() -> None:
    with pytest.raises(OutOfRangeError):
        GapNotice(
            device_id="bed-01", boot_id=BOOT, lane=Lane.FRAME,
            first_sequence_number=5, last_sequence_number=4, reason="outbox full",
        )  # fmt: skip


def test_a_watermark_comes_back_as_it_went() -> None:
    watermark = CommitWatermark(
        device_id="bed-01", boot_id=BOOT, lane=Lane.FRAME, sequence_number=9
    )
    assert decode(encode(watermark), CommitWatermark) == watermark


def test_an_acknowledgement_has_an_author_and_an_end() -> None:
    fields: dict[str, Any] = {
        "command_id": BOOT, "device_id": "bed-01", "alert_id": BOOT,
        "author": "nurse", "issued_time_ns": 5, "expires_time_ns": 6,
    }  # fmt: skip
    assert AcknowledgeCommand(**fields).reason is None
    with pytest.raises(OutOfRangeError):
        AcknowledgeCommand(**(fields | {"author": ""}))
    with pytest.raises(OutOfRangeError):
        AcknowledgeCommand(**(fields | {"expires_time_ns": 5}))


@given(times)
def test_times_survive_the_database_to_a_microsecond(time_ns: TimestampNs) -> None:
    assert 0 <= time_ns - from_datetime(to_datetime(time_ns)) < 1000


def test_sample_times_do_not_drift() -> None:
    assert sample_time_ns(TimestampNs(0), 360.0, 360 * 3600) == 3600 * 10**9


def test_a_unit_is_never_guessed() -> None:
    with pytest.raises(UnknownSchemaError):
        parse_unit("mmHg")
    with pytest.raises(OutOfRangeError):
        convert(1.0, Unit.MMHG, Unit.MILLIVOLT)
    assert convert(16.0, Unit.KILOPASCAL, Unit.MMHG) == pytest.approx(120.0, abs=0.02)
    assert convert(98.6, Unit.FAHRENHEIT, Unit.CELSIUS) == pytest.approx(37.0)
