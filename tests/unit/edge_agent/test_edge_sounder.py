import asyncio
import sys
import types
import wave
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest

from edge_agent.adapters.light import GpioLight
from edge_agent.adapters.sound import SAMPLING_RATE_HZ, CommandPlayer, burst_wav
from edge_agent.services.sounder import Sounder
from wardstream.alerting.annunciation import BURSTS
from wardstream.alerting.state import Alert
from wardstream.contracts.alert import (
    AlertEvent,
    AlertKind,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
    Transition,
)
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode

HIGH, MEDIUM, LOW = AlertPriority.HIGH, AlertPriority.MEDIUM, AlertPriority.LOW


def event(
    alert_id: str,
    priority: AlertPriority = HIGH,
    *,
    audible: SignalState = SignalState.ON,
    presence: Presence = Presence.ON,
    transition: Transition = Transition.ONSET,
) -> AlertEvent:
    return AlertEvent(
        device_id="bed-1",
        boot_id=str(uuid4()),
        sequence_number=0,
        alert_id=alert_id,
        condition=Condition.ASYSTOLE,
        kind=AlertKind.PHYSIOLOGICAL,
        priority=priority,
        transition=transition,
        presence=presence,
        signal=AlertSignal(audible=audible, visible=SignalState.ON),
        onset_time_ns=TimestampNs(1),
        event_time_ns=TimestampNs(1),
        received_time_ns=TimestampNs(1),
        decided_time_ns=TimestampNs(1),
        model_version="none",
        rule_version="1",
        generation_mode=GenerationMode.TEST,
    )


class Loudspeaker:
    """Takes 0.15 s for a burst and remembers what was begun and what was let finish."""

    def __init__(self) -> None:
        self.begun: list[AlertPriority] = []
        self.finished: list[AlertPriority] = []

    async def play(self, priority: AlertPriority) -> None:
        self.begun.append(priority)
        await asyncio.sleep(0.15)
        self.finished.append(priority)


class Lamp:
    def __init__(self) -> None:
        self.shown: list[AlertPriority | None] = []

    def show(self, priority: AlertPriority | None) -> None:
        self.shown.append(priority)

    def close(self) -> None:
        self.shown.append(None)


async def run(
    acts: list[Callable[[], None]],
    sounder: Sounder,
    pause_s: float = 0.3,
) -> None:
    stop = asyncio.Event()
    async with sounder:
        running = asyncio.create_task(sounder.run(stop))
        for act in acts:
            act()
            await asyncio.sleep(pause_s)
        stop.set()
        await running


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_it_sounds_at_once_and_stops_in_the_middle_of_a_burst() -> None:
    speaker, alert_id = Loudspeaker(), str(uuid4())
    sounder = Sounder(speaker, None, now_s)
    paused = event(alert_id, audible=SignalState.PAUSED, transition=Transition.AUDIO_PAUSED)
    acts = [lambda: sounder.announce(event(alert_id)), lambda: sounder.announce(paused)]
    await run(acts, sounder, pause_s=0.1)
    assert speaker.begun == [HIGH]
    assert speaker.finished == []


async def test_what_is_more_urgent_does_not_wait_for_the_end_of_a_burst() -> None:
    speaker = Loudspeaker()
    sounder = Sounder(speaker, None, now_s)
    acts = [
        lambda: sounder.announce(event(str(uuid4()), MEDIUM)),
        lambda: sounder.announce(event(str(uuid4()), HIGH)),
    ]
    await run(acts, sounder, pause_s=0.08)
    assert speaker.begun == [MEDIUM, HIGH]


async def test_it_is_repeated_at_its_interval_until_it_is_over() -> None:
    speaker, alert_id, clock = Loudspeaker(), str(uuid4()), [0.0]
    sounder = Sounder(speaker, None, lambda: clock[0])

    def later() -> None:
        clock[0] += BURSTS[HIGH].every_s

    over = event(alert_id, presence=Presence.OFF, transition=Transition.ENDED)
    acts = [
        lambda: sounder.announce(event(alert_id)),
        lambda: None,
        later,
        lambda: sounder.announce(over),
        later,
    ]
    await run(acts, sounder)
    assert speaker.finished == [HIGH, HIGH]


async def test_what_the_last_life_left_sounds_whatever_was_silenced_then() -> None:
    speaker = Loudspeaker()
    left = Alert(
        alert_id=str(uuid4()),
        condition=Condition.ASYSTOLE,
        priority=HIGH,
        presence=Presence.ON,
        active=True,
        onset_time_ns=TimestampNs(1),
        changed_time_ns=TimestampNs(1),
        evidence={},
        model_version="none",
        signal=AlertSignal(audible=SignalState.PAUSED, visible=SignalState.PAUSED),
    )
    await run([lambda: None], Sounder(speaker, None, now_s, [left]))
    assert speaker.begun == [HIGH]


async def test_a_reminder_sounds_once_though_everything_is_silenced() -> None:
    speaker = Loudspeaker()
    sounder = Sounder(speaker, None, now_s)
    quiet = event(str(uuid4()), audible=SignalState.OFF)
    reminder = event(str(uuid4()), LOW, transition=Transition.REMINDED)
    await run([lambda: sounder.announce(quiet), lambda: sounder.announce(reminder)], sounder)
    assert speaker.begun == [LOW]


async def test_a_loudspeaker_that_fails_is_said_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Loudspeaker):
        async def play(self, priority: AlertPriority) -> None:
            self.begun.append(priority)
            raise OSError("no such card")

    speaker, clock = Broken(), [0.0]
    sounder = Sounder(speaker, None, lambda: clock[0])

    def later() -> None:
        clock[0] += BURSTS[HIGH].every_s

    acts = [lambda: sounder.announce(event(str(uuid4()))), later, later]
    await run(acts, sounder, pause_s=0.1)
    assert len(speaker.begun) == 3
    assert len([one for one in caplog.records if "no such card" in one.getMessage()]) == 1


async def test_the_light_flashes_and_goes_dark_at_the_end() -> None:
    lamp, clock, alert_id = Lamp(), [0.0], str(uuid4())
    sounder = Sounder(None, lamp, lambda: clock[0])

    def half_a_flash() -> None:
        clock[0] += 0.25

    over = event(alert_id, presence=Presence.OFF, transition=Transition.ENDED)
    acts = [
        lambda: sounder.announce(event(alert_id)),
        half_a_flash,
        half_a_flash,
        lambda: sounder.announce(over),
    ]
    await run(acts, sounder, pause_s=0.12)
    changes = [b for a, b in zip([None, *lamp.shown], lamp.shown, strict=False) if a is not b]
    assert changes == [HIGH, None, HIGH, None]


def test_a_burst_is_a_wav_file_of_its_length() -> None:
    for priority in AlertPriority:
        with wave.open(BytesIO(burst_wav(priority))) as wav:
            assert wav.getframerate() == SAMPLING_RATE_HZ
            seconds = wav.getnframes() / wav.getframerate()
            assert seconds == pytest.approx(BURSTS[priority].length_s, abs=0.01)


async def test_the_command_gets_the_sound_on_its_standard_input(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    script = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    player = CommandPlayer([sys.executable, "-c", script, str(heard)])
    await player.play(LOW)
    assert heard.read_bytes() == burst_wav(LOW)


async def test_a_command_that_fails_says_why() -> None:
    script = "import sys; sys.stdin.read; sys.exit('no card found')"
    with pytest.raises(OSError, match="no card found"):
        await CommandPlayer([sys.executable, "-c", script]).play(LOW)
    with pytest.raises(OSError, match="no-such-player"):
        await CommandPlayer(["no-such-player"]).play(LOW)


class Pins(types.ModuleType):
    """The interface of ``RPi.GPIO``: there are no pins on the machine that runs the tests."""

    BOARD, OUT, LOW, HIGH = 10, 0, 0, 1

    def __init__(self) -> None:
        super().__init__("fake_gpio")
        self.levels: dict[int, int] = {}
        self.cleaned: list[int] = []

    def setmode(self, mode: int) -> None:
        assert mode == self.BOARD

    def setup(self, pin: int, direction: int, *, initial: int) -> None:
        if pin == 40:
            raise ValueError("the channel is not a GPIO")
        self.levels[pin] = initial

    def output(self, pin: int, level: int) -> None:
        self.levels[pin] = level

    def cleanup(self, pins: list[int]) -> None:
        self.cleaned = pins


def test_the_lamps_are_driven_by_their_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = Pins()
    monkeypatch.setitem(sys.modules, "fake_gpio", pins)
    light = GpioLight(11, 13, "fake_gpio")
    light.show(HIGH)
    assert pins.levels == {11: 1, 13: 0}
    light.show(MEDIUM)
    assert pins.levels == {11: 0, 13: 1}
    light.close()
    assert pins.levels == {11: 0, 13: 0}
    assert pins.cleaned == [11, 13]
    with pytest.raises(ConfigurationError, match="not a GPIO"):
        GpioLight(11, 40, "fake_gpio")


def test_a_missing_library_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no_such_gpio is not installed"):
        GpioLight(11, 13, "no_such_gpio")
