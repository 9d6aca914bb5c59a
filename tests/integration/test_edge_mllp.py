"""A gateway speaks HL7 v2 over MLLP to the driver, well and badly, over a real socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hl7
import pytest
from fakes.certificates import certify
from fakes.live_bed import LiveBed
from hl7.mllp import open_hl7_connection
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.adapters.drivers.hl7_numerics import (
    RefusedMessageError,
    acknowledge,
    parse_time,
    read_oru,
)
from edge_agent.adapters.drivers.mllp import MllpDriver, MllpPlan
from edge_agent.adapters.drivers.mllp_frames import END, MAX_MESSAGE_BYTES, START, MllpFramer
from edge_agent.core.ports import SourceEventKind
from wardstream.contracts.errors import ConfigurationError, OutOfRangeError

HOSTILE = Path(__file__).resolve().parents[1] / "data" / "hostile" / "mllp"
SPO2, HR = "MDC_PULS_OXIM_SAT_O2", "MDC_ECG_HEART_RATE"


def oru(
    control_id: str = "1",
    *,
    spo2: str = "97",
    bed: str = "BED1",
    charset: str = "UNICODE UTF-8",
    patient: str = "Doe^Jane",
) -> str:
    head = "MSH|^~\\&|MON^1^EUI-64|HOSP|||20261123101500+0100||ORU^R01^ORU_R01|"
    return (
        "\r".join(
            (
                f"{head}{control_id}|P|2.6|||NE|AL||{charset}|||IHE_PCD_001^IHE PCD^1.3.6.1^ISO",
                f"PID|||12345^^^H^MR||{patient}",
                f"PV1||I|ICU^3^{bed}",
                "OBR|1|1^A|1^A|182777000^monitoring of patient^SCT|||20261123101500+0100",
                "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X",
                f"OBX|2|NM|150456^{SPO2}^MDC|1.1.1.1|{spo2}|262688^MDC_DIM_PERCENT^MDC|||||F",
                f"OBX|3|NM|147842^{HR}^MDC|1.2.1.1|82|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||20261123101459",
                "OBX|4|NM|150033^MDC_PRESS_BLD_ART_SYS^MDC|1.3.1.1|16.0|kPa^kilopascal^UCUM|||||F",
                "OBX|5|NM|150344^MDC_TEMP^MDC|1.4.1.1||268192^MDC_DIM_DEGC^MDC|||||X",
            )
        )
        + "\r"
    )


@asynccontextmanager
async def gateway(**plan: object) -> AsyncIterator[tuple[LiveBed, int]]:
    listening = asyncio.Event()
    drivers: list[MllpDriver] = []

    def make(inbox):
        drivers.append(MllpDriver(MllpPlan(host="127.0.0.1", port=0, **plan), inbox))
        drivers[0].on_listening = listening.set
        return drivers

    async with LiveBed(make) as bed:
        await asyncio.wait_for(listening.wait(), 5)
        yield bed, drivers[0].port


async def test_a_gateway_is_answered_and_its_numerics_come_in_our_units() -> None:
    async with gateway() as (bed, port):
        reader, writer = await open_hl7_connection("127.0.0.1", port, encoding="utf-8")
        for number in range(3):
            writer.writemessage(hl7.parse(oru(f"m{number}", spo2=str(95 + number))))
            await writer.drain()
            answer = await asyncio.wait_for(reader.readmessage(), 5)
            assert (str(answer["MSA"][0][1]), str(answer["MSA"][0][2])) == ("AA", f"m{number}")
        got = await bed.until(lambda got: len(got.values(SPO2)) == 3)
        assert got.values(SPO2) == [95, 96, 97]
        assert got.values("MDC_PRESS_BLD_ART_SYS")[0] == pytest.approx(120.0, abs=0.1)
        assert got.values("MDC_TEMP")[0] != got.values("MDC_TEMP")[0], "not available is NaN"
        writer.close()
        await bed.until(lambda got: SourceEventKind.LOST in got.kinds())
        _, again = await open_hl7_connection("127.0.0.1", port, encoding="utf-8")
        await bed.until(lambda got: SourceEventKind.BACK in got.kinds())
        again.close()
        assert bed.reasons() == ""


def tls_client(authority: Path, own: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.with_suffix(".pem"))
    if own is not None:
        context.load_cert_chain(own.with_suffix(".pem"), own.with_suffix(".key"))
    return context


async def say(port: int, message: str, tls: ssl.SSLContext) -> bytes:
    """The answer to `message`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        writer.write(START + message.encode() + END)
        await writer.drain()
        return await asyncio.wait_for(reader.readuntil(END), 5)
    finally:
        writer.close()


async def test_over_tls_only_a_gateway_of_our_authority_is_heard(tmp_path: Path) -> None:
    authority, other = certify(tmp_path, "authority"), certify(tmp_path, "other")
    bed_own = certify(tmp_path, "bed", authority)
    known, stranger = certify(tmp_path, "known", authority), certify(tmp_path, "stranger", other)
    plan = {
        "certificate": bed_own.with_suffix(".pem"),
        "key": bed_own.with_suffix(".key"),
        "authority": authority.with_suffix(".pem"),
    }
    async with gateway(**plan) as (bed, port):
        for who in (None, stranger):
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await say(port, oru("x", spo2="11"), tls_client(authority, who))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(START + oru("plain", spo2="12").encode() + END)
        await writer.drain()
        assert START not in await asyncio.wait_for(reader.read(1000), 5)
        writer.close()
        # The driver and the bed live on.
        assert b"MSA|AA|m1" in await say(port, oru("m1", spo2="96"), tls_client(authority, known))
        got = await bed.until(lambda got: got.values(SPO2))
        assert got.values(SPO2) == [96]


async def test_certificates_that_cannot_be_used_are_told_at_once(tmp_path: Path) -> None:
    own = certify(tmp_path, "bed")
    with pytest.raises(ConfigurationError, match="certificates of hl7"):
        async with gateway(certificate=own.with_suffix(".pem"), key=tmp_path / "nothing.key"):
            pass


async def test_frames_in_halves_in_bursts_and_between_noise_lose_nothing() -> None:
    async with gateway() as (bed, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wire = b"".join(
            START + oru(f"n{i}", spo2=str(90 + i)).encode() + END + (b"\n" if i % 2 else b"junk")
            for i in range(6)
        )
        for at in range(0, len(wire), 97):
            writer.write(wire[at : at + 97])
            await writer.drain()
        answers = b""
        while answers.count(END) < 6:
            answers += await asyncio.wait_for(reader.read(4096), 5)
        got = await bed.until(lambda got: len(got.values(SPO2)) == 6)
        assert got.values(SPO2) == [90, 91, 92, 93, 94, 95]
        assert "bytes between two frames (3)" in bed.reasons()
        writer.close()


async def test_a_repeat_is_answered_again_and_taken_once() -> None:
    async with gateway() as (bed, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((START + oru("same").encode() + END) * 2)
        writer.write(START + oru("same", spo2="88").encode() + END)
        answers = b""
        while answers.count(b"MSA|AA|same") < 3:
            answers += await asyncio.wait_for(reader.read(4096), 5)
        got = await bed.until(lambda got: 88.0 in got.values(SPO2))
        assert got.values(SPO2) == [97, 88], "same number, other content: nothing is lost"
        writer.close()


async def test_other_beds_on_the_line_are_not_this_beds() -> None:
    async with gateway(location=("ICU", "3", "BED1")) as (bed, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, place in enumerate(("BED2", "BED1", "BED12", "")):
            writer.write(START + oru(f"{number}", bed=place, spo2=str(80 + number)).encode() + END)
        nowhere = oru("x", spo2="70").replace("PV1||I|ICU^3^BED1", "PV1||I|")
        writer.write(START + nowhere.encode() + END)
        answers = b""
        while answers.count(b"MSA|AA") < 5:
            answers += await asyncio.wait_for(reader.read(4096), 5)
        got = await bed.until(lambda got: got.values(SPO2) and bed.source.quarantined)
        assert got.values(SPO2) == [81]
        assert "states no bed" in bed.reasons()
        writer.close()


async def test_chinese_names_cut_no_field() -> None:
    """A second byte of GB 18030 may be 0x7C, the field separator."""
    name = next(
        c for c in map(chr, range(0x4E00, 0x9FA5)) if c.encode("gb18030")[1:] in (b"|", b"^")
    )
    async with gateway() as (bed, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        text = oru("gb", charset="GB 18030-2000", patient=name * 3)
        writer.write(START + text.encode("gb18030") + END)
        assert b"MSA|AA|gb" in await asyncio.wait_for(reader.read(4096), 5)
        got = await bed.until(lambda got: got.values(SPO2))
        assert got.values(SPO2) == [97]
        writer.close()


async def test_the_hostile_corpus_is_quarantined_and_what_follows_is_taken() -> None:
    cases = sorted(HOSTILE.glob("*.hl7"))
    assert len(cases) >= 20
    for case in cases:
        reason, _, payload = case.read_bytes().partition(b"\n")
        async with gateway() as (bed, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(payload + START + oru("good", spo2="91").encode() + END)
            await writer.drain()
            got = await bed.until(lambda got: 91.0 in got.values(SPO2))
            found = bed.reasons()
            assert reason.decode() in found, (case.name, found)
            assert "Doe" not in found, "no name in a reason"
            assert SourceEventKind.QUARANTINED in got.kinds()
            writer.close()


async def test_a_connection_that_ends_in_a_frame_says_so() -> None:
    async with gateway() as (bed, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(START + oru().encode()[:200])
        writer.close()
        await bed.until(lambda got: SourceEventKind.QUARANTINED in got.kinds())
        assert "ended within a frame" in bed.reasons()


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_whole_frames_are_found_whatever_the_cuts(messages: list[bytes], seed: int) -> None:
    import random

    clean = [m.replace(b"\x0b", b"").replace(b"\x1c", b"") or b"m" for m in messages]
    wire = b"".join(START + m + END for m in clean)
    cuts = random.Random(seed)
    framer, found, at = MllpFramer(), [], 0
    while at < len(wire):
        n = cuts.randint(1, 17)
        got, reasons = framer.feed(wire[at : at + n])
        found += got
        assert not reasons
        at += n
    assert found == clean


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_leave_the_framer_ready_for_a_frame(noise: bytes) -> None:
    framer = MllpFramer()
    framer.feed(noise)
    framer.feed(END)  # ends a frame that noise may have begun
    messages, _ = framer.feed(START + b"whole" + END)
    assert messages == [b"whole"]


def test_an_endless_frame_is_not_held() -> None:
    framer = MllpFramer()
    framer.feed(START)
    reasons = [r for _ in range(40) for r in framer.feed(b"x" * 65_536)[1]]
    assert reasons == [f"a frame is longer than {MAX_MESSAGE_BYTES} bytes"]
    framer.feed(END)
    assert framer.feed(START + b"next" + END)[0] == [b"next"]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_mutated_message_is_taken_or_refused_but_never_breaks(data: st.DataObject) -> None:
    payload = bytearray(oru("7").encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(payload) - 1))
        what = data.draw(st.sampled_from(("set", "cut", "twice", "field")))
        if what == "set":
            payload[at] = data.draw(st.integers(0, 255))
        elif what == "cut":
            del payload[at : at + data.draw(st.integers(1, 30))]
        elif what == "twice":
            payload[at:at] = payload[at : at + 40]
        else:
            payload[at:at] = data.draw(st.sampled_from((b"|", b"^", b"~", b"\r", b"&", b"\\")))
        if not payload:
            break
    try:
        message = read_oru(bytes(payload), 10**18, "P")
    except RefusedMessageError as error:
        answered = error.code
    else:
        answered = "AA"
        for arrival in message.arrivals:
            assert arrival.value != arrival.value or -60 <= arrival.value <= 2000
        assert acknowledge(message.header, "AA", "1", 10**18).startswith(b"MSH|")
    assert answered in ("AA", "AE", "AR")


@pytest.mark.parametrize(
    "text",
    ["", "2026", "20261340101500", "20261123251500", "2026112310150٠", "20261123101500+9999"],
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OutOfRangeError):
        parse_time(text)


def test_an_offset_is_honoured() -> None:
    assert parse_time("20261123101500+0100") == parse_time("20261123091500.000")
