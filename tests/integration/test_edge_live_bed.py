"""The agent as it is run, fed by devices instead of recordings."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from fakes.edge_process import AgentProcess, agent_environment
from fakes.serial_front_end import SerialFrontEnd
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.servers.mosquitto import MosquittoBinary, find_mosquitto
from deploy.local.servers.ports import accepts_connections, free_port
from edge_agent.adapters.drivers.serial_frames import encode_frame
from edge_agent.adapters.scenario import Crisis, Event, Scenario
from edge_agent.adapters.simulator import SimulatedPatient
from wardstream.contracts.errors import ConfigurationError

CONFIGS = Path(__file__).resolve().parents[2] / "firmware_configs"
CHANNELS = (
    '[{"input":0,"code":"MDC_ECG_ELEC_POTL_II","unit":"mV","scale":0.0001},'
    '{"input":1,"code":"MDC_ECG_ELEC_POTL_V","unit":"mV","scale":0.0001}]'
)


class BoardOnAPatient:
    """A front-end board whose leads are on a simulated patient, in real time, with noise."""

    def __init__(self, patient: SimulatedPatient) -> None:
        self.front_end = SerialFrontEnd()
        self._patient = patient
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "BoardOnAPatient":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self.front_end.unplug()

    def _run(self) -> None:
        start_s = time.monotonic()
        for number in range(100_000):
            block = self._patient.read(5 * number, 5 * number + 5)
            counts = np.nan_to_num(block.samples[0] * 10_000).astype(np.int32)
            lead_off = 3 if np.isnan(block.samples[0]).all() else 0
            frame = encode_frame(number, counts, lead_off)
            noise = b"\xa5\x5aboot\r\n" if number % 50 == 10 else b""
            if number % 40 != 7:  # one frame in forty is lost
                self.front_end.send(noise + frame)
            if self._stop.wait(max(0.0, start_s + (number + 1) * 0.04 - time.monotonic())):
                return


def serial_environment(state_dir: Path, port: str) -> dict[str, str]:
    environment = agent_environment(
        state_dir,
        EDGE_SOURCE__KIND="serial",
        EDGE_SOURCE__PORT=port,
        EDGE_SOURCE__SAMPLING_RATE_HZ="250",
        EDGE_SOURCE__CHANNELS=CHANNELS,
    )
    del environment["EDGE_SOURCE__SCRIPT"]
    return environment


def test_an_arrest_on_a_serial_front_end_alarms_through_loss_and_noise(tmp_path: Path) -> None:
    arrest = Event(crisis=Crisis.ASYSTOLE, at_s=16, for_s=40)
    patient = SimulatedPatient(Scenario(events=(arrest,)), seed=1)
    with BoardOnAPatient(patient) as board:
        with AgentProcess(serial_environment(tmp_path, board.front_end.port)) as agent:
            agent.wait_for(lambda a: a.alerts("asystole"), 60)
            assert agent.stop() == 0
        reasons = " ".join(str(line.get("message", line)) for line in agent.last_lines)
        assert "frame of another version" in reasons
        assert not [line for line in agent.last_lines if line.get("level") == "critical"]


def test_a_front_end_that_is_not_there_is_an_alarm_and_not_an_end(tmp_path: Path) -> None:
    with AgentProcess(serial_environment(tmp_path, "/dev/wardstream/none")) as agent:
        agent.wait_for(lambda a: a.alerts("no_data"), 40)
        assert len(agent.events("lost")) == 1
        assert agent.stop() == 0


# ---- the broker of a gateway -------------------------------------------------------------------


class Broker:
    """A Mosquitto with a given configuration."""

    def __init__(self, binary: MosquittoBinary, config: Path, port: int) -> None:
        self.port = port
        self._process = subprocess.Popen(
            [binary.path, "-c", config],
            env={"LD_LIBRARY_PATH": binary.library_path},
            stderr=subprocess.DEVNULL,
        )
        for _ in range(150):
            if accepts_connections(port):
                return
            time.sleep(0.02)
        self.stop()
        pytest.fail(f"a broker with {config.name} does not listen")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(5)


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[tuple[Broker, Broker]]:
    """(the gateway's with the shipped bridge, the hospital's)"""
    try:
        binary = find_mosquitto()
    except ConfigurationError as error:
        pytest.skip(str(error))
    central_port, gateway_port = free_port(), free_port()
    central = tmp_path / "central.conf"
    central.write_text(f"listener {central_port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    lines = []
    for line in (CONFIGS / "mosquitto" / "bridge.conf").read_text().splitlines():
        word = line.split(" ")[0]
        if word in ("password_file", "acl_file", "remote_username", "remote_password"):
            continue
        if word in ("bridge_cafile", "bridge_certfile", "bridge_keyfile", "bridge_insecure"):
            continue  # this test's hospital speaks plain text
        line = line.replace("listener 1883", f"listener {gateway_port}")
        line = line.replace("allow_anonymous false", "allow_anonymous true")
        lines.append(line.replace("BROKER:8883", f"127.0.0.1:{central_port}"))
    gateway = tmp_path / "gateway.conf"
    gateway.write_text("\n".join(["user root", f"persistence_location {tmp_path}/", *lines]) + "\n")
    started = [Broker(binary, central, central_port)]
    started.append(Broker(binary, gateway, gateway_port))
    yield started[1], started[0]
    for broker in started:
        broker.stop()


def listen(port: int) -> tuple[paho.Client, list[tuple[str, bytes]]]:
    heard: list[tuple[str, bytes]] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_message = lambda _c, _d, message: heard.append((message.topic, message.payload))
    client.connect("127.0.0.1", port)
    client.subscribe("wardstream/v1/#", qos=1)
    client.loop_start()
    return client, heard


def test_the_shipped_bridge_carries_both_ways_and_echoes_nothing(
    brokers: tuple[Broker, Broker],
) -> None:
    gateway, central = brokers
    (bed, at_bed), (cloud, at_cloud) = listen(gateway.port), listen(central.port)
    up, down = "wardstream/v1/site-1/bed-01/alert", "wardstream/v1/site-1/bed-01/watermark/alert"
    try:
        deadline_s = time.monotonic() + 15
        while not at_cloud and time.monotonic() < deadline_s:
            bed.publish(up, b"probe", qos=1)
            time.sleep(0.2)
        assert at_cloud, "the bridge never came up"
        time.sleep(0.5)
        at_bed.clear()
        at_cloud.clear()
        for number in range(20):
            bed.publish(up, str(number).encode(), qos=1)
            cloud.publish(down, str(number).encode(), qos=1)
        deadline_s = time.monotonic() + 10
        while (len(at_cloud), len(at_bed)) != (40, 40) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        time.sleep(0.5)
        for heard in (at_bed, at_cloud):
            for topic in (up, down):
                got = [payload for where, payload in heard if where == topic]
                assert got == [str(n).encode() for n in range(20)], "once each, in order"
    finally:
        for client in (bed, cloud):
            client.disconnect()
            client.loop_stop()
