"""An SDC device on this machine, with TLS and without, well and badly behaved."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from fakes.certificates import certify
from fakes.live_bed import LiveBed
from fakes.sdc_device import SdcDevice
from sdc11073.certloader import mk_ssl_contexts

from edge_agent.adapters.drivers.sdc import SdcDriver, SdcPlan
from edge_agent.core.ports import SourceEventKind

HOSTILE = Path(__file__).resolve().parents[1] / "data" / "hostile" / "sdc"
II, SPO2 = "MDC_ECG_ELEC_POTL_II", "MDC_PULS_OXIM_SAT_O2"


@asynccontextmanager
async def connected(device: SdcDevice, plan: SdcPlan | None = None) -> AsyncIterator[LiveBed]:
    plan = plan or SdcPlan(address=device.address)
    drivers: list[SdcDriver] = []

    def make(inbox):
        drivers.append(SdcDriver(plan, inbox))
        return drivers

    async with LiveBed(make) as bed:
        yield bed


async def stream(device: SdcDevice, bed: LiveBed, n: int) -> None:
    """Send `n` blocks once the driver is subscribed."""
    for _ in range(100):
        if "metric odd" in bed.reasons():
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    for _ in range(n):
        await asyncio.to_thread(device.send_ecg)
        await asyncio.sleep(0.03)


async def test_waveforms_numerics_and_alerts_come_over_tls(tmp_path: Path) -> None:
    authority = certify(tmp_path, "authority")
    ours, theirs = (certify(tmp_path, who, authority) for who in ("bed", "monitor"))
    device = SdcDevice(
        mk_ssl_contexts(
            theirs.with_suffix(".key"), theirs.with_suffix(".pem"), authority.with_suffix(".pem")
        )
    )
    assert device.address.startswith("https")
    plan = SdcPlan(
        address=device.address,
        certificate=ours.with_suffix(".pem"),
        key=ours.with_suffix(".key"),
        authority=authority.with_suffix(".pem"),
    )
    try:
        async with connected(device, plan) as bed:
            await stream(device, bed, 15)
            device.skip(10)
            await stream(device, bed, 10)
            await asyncio.to_thread(device.send_numeric, "spo2", "97")
            await asyncio.to_thread(device.send_alert, True)
            await asyncio.to_thread(device.send_alert, False)
            got = await bed.until(
                lambda got: (
                    got.n_samples(II) >= 250
                    and got.values(SPO2)
                    and got.kinds().count(SourceEventKind.DEVICE_ALERT) == 2
                )
            )
            values = np.concatenate([chunk.samples for chunk in got.chunks], axis=1)[0]
            expected = np.arange(260) / 1000
            expected[150:160] = np.nan
            assert np.allclose(values, expected[: len(values)], atol=1e-6, equal_nan=True)
            assert got.values(SPO2) == [97]
            reasons = bed.reasons()
            assert "metric odd: code number 131399" in reasons
            assert "metric temp: MDC_TEMP: mm[Hg] cannot be converted to Cel" in reasons
    finally:
        await asyncio.to_thread(device.stop)


async def test_a_device_is_found_by_its_endpoint_reference(tmp_path: Path) -> None:
    device = SdcDevice(announced=True)
    try:
        async with connected(device, SdcPlan(epr=device.epr)) as bed:
            for _ in range(30):  # discovery takes 3 s, and the first samples may come before
                await stream(device, bed, 5)
                if bed.got.n_samples(II):
                    break
            await bed.until(lambda got: got.n_samples(II) >= 5)
        absent = SdcPlan(epr="urn:uuid:00000000-0000-4000-8000-000000000009")
        async with connected(device, absent) as bed:
            got = await bed.until(lambda got: SourceEventKind.LOST in got.kinds(), timeout_s=10)
            assert any("endpoint reference" in event.text for event in got.events)
    finally:
        await asyncio.to_thread(device.stop)


async def test_a_stranger_without_our_authority_is_not_heard(tmp_path: Path) -> None:
    authority, other = certify(tmp_path, "authority"), certify(tmp_path, "other")
    ours, theirs = certify(tmp_path, "bed", authority), certify(tmp_path, "stranger", other)
    contexts = mk_ssl_contexts(theirs.with_suffix(".key"), theirs.with_suffix(".pem"))
    device = SdcDevice(contexts)
    plan = SdcPlan(
        address=device.address,
        certificate=ours.with_suffix(".pem"),
        key=ours.with_suffix(".key"),
        authority=authority.with_suffix(".pem"),
    )
    try:
        async with connected(device, plan) as bed:
            await bed.until(lambda got: SourceEventKind.LOST in got.kinds(), timeout_s=20)
            assert SourceEventKind.BACK not in bed.got.kinds()
            assert bed.got.chunks == []
    finally:
        await asyncio.to_thread(device.stop)


async def test_what_does_not_stand_is_missing_and_what_is_infinite_is_quarantined() -> None:
    device = SdcDevice()
    try:
        async with connected(device) as bed:
            await stream(device, bed, 12)
            await asyncio.to_thread(device.send_ecg, 10, None, "Inv")
            await asyncio.to_thread(device.send_ecg, 10, Decimal("1e300"), "Vld")
            await asyncio.to_thread(device.send_numeric, "spo2", "250")
            await stream(device, bed, 8)
            got = await bed.until(lambda got: got.n_samples(II) >= 220)
            values = np.concatenate([chunk.samples for chunk in got.chunks], axis=1)[0]
            assert np.isnan(values[120:140]).all()
            assert np.isfinite(values[140:220]).all()
            assert "metric ecg" in bed.reasons()
            assert "impossible" in bed.reasons()
            assert got.values(SPO2) == []
    finally:
        await asyncio.to_thread(device.stop)


def post(address: tuple[str, int], payload: bytes) -> None:
    with socket.create_connection(address, timeout=3) as link:
        link.sendall(payload)
        link.settimeout(1)
        try:
            link.recv(4096)
        except OSError:
            return


async def test_hostile_notifications_do_not_stop_the_stream(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reaches our event sink may post anything to it."""
    cases = sorted(HOSTILE.glob("*.http"))
    assert len(cases) >= 5
    sinks: list[str] = []
    device = SdcDevice()
    import sdc11073.consumer.consumerimpl as consumerimpl

    plain_start = consumerimpl.SdcConsumer.start_all

    def start_and_tell(self, *args, **more) -> None:
        plain_start(self, *args, **more)
        sinks.append(self.base_url)

    monkeypatch.setattr(consumerimpl.SdcConsumer, "start_all", start_and_tell)
    try:
        async with connected(device) as bed:
            await stream(device, bed, 12)
            parts = urlsplit(sinks[0])
            assert parts.hostname is not None
            assert parts.port is not None
            for case in cases:
                payload = case.read_bytes().replace(b"{path}", parts.path.encode())
                await asyncio.to_thread(post, (parts.hostname, parts.port), payload)
                await asyncio.to_thread(device.send_ecg)
            await stream(device, bed, 8)
            n = (20 + len(cases)) * 10
            got = await bed.until(lambda got: got.n_samples(II) >= n)
            values = np.concatenate([chunk.samples for chunk in got.chunks], axis=1)[0]
            assert np.allclose(values[:n], np.arange(n) / 1000, atol=1e-6), "nothing else is lost"
            assert "the SDC library could not take a message" in bed.reasons()
            assert "Doe" not in bed.reasons()
            assert SourceEventKind.LOST not in got.kinds()
    finally:
        await asyncio.to_thread(device.stop)


async def test_a_device_that_goes_is_told_once() -> None:
    device = SdcDevice()
    async with connected(device) as bed:
        await stream(device, bed, 10)
        await bed.until(lambda got: got.n_samples(II) >= 50)
        await asyncio.to_thread(device.stop)
        await bed.until(lambda got: SourceEventKind.LOST in got.kinds(), timeout_s=30)
        assert bed.got.kinds().count(SourceEventKind.LOST) == 1
