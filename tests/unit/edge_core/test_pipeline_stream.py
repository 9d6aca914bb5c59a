from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from fakes.bedside import (
    BOOT_ID,
    LEAD_II,
    LEAD_V,
    PLETH,
    START_NS,
    chunks,
    ecg,
    later,
    merged,
    pulse,
    regular,
)
from fakes.replaying import replay
from fakes.rhythm_runtime import FakeRhythmRuntime

from wardstream.alerting.engine import EngineSnapshot
from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent, Condition, Presence
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import AlertStrip

BEATS = regular(75, 0.3, 60)
STOPS = [beat for beat in BEATS if beat < 20]


def _facts(bed) -> list[tuple]:
    return [
        (event.condition, event.transition, event.onset_time_ns) for event in bed.told(AlertEvent)
    ]


@pytest.mark.parametrize("packet_s", [0.004, 0.1, 1.0, 60.0])
def test_alerts_do_not_depend_on_packets(make_bed, packet_s: float) -> None:
    curves = {LEAD_II: ecg(STOPS, 40), LEAD_V: -ecg(STOPS, 40)}
    usual = make_bed(FakeRhythmRuntime()).push(chunks(curves))
    other = make_bed(FakeRhythmRuntime()).push(chunks(curves, packet_s=packet_s))
    assert _facts(other) == _facts(usual) != []
    assert other.pipeline.report.n_windows_judged == usual.pipeline.report.n_windows_judged
    late_s = [b - a for (a, _), (b, _) in zip(
        usual.story(Condition.ASYSTOLE), other.story(Condition.ASYSTOLE), strict=True
    )]  # fmt: skip
    assert np.abs(late_s).max() <= 0.041


def test_there_is_one_frame_for_each_whole_second(bed) -> None:
    start_ns = TimestampNs(START_NS + NS_PER_S // 3)
    bed.push(
        merged(
            chunks({LEAD_II: ecg(BEATS, 30)}, start_ns=start_ns),
            chunks({PLETH: pulse(BEATS, 30)}, unit=Unit.ARBITRARY, rate_hz=125, start_ns=start_ns),
        )
    )
    frames = bed.told(FeatureFrame)
    starts = [frame.start_time_ns for frame in frames]
    assert starts == [START_NS + k * NS_PER_S for k in range(30)]
    assert [frame.sequence_number for frame in frames] == list(range(30))
    last = frames[-1]
    assert last["heart_rate_per_min"] == pytest.approx(75, abs=1)
    assert last["pulse_rate_ppg_per_min"] == pytest.approx(75, abs=1)
    assert last["rr_mean_ms"] == pytest.approx(800, abs=5)
    assert last["probability_sinus_like"] == pytest.approx(0.94)
    assert last["n_windows_judged"] == 4
    assert last["n_samples_expected"] == 375
    assert last["n_samples_missing"] == 0
    assert last["model_version"] == 1
    assert np.isnan(last["abp_mean_mmhg"])
    assert sum(frame["n_beats"] for frame in frames[4:28]) == pytest.approx(30, abs=1)


def test_repeated_and_old_chunks_change_nothing_but_the_count(make_bed) -> None:
    sent = list(chunks({LEAD_II: ecg(STOPS, 30)}))
    once = make_bed(FakeRhythmRuntime()).push(sent)
    again = make_bed(FakeRhythmRuntime())
    for k, chunk in enumerate(sent):
        again.push([chunk, chunk])
        if k > 50:
            again.push([sent[k - 50]])
    assert _facts(again) == _facts(once)
    assert again.pipeline.report.n_chunks_repeated == len(sent)
    assert again.pipeline.report.n_chunks_late == len(sent) - 51


def test_neighbours_that_swap_places_lose_nothing(make_bed) -> None:
    sent = list(chunks({LEAD_II: ecg(STOPS, 30)}))
    swapped = list(sent)
    for k in range(1, len(sent) - 1, 7):
        swapped[k], swapped[k + 1] = swapped[k + 1], swapped[k]
    usual = make_bed(FakeRhythmRuntime()).push(sent)
    other = make_bed(FakeRhythmRuntime()).push(swapped)
    assert _facts(other) == _facts(usual)
    assert other.pipeline.report.n_samples_missing == 0
    assert other.pipeline.report.n_chunks_late == 0


def test_a_lost_packet_is_missing_samples_and_the_rest_goes_on(bed) -> None:
    sent = list(chunks({LEAD_II: ecg(BEATS, 30)}))
    bed.push(chunk for k, chunk in enumerate(sent) if k not in (300, 301, 302))
    assert bed.pipeline.report.n_samples_missing == 30
    frames = bed.told(FeatureFrame)
    assert sum(frame["n_samples_missing"] for frame in frames) == 30
    assert bed.onsets == set()
    assert len(frames) == 30


def test_a_long_gap_starts_everything_anew_without_a_false_asystole(bed) -> None:
    sent = list(chunks({LEAD_II: ecg(BEATS, 60)}))
    bed.push(chunk for k, chunk in enumerate(sent) if not 500 <= k < 900)
    assert Condition.ASYSTOLE not in bed.onsets
    seconds = [(f.start_time_ns - START_NS) // NS_PER_S for f in bed.told(FeatureFrame)]
    assert seconds == sorted(set(seconds))
    assert not set(range(22, 35)) & set(seconds)


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_is_a_technical_alert_and_nothing_else(bed, jump_s: float) -> None:
    sent = list(chunks({LEAD_II: ecg(BEATS, 40)}))
    bed.push(sent[:500])
    bed.push(later(chunk, jump_s) for chunk in sent[500:])
    assert bed.onsets == {Condition.CLOCK_SKEW}
    assert bed.pipeline.report.n_clock_jumps == 1
    assert bed.pipeline.report.last_sample_time_ns == START_NS + (40 + jump_s) * NS_PER_S


def test_jittering_time_stamps_are_not_gaps(bed) -> None:
    rng = np.random.default_rng(0)
    bed.push(later(chunk, rng.uniform(-0.01, 0.01)) for chunk in chunks({LEAD_II: ecg(BEATS, 30)}))
    assert bed.pipeline.report.n_samples_missing == 0
    assert bed.onsets == set()


def test_a_device_whose_crystal_is_off_stays_in_step(bed) -> None:
    # 1000 ppm fast: after 40 s of its samples 40 ms of time are wanting.
    sent = list(chunks({LEAD_II: ecg(BEATS, 60)}))
    bed.push(
        replace(
            c, start_time_ns=TimestampNs(START_NS + round((c.start_time_ns - START_NS) * 1.001))
        )
        for c in sent
    )
    assert bed.onsets == set()
    assert abs(bed.pipeline.report.last_sample_time_ns - START_NS - 60.06 * NS_PER_S) < 3e7


def test_a_channel_of_nothing_but_nan_is_a_technical_alert_and_the_rest_goes_on(bed) -> None:
    nothing = np.full(40 * 125, np.nan, dtype=np.float32)
    bed.push(
        merged(
            chunks({LEAD_II: ecg(STOPS, 40)}),
            chunks({PLETH: nothing}, unit=Unit.ARBITRARY, rate_hz=125.0),
        )
    )
    assert bed.events(Condition.LEAD_OFF)[0].evidence["off_pleth_s"] >= 3
    assert Condition.ASYSTOLE in bed.onsets


def test_a_channel_in_an_impossible_unit_is_quarantined_and_the_rest_goes_on(bed) -> None:
    bed.push(
        merged(
            chunks({LEAD_II: ecg(STOPS, 30)}),
            chunks({LEAD_V: ecg(STOPS, 30)}, unit=Unit.MMHG),
        )
    )
    report = bed.pipeline.report
    assert report.channels == (LEAD_II,)
    assert report.quarantined == {LEAD_V: "mm[Hg] cannot be converted to mV"}
    assert Condition.ASYSTOLE in bed.onsets


def test_microvolts_are_converted(make_bed) -> None:
    curve = ecg(STOPS, 30)
    in_mv = make_bed(FakeRhythmRuntime()).push(chunks({LEAD_II: curve}))
    in_uv = make_bed(FakeRhythmRuntime()).push(chunks({LEAD_II: curve * 1000}, unit=Unit.MICROVOLT))
    assert _facts(in_uv) == _facts(in_mv)


def test_another_devices_chunk_is_refused(bed) -> None:
    with pytest.raises(OutOfRangeError, match="another device"):
        bed.push(chunks({LEAD_II: ecg([], 1)}, device_id="bed-2"))


def test_a_strip_shows_ten_seconds_before_and_five_after(bed) -> None:
    curves = {LEAD_II: ecg(STOPS, 40), LEAD_V: -ecg(STOPS, 40)}
    pleth = pulse(STOPS, 40)
    bed.push(merged(chunks(curves), chunks({PLETH: pleth}, unit=Unit.ARBITRARY, rate_hz=125.0)))
    [strip] = bed.told(AlertStrip)
    [onset] = bed.events(Condition.ASYSTOLE)
    assert strip.alert_id == onset.alert_id
    for chunk in strip.chunks:
        assert chunk.start_time_ns == pytest.approx(onset.event_time_ns - 10 * NS_PER_S, abs=8e6)
        assert chunk.end_time_ns == pytest.approx(onset.event_time_ns + 5 * NS_PER_S, abs=8e6)
        begin = round((chunk.start_time_ns - START_NS) * chunk.sampling_rate_hz / NS_PER_S)
        whole = curves | {PLETH: pleth}
        for code, samples in zip(chunk.codes, chunk.samples, strict=True):
            np.testing.assert_array_equal(samples, whole[code][begin : begin + samples.size])
    decoded = decode(encode(strip), AlertStrip)
    assert decoded.chunks[0].samples.shape == strip.chunks[0].samples.shape


def test_a_strip_nobody_completes_leaves_with_what_there_is(bed) -> None:
    bed.push(chunks({LEAD_II: ecg(STOPS, 25)}))
    assert bed.told(AlertStrip) == []
    for second in np.arange(25, 40, 0.25):
        bed.tick(second)
    [strip] = bed.told(AlertStrip)
    assert strip.chunks[0].end_time_ns == START_NS + 25 * NS_PER_S


def _command(alert_id: str, **changes: object) -> AcknowledgeCommand:
    fields: dict[str, object] = {
        "command_id": str(uuid4()),
        "device_id": "bed-1",
        "alert_id": alert_id,
        "author": "nurse",
        "issued_time_ns": START_NS + 30 * NS_PER_S,
        "expires_time_ns": START_NS + 90 * NS_PER_S,
    }
    return AcknowledgeCommand(**(fields | changes))  # type: ignore[arg-type]


def test_an_acknowledgement_is_applied_once_and_expires(bed) -> None:
    bed.push(chunks({LEAD_II: ecg(STOPS, 30)}))
    [onset] = bed.events(Condition.ASYSTOLE)
    command = _command(onset.alert_id)
    [told] = bed.pipeline.acknowledge(command, 5)
    assert (told.presence, told.acknowledged_by) == (Presence.ACKED, "nurse")
    assert bed.pipeline.acknowledge(command, 5) == []
    bed.tick(91)
    assert bed.story(Condition.ASYSTOLE)[-1] == (91.0, "acknowledgement_expired")


def test_an_acknowledgement_for_another_device_is_refused(bed) -> None:
    with pytest.raises(OutOfRangeError, match="another device"):
        bed.pipeline.acknowledge(_command(str(uuid4()), device_id="bed-2"), 5)


def test_an_alert_keeps_its_id_over_a_restart(make_bed) -> None:
    sent = list(chunks({LEAD_II: ecg(STOPS, 60)}))
    first = make_bed(FakeRhythmRuntime()).push(sent[:700])
    [onset] = first.events(Condition.ASYSTOLE)
    command = _command(onset.alert_id)
    first.pipeline.acknowledge(command, 5)
    snapshot = decode(encode(first.pipeline.snapshot()), EngineSnapshot)
    second = make_bed(FakeRhythmRuntime(), snapshot).push(sent[700:])
    assert second.pipeline.acknowledge(command, 5) == []
    assert second.events(Condition.ASYSTOLE) == []  # it still stands, and was not born again
    beats = chunks({LEAD_II: ecg(BEATS, 20)}, start_ns=TimestampNs(START_NS + 60 * NS_PER_S))
    second.push(replace(c, sequence_number=c.sequence_number + 1500) for c in beats)
    [ended] = second.events(Condition.ASYSTOLE)
    assert (ended.alert_id, ended.transition) == (onset.alert_id, "ended")
    assert ended.sequence_number == 0


def test_a_model_is_swapped_between_two_windows_and_none_goes_unjudged(make_bed) -> None:
    old, new = FakeRhythmRuntime(version=1), FakeRhythmRuntime(version=2)
    bed = make_bed(old)
    sent = list(chunks({LEAD_II: ecg(BEATS, 40)}))
    bed.push(sent[:500])
    bed.pipeline.swap_runtime(new)
    assert bed.pipeline.report.model_version == "rhythm-2"
    bed.push(sent[500:])
    report = bed.pipeline.report
    assert report.n_windows_unjudged == 0
    # The first windows fall into the detector's first seconds and have no quality yet.
    assert report.n_windows_judged >= 140
    # The model need not be asked about all of them while the rhythm is calm.
    assert min(old.n_windows, new.n_windows) >= 3 / 8 * 80 - 2
    assert bed.told(FeatureFrame)[-1]["model_version"] == 2


def test_alerts_are_numbered_without_gaps_and_carry_their_times(bed) -> None:
    bed.push(chunks({LEAD_II: ecg([*STOPS, *regular(75, 30, 50)], 60)}))
    events = bed.told(AlertEvent)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len(events) >= 3
    assert all(event.boot_id == BOOT_ID and event.decided_time_ns == 5 for event in events)
    assert [decode(encode(event), AlertEvent) for event in events] == events


def test_a_replay_tells_record_time_and_latency(make_bed) -> None:
    bed = make_bed(FakeRhythmRuntime())
    told: list[object] = []
    items = chunks({LEAD_II: ecg(STOPS, 30)})
    [alert] = replay(bed.pipeline, items, clock_ns=lambda: 5, tell=told.append)
    assert alert.event.condition is Condition.ASYSTOLE
    assert alert.record_time_s == pytest.approx(STOPS[-1] + 4.2, abs=0.1)
    assert alert.onset_time_s == pytest.approx(STOPS[-1], abs=0.05)
    assert alert.decision_latency_ms == 0
    assert sum(isinstance(output, FeatureFrame) for output in told) == 30
