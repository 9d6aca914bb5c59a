"""Several devices of one bed become one source; what goes wrong is told, and the rest goes on."""

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

import numpy as np
import pytest

from edge_agent.adapters.drivers.inbox import CAPACITY, Inbox
from edge_agent.adapters.drivers.live import DeviceLostError, LivePlan, LiveSource
from edge_agent.adapters.optional import import_driver
from edge_agent.adapters.playback import Clocks
from edge_agent.bootstrap.live_sources import make_driver
from edge_agent.core.arrivals import WaveformArrival
from edge_agent.core.ports import (
    Measurements,
    Packet,
    SourceEventKind,
    UnreadableSourceError,
)
from edge_agent.services.acquisition import Acquisition
from edge_agent.services.bedside import Bedside
from edge_agent.settings.sources import (
    Hl7Settings,
    Live,
    LslSettings,
    MqttNumericsSettings,
    SdcSettings,
    SerialSettings,
)
from wardstream.contracts.errors import ConfigurationError, OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.units import Unit

II, V = "MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_V"


class SetClock:
    """A host clock that someone sets."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.ahead_ns


class ScriptedDriver:
    """Does what the test says in `converse`, once for each call."""

    name = "scripted"

    def __init__(self, *turns: Callable[[], object]) -> None:
        self._turns = list(turns)
        self.n_turns = 0

    async def converse(self) -> None:
        self.n_turns += 1
        if self._turns:
            self._turns.pop(0)()
        await asyncio.sleep(3600)


def arrival(stream: str, number: int, now_ns: int, code: str = II) -> WaveformArrival:
    samples = np.arange(number * 10, number * 10 + 10, dtype=np.float32)[None]
    return WaveformArrival(
        stream=stream,
        codes=(code,),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=1000.0,
        samples=samples,
        arrived_ns=now_ns,
        position=number * 10,
    )


def source(
    driver: ScriptedDriver, inbox: Inbox, clock: SetClock | None = None, **plan: float
) -> LiveSource:
    live = LivePlan(device_id="d1", boot_id=str(uuid4()), packet_ms=10, **plan)  # type: ignore[arg-type]
    wall_ns = time.time_ns if clock is None else clock.now_ns
    return LiveSource([driver], inbox, live, Clocks(wall_ns, time.monotonic_ns))


async def collect(live: LiveSource, seconds: float, each: Callable[[int], None]) -> list[Packet]:
    packets: list[Packet] = []
    until_s = time.monotonic() + seconds
    async with live:
        async for packet in live.packets():
            packets.append(packet)
            each(len(packets))
            if time.monotonic() > until_s:
                break
    return packets


def events(packets: list[Packet]) -> list[SourceEventKind]:
    return [event.kind for packet in packets for event in packet.events]


async def test_two_streams_of_one_lead_are_one_and_the_other_is_told() -> None:
    inbox = Inbox(time.time_ns)
    live = source(ScriptedDriver(), inbox)

    def deliver(n: int) -> None:
        for stream, code in (("a", II), ("b", II), ("c", V)):
            inbox.put(arrival(stream, n, time.time_ns(), code))

    packets = await collect(live, 0.7, deliver)
    assert set(live.codes) == {II, V}
    assert [q.channel for q in live.quarantined] == ["b"]
    assert live.quarantined[0].count > 10
    assert events(packets).count(SourceEventKind.QUARANTINED) == 1, "told once, counted always"


async def test_a_board_takes_no_more_than_it_is_meant_for() -> None:
    inbox = Inbox(time.time_ns)
    live = source(ScriptedDriver(), inbox, max_channels=1)

    def deliver(n: int) -> None:
        inbox.put(arrival("a", n, time.time_ns(), II))
        inbox.put(arrival("b", n, time.time_ns(), V))

    await collect(live, 0.6, deliver)
    assert live.codes == (II,)
    assert "more than the 1 channels" in live.quarantined[0].reason


async def test_a_host_clock_that_is_set_moves_everything_and_is_told() -> None:
    clock = SetClock()
    inbox = Inbox(clock.now_ns)
    live = source(ScriptedDriver(), inbox, clock)

    def deliver(n: int) -> None:
        if n == 50:
            clock.ahead_ns = 3600 * NS_PER_S
            return  # what is stamped in the very moment of the step is not this test's matter
        inbox.put(arrival("a", n if n < 50 else n - 1, clock.now_ns()))

    packets = await collect(live, 1.2, deliver)
    steps = [e for p in packets for e in p.events if e.kind is SourceEventKind.CLOCK_STEP]
    assert [step.channel for step in steps] == ["host"]
    assert abs(steps[0].amount - 3600) < 0.1
    chunks = [chunk for packet in packets for chunk in packet.chunks]
    values = np.concatenate([chunk.samples[0] for chunk in chunks])
    assert np.array_equal(values, np.arange(values[0], values[0] + len(values)))
    assert chunks[-1].start_time_ns - chunks[0].start_time_ns > 3500 * NS_PER_S


async def test_a_flood_drops_the_oldest_and_says_how_much() -> None:
    inbox = Inbox(time.time_ns)
    live = source(ScriptedDriver(), inbox)

    def flood(n: int) -> None:
        if n == 3:
            for number in range(CAPACITY + 100):
                inbox.refuse("x", str(number % 7))

    packets = await collect(live, 0.3, flood)
    overflow = [e for p in packets for e in p.events if e.kind is SourceEventKind.OVERFLOW]
    assert [event.amount for event in overflow] == [100]


async def test_a_hostile_peer_cannot_grow_the_quarantine() -> None:
    inbox = Inbox(time.time_ns)
    live = source(ScriptedDriver(), inbox)
    await collect(live, 0.3, lambda n: [inbox.refuse("x" * 9999, f"{n}-{i}") for i in range(200)])
    assert len(live.quarantined) <= 257
    assert max(len(q.channel) + len(q.reason) for q in live.quarantined) < 400
    assert live.quarantined[-1].channel == "(others)"


async def test_a_lost_device_is_tried_again_and_told_once() -> None:
    def lose() -> None:
        raise DeviceLostError("cable")

    driver = ScriptedDriver(lose, lose)
    inbox = Inbox(time.time_ns)
    packets = await collect(source(driver, inbox), 1.2, lambda _: None)
    assert driver.n_turns == 3
    assert events(packets).count(SourceEventKind.LOST) == 1


async def test_a_driver_that_can_never_work_ends_the_source_in_words() -> None:
    def give_up() -> None:
        raise UnreadableSourceError("no such protocol")

    with pytest.raises(UnreadableSourceError, match="no such protocol"):
        await collect(source(ScriptedDriver(give_up), Inbox(time.time_ns)), 5, lambda _: None)


def test_what_states_nothing_or_nonsense_is_no_arrival() -> None:
    good = arrival("a", 0, 1)
    for change in (
        {"position": None},
        {"sampling_rate_hz": 0.0},
        {"sampling_rate_hz": float("nan")},
        {"samples": np.zeros((2, 3), dtype=np.float32)},
        {"samples": np.full((1, 3), np.inf, dtype=np.float32)},
        {"unit": Unit.MMHG},
    ):
        fields = {name: getattr(good, name) for name in good.__slots__}
        with pytest.raises(OutOfRangeError):
            WaveformArrival(**{**fields, **change})


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Hl7Settings(kind="hl7", location=("ICU", "3", "1")), "hl7:127.0.0.1:2575"),
        (
            SerialSettings.model_validate(
                {
                    "kind": "serial",
                    "port": "/dev/x",
                    "sampling_rate_hz": 250,
                    "channels": [{"input": 0, "code": II, "unit": "mV", "scale": 1e-4}],
                }
            ),
            "serial:/dev/x",
        ),
        (LslSettings(kind="lsl", source_id="amp-1"), "lsl:amp-1"),
        (SdcSettings(kind="sdc", address="http://h:1/x"), "sdc:http://h:1/x"),
        (
            MqttNumericsSettings.model_validate(
                {"kind": "mqtt", "url": "mqtt://u:hush@h", "topic": "w/1"}
            ),
            "mqtt:w/1",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Live) else "",
)
def test_every_kind_of_settings_makes_its_driver_and_no_name_holds_a_secret(
    settings: Live, name: str
) -> None:
    driver = make_driver(settings, Inbox(time.time_ns), "d1")
    assert driver.name == name


def test_a_library_that_is_missing_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match=r"pip install 'wardstream\[drivers\]'"):
        import_driver("no_such_driver_library")


async def test_what_happens_to_a_source_is_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox = Inbox(time.time_ns)
    live = source(ScriptedDriver(), inbox)
    inbox.refuse("lead 1", "no unit is stated")
    measurements = Measurements()
    bedside = Bedside(
        judge=NoJudge(),
        snapshot=bytes,
        annunciate=lambda _: None,
        store=NoStore(),
        clock_ns=time.time_ns,
        measurements=measurements,
    )
    stop = asyncio.Event()
    async with Acquisition(live, bedside, ticks_by_data=False) as acquisition:
        running = asyncio.create_task(acquisition.run(stop))
        for _ in range(100):
            if measurements.source_events:
                break
            await asyncio.sleep(0.02)
        stop.set()
        await running
    assert measurements.source_events == {"quarantined": 1}
    assert "lead 1: no unit is stated" in caplog.text


class NoJudge:
    """Nobody judges: this test is about what is beside the samples."""

    def observe(self, _: object) -> None:
        """Nothing."""


class NoStore:
    """Nothing is kept."""

    def submit(self, *_: object, **__: object) -> None:
        """Nothing."""
