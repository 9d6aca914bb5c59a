"""A hot device does without what nobody at the bed needs, and never without alarms."""

import asyncio
import math
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.adapters.telemetry import JetsonTelemetry, SysTelemetry, find_telemetry
from edge_agent.core.thermal import (
    HYSTERESIS_CELSIUS,
    Shed,
    TelemetryReading,
    ThermalGovernor,
)
from edge_agent.services.service_watchdog import ServiceWatchdog
from edge_agent.services.thermal_watch import ThermalWatch
from wardstream.contracts.errors import OutOfRangeError

POLICY = {Shed.LIVE_VIEW: 80.0, Shed.STRIPS: 85.0, Shed.TRENDS: 88.0, Shed.MODEL_HOP: 92.0}


def sysfs(root: Path, zones: dict[str, str], cooling: dict[str, int] | None = None) -> Path:
    for number, (kind, millicelsius) in enumerate(zones.items()):
        zone = root / "class" / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(millicelsius + "\n")
    for number, (kind, state) in enumerate((cooling or {}).items()):
        device = root / "class" / "thermal" / f"cooling_device{number}"
        device.mkdir(parents=True, exist_ok=True)
        (device / "type").write_text(kind + "\n")
        (device / "cur_state").write_text(f"{state}\n")
    return root


def test_the_hottest_zone_counts_and_an_unpowered_one_does_not(tmp_path: Path) -> None:
    root = sysfs(tmp_path, {"cpu-thermal": "61500", "gpu-thermal": "72250", "cv0": "-256000000"})
    (root / "class" / "thermal" / "thermal_zone9").mkdir()
    assert SysTelemetry(root).read().celsius == 72.25


def test_a_machine_without_sensors_says_that_it_does_not_know(tmp_path: Path) -> None:
    reading = SysTelemetry(tmp_path).read()
    assert math.isnan(reading.celsius)
    assert not reading.throttled


@pytest.mark.parametrize(
    ("cooling", "throttled"),
    [({"pwm-fan": 3}, False), ({"cpufreq-cpu0": 0}, False), ({"thermal-cpufreq-0": 2}, True)],
)
def test_a_fan_is_no_throttling_and_a_slowed_processor_is(
    tmp_path: Path, cooling: dict[str, int], throttled: bool
) -> None:
    root = sysfs(tmp_path, {"cpu": "60000"}, cooling)
    assert SysTelemetry(root).read().throttled is throttled


@pytest.mark.parametrize(("bits", "throttled"), [("0x0", False), ("50000", False), ("4", True)])
def test_a_raspberry_says_whether_it_is_throttled_now(
    tmp_path: Path, bits: str, throttled: bool
) -> None:
    """Bits 16 up say that it once was: that is no reason to shed anything now."""
    file = tmp_path / "devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text(bits + "\n")
    assert SysTelemetry(tmp_path).read().throttled is throttled


class Jtop:
    """What jetson-stats 4 gives: a running `jtop` with `temperature` and `power`."""

    def __init__(self) -> None:
        self.temperature = {
            "cpu": {"temp": 61.5, "online": True},
            "gpu": {"temp": 83.0, "online": True},
            "cv0": {"temp": -256, "online": False},
        }
        self.power = {"tot": {"power": 9_420}}
        self.started = False

    def jtop(self) -> "Jtop":
        return self

    def start(self) -> None:
        self.started = True


def test_jetson_stats_is_asked_where_it_answers(tmp_path: Path) -> None:
    telemetry = JetsonTelemetry(Jtop(), SysTelemetry(sysfs(tmp_path, {"cpu": "50000"})))
    reading = telemetry.read()
    assert (reading.celsius, reading.watts) == (83.0, 9.42)


def test_jetson_stats_that_says_nothing_gives_way_to_the_kernel(tmp_path: Path) -> None:
    silent = Jtop()
    silent.power = {}
    telemetry = JetsonTelemetry(silent, SysTelemetry(sysfs(tmp_path, {"cpu": "50000"})))
    assert telemetry.read().celsius == 50.0


def test_without_jetson_stats_the_kernel_is_read(tmp_path: Path) -> None:
    assert find_telemetry(tmp_path).name == "sysfs"


@given(st.lists(st.tuples(st.floats(20, 120) | st.just(math.nan), st.booleans()), max_size=60))
def test_the_later_goes_last_and_comes_back_first(readings: list[tuple[float, bool]]) -> None:
    governor = ThermalGovernor(POLICY)
    for celsius, throttled in readings:
        before = governor.shed
        shed = governor.observe(TelemetryReading(celsius, throttled))
        order = list(Shed)
        assert sorted(shed, key=order.index) == order[: len(shed)], "a prefix of the order"
        if throttled:
            assert shed == set(POLICY)
        elif math.isnan(celsius):
            assert shed == before
        else:
            for what, at in POLICY.items():
                if celsius >= at:
                    assert what in shed
                if celsius < at - HYSTERESIS_CELSIUS:
                    assert what not in shed


def test_no_member_of_what_can_be_shed_is_an_alarm() -> None:
    assert {shed.value for shed in Shed} == {"live_view", "strips", "trends", "model_hop"}


def test_a_policy_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(OutOfRangeError, match="live_view <= strips"):
        ThermalGovernor({Shed.MODEL_HOP: 70.0, Shed.LIVE_VIEW: 90.0})


async def test_the_watch_applies_changes_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = sysfs(tmp_path, {"cpu": "60000"})
    applied: list[frozenset[Shed]] = []
    watch = ThermalWatch(SysTelemetry(root), ThermalGovernor(POLICY), applied.append, 0.01)
    stop = asyncio.Event()
    running = asyncio.create_task(watch.run(stop))
    for celsius, expected in (("86000", 2), ("60000", 0)):
        (root / "class/thermal/thermal_zone0/temp").write_text(celsius)
        for _ in range(200):
            if len(watch.shed) == expected and applied:
                break
            await asyncio.sleep(0.01)
    stop.set()
    await running
    assert applied == [frozenset({Shed.LIVE_VIEW, Shed.STRIPS}), frozenset()]
    assert "86 °C: without live_view, strips" in caplog.text


async def test_systemd_hears_ready_then_life_then_the_end(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        watchdog = ServiceWatchdog({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "60000"})
        stop = asyncio.Event()
        async with watchdog:
            running = asyncio.create_task(watchdog.run(stop))
            await asyncio.sleep(0.15)
            stop.set()
            await running
        heard: list[bytes] = []
        while True:
            try:
                heard.append(manager.recv(64))
            except BlockingIOError:
                break
    assert heard[0] == b"READY=1"
    assert heard.count(b"WATCHDOG=1") >= 3
    assert heard[-1] == b"STOPPING=1"


async def test_without_systemd_nothing_is_said() -> None:
    stop = asyncio.Event()
    stop.set()
    async with ServiceWatchdog({}) as watchdog:
        await watchdog.run(stop)
