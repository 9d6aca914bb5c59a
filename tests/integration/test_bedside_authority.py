"""Quiet only under a live, signed lease: the agent, a real broker, and what it takes to sound."""

import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.edge_cloud import CloudSide
from fakes.edge_process import AgentProcess, agent_environment

from deploy.local.servers.mosquitto import MosquittoServer
from wardstream.contracts import topics
from wardstream.contracts.alert import AlertEvent, Condition, SignalState, Transition
from wardstream.contracts.authority import (
    Authority,
    SilenceCommand,
    StationLease,
    signed,
    signing_bytes,
)
from wardstream.contracts.codec import encode
from wardstream.contracts.timebase import TimestampNs

VF = Condition.VENTRICULAR_FIBRILLATION
LEASE_S = 1.5
RENEW_S = 0.4

# Notes when the alarm sound begins, then takes as long as a burst.
LOUDSPEAKER = """
import sys, time
sys.stdin.buffer.read()
with open(sys.argv[1], "a") as heard:
    print(time.time(), file=heard, flush=True)
time.sleep(1.0)
"""


class Station:
    """A nurse's station, with the site's key or another."""

    def __init__(self, cloud: CloudSide, key: Ed25519PrivateKey) -> None:
        self.cloud = cloud
        self.key = key
        self.station_id = str(uuid4())
        self.number = 0

    def sign(self, order: Any) -> Any:
        return signed(order, b64encode(self.key.sign(signing_bytes(order))).decode())

    def lease(self, **changes: Any) -> StationLease:
        self.number += 1
        now_ns = time.time_ns()
        fields = {
            "station_id": self.station_id,
            "device_id": "bed-01",
            "boot_id": self.cloud.alerts[-1].boot_id,
            "holder": "nurse",
            "sequence_number": self.number,
            "issued_time_ns": TimestampNs(now_ns),
            "expires_time_ns": TimestampNs(now_ns + round(LEASE_S * 1e9)),
        }
        return self.sign(StationLease(**{**fields, **changes}))

    def pause(self, **changes: Any) -> SilenceCommand:
        now_ns = time.time_ns()
        alerts = list(self.cloud.alerts)
        fields = {
            "command_id": str(uuid4()),
            "silence_id": str(uuid4()),
            "device_id": "bed-01",
            "kind": Condition.AUDIO_PAUSED,
            "author": "nurse",
            "authority": Authority.CARE,
            "station_id": self.station_id,
            "issued_time_ns": TimestampNs(now_ns),
            "expires_time_ns": TimestampNs(now_ns + 120 * 10**9),
            "seen": {e.alert_id: newest(self.cloud, e.alert_id).revision for e in alerts},
        }
        return self.sign(SilenceCommand(**{**fields, **changes}))

    def say(self, order: StationLease | SilenceCommand) -> None:
        topic = topics.LEASE if isinstance(order, StationLease) else topics.SILENCE
        self.cloud.say_raw(topic.suffix, encode(order))

    def renew_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.say(self.lease())
            time.sleep(RENEW_S)


class Bed:
    def __init__(self, state_dir: Path, mosquitto: MosquittoServer) -> None:
        self.heard_file = state_dir / "heard"
        self.heard_file.touch()
        script = state_dir / "loudspeaker.py"
        script.write_text(LOUDSPEAKER)
        self.key = Ed25519PrivateKey.generate()
        public = state_dir / "orders.pem"
        public.write_bytes(
            self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.environment = agent_environment(
            state_dir / "state",
            EDGE_MQTT__URL=mosquitto.url("bed-01"),
            EDGE_ORDERS_KEY=str(public),
            EDGE_ANNUNCIATION__SOUND_COMMAND=f"{sys.executable} {script} {self.heard_file}",
        )

    def heard(self, after_s: float = 0.0) -> list[float]:
        times = (float(line) for line in self.heard_file.read_text().split())
        return [time_s for time_s in times if time_s > after_s]

    def first_heard(self, after_s: float, timeout_s: float = 6.0) -> float:
        """Seconds from `after_s` to the next sound."""
        until_s = time.time() + timeout_s
        while time.time() < until_s:
            if heard := self.heard(after_s):
                return heard[0] - after_s
            time.sleep(0.02)
        return float("inf")


@pytest.fixture
def cloud(mosquitto: MosquittoServer) -> Iterator[CloudSide]:
    side = CloudSide({u: mosquitto.url(u) for u in ("cloud", "bridge", "worker")}, "bed-01")
    yield side
    side.close()


@pytest.fixture
def bed(mosquitto: MosquittoServer, tmp_path: Path) -> Bed:
    return Bed(tmp_path, mosquitto)


def onset(cloud: CloudSide) -> AlertEvent:
    def high(c: CloudSide) -> list[AlertEvent]:
        return [e for e in c.alerts if e.condition is VF and e.transition is Transition.ONSET]

    assert cloud.wait_for(high, 60)
    return high(cloud)[-1]


def newest(cloud: CloudSide, alert_id: str) -> AlertEvent:
    events = [event for event in cloud.alerts if event.alert_id == alert_id]
    return max(events, key=lambda event: event.revision)


def silence(cloud: CloudSide, station: Station, event: AlertEvent) -> float:
    """Silence the bed; the moment at which it was quiet."""
    for _ in range(3):  # a new alert of high priority may come in between, and rightly breaks it
        station.renew_for(RENEW_S)
        station.say(station.pause())
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:
            station.renew_for(RENEW_S)
            if newest(cloud, event.alert_id).signal.audible is SignalState.PAUSED:
                return time.time()
    silences = [e for e in cloud.alerts if e.condition is Condition.AUDIO_PAUSED]
    raise AssertionError([(e.transition, e.reason) for e in silences])


def test_a_bed_is_quiet_under_a_live_lease_and_sounds_when_it_lapses(
    bed: Bed, cloud: CloudSide
) -> None:
    with AgentProcess(bed.environment) as agent:
        event = onset(cloud)
        assert bed.first_heard(0.0) < float("inf")
        station = Station(cloud, bed.key)
        quiet_s = silence(cloud, station, event)
        station.renew_for(6.0)
        assert not bed.heard(quiet_s + 0.2), "it sounded under a live lease"
        last_s = time.time()
        station.say(station.lease())
        lapsed_s = last_s + LEASE_S
        took_s = bed.first_heard(last_s)
        print(
            f"sound {took_s:.2f} s after the last lease, {took_s - LEASE_S:.2f} s after its lapse"
        )
        assert took_s < LEASE_S + 2.0
        assert cloud.wait_for(
            lambda c: any(e.transition is Transition.LEASE_LOST for e in c.alerts), 5
        )
        assert lapsed_s - last_s == pytest.approx(LEASE_S)
        silence_event = next(e for e in cloud.alerts if e.condition is Condition.AUDIO_PAUSED)
        assert silence_event.terms is not None
        assert silence_event.terms.author == "nurse"
        agent.stop()


def test_a_partition_ends_the_quiet(bed: Bed, cloud: CloudSide, mosquitto: MosquittoServer) -> None:
    with AgentProcess(bed.environment) as agent:
        event = onset(cloud)
        station = Station(cloud, bed.key)
        silence(cloud, station, event)
        station.renew_for(1.0)
        station.say(station.lease())
        time.sleep(0.1)
        cut_s = time.time()
        mosquitto.pause()  # the broker hangs: nothing says so to anybody
        took_s = bed.first_heard(cut_s)
        mosquitto.resume()
        print(f"sound {took_s:.2f} s after the partition")
        assert took_s < 2.0
        agent.stop()


def test_what_is_forged_or_played_back_keeps_no_bed_quiet(bed: Bed, cloud: CloudSide) -> None:
    with AgentProcess(bed.environment) as agent:
        event = onset(cloud)
        stranger = Station(cloud, Ed25519PrivateKey.generate())
        stranger.say(stranger.lease())
        stranger.say(stranger.pause())
        station = Station(cloud, bed.key)
        bent = replace(station.pause(), kind=Condition.ALARM_PAUSED)  # signed as something else
        station.say(bent)
        kept = station.lease()
        quiet_s = silence(cloud, station, event)
        station.renew_for(1.0)
        last_s = time.time()
        until_s = last_s + 3.0
        while time.time() < until_s:  # a recorder plays back what it heard
            station.say(kept)
            station.say(station.lease(sequence_number=1))
            stranger.say(stranger.lease(station_id=station.station_id, sequence_number=10**6))
            time.sleep(0.2)
        took_s = bed.first_heard(max(last_s, quiet_s))
        print(f"sound {took_s:.2f} s after the last true lease, replays and forgeries going on")
        assert took_s < LEASE_S + 2.0
        granted = {e.alert_id for e in cloud.alerts if e.condition is Condition.ALARM_PAUSED}
        assert not granted
        assert any("no trusted key signed it" in str(line) for line in agent.lines)
        assert any("played back" in str(line) for line in agent.lines)
        agent.stop()


def test_a_silence_survives_a_restart_but_not_its_lease(bed: Bed, cloud: CloudSide) -> None:
    with AgentProcess(bed.environment) as agent:
        event = onset(cloud)
        station = Station(cloud, bed.key)
        silence(cloud, station, event)
        old = station.lease()
        agent.kill()
    with AgentProcess(bed.environment) as agent:
        begun_s = time.time()
        agent.wait_for(lambda a: a.events("link_connected"))
        station.say(old)  # given to another life
        assert bed.first_heard(begun_s, 30.0) < float("inf")
        assert cloud.wait_for(lambda c: newest(c, event.alert_id).boot_id != event.boot_id, 10)
        assert newest(cloud, event.alert_id).signal.audible is not SignalState.PAUSED
        heard_s = time.time()
        station.renew_for(1.0)  # the station learns of the new life and goes on
        assert cloud.wait_for(
            lambda c: any(e.transition is Transition.LEASE_HELD for e in c.alerts), 5
        )
        station.renew_for(2.0)
        assert not bed.heard(heard_s + 1.5)
        agent.stop()
