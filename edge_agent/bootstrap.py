"""Wiring: the one place that knows both the ports and who stands behind them."""

import asyncio
import gc
import logging
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from edge_agent import __version__
from edge_agent.adapters.clock import SteadyClock
from edge_agent.adapters.hook import CommandHook
from edge_agent.adapters.model_store import ModelStore
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.playback import Clocks, FrameReader, PlaybackPlan, PlaybackSource
from edge_agent.adapters.state_lock import StateLock
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from edge_agent.core.ports import (
    JudgeReport,
    Measurements,
    ModelRepository,
    OutboxLimits,
    Output,
    StorageError,
)
from edge_agent.services.acquisition import Acquisition, Watchdog
from edge_agent.services.annunciator import Annunciator, alert_fields
from edge_agent.services.bedside import Bedside
from edge_agent.services.commands import CommandDesk
from edge_agent.services.heartbeat import Heartbeat, StatusParts
from edge_agent.services.model_updater import ModelParts, ModelUpdater, Qualifier, first_model
from edge_agent.services.outbox_writer import OutboxWriter
from edge_agent.services.supervisor import Service, supervise
from edge_agent.services.uplink import Uplink
from edge_agent.settings import EdgeSettings, SimulatorSettings
from wardstream.alerting.engine import EngineSnapshot
from wardstream.contracts import topics
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.codec import encode
from wardstream.contracts.device import Connectivity, DeviceStatus, ModelReport
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0

SWITCH_INTERVAL_S: Final = 0.0005
"""How long another thread may keep the judgement from the interpreter (default: 5 ms)."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A wired agent: services in the order of their dependence."""

    services: tuple[Service, ...]
    outbox: SqliteOutbox
    uplink: Uplink | None
    judged: Callable[[], JudgeReport]
    measurements: Measurements


def open_reader(settings: EdgeSettings) -> FrameReader:
    """The source's frames. The library it needs is imported here, when it is chosen.

    Raises
    ------
    UnreadableSourceError
        There is nothing there that can be judged.
    """
    source = settings.source
    if isinstance(source, SimulatorSettings):
        return simulated_patient(source.script, source.seed)
    return recording(source.record)


def recording(record: Path) -> FrameReader:
    """Frames of the WFDB record at `record`.

    Raises
    ------
    UnreadableSourceError
        There is no such record, or nothing in it can be judged.
    """
    from edge_agent.adapters.wfdb_record import WfdbReader

    return WfdbReader(record)


def simulated_patient(script: Path | None, seed: int) -> FrameReader:
    """Frames of a patient who lives by `script`, at rest without one.

    Raises
    ------
    UnreadableSourceError
        The script cannot be read.
    """
    from edge_agent.adapters.scenario import Scenario, read_scenario
    from edge_agent.adapters.simulator import SimulatedPatient

    return SimulatedPatient(Scenario() if script is None else read_scenario(script), seed)


async def run_agent(settings: EdgeSettings, measurements: Measurements) -> None:
    """Run one bed's agent until SIGTERM or SIGINT.

    Raises
    ------
    UnreadableSourceError
        The source has nothing that can be judged.
    StorageError
        The state folder cannot be written, or another agent uses it.
    ExceptionGroup
        What failed services raised.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with StateLock(settings.state_dir), ExitStack() as resources:
        agent = build(settings, measurements, loop)
        resources.enter_context(_quick_decisions())
        if settings.metrics_port:
            resources.enter_context(_metrics(settings, agent))
        logger.info(
            "watching bed %s from %s",
            settings.bed_id,
            settings.source.kind,
            extra={"fields": {"event": "started", "device_id": settings.device_id}},
        )
        await supervise(agent.services, stop, grace_s=GRACE_S)
    logger.info("stopped", extra={"fields": {"event": "stopped", "device_id": settings.device_id}})


def build(
    settings: EdgeSettings, measurements: Measurements, loop: asyncio.AbstractEventLoop
) -> Agent:
    """The whole agent, nothing of it started, its kernels compiled and its model qualified.

    Raises
    ------
    UnreadableSourceError
        The source has nothing that can be judged.
    StorageError
        The state folder cannot be written.
    """
    clock = SteadyClock()
    boot_id = str(uuid4())
    source = _source(settings, boot_id, clock)
    outbox = SqliteOutbox(
        settings.state_dir, settings.device_id, OutboxLimits(**settings.outbox.model_dump())
    )
    shelf = ModelStore(settings.state_dir)
    load = Qualifier(settings.model.backend, settings.model.latency_budget_ms)
    runtime, report = first_model(shelf, settings.model.bundle_dir, load)
    pipeline = _pipeline(settings, boot_id, runtime, clock, outbox.snapshot())
    hooks = Annunciator(_hook(settings), measurements)
    wiring = _Wiring()
    writer = OutboxWriter(outbox, wiring.wake, measurements)
    bedside = Bedside(
        judge=pipeline,
        snapshot=lambda: msgspec.json.encode(pipeline.snapshot()),
        annunciate=hooks.announce,
        store=writer,
        clock_ns=clock.now_ns,
        measurements=measurements,
    )
    updater = ModelUpdater(
        ModelParts(
            shelf=shelf,
            repository=_repository(settings),
            shipped=settings.model.bundle_dir,
            load=load,
            swap=pipeline.swap_runtime,
        ),
        runtime,
        report,
        store=writer,
        on_change=wiring.changed,
    )
    status = StatusParts(
        fixed=_fixed_status(settings, boot_id, source, report),
        judged=lambda: _judged(pipeline),
        model=lambda: updater.report,
        outbox=outbox.stats,
        clock_ns=clock.now_ns,
        correct_clock=clock.correct,
    )
    uplink = _uplink(
        settings, outbox, status, CommandDesk(loop, outbox, bedside, updater), measurements
    )
    heartbeat = Heartbeat(status, uplink.say if uplink else None, measurements)
    wiring.uplink, wiring.heartbeat = uplink, heartbeat
    realtime = settings.source.pace == "realtime"
    services: list[Service | None] = [
        writer,
        hooks,
        uplink,
        updater,
        heartbeat,
        Acquisition(source, bedside, ticks_by_data=not realtime),
        Watchdog(source, bedside) if realtime else None,
    ]
    return Agent(
        services=tuple(service for service in services if service is not None),
        outbox=outbox,
        uplink=uplink,
        judged=status.judged,
        measurements=measurements,
    )


class _Wiring:
    """Lets parts that are made first tell parts that are made last."""

    uplink: Uplink | None = None
    heartbeat: Heartbeat | None = None

    def wake(self) -> None:
        """Something new is in the outbox."""
        if self.uplink is not None:
            self.uplink.wake()

    def changed(self) -> None:
        """The status is another one now."""
        if self.heartbeat is not None:
            self.heartbeat.changed()


def _source(settings: EdgeSettings, boot_id: str, clock: SteadyClock) -> PlaybackSource:
    plan = PlaybackPlan(
        device_id=settings.device_id,
        boot_id=boot_id,
        realtime=settings.source.pace == "realtime",
        loop=settings.source.loop,
        start_s=settings.source.start_s,
        packet_ms=settings.source.packet_ms,
        state_dir=settings.state_dir,
    )
    return PlaybackSource(open_reader(settings), plan, Clocks(clock.now_ns, time.monotonic_ns))


def _pipeline(
    settings: EdgeSettings,
    boot_id: str,
    runtime: RhythmRuntime | None,
    clock: SteadyClock,
    snapshot: bytes | None,
) -> BedPipeline:
    config = PipelineConfig(**settings.judgement.model_dump())
    warm_up(runtime, config)
    state: EngineSnapshot | None = None
    if snapshot is not None:
        try:
            state = msgspec.json.decode(snapshot, type=EngineSnapshot)
        except msgspec.DecodeError as error:
            logger.error("the alerts of the last life cannot be read: %s", error)
    return BedPipeline(
        PipelineIdentity(
            device_id=settings.device_id, boot_id=boot_id, generation_mode=settings.generation_mode
        ),
        runtime,
        config,
        clock_ns=clock.now_ns,
        monotonic_ns=time.monotonic_ns,
        state=state,
    )


def warm_up(runtime: RhythmRuntime | None, config: PipelineConfig) -> None:
    """Run a simulated arrest through a pipeline that nobody listens to.

    Afterwards every kernel is compiled, the model is warm, and what start-up left behind is
    taken out of the garbage collector's sight.
    """
    from edge_agent.adapters.scenario import Crisis, Event, Scenario
    from edge_agent.adapters.simulator import SimulatedPatient

    arrest = Event(crisis=Crisis.VENTRICULAR_FIBRILLATION, at_s=5.0, for_s=7.0)
    patient = SimulatedPatient(Scenario(events=(arrest,)), seed=0)
    identity = PipelineIdentity(
        device_id="warm-up", boot_id=str(uuid4()), generation_mode=GenerationMode.TEST
    )
    judge = BedPipeline(
        identity, runtime, config, clock_ns=time.time_ns, monotonic_ns=time.monotonic_ns
    )
    start_ns = time.time_ns()
    for number in range(12 * 25):
        block = patient.read(5 * number, 5 * number + 5)
        at_ns = TimestampNs(start_ns + 40_000_000 * number)
        for group, samples in zip(patient.groups, block.samples, strict=True):
            chunk = WaveformChunk(
                device_id=identity.device_id,
                boot_id=identity.boot_id,
                sequence_number=number,
                codes=group.codes,
                unit=group.unit,
                sampling_rate_hz=patient.frame_rate_hz * group.samples_per_frame,
                start_time_ns=at_ns,
                samples=samples,
            )
            judge.push(chunk, time.time_ns())
    judge.snapshot()
    gc.collect()
    gc.freeze()


@contextmanager
def _quick_decisions() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def _metrics(settings: EdgeSettings, agent: Agent) -> Iterator[None]:
    from edge_agent.adapters.metrics import AgentCollector, MetricsServer

    uplink = agent.uplink
    collector = AgentCollector(
        agent.measurements,
        agent.outbox.stats,
        agent.judged,
        lambda: uplink is not None and uplink.connected,
    )
    server = MetricsServer(settings.metrics_host, settings.metrics_port, collector)
    server.start()
    try:
        yield
    finally:
        server.stop()


def _hook(settings: EdgeSettings) -> CommandHook | None:
    if settings.hook_command is None:
        return None
    command = shlex.split(settings.hook_command)
    return CommandHook(command, alert_fields, settings.hook_deadline_s)


def _repository(settings: EdgeSettings) -> ModelRepository | None:
    url, root = settings.model.repository_url, settings.model.trusted_root
    if url is None or root is None:
        return None
    from edge_agent.adapters.tuf_repository import TufRepository

    return TufRepository(url, root, settings.state_dir)


def _uplink(
    settings: EdgeSettings,
    outbox: SqliteOutbox,
    status: StatusParts,
    desk: CommandDesk,
    measurements: Measurements,
) -> Uplink | None:
    if settings.mqtt is None:
        return None
    from edge_agent.adapters.mqtt_link import Broker, PahoLink

    host, port, tls = settings.mqtt.address
    username, password = settings.mqtt.credentials
    broker = Broker(
        host=host,
        port=port,
        client_id=f"wardstream-edge-{settings.device_id}",
        username=username,
        password=password,
        tls=tls,
    )
    will = (topics.STATUS.address(settings.site_id, settings.device_id), encode(status.fixed))
    return Uplink(
        PahoLink(broker, will, settings.mqtt.window),
        outbox,
        settings.site_id,
        settings.device_id,
        on_command=desk.receive,
        last_word=lambda: status.status(Connectivity.STOPPED),
        measurements=measurements,
    )


def _fixed_status(
    settings: EdgeSettings, boot_id: str, source: PlaybackSource, model: ModelReport
) -> DeviceStatus:
    return DeviceStatus(
        site_id=settings.site_id,
        unit_id=settings.unit_id,
        bed_id=settings.bed_id,
        device_id=settings.device_id,
        boot_id=boot_id,
        connectivity=Connectivity.LOST,
        generation_mode=settings.generation_mode,
        source=source.description,
        agent_version=__version__,
        reported_time_ns=TimestampNs(0),
        last_sample_time_ns=TimestampNs(0),
        model=model,
        channels=source.codes,
    )


def _judged(pipeline: BedPipeline) -> JudgeReport:
    report = pipeline.report
    return JudgeReport(
        n_windows_judged=report.n_windows_judged,
        n_windows_unjudged=report.n_windows_unjudged,
        last_sample_time_ns=report.last_sample_time_ns,
    )


# ---- replay -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplayedAlert:
    """One alert event of a replay.

    Attributes
    ----------
    event : AlertEvent
        What was decided.
    time_s : float
        Second of the recording at which it was decided.
    """

    event: AlertEvent
    time_s: float


async def replay(
    reader: FrameReader, bundle_dir: Path, *, packet_ms: int, start_s: float, seconds: float | None
) -> AsyncIterator[ReplayedAlert]:
    """Every alert event of a recording, judged by the whole pipeline as fast as it can.

    Raises
    ------
    UnreadableSourceError
        The recording cannot be read.
    """
    runtime, report = first_model(_NothingInstalled(), bundle_dir, Qualifier())
    if runtime is None:
        logger.warning("no model judges, rules alone: %s", report.reason)
    warm_up(runtime, PipelineConfig())
    clock = SteadyClock()
    identity = PipelineIdentity(
        device_id="replay", boot_id=str(uuid4()), generation_mode=GenerationMode.TEST
    )
    pipeline = BedPipeline(
        identity,
        runtime,
        PipelineConfig(),
        clock_ns=clock.now_ns,
        monotonic_ns=time.monotonic_ns,
    )
    told = _Told()
    bedside = Bedside(pipeline, lambda: b"", told.events.append, told, clock.now_ns, Measurements())
    plan = PlaybackPlan(
        device_id=identity.device_id,
        boot_id=identity.boot_id,
        realtime=False,
        loop=False,
        start_s=start_s,
        packet_ms=packet_ms,
    )
    next_tick_ns = 0
    async with PlaybackSource(reader, plan, Clocks(clock.now_ns, time.monotonic_ns)) as source:
        async for packet in source.packets():
            bedside.take(packet)
            if packet.end_time_ns >= next_tick_ns:
                bedside.tick(packet.end_time_ns)
                next_tick_ns = packet.end_time_ns + NS_PER_S // 4
            for event in told.events:
                passed_s = (event.event_time_ns - source.start_time_ns) / NS_PER_S
                yield ReplayedAlert(event, start_s + passed_s)
            told.events.clear()
            if seconds is not None and packet.end_time_ns - source.start_time_ns > seconds * 1e9:
                return


class _Told:
    """Where a replay's outputs go: alerts are kept, the rest is not stored."""

    def __init__(self) -> None:
        self.events: list[AlertEvent] = []

    def submit(
        self,
        outputs: Sequence[Output],
        snapshot: bytes | None = None,
        command_id: str | None = None,
        accept: Callable[[], None] | None = None,
    ) -> None:
        """Store nothing."""


class _NothingInstalled:
    """The model shelf of a machine that is no bed."""

    def current(self) -> Path | None:
        """None."""
        return None

    def previous(self) -> Path | None:
        """None."""
        return None

    def incoming(self, version: int) -> Path:
        """Refuse."""
        raise StorageError(f"a replay installs no model ({version})")

    def install(self, version: int) -> Path:
        """Refuse."""
        raise StorageError(f"a replay installs no model ({version})")

    def roll_back(self) -> None:
        """Refuse."""
        raise StorageError("a replay has no model to take back")
