"""A real LSL outlet on this machine speaks to the driver."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pylsl
import pytest
from fakes.live_bed import LiveBed

from edge_agent.adapters.drivers.lsl import LslChannel, LslDriver, LslPlan
from edge_agent.core.ports import SourceEventKind

HOSTILE = Path(__file__).resolve().parents[1] / "data" / "hostile" / "lsl"
II, SPO2 = "MDC_ECG_ELEC_POTL_II", "MDC_PULS_OXIM_SAT_O2"
N = 10


def outlet(
    source_id: str, channels: list[list[str]], rate_hz: float = 250.0, kind: str = "float32"
) -> pylsl.StreamOutlet:
    info = pylsl.StreamInfo("bed", "ECG", len(channels), rate_hz, kind, source_id)
    described = info.desc().append_child("channels")
    for label, unit in channels:
        channel = described.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", unit)
    return pylsl.StreamOutlet(info, chunk_size=N, max_buffered=10)


@asynccontextmanager
async def bed_of(source_id: str, *channels: LslChannel) -> AsyncIterator[LiveBed]:
    plan = LslPlan(source_id=source_id, resolve_s=1.0, channels=channels)
    async with LiveBed(lambda inbox: [LslDriver(plan, inbox)]) as bed:
        yield bed


async def wait_for_consumer(out: pylsl.StreamOutlet) -> None:
    for _ in range(200):
        if out.have_consumers():
            return
        await asyncio.sleep(0.02)
    pytest.fail("the driver did not find the stream")


async def test_curves_come_with_their_gaps_in_our_unit() -> None:
    source_id = f"t-{uuid4()}"
    out = outlet(source_id, [[II, "microvolts"], ["chest", "millivolts"], ["noise", "dB"]])
    chest = LslChannel(label="chest", code="MDC_ECG_ELEC_POTL_V")
    async with bed_of(source_id, chest) as bed:
        await wait_for_consumer(out)
        start_s = pylsl.local_clock()
        for number in range(30):
            await asyncio.sleep(0.04)
            if number == 20:
                continue
            first = number * N
            rows = [[float(k), k / 1000 + 1, 0.0] for k in range(first, first + N)]
            # The stamp is that of the last sample of the chunk.
            out.push_chunk(rows, start_s + (first + N - 1) / 250)
        got = await bed.until(lambda got: got.n_samples(II) >= 300)
        values = np.concatenate([chunk.samples for chunk in got.chunks], axis=1)
        expected = np.arange(300) / 1000
        expected[200:210] = np.nan
        assert np.allclose(values[0], expected, atol=1e-6, equal_nan=True)
        assert np.allclose(values[1], expected + 1, atol=1e-6, equal_nan=True)
        assert "noise" in bed.reasons()
        assert [e.amount for e in got.events if e.kind is SourceEventKind.GAP] == [10]


async def test_a_stream_that_goes_and_comes_is_told_and_taken_up() -> None:
    source_id = f"t-{uuid4()}"
    out = outlet(source_id, [[II, "mV"]])
    async with bed_of(source_id) as bed:
        await wait_for_consumer(out)
        del out
        await bed.until(lambda got: SourceEventKind.LOST in got.kinds())
        out = outlet(source_id, [[II, "mV"]])
        await wait_for_consumer(out)
        for _ in range(12):
            out.push_chunk([[1.0]] * N)
            await asyncio.sleep(0.04)
        got = await bed.until(lambda got: got.n_samples(II) >= 100)
        assert got.kinds().count(SourceEventKind.LOST) == 1
        assert SourceEventKind.BACK in got.kinds()


async def test_without_a_rate_a_channel_is_a_numeric() -> None:
    source_id = f"t-{uuid4()}"
    out = outlet(source_id, [[SPO2, "%"]], rate_hz=0.0)
    async with bed_of(source_id) as bed:
        await wait_for_consumer(out)
        for value in (97.0, 250.0, 96.0):
            out.push_sample([value])
            await asyncio.sleep(0.05)
        got = await bed.until(lambda got: len(got.values(SPO2)) == 2)
        assert got.values(SPO2) == [97, 96]
        assert "impossible" in bed.reasons()


async def is_quarantined(name: str, case: dict) -> None:  # type: ignore[type-arg]
    source_id = f"t-{uuid4()}"
    out = outlet(source_id, case["channels"], case["rate_hz"], case["format"])
    configured = [LslChannel(**channel) for channel in case.get("configured", [])]
    async with bed_of(source_id, *configured) as bed:
        if case["taken"] or "rate" in name:
            await wait_for_consumer(out)
        start_s = pylsl.local_clock()
        for number in range(14):
            row = [float(v) if case["format"] != "string" else v for v in case["row"]]
            # The damage of a case is its row; it comes once, between good ones.
            good = [0.5] * len(row) if case["format"] != "string" else row
            out.push_chunk([good] * 9 + [row if number == 7 else good], start_s + number * 0.04)
            await asyncio.sleep(0.01)
        n_expected = 130 if case["taken"] else 0
        got = await bed.until(
            lambda got: (
                case["reason"] in bed.reasons()
                and (not n_expected or got.n_samples(case["taken"]) >= n_expected)
            )
        )
        if not n_expected:
            assert got.chunks == [], name


async def test_the_hostile_corpus_is_quarantined_and_the_rest_is_taken() -> None:
    cases = json.loads(HOSTILE.joinpath("streams.json").read_text())
    assert len(cases) >= 8
    await asyncio.gather(*(is_quarantined(name, case) for name, case in cases.items()))


async def test_two_streams_of_one_source_id_are_none() -> None:
    source_id = f"t-{uuid4()}"
    outs = [outlet(source_id, [[II, "mV"]]) for _ in range(2)]
    async with bed_of(source_id) as bed:
        await bed.until(lambda _: "several streams claim this source id" in bed.reasons())
        assert not any(out.have_consumers() for out in outs)
