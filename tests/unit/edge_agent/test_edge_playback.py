"""Recordings and simulated patients come packet by packet, on time, with their gaps."""

import asyncio
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from edge_agent.adapters.playback import Clocks, PlaybackPlan, PlaybackSource
from edge_agent.adapters.playback_blocks import Block, ChannelGroup, RecordedNumeric
from edge_agent.core.ports import Packet, Quarantined
from wardstream.contracts.units import Unit

ECG = "MDC_ECG_ELEC_POTL_II"
PLETH = "MDC_PULS_OXIM_PLETH"


class CountingReader:
    """125 frames a second; ECG sample k of the recording is k, frames 250 to 500 are missing."""

    description = "counting"
    frame_rate_hz = 125.0
    groups = (ChannelGroup((ECG,), Unit.MILLIVOLT, 2), ChannelGroup((PLETH,), Unit.ARBITRARY, 1))
    quarantined: tuple[Quarantined, ...] = ()

    def __init__(self, n_frames: int | None) -> None:
        self.n_frames = n_frames

    def read(self, first: int, last: int) -> Block:
        fast = np.arange(2 * first, 2 * last, dtype=np.float32)
        slow = np.arange(first, last, dtype=np.float32)
        fast[(fast >= 500) & (fast < 1000)] = np.nan
        slow[(slow >= 250) & (slow < 500)] = np.nan
        numerics = tuple(
            RecordedNumeric(n, "MDC_PULS_OXIM_SAT_O2", 97.0, Unit.PERCENT)
            for n in range(first, last)
            if n % 125 == 0
        )
        return Block(first, last, (fast[None], slow[None]), numerics)


class HandClock:
    """Time that passes when it is told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.wall_ns = 1_700_000_000_000_000_000
        self.monotonic_ns = 5_000_000_000

    def pass_s(self, seconds: float) -> None:
        self.wall_ns += round(seconds * 1e9)
        self.monotonic_ns += round(seconds * 1e9)

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall_ns, lambda: self.monotonic_ns)


def plan(**changes: object) -> PlaybackPlan:
    values: dict[str, object] = {"realtime": False, "loop": False, **changes}
    return PlaybackPlan(device_id="d1", boot_id=str(uuid4()), **values)  # type: ignore[arg-type]


async def take(source: PlaybackSource, n: int) -> list[Packet]:
    packets: list[Packet] = []
    async for packet in source.packets():
        packets.append(packet)
        if len(packets) == n:
            break
    return packets


def ecg_of(packets: list[Packet]) -> np.ndarray:
    return np.concatenate([c.samples[0] for p in packets for c in p.chunks if c.codes == (ECG,)])


async def test_every_sample_comes_once_in_order_with_its_own_time() -> None:
    async with PlaybackSource(
        CountingReader(250), plan(packet_ms=33), HandClock().clocks
    ) as source:
        packets = await take(source, 1000)
        first_ns = source.start_time_ns
    assert np.array_equal(ecg_of(packets), np.arange(500))
    for packet in packets:
        for chunk in packet.chunks:
            expected_ns = first_ns + round(
                float(chunk.samples[0, 0]) / chunk.sampling_rate_hz * 1e9
            )
            assert abs(chunk.start_time_ns - expected_ns) <= 1


async def test_numbers_run_on_and_jump_over_a_stretch_that_was_not_delivered() -> None:
    async with PlaybackSource(CountingReader(750), plan(), HandClock().clocks) as source:
        packets = await take(source, 1000)
    numbers = [
        chunk.sequence_number for p in packets for chunk in p.chunks if chunk.codes == (ECG,)
    ]
    assert numbers == [*range(50), *range(100, 150)]
    assert sum(not packet.chunks for packet in packets) == 50


async def test_a_loop_goes_on_in_time_where_the_recording_begins_again() -> None:
    async with PlaybackSource(CountingReader(240), plan(loop=True), HandClock().clocks) as source:
        packets = await take(source, 100)
    samples = ecg_of(packets)
    assert np.array_equal(samples[:480], np.arange(480))
    assert np.array_equal(samples[480:960], np.arange(480))
    ends = np.array([packet.end_time_ns for packet in packets])
    assert np.array_equal(np.diff(ends), np.full(99, 40_000_000))


async def test_it_begins_where_it_is_told_and_ends_with_the_recording() -> None:
    source = PlaybackSource(CountingReader(250), plan(start_s=1.5), HandClock().clocks)
    async with source:
        samples = ecg_of(await take(source, 1000))
    assert (samples[0], samples[-1]) == (376, 499)


async def test_numerics_come_with_the_second_they_were_determined_in() -> None:
    async with PlaybackSource(CountingReader(250), plan(), HandClock().clocks) as source:
        packets = await take(source, 1000)
        start_ns = source.start_time_ns
    times = [o.determination_time_ns - start_ns for p in packets for o in p.observations]
    assert times == [0, 1_000_000_000]


async def test_real_time_keeps_its_pace_and_never_hands_out_a_sample_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = HandClock()

    async def sleep(seconds: float) -> None:
        clock.pass_s(seconds + 0.001)  # every sleep oversleeps

    monkeypatch.setattr(asyncio, "sleep", sleep)
    async with PlaybackSource(CountingReader(None), plan(realtime=True), clock.clocks) as source:
        begun_ns = clock.wall_ns
        async for packet in source.packets():
            assert packet.end_time_ns <= clock.wall_ns
            assert packet.lag_s < 0.002
            if packet.end_time_ns - begun_ns >= 60e9:
                break
    assert clock.wall_ns - begun_ns == pytest.approx(60e9, abs=2e6)


async def test_after_a_pause_it_leaves_out_what_a_device_would_not_have_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = HandClock()

    async def sleep(seconds: float) -> None:
        clock.pass_s(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    async with PlaybackSource(CountingReader(None), plan(realtime=True), clock.clocks) as source:
        packets = source.packets()
        before = await anext(packets)
        clock.pass_s(30)
        await anext(packets)
        after = await anext(packets)
        await packets.aclose()
    assert after.end_time_ns - before.end_time_ns > 29e9
    assert after.chunks[0].sequence_number > before.chunks[0].sequence_number + 700


async def test_killed_and_started_again_it_goes_on_where_wall_time_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()

    async def sleep(seconds: float) -> None:
        clock.pass_s(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    first = PlaybackSource(
        CountingReader(None), plan(realtime=True, state_dir=tmp_path), clock.clocks
    )
    await first.__aenter__()  # and never left: kill -9
    clock.pass_s(100)
    clock.monotonic_ns = 7  # another boot of the machine
    again = PlaybackSource(
        CountingReader(None), plan(realtime=True, state_dir=tmp_path), clock.clocks
    )
    async with again:
        packets = again.packets()
        packet = await anext(packets)
        await packets.aclose()
    assert packet.chunks[0].samples[0, 0] == pytest.approx(100 * 250, abs=11)
    assert packet.chunks[0].sequence_number == 0
    assert not (tmp_path / "playback.json").exists(), "a clean stop forgets the patient"
