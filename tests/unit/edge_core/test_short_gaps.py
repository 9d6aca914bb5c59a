"""Packets that are lost one by one: counted exactly, and judged as if nothing had been lost."""

import numpy as np
import pytest
from fakes.bedside import LEAD_II, PLETH, chunks, ecg, later, merged, pulse, regular
from numpy.typing import NDArray

from edge_agent.core.ecg_track import EcgTrack
from edge_agent.core.intake import GroupIntake
from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import WaveformChunk

RATE_HZ = 250.0
PACKET = 10
START_NS = 1_700_000_000_000_000_000


def chunk(number: int, samples: NDArray[np.float32], jitter_ms: float = 0.0) -> WaveformChunk:
    return WaveformChunk(
        device_id="bed-1",
        boot_id="00000000-0000-4000-8000-000000000001",
        sequence_number=number,
        codes=("MDC_ECG_ELEC_POTL_II",),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=RATE_HZ,
        start_time_ns=TimestampNs(
            START_NS + number * 40 * NS_PER_MS + round(jitter_ms * NS_PER_MS)
        ),
        samples=samples,
    )


def beats(n_seconds: float) -> NDArray[np.float32]:
    """75 beats a minute: spikes of 1 mV, 80 ms wide, on a slow swing."""
    time_s = np.arange(round(n_seconds * RATE_HZ)) / RATE_HZ
    phase_s = (time_s + 0.4) % 0.8 - 0.4
    curve = np.exp(-((phase_s / 0.016) ** 2)) + 0.1 * np.sin(2 * np.pi * 0.3 * time_s)
    return curve.astype(np.float32)


def test_a_gap_is_as_long_as_the_numbering_says_whatever_the_jitter() -> None:
    draw = np.random.default_rng(3)
    intake, lost, given = GroupIntake(RATE_HZ), 0, 0
    for number in range(3000):
        if number and draw.random() < 0.05:
            lost += PACKET
            continue
        samples = np.full((1, PACKET), float(number), dtype=np.float32)
        for stretch in intake.push(chunk(number, samples, float(draw.uniform(-12, 12)))):
            given += stretch.samples.shape[1]
            assert stretch.samples[0, -1] * PACKET + PACKET == given  # the grid never moved
    assert lost > 1000
    assert intake.counts.samples_missing == lost


def test_a_number_that_the_clock_contradicts_is_not_believed() -> None:
    intake = GroupIntake(RATE_HZ)
    samples = np.zeros((1, PACKET), dtype=np.float32)
    intake.push(chunk(0, samples))
    # Ten packets are missing by number, and 250 samples by the clock, which is what time is.
    for number in [*range(11, 17), 18, *range(19, 30)]:
        intake.push(chunk(number, samples, jitter_ms=1000 - 10 * 40))
    assert intake.counts.samples_missing == pytest.approx(250 + PACKET, abs=1)


def test_beats_are_the_same_when_packets_between_them_are_lost() -> None:
    curve = beats(60)
    whole, broken = (EcgTrack(("MDC_ECG_ELEC_POTL_II",), RATE_HZ, PACKET) for _ in range(2))
    holed = curve.copy()
    # 40 to 160 ms away from every R peak, where the curve is not flat.
    for second, length in zip(range(5, 55), [10, 20, 30, 40] * 13, strict=False):
        first = round((second // 0.8 * 0.8 + 0.25) * RATE_HZ)
        holed[first : first + length] = np.nan
    assert np.isnan(holed).sum() > 1000
    whole.restart(TimestampNs(START_NS))
    broken.restart(TimestampNs(START_NS))
    whole.advance(curve[None, :].copy())
    broken.advance(holed[None, :].copy())
    assert broken.n_missing == np.isnan(holed).sum()
    np.testing.assert_array_equal(whole.beats_from(0), broken.beats_from(0))
    np.testing.assert_allclose(whole.rr_ms(), broken.rr_ms())


def test_what_was_lost_is_a_line_to_the_model_and_missing_where_it_is_long() -> None:
    track = EcgTrack(("MDC_ECG_ELEC_POTL_II",), RATE_HZ, PACKET)
    curve = beats(4.0)
    curve[300:349] = np.nan  # 196 ms
    curve[600:650] = np.nan  # 200 ms
    leads: list[NDArray[np.float32]] = []
    begin = 0
    track.restart(TimestampNs(START_NS))
    while begin < curve.size:
        begin = track.advance_to_event(curve[None, :], begin, every_block=False)
        for _, windows in track.due_windows():
            leads = windows
    (window,) = leads
    assert np.isfinite(window[300:349]).all()
    assert np.isnan(window[600:650]).any()
    assert np.isnan(curve[300:349]).all()  # what was delivered is not touched


@pytest.mark.parametrize("jump_s", [-30.0, 1.5, 3600.0])
@pytest.mark.parametrize("at_packet", [520, 560, 590])
def test_a_clock_that_is_set_delays_no_alarm(make_bed, jump_s: float, at_packet: int) -> None:
    # Beats stop at 20 s; the clock is set while the silence lasts; nothing is lost with it.
    beats_s = [beat for beat in regular(75, 0.3, 60) if beat < 20]
    sent = list(
        merged(
            chunks({LEAD_II: ecg(beats_s, 40)}),
            chunks({PLETH: pulse(beats_s, 40)}, unit=Unit.ARBITRARY, rate_hz=125.0),
        )
    )
    usual = make_bed(None)
    usual.push(sent)
    moved = make_bed(None)
    moved.push(
        chunk if chunk.sequence_number < at_packet else later(chunk, jump_s) for chunk in sent
    )
    (there,), (here,) = usual.events(Condition.ASYSTOLE), moved.events(Condition.ASYSTOLE)
    assert here.event_time_ns - there.event_time_ns == pytest.approx(
        jump_s * NS_PER_S, abs=0.05 * NS_PER_S
    )
    assert moved.pipeline.report.n_clock_jumps == 2  # each group has a clock of its own
    assert moved.pipeline.report.n_samples_missing == 0


def test_a_packet_overtaken_while_the_clock_is_set_is_not_lost() -> None:
    intake, order = GroupIntake(RATE_HZ), [*range(50), 51, 52, 50, *range(53, 100)]
    samples = np.zeros((1, PACKET), dtype=np.float32)
    stretches = [
        stretch
        for number in order
        for stretch in intake.push(chunk(number, samples, 20_000.0 if number >= 50 else 0.0))
    ]
    assert sum(stretch.samples.shape[1] for stretch in stretches) == 100 * PACKET
    assert [stretch.restart for stretch in stretches].count(True) == 1  # the first
    assert intake.counts.samples_missing == 0
    assert intake.counts.clock_jumps == 1
