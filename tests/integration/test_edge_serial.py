"""A front-end board speaks to the serial driver over a pseudo-terminal."""

import asyncio
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from fakes.live_bed import LiveBed
from fakes.serial_front_end import SerialFrontEnd
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.adapters.drivers.serial_frames import SerialFramer, encode_frame
from edge_agent.adapters.drivers.serial_front_end import (
    SerialChannel,
    SerialDriver,
    SerialPlan,
    millivolts_per_count,
)
from edge_agent.core.ports import SourceEventKind

HOSTILE = Path(__file__).resolve().parents[1] / "data" / "hostile" / "serial"
II, V = "MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_V"
LEADS = (
    SerialChannel(input=0, code=II, unit="mV", scale=0.001),
    SerialChannel(input=1, code=V, unit="uV", scale=1.0),
)


@asynccontextmanager
async def board(
    channels: tuple[SerialChannel, ...] = LEADS, n_channels: int = 2
) -> AsyncIterator[tuple[LiveBed, SerialFrontEnd]]:
    front_end = SerialFrontEnd(n_channels)
    plan = SerialPlan(
        port=front_end.port, baud_rate=921_600, sampling_rate_hz=250.0, channels=channels
    )
    try:
        async with LiveBed(lambda inbox: [SerialDriver(plan, inbox)]) as bed:
            await asyncio.sleep(0.05)
            yield bed, front_end
    finally:
        front_end.unplug()


async def send(front_end: SerialFrontEnd, n: int) -> None:
    for _ in range(n):
        front_end.send(front_end.frame())
        await asyncio.sleep(0.04)


async def test_counts_come_as_millivolts_and_a_lost_frame_as_a_gap() -> None:
    async with board() as (bed, front_end):
        await send(front_end, 12)
        front_end.frame()  # lost
        await send(front_end, 8)
        got = await bed.until(lambda got: got.n_samples(II) >= 200)
        values = np.concatenate([chunk.samples for chunk in got.chunks], axis=1)
        expected = np.arange(values.shape[1]) * 0.001
        expected[120:130] = np.nan
        assert np.allclose(values[0], expected, atol=1e-6, equal_nan=True)
        assert np.allclose(values[1], expected + 1.0, atol=1e-6, equal_nan=True)
        gaps = [event for event in got.events if event.kind is SourceEventKind.GAP]
        assert [gap.amount for gap in gaps] == [10]
        assert bed.reasons() == ""


async def test_a_lead_that_is_off_is_missing_and_the_other_goes_on() -> None:
    async with board() as (bed, front_end):
        for _ in range(12):
            front_end.send(front_end.frame(lead_off=0b10))
            await asyncio.sleep(0.04)
        got = await bed.until(lambda got: got.n_samples(II) >= 100)
        values = np.concatenate([chunk.samples for chunk in got.chunks], axis=1)
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()


async def test_an_input_nobody_described_is_quarantined() -> None:
    undescribed = (LEADS[0], SerialChannel(input=1, code=V, unit="furlong", scale=1.0))
    async with board(undescribed, n_channels=3) as (bed, front_end):
        await send(front_end, 10)
        got = await bed.until(lambda got: got.n_samples(II) >= 50)
        assert {code for chunk in got.chunks for code in chunk.codes} == {II}
        assert "input 1: unit 'furlong'" in bed.reasons()
        assert "input 2: the configuration does not say what it is" in bed.reasons()


async def test_a_board_that_restarts_goes_on() -> None:
    async with board() as (bed, front_end):
        await send(front_end, 12)
        front_end.number, front_end.offset = 0, 500
        await send(front_end, 14)
        got = await bed.until(lambda got: got.n_samples(II) >= 240)
        assert SourceEventKind.CLOCK_STEP in got.kinds()


async def test_a_pulled_cable_is_told_once() -> None:
    async with board() as (bed, front_end):
        await send(front_end, 10)
        await bed.until(lambda got: got.n_samples(II) >= 50)
        front_end.unplug()
        await bed.until(lambda got: SourceEventKind.LOST in got.kinds())
        await asyncio.sleep(0.5)
        assert bed.got.kinds().count(SourceEventKind.LOST) == 1


async def survives(name: str, content: bytes) -> None:
    reason, _, damage = content.partition(b"\n")
    async with board() as (bed, front_end):
        for number in range(12):
            front_end.send((damage if number == 6 else b"") + front_end.frame())
            await asyncio.sleep(0.01)
        got = await bed.until(lambda got: got.n_samples(II) >= 100)
        assert reason.decode() in bed.reasons(), name
        values = np.concatenate([c.samples for c in got.chunks], axis=1)[0]
        assert np.allclose(values, np.arange(len(values)) * 0.001, atol=1e-6), name


async def test_the_hostile_corpus_is_quarantined_and_the_frames_around_it_are_taken() -> None:
    cases = sorted(HOSTILE.glob("*.bin"))
    assert len(cases) >= 8
    await asyncio.gather(*(survives(case.name, case.read_bytes()) for case in cases))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_frames_survive_any_cuts_and_noise_between_them(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sent = [
        random.integers(
            -(2**23), 2**23, (data.draw(st.integers(1, 8)), data.draw(st.integers(1, 9)))
        )
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    wire = b""
    for number, counts in enumerate(sent):
        # Noise without a sync byte cannot swallow a frame; with one it may only delay it.
        noise = data.draw(st.binary(max_size=20)).replace(b"\xa5", b"")
        wire += noise + encode_frame(number, counts.astype(np.int32))
    framer, frames, at = SerialFramer(), [], 0
    while at < len(wire):
        n = int(random.integers(1, 40))
        frames += framer.feed(wire[at : at + n])[0]
        at += n
    assert [frame.sequence_number for frame in frames] == list(range(len(sent)))
    for frame, counts in zip(frames, sent, strict=True):
        assert np.array_equal(frame.counts, counts)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_leave_the_framer_ready_for_frames(noise: bytes) -> None:
    framer = SerialFramer()
    framer.feed(noise)
    frame = encode_frame(7, np.zeros((8, 64), dtype=np.int32))
    found = [f for _ in range(3) for f in framer.feed(frame)[0]]
    # A false header may hold back one frame's length; the frames themselves are then found.
    assert len(found) >= 2


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_one_damaged_byte_costs_one_frame(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = [bytearray(encode_frame(n, np.full((2, 10), n, dtype=np.int32))) for n in range(5)]
    frames[2][random.integers(0, len(frames[2]))] ^= int(random.integers(1, 256))
    found, reasons = SerialFramer().feed(b"".join(frames) + bytes(2000))
    assert [frame.sequence_number for frame in found] == [0, 1, 3, 4]
    assert reasons


def test_the_checksum_is_that_of_the_documentation() -> None:
    """CRC-16/CCITT-FALSE of "123456789" is 29B1 in every catalogue of CRCs."""
    assert binascii.crc_hqx(b"123456789", 0xFFFF) == 0x29B1


def test_a_count_of_an_ads1298_is_what_its_data_sheet_says() -> None:
    assert millivolts_per_count(2.4, 6) * 1e6 == pytest.approx(47.68, abs=0.01)  # nV
