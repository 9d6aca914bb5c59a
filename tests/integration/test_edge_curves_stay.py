"""Raw curves stay on the device: every way out is walked, and the two that may carry them tried."""

import struct
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.edge_cloud import SITE
from fakes.edge_process import AgentProcess, agent_environment
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.ports import free_port
from edge_agent.adapters.waveform_ring import FOLDER, read
from wardstream.contracts import topics
from wardstream.contracts.authority import StationLease, signing_bytes
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.device import DeviceStatus
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.live import LiveCurves, LiveViewCommand
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import AlertStrip, WaveformChunk

DEVICE = "bed-01"
LEASE_S = 2.0
CURVES = {"strip", "live"}


class Ear:
    """Hears everything the device may say, and says what a station's cloud may."""

    def __init__(self, mosquitto: MosquittoServer) -> None:
        self.heard: list[tuple[float, str, bytes]] = []
        self._clients = [self._connect(mosquitto.url(user)) for user in ("cloud", "bridge")]

    def _connect(self, url: str) -> mqtt.Client:
        parts = urlsplit(url)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"ear-{uuid4().hex[:8]}", protocol=mqtt.MQTTv5
        )
        client.username_pw_set(parts.username, parts.password)
        client.on_connect = lambda c, *_: c.subscribe(f"{topics.ROOT}/{SITE}/{DEVICE}/#", qos=1)
        client.on_message = lambda _c, _u, m: self.heard.append(
            (time.time(), m.topic.split("/", 4)[4], bytes(m.payload))
        )
        client.connect(parts.hostname or "", parts.port or 1883)
        client.loop_start()
        return client

    def close(self) -> None:
        for client in self._clients:
            client.disconnect()
            client.loop_stop()

    def say(self, message: StationLease | LiveViewCommand) -> None:
        topic = topics.LEASE if isinstance(message, StationLease) else topics.LIVE_VIEW
        self._clients[0].publish(topic.address(SITE, DEVICE), encode(message), qos=1)

    def on(self, suffix: str, after_s: float = 0.0) -> list[tuple[float, bytes]]:
        return [
            (at, payload)
            for at, topic, payload in list(self.heard)
            if topic == suffix and at > after_s
        ]

    def boot_id(self, timeout_s: float = 20.0) -> str:
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            for _, payload in self.on("status"):
                return decode(payload, DeviceStatus).boot_id
            time.sleep(0.05)
        raise AssertionError("the device says nothing of itself")


class Station:
    def __init__(self, ear: Ear, key: Ed25519PrivateKey) -> None:
        self.ear, self.key = ear, key
        self.station_id = str(uuid4())
        self.boot_id = ear.boot_id()
        self.number = 0

    def sign(self, order: Any) -> Any:
        signature = b64encode(self.key.sign(signing_bytes(order))).decode()
        return type(order)(
            **{f.name: getattr(order, f.name) for f in fields(order)} | {"signature": signature}
        )

    def lease(self) -> None:
        self.number += 1
        now_ns = time.time_ns()
        lease = StationLease(
            station_id=self.station_id,
            device_id=DEVICE,
            boot_id=self.boot_id,
            holder="nurse",
            sequence_number=self.number,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + round(LEASE_S * 1e9)),
        )
        self.ear.say(self.sign(lease))

    def request(self, seconds: float) -> LiveViewCommand:
        now_ns = time.time_ns()
        asked = LiveViewCommand(
            command_id=str(uuid4()),
            device_id=DEVICE,
            boot_id=self.boot_id,
            station_id=self.station_id,
            author="nurse",
            seconds=seconds,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + 5 * 10**9),
        )
        return self.sign(asked)

    def renew_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.lease()
            time.sleep(0.3)


@pytest.fixture
def ear(mosquitto: MosquittoServer) -> Iterator[Ear]:
    one = Ear(mosquitto)
    yield one
    one.close()


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def environment(
    mosquitto: MosquittoServer, folder: Path, key: Ed25519PrivateKey, **more: str
) -> dict[str, str]:
    public = folder / "orders.pem"
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return agent_environment(
        folder / "state",
        EDGE_MQTT__URL=mosquitto.url(DEVICE),
        EDGE_ORDERS_KEY=str(public),
        EDGE_LOG_LEVEL="debug",
        **more,
    )


def holds_samples(kind: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a message type can hold a chunk anywhere inside."""
    if kind is WaveformChunk:
        return True
    if kind in seen:
        return False
    inner = list(get_args(kind))
    if isinstance(kind, type) and is_dataclass(kind):
        inner += get_type_hints(kind).values()
    return any(holds_samples(part, seen | {kind}) for part in inner)


def test_of_all_topics_two_can_hold_samples() -> None:
    from_device = [t for t in topics.MQTT_TOPICS if t.from_device]
    assert {t.suffix for t in from_device if holds_samples(t.message_type)} == CURVES
    arrays = {t.suffix for t in from_device if "NDArray" in str(get_type_hints(t.message_type))}
    assert arrays <= {"frame"}, "one value a feature and second"


def needles(folder: Path) -> list[bytes]:
    """Stretches of the curves as bytes and as text, such as a leak would show them."""
    found: list[bytes] = []
    for chunk in list(read(folder / FOLDER, 0, 2**62))[::3]:
        for row in chunk.samples:
            for at in range(0, row.size - 8, 40):
                part = row[at : at + 4]
                if np.isnan(part).any() or np.unique(part).size < 4:
                    continue
                found += [part.tobytes(), part.astype(np.float64).tobytes()]
                found += [f"{float(part[1])}".encode(), f"{part[1]!s}".encode()]
                found.append(
                    struct.pack("<4h", *np.clip(np.rint(part * 1000), -32768, 32767).astype(int))
                )
    return [n for n in found if len(n) > 6]


def leaks(content: bytes, wanted: list[bytes]) -> list[bytes]:
    return [needle for needle in wanted if needle in content]


@pytest.mark.timeout(120)
def test_no_way_out_carries_samples_that_nobody_may_see(
    mosquitto: MosquittoServer, ear: Ear, key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    port = free_port()
    settings = environment(
        mosquitto,
        tmp_path,
        key,
        EDGE_METRICS_PORT=str(port),
        EDGE_JUDGEMENT__STRIP_BEFORE_S="0",
        EDGE_JUDGEMENT__STRIP_AFTER_S="0",
    )
    state = tmp_path / "state"
    web: list[bytes] = []
    with AgentProcess(settings) as agent:
        agent.wait_for(lambda a: a.alerts("ventricular_fibrillation"), 60)
        for path in ("/metrics", "/health", "/ready", "/", "/state", "/waveforms"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                    web.append(answer.read())
            except urllib.error.HTTPError as error:
                web.append(error.read())
        assert agent.stop() == 0
        log = agent.text.encode()
    curves = needles(state)
    assert len(curves) > 1000
    said = {suffix for _, suffix, _ in ear.heard}
    assert {"frame", "alert", "status"} <= said
    assert not said & CURVES
    for _, suffix, payload in ear.heard:
        assert not leaks(payload, curves), suffix
    n_frames = sum(len(p) for _, p in ear.on("frame"))
    n_seconds = sum(c.samples.shape[1] / c.sampling_rate_hz for c in read(state / FOLDER, 0, 2**62))
    assert n_frames < 600 * n_seconds, "features, not samples"
    assert not leaks(log, curves)
    assert not any(leaks(answer, curves) for answer in web)
    for path in state.rglob("*"):
        if path.is_file() and path.parent.name != FOLDER:
            assert not leaks(path.read_bytes(), curves), path
    assert all(p.stat().st_mode & 0o077 == 0 for p in (state / FOLDER).iterdir())


@pytest.mark.timeout(120)
def test_a_live_view_shows_the_curves_only_under_a_live_lease_and_only_so_long(
    mosquitto: MosquittoServer, ear: Ear, key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    with AgentProcess(environment(mosquitto, tmp_path, key)) as agent:
        agent.wait_for(lambda a: a.events("first_judged"), 60)
        station, forger = Station(ear, key), Station(ear, Ed25519PrivateKey.generate())
        ear.say(station.request(5))  # no lease yet
        forger.lease()
        ear.say(forger.request(5))
        time.sleep(1.0)
        assert not ear.on("live")

        station.renew_for(0.5)
        asked = station.request(2.0)
        ear.say(asked)
        begun_s = time.time()
        station.renew_for(3.5)
        shown = ear.on("live")
        assert shown
        assert shown[-1][0] - begun_s < 2.6, "its time is up"
        ear.say(asked)  # played back
        station.renew_for(1.0)
        assert len(ear.on("live")) == len(shown)

        ear.say(station.request(60.0))
        station.renew_for(1.0)
        lapsed_s = time.time()
        time.sleep(LEASE_S + 1.5)
        assert ear.on("live", begun_s + 3.5)
        last_s = ear.on("live")[-1][0]
        assert last_s < lapsed_s + LEASE_S + 0.5, "the lease has lapsed"
        assert [line["author"] for line in agent.events("live_view_opened")] == ["nurse"] * 2
        assert len(agent.events("live_view_closed")) == 2
        assert agent.stop() == 0
    views = [decode(payload, LiveCurves) for _, payload in shown]
    assert {view.view_id for view in views} == {asked.command_id}
    assert [view.sequence_number for view in views] == list(range(len(views)))
    kept = {
        (codes, start): chunk
        for chunk in read(tmp_path / "state" / FOLDER, 0, 2**62)
        for codes, start in [(chunk.codes, chunk.start_time_ns)]
    }
    one = views[len(views) // 2].chunks[0]
    (source,) = [
        chunk
        for (codes, _), chunk in kept.items()
        if codes == one.codes and chunk.start_time_ns <= one.start_time_ns < chunk.end_time_ns
    ]
    at = round((one.start_time_ns - source.start_time_ns) * one.sampling_rate_hz / 1e9)
    part = source.samples[:, at : at + one.samples.shape[1]]
    scale = np.nanmax(np.abs(part)) / 30_000
    np.testing.assert_allclose(one.samples[:, : part.shape[1]], part, atol=2 * scale)


def test_types_that_hold_samples_are_named_here() -> None:
    assert holds_samples(AlertStrip)
    assert holds_samples(LiveCurves)
    assert not holds_samples(FeatureFrame)
