"""A glucose sensor's gateway publishes through a real Mosquitto."""

import asyncio
import datetime as dt
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import paho.mqtt.publish as publish
import pytest
from fakes.live_bed import LiveBed
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.local.servers.mosquitto import find_mosquitto
from deploy.local.servers.ports import accepts_connections, free_port
from edge_agent.adapters.drivers.mqtt_numerics import (
    MqttNumericsDriver,
    MqttNumericsPlan,
    read_observations,
)
from edge_agent.core.ports import SourceEventKind
from wardstream.contracts.errors import ConfigurationError, ContractError

HOSTILE = Path(__file__).resolve().parents[1] / "data" / "hostile" / "mqtt"
GLUCOSE, SPO2 = "MDC_CONC_GLU_ISF", "MDC_PULS_OXIM_SAT_O2"
TOPIC = "wearables/bed-1"


class WardBroker:
    """The broker of the wearables' gateway, which is not that of the beds."""

    def __init__(self, folder: Path) -> None:
        self._binary = find_mosquitto()
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary.path, "-c", self._config],
            env={"LD_LIBRARY_PATH": self._binary.library_path},
            stderr=subprocess.DEVNULL,
        )
        for _ in range(100):
            if accepts_connections(self.port):
                return
            time.sleep(0.02)
        pytest.fail("the broker does not listen")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
            self._process = None

    def send(self, payload: bytes, *, retain: bool = False) -> None:
        publish.single(TOPIC, payload, qos=1, retain=retain, hostname="127.0.0.1", port=self.port)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[WardBroker]:
    try:
        made = WardBroker(tmp_path)
    except ConfigurationError as error:
        pytest.skip(str(error))
    made.start()
    yield made
    made.stop()


@asynccontextmanager
async def subscribed(broker: WardBroker) -> AsyncIterator[LiveBed]:
    plan = MqttNumericsPlan(
        host="127.0.0.1", port=broker.port, tls=False, topic=TOPIC, client_id="wardstream-bed-1"
    )
    drivers: list[MqttNumericsDriver] = []

    def make(inbox):
        drivers.append(MqttNumericsDriver(plan, inbox))
        return drivers

    async with LiveBed(make) as bed:
        for _ in range(200):
            if bed.inbox._connected.get(drivers[0].name):
                break
            await asyncio.sleep(0.02)
        yield bed


def ago(seconds: float) -> str:
    """RFC 3339 of `seconds` ago, in another zone than ours."""
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    return (dt.datetime.now(zone) - dt.timedelta(seconds=seconds)).isoformat()


def observation(**more: object) -> bytes:
    return json.dumps({"code": SPO2, "unit": "%", "value": 97, **more}).encode()


async def test_values_come_in_our_units_and_keep_their_age(broker: WardBroker) -> None:
    async with subscribed(broker) as bed:
        several = {
            "observations": [
                {"code": GLUCOSE, "unit": "mmol/L", "value": 5.8, "time": ago(900)},
                {"code": "160212", "unit": "MDC_DIM_MILLI_G_PER_DL", "value": 110,
                 "time": ago(600)},
            ]
        }  # fmt: skip
        await asyncio.to_thread(broker.send, json.dumps(several).encode())
        await asyncio.to_thread(broker.send, observation(value=None))
        got = await bed.until(lambda got: len(got.observations) == 3)
        glucose = [o for o in got.observations if o.code == GLUCOSE]
        assert [round(o.value, 1) for o in glucose] == [104.5, 110]
        apart_ns = glucose[1].determination_time_ns - glucose[0].determination_time_ns
        assert abs(apart_ns - 300 * 10**9) < 10**9
        assert got.values(SPO2)[0] != got.values(SPO2)[0]


async def test_what_came_while_the_driver_was_away_comes_later(broker: WardBroker) -> None:
    async with subscribed(broker):
        pass
    await asyncio.to_thread(broker.send, observation(value=91))
    async with subscribed(broker) as bed:
        got = await bed.until(lambda got: got.values(SPO2))
        assert got.values(SPO2) == [91]


async def test_a_broker_that_goes_and_comes_is_told(broker: WardBroker) -> None:
    async with subscribed(broker) as bed:
        await asyncio.to_thread(broker.stop)
        await bed.until(lambda got: SourceEventKind.LOST in got.kinds())
        await asyncio.to_thread(broker.start)
        await bed.until(lambda got: SourceEventKind.BACK in got.kinds(), timeout_s=15)
        await asyncio.to_thread(broker.send, observation(value=93))
        got = await bed.until(lambda got: got.values(SPO2))
        assert got.values(SPO2) == [93]
        assert got.kinds().count(SourceEventKind.LOST) == 1


async def test_the_hostile_corpus_is_quarantined_and_what_follows_is_taken(
    broker: WardBroker,
) -> None:
    cases = json.loads(HOSTILE.joinpath("messages.json").read_text())
    assert len(cases) >= 15
    for number, (name, case) in enumerate(cases.items()):
        async with subscribed(broker) as bed:
            good = observation(value=70 + number)
            await asyncio.to_thread(broker.send, case["payload"].encode("latin-1"))
            await asyncio.to_thread(broker.send, good)
            got = await bed.until(lambda got, value=70 + number: value in got.values(SPO2))
            assert case["reason"] in bed.reasons(), (name, bed.reasons())
            assert "Doe" not in bed.reasons(), name
            assert got.values(SPO2)[-1] == 70 + number


async def test_a_retained_value_is_of_who_knows_when(broker: WardBroker) -> None:
    await asyncio.to_thread(broker.send, observation(), retain=True)
    async with subscribed(broker) as bed:
        await bed.until(lambda _: "a retained message" in bed.reasons())
        assert bed.got.observations == []


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_messages_are_read_or_refused(data: st.DataObject) -> None:
    payload = bytearray(observation(time="2026-11-23T08:15:00Z"))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(payload)))
        payload[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        found = read_observations(bytes(payload))
    except ContractError as error:
        refused = str(error)
    else:
        refused = ""
        assert all(isinstance(observation.code, str) for observation in found)
    assert refused or found
