"""Services: order, failure, hang, early return; sound before disk; nothing stored is lost."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import numpy as np
import pytest
from fakes.edge_outbox import MemoryOutbox

from edge_agent.adapters.clock import SteadyClock
from edge_agent.adapters.hook import CommandHook
from edge_agent.adapters.model_store import ModelStore
from edge_agent.adapters.outbox import SqliteOutbox, read_stats
from edge_agent.adapters.state_lock import StateLock
from edge_agent.core.outbox_port import OutboxBatch, OutboxLimits, OutgoingMessage, StorageError
from edge_agent.core.ports import Measurements, Output, Packet
from edge_agent.core.retention import PendingWrites
from edge_agent.services.annunciator import Annunciator, alert_fields
from edge_agent.services.bedside import Bedside
from edge_agent.services.outbox_writer import OutboxWriter
from edge_agent.services.supervisor import ServiceEndedError, supervise
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertEvent,
    AlertKind,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
    Transition,
)
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame
from wardstream.contracts.identity import Lane
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import (
    AlertStrip,
    GenerationMode,
    NumericObservation,
    WaveformChunk,
)

BOOT = str(uuid4())


async def until(condition: Callable[[], bool]) -> None:
    """What threads do is looked at, for they have no asyncio.Event to set."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def event(number: int = 0) -> AlertEvent:
    return AlertEvent(
        device_id="bed-1",
        boot_id=BOOT,
        sequence_number=number,
        alert_id=str(uuid4()),
        condition=Condition.ASYSTOLE,
        kind=AlertKind.PHYSIOLOGICAL,
        priority=AlertPriority.HIGH,
        transition=Transition.ONSET,
        presence=Presence.ON,
        signal=AlertSignal(audible=SignalState.ON, visible=SignalState.ON),
        onset_time_ns=TimestampNs(1),
        event_time_ns=TimestampNs(2),
        received_time_ns=TimestampNs(3),
        decided_time_ns=TimestampNs(4),
        model_version="none",
        rule_version="1",
        generation_mode=GenerationMode.TEST,
    )


def frame(number: int) -> FeatureFrame:
    return FeatureFrame(
        device_id="bed-1",
        boot_id=BOOT,
        sequence_number=number,
        start_time_ns=TimestampNs(number),
        monotonic_ns=0,
        generation_mode=GenerationMode.TEST,
        values=np.full(len(BEDSIDE_V1.features), np.nan, dtype=np.float32),
    )


def chunk(n_samples: int = 10) -> WaveformChunk:
    return WaveformChunk(
        device_id="bed-1",
        boot_id=BOOT,
        sequence_number=0,
        codes=("MDC_ECG_ELEC_POTL_II",),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=250.0,
        start_time_ns=TimestampNs(0),
        samples=np.zeros((1, n_samples), dtype=np.float32),
    )


def strip(number: int) -> AlertStrip:
    return AlertStrip(
        device_id="bed-1",
        boot_id=BOOT,
        sequence_number=number,
        alert_id=str(uuid4()),
        chunks=(chunk(3750),),
    )


# ---- the supervisor ----------------------------------------------------------------------


class Part:
    """A service that does what the test says."""

    def __init__(self, name: str, log: list[str], behave: str = "wait") -> None:
        self.name = name
        self._log = log
        self._behave = behave

    async def __aenter__(self) -> Self:
        self._log.append(f"+{self.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._log.append(f"-{self.name}")

    async def run(self, stop: asyncio.Event) -> None:
        match self._behave:
            case "return":
                return
            case "raise":
                raise ValueError(self.name)
            case "raise timeout":
                raise TimeoutError(self.name)
            case "hang":
                await asyncio.sleep(3600)
            case _:
                await stop.wait()


async def test_parts_are_released_in_the_reverse_of_the_order_they_were_acquired() -> None:
    log: list[str] = []
    stop = asyncio.Event()
    stop.set()
    await supervise([Part("a", log), Part("b", log)], stop, grace_s=1)
    assert log == ["+a", "+b", "-b", "-a"]


@pytest.mark.parametrize(
    ("behave", "error"),
    [("return", ServiceEndedError), ("raise", ValueError), ("raise timeout", TimeoutError)],
)
async def test_a_part_that_ends_or_fails_takes_the_agent_down(
    behave: str, error: type[Exception]
) -> None:
    log: list[str] = []
    with pytest.raises(ExceptionGroup) as caught:
        await supervise([Part("a", log), Part("b", log, behave)], asyncio.Event(), grace_s=1)
    assert caught.group_contains(error)
    assert log[-2:] == ["-b", "-a"]


async def test_a_part_that_hangs_is_cancelled_after_its_grace() -> None:
    stop = asyncio.Event()
    stop.set()
    begun_s = time.monotonic()
    await supervise([Part("a", [], "hang")], stop, grace_s=0.05)
    assert time.monotonic() - begun_s < 2


# ---- sound before disk -------------------------------------------------------------------


class ScriptedJudge:
    """Says what it was given, whatever it is asked."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.outputs = outputs
        self.observed: list[NumericObservation] = []

    def push(self, chunk: WaveformChunk, received_time_ns: int) -> Sequence[Output]:
        return self.outputs

    def observe(self, observation: NumericObservation) -> None:
        self.observed.append(observation)

    def tick(self, now_ns: TimestampNs, received_time_ns: int) -> Sequence[Output]:
        return ()

    def acknowledge(self, command: AcknowledgeCommand, received_time_ns: int) -> Sequence[Output]:
        return self.outputs


class Recorder:
    """Remembers in which order it was told what."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def submit(
        self, outputs: Any, snapshot: Any = None, command_id: Any = None, accept: Any = None
    ) -> None:
        self.log.append(("store", snapshot))

    def sound(self, event: AlertEvent) -> None:
        self.log.append(("sound", event.alert_id))


def test_the_bed_sounds_before_anything_is_stored_and_the_state_goes_with_the_event() -> None:
    told = Recorder()
    judge = ScriptedJudge((event(), frame(0)))
    bedside = Bedside(judge, lambda: b"state", told.sound, told, time.time_ns, Measurements())
    bedside.take(Packet((chunk(),), (), TimestampNs(0)))
    assert [what for what, _ in told.log] == ["sound", "store"]
    assert told.log[1][1] == b"state"


def test_frames_alone_carry_no_state() -> None:
    told = Recorder()
    bedside = Bedside(
        ScriptedJudge((frame(0),)), lambda: b"state", told.sound, told, time.time_ns, Measurements()
    )
    bedside.take(Packet((chunk(),), (), TimestampNs(0)))
    assert told.log == [("store", None)]


# ---- what waits for the disk ---------------------------------------------------------------


def test_alerts_are_taken_first_with_the_newest_state() -> None:
    pending = PendingWrites()
    pending.add([frame(0), event(0)], b"one")
    pending.add([event(1)], b"two")
    first = pending.take()
    assert first is not None
    assert [o.sequence_number for o in first.outputs] == [0, 1]
    assert first.snapshot == b"two"
    second = pending.take()
    assert second is not None
    assert isinstance(second.outputs[0], FeatureFrame)
    assert pending.take() is None
    assert pending.n_bytes == 0


def test_what_the_disk_refused_comes_back_before_anything_newer() -> None:
    pending = PendingWrites()
    pending.add([event(0)], b"one", "command")
    taken = pending.take()
    assert taken is not None
    pending.add([event(1)], b"two")
    pending.put_back(taken)
    again = pending.take()
    assert again is not None
    assert [o.sequence_number for o in again.outputs] == [0, 1]
    assert (again.snapshot, again.command_ids) == (b"two", ("command",))


def test_when_too_much_waits_strips_go_then_frames_with_their_gaps_and_alerts_never() -> None:
    pending = PendingWrites(max_bytes=10_000)
    pending.add([strip(0), strip(1)])
    pending.add([frame(n) for n in range(100)])
    pending.add([event(n) for n in range(50)], b"state")
    alerts, rest = pending.take(), pending.take()
    assert alerts is not None
    assert rest is not None
    assert len(alerts.outputs) == 50
    assert [(g.lane, g.first_sequence_number, g.last_sequence_number) for g in rest.gaps] == [
        (Lane.STRIP, 0, 1),
        (Lane.FRAME, 0, 99),
    ]
    assert not rest.outputs


async def test_a_full_disk_delays_nothing_and_loses_no_alert(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = MemoryOutbox("bed-1", OutboxLimits())
    box.refuse = True
    writer = OutboxWriter(box, lambda: None, measurements := Measurements())
    async with writer:
        with caplog.at_level(logging.WARNING):
            begun_s = time.monotonic()
            for n in range(200):
                writer.submit([event(n)], b"state")
            assert time.monotonic() - begun_s < 0.2
            await until(lambda: measurements.n_storage_failures > 0)
            box.refuse = False
            await until(lambda: box.stats().rows["alert"] == 200)
    assert [r.message.sequence_number for r in box.peek(Lane.ALERT, 0, 500)] == list(range(200))
    assert sum("nothing can be stored" in r.getMessage() for r in caplog.records) == 1
    assert sum("stores again" in r.getMessage() for r in caplog.records) == 1


async def test_a_command_is_accepted_only_after_its_effect_is_on_disk() -> None:
    box = MemoryOutbox("bed-1", OutboxLimits())
    accepted: list[bool] = []
    async with OutboxWriter(box, lambda: None, Measurements()) as writer:
        writer.submit([event()], b"s", "c-1", lambda: accepted.append(box.has_command("c-1")))
        await until(lambda: bool(accepted))
    assert accepted == [True]


# ---- annunciation --------------------------------------------------------------------------


def test_an_alert_is_one_log_line_with_its_id(caplog: pytest.LogCaptureFixture) -> None:
    shown = event()
    with caplog.at_level(logging.INFO):
        Annunciator(None, Measurements()).announce(shown)
    (record,) = caplog.records
    fields = record.fields  # type: ignore[attr-defined]
    assert (fields["event"], fields["alert_id"]) == ("alert", shown.alert_id)
    assert (fields["condition"], fields["priority"]) == ("asystole", "high")


async def test_the_hook_gets_the_alert_and_a_slow_one_delays_nobody(tmp_path: Path) -> None:
    script = f'cat >> {tmp_path}/in; echo "$ALERT_CONDITION $ALERT_PRIORITY" >> {tmp_path}/env; sleep 0.2'
    annunciator = Annunciator(
        CommandHook(["sh", "-c", script], alert_fields), measurements := Measurements()
    )
    async with annunciator:
        begun_s = time.monotonic()
        for _ in range(3):
            annunciator.announce(event())
        assert time.monotonic() - begun_s < 0.1
        await until(lambda: measurements.n_hook_runs == 3)
    assert (tmp_path / "env").read_text().splitlines() == ["asystole high"] * 3
    assert json.loads((tmp_path / "in").read_text().split("}")[0] + "}")["transition"] == "onset"


def test_a_hook_that_hangs_is_killed_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    begun_s = time.monotonic()
    CommandHook(["sleep", "60"], alert_fields, deadline_s=0.2).run(event())
    assert time.monotonic() - begun_s < 5
    assert "was killed" in caplog.text


def test_a_hook_that_is_not_there_is_told_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    CommandHook(["/no/such/program"], alert_fields).run(event())
    assert "cannot be started" in caplog.text


# ---- adapters ------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_never_dates_a_decision_before_its_sample() -> None:
    wall, monotonic = [10_000_000_000], [0]
    clock = SteadyClock(lambda: wall[0], lambda: monotonic[0])
    before = clock.now_ns()
    wall[0] -= 3_600_000_000_000
    monotonic[0] += 1_000
    assert clock.now_ns() == before + 1_000
    assert clock.correct() == pytest.approx(-3_600_000_000_000, abs=10_000)
    assert clock.now_ns() == wall[0]


def test_a_small_error_is_slewed_not_stepped() -> None:
    wall, monotonic = [0], [0]
    clock = SteadyClock(lambda: wall[0], lambda: monotonic[0])
    wall[0], monotonic[0] = 2_100_000_000, 2_000_000_000
    assert clock.correct() == 0
    assert clock.now_ns() == 2_000_000_000 + 1_000_000


def test_two_agents_never_share_a_state_folder(tmp_path: Path) -> None:
    with (
        StateLock(tmp_path),
        pytest.raises(StorageError, match="another agent"),
        StateLock(tmp_path),
    ):
        pass
    with StateLock(tmp_path):
        pass


def fill(store: ModelStore, version: int) -> None:
    (store.incoming(version) / "manifest.json").write_text(str(version))
    store.install(version)


def test_the_last_known_good_model_is_kept_and_nothing_older(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert store.current() is None
    for version in (2, 3, 4):
        fill(store, version)
    current, previous = store.current(), store.previous()
    assert current is not None
    assert previous is not None
    assert (current.name, previous.name) == ("4", "3")
    assert not (tmp_path / "models" / "2").exists()


def test_taking_back_always_goes_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    fill(store, 2)
    fill(store, 3)
    store.roll_back()
    current = store.current()
    assert current is not None
    assert current.name == "2"
    assert store.previous() is None
    store.roll_back()
    assert store.current() is None


def test_a_half_made_model_is_never_current(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    fill(store, 2)
    (store.incoming(3) / "manifest.json").write_text("half")
    again = ModelStore(tmp_path).current()
    assert again is not None
    assert again.name == "2"


def test_the_outbox_survives_its_process_and_may_be_asked_beside_it(tmp_path: Path) -> None:
    box = SqliteOutbox(tmp_path, "bed-1", OutboxLimits())
    box.append(
        OutboxBatch(messages=(OutgoingMessage(BOOT, Lane.ALERT, 0, b"x"),), snapshot=b"s"), 1
    )
    assert read_stats(tmp_path).rows["alert"] == 1
    again = SqliteOutbox(tmp_path, "bed-1", OutboxLimits())  # the first was never closed
    assert again.snapshot() == b"s"
    assert again.stats().numbered["alert"] == 1
    again.close()
    box.close()


def test_a_file_damaged_while_it_runs_is_replaced_and_the_loss_is_on_record(tmp_path: Path) -> None:
    box = SqliteOutbox(tmp_path, "bed-1", OutboxLimits())
    for n in range(200):
        box.append(OutboxBatch(messages=(OutgoingMessage(BOOT, Lane.FRAME, n, b"x" * 500),)), 1)
    box.free(BOOT, Lane.FRAME, 49)
    box._bulk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "outbox.sqlite3").open("r+b") as file:
        file.seek(0)
        file.write(b"\0" * 60_000)
    for connection in (box._bulk, box._alerts, box._reader):
        connection.execute("PRAGMA shrink_memory")
    for n in range(200, 210):
        box.append(OutboxBatch(messages=(OutgoingMessage(BOOT, Lane.FRAME, n, b"y"),)), 1)
    kept = [row.message.sequence_number for row in box.peek(Lane.FRAME, 0, 1000)]
    assert kept[-1] == 209
    if kept[0] == 0 or kept[0] == 50:  # SQLite had everything in its cache
        pytest.skip("the damage was not noticed yet")
    spans = [(g.notice.first_sequence_number, g.notice.last_sequence_number) for g in box.gaps()]
    assert spans == [(50, kept[0] - 1)]
    assert box.stats().numbered["frame"] == 210
    box.close()
