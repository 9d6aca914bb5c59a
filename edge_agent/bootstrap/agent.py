"""One bed's agent, wired and run."""

import asyncio
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import msgspec

from edge_agent import __version__
from edge_agent.adapters.clock import SteadyClock
from edge_agent.adapters.hook import CommandHook
from edge_agent.adapters.memory import give_back
from edge_agent.adapters.model_store import ModelStore
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.playback import Clocks
from edge_agent.adapters.state_lock import StateLock
from edge_agent.bootstrap.annunciation import make_authority, make_sounder
from edge_agent.bootstrap.curves import after_judgement, make_curves, make_live_view, recall
from edge_agent.bootstrap.judgement import make_pipeline
from edge_agent.bootstrap.reload import Reload
from edge_agent.bootstrap.sources import open_source
from edge_agent.bootstrap.thermal import make_thermal
from edge_agent.core.outbox_port import OutboxLimits, StorageError
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.ports import (
    JudgeReport,
    Measurements,
    ModelRepository,
    Quarantined,
    WaveformSource,
)
from edge_agent.core.thermal import Shed
from edge_agent.services.acquisition import Acquisition, Watchdog
from edge_agent.services.annunciator import Annunciator, alert_fields
from edge_agent.services.bedside import Bedside
from edge_agent.services.commands import CommandDesk
from edge_agent.services.heartbeat import Heartbeat, StatusParts
from edge_agent.services.live_view import LiveView
from edge_agent.services.model_updater import ModelParts, ModelUpdater, Qualifier, first_model
from edge_agent.services.outbox_writer import OutboxWriter
from edge_agent.services.pulse import Pulse, Vitals
from edge_agent.services.self_report import Concern, SelfReport
from edge_agent.services.service_watchdog import ServiceWatchdog
from edge_agent.services.sounder import Sounder
from edge_agent.services.supervisor import Service, supervise
from edge_agent.services.uplink import Command, OnCommand, Uplink
from edge_agent.services.waveform_keeper import WaveformKeeper
from edge_agent.settings import EdgeSettings
from wardstream.contracts import topics
from wardstream.contracts.alert import AlertEvent, Condition, Transition
from wardstream.contracts.codec import encode
from wardstream.contracts.device import Connectivity, DeviceStatus, ModelReport
from wardstream.contracts.live import LiveViewCommand
from wardstream.contracts.timebase import TimestampNs
from wardstream.inference.guard import GuardLimits

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0

SWITCH_INTERVAL_S: Final = 0.0005
"""How long another thread may keep the judgement from the interpreter (default: 5 ms)."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A wired agent: services in the order of their dependence."""

    services: tuple[Service, ...]
    reload: Callable[[Callable[[], EdgeSettings]], Reload]
    vitals: Callable[[], Vitals]
    outbox: SqliteOutbox
    uplink: Uplink | None
    judged: Callable[[], JudgeReport]
    model: Callable[[], ModelReport]
    measurements: Measurements


async def run_agent(
    settings: EdgeSettings,
    measurements: Measurements,
    read_again: Callable[[], EdgeSettings] | None = None,
) -> None:
    """Run one bed's agent until SIGTERM or SIGINT; SIGHUP has the limits read again.

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
    loop.set_default_executor(ThreadPoolExecutor(2, "reader"))
    with StateLock(settings.state_dir), ExitStack() as resources:
        agent = build(settings, measurements, loop)
        if read_again is not None:
            loop.add_signal_handler(signal.SIGHUP, agent.reload(read_again).ask)
        resources.enter_context(_quick_decisions())
        give_back()
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
    source = open_source(settings, boot_id, Clocks(clock.now_ns, time.monotonic_ns))
    outbox = SqliteOutbox(
        settings.state_dir, settings.device_id, OutboxLimits(**settings.outbox.model_dump())
    )
    shelf = ModelStore(settings.state_dir)
    load = Qualifier(settings.model.backend, settings.model.latency_budget_ms, GuardLimits())
    runtime, report = first_model(shelf, settings.model.bundle_dir, load)
    pipeline = make_pipeline(settings, boot_id, runtime, clock, _last_snapshot(outbox))
    hooks = Annunciator(_hook(settings), measurements)
    sounder = make_sounder(settings, pipeline.snapshot().alerts)
    wiring = _Wiring()
    writer = OutboxWriter(outbox, wiring.wake, measurements)
    curves = make_curves(settings, measurements)
    recall(curves.ring, pipeline, clock.now_ns())
    keeper = curves.keeper
    bedside = Bedside(
        judge=pipeline,
        snapshot=lambda: msgspec.json.encode(pipeline.snapshot()),
        annunciate=lambda event: _announce(event, sounder, hooks, keeper),
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
        channels=lambda: source.codes,
        quarantined=lambda: _quarantined(source, pipeline),
        clock_ns=clock.now_ns,
        correct_clock=clock.correct,
    )
    authority = make_authority(settings, boot_id, loop, outbox, bedside, updater, measurements)
    thermal = make_thermal(settings.platform.thermal, pipeline, lambda: wiring.uplink)
    live = make_live_view(
        settings,
        boot_id,
        authority,
        wiring.show,
        clock.now_ns,
        measurements,
        lambda: Shed.LIVE_VIEW not in thermal.shed,
    )
    on_command = _commands(authority.desk, live, loop)
    uplink = _uplink(settings, outbox, writer, status, on_command, measurements)
    heartbeat = Heartbeat(status, uplink.say if uplink else None, measurements)
    wiring.uplink, wiring.heartbeat = uplink, heartbeat
    realtime = settings.source.pace == "realtime"
    facts = {"storage_failing": lambda: writer.failing or keeper.failing}
    if uplink is not None:
        facts["broker_connected"] = lambda: uplink.connected
    pulse = Pulse(measurements, facts)
    services: list[Service | None] = [
        pulse,
        writer,
        sounder,
        hooks,
        authority.watch,
        uplink,
        updater,
        heartbeat,
        keeper,
        Acquisition(
            source, bedside, ticks_by_data=not realtime, keep=after_judgement(keeper, live)
        ),
        Watchdog(source, bedside) if realtime else None,
        SelfReport(_concerns(writer, keeper, uplink), bedside, source.data_time_ns),
        thermal,
        ServiceWatchdog(os.environ),  # entered last: ready means that all the others are
    ]
    return Agent(
        vitals=pulse.vitals,
        reload=lambda read: Reload(settings, read, pipeline, outbox, curves.ring),
        services=tuple(service for service in services if service is not None),
        outbox=outbox,
        uplink=uplink,
        judged=status.judged,
        model=status.model,
        measurements=measurements,
    )


def _last_snapshot(outbox: SqliteOutbox) -> bytes | None:
    try:
        return outbox.snapshot()
    except StorageError as error:
        logger.error("the alerts of the last life cannot be read: %s", error)
        return None


def _commands(desk: CommandDesk, live: LiveView, loop: asyncio.AbstractEventLoop) -> OnCommand:
    def on_command(command: Command, accept: Callable[[], None]) -> None:
        if isinstance(command, LiveViewCommand):
            loop.call_soon_threadsafe(live.take, command)
            accept()
        else:
            desk.receive(command, accept)

    return on_command


def _announce(
    event: AlertEvent, sounder: Sounder, hooks: Annunciator, keeper: WaveformKeeper
) -> None:
    sounder.announce(event)
    hooks.announce(event)
    if event.transition is Transition.ONSET:
        keeper.flush_soon()


def _concerns(writer: OutboxWriter, keeper: WaveformKeeper, uplink: Uplink | None) -> list[Concern]:
    concerns = [Concern(Condition.STORAGE_FAILING, lambda: writer.failing or keeper.failing)]
    if uplink is not None:
        concerns.append(Concern(Condition.LINK_LOST, lambda: not uplink.connected))
    return concerns


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

    def show(self, curves: bytes) -> bool:
        """Send what a live view shows."""
        return self.uplink is not None and self.uplink.show(curves)


@contextmanager
def _quick_decisions() -> Generator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def _metrics(settings: EdgeSettings, agent: Agent) -> Generator[None]:
    from edge_agent.adapters.metrics import AgentCollector
    from edge_agent.adapters.status_server import StatusServer

    uplink = agent.uplink
    collector = AgentCollector(
        agent.measurements,
        agent.outbox.stats,
        agent.judged,
        lambda: uplink is not None and uplink.connected,
        agent.model,
    )
    server = StatusServer(
        settings.metrics_host,
        settings.metrics_port,
        collector,
        health=lambda: (agent.vitals().alive, agent.vitals().details),
        ready=lambda: (agent.vitals().watched, agent.vitals().details),
    )
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
    writer: OutboxWriter,
    status: StatusParts,
    on_command: OnCommand,
    measurements: Measurements,
) -> Uplink | None:
    if settings.mqtt is None:
        return None
    from edge_agent.adapters.mqtt_link import PahoLink
    from edge_agent.bootstrap.network import broker_of

    will = (topics.STATUS.address(settings.site_id, settings.device_id), encode(status.fixed))
    return Uplink(
        PahoLink(broker_of(settings, settings.mqtt), will, settings.mqtt.window),
        outbox,
        settings.site_id,
        settings.device_id,
        on_command=on_command,
        last_word=lambda: status.status(Connectivity.STOPPED),
        measurements=measurements,
        unstored_alerts=writer.unstored_alerts,
    )


def _fixed_status(
    settings: EdgeSettings, boot_id: str, source: WaveformSource, model: ModelReport
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


def _quarantined(source: WaveformSource, pipeline: BedPipeline) -> list[Quarantined]:
    judged = pipeline.report.quarantined
    return [*source.quarantined, *(Quarantined(code, why) for code, why in judged.items())]


def _judged(pipeline: BedPipeline) -> JudgeReport:
    report = pipeline.report
    return JudgeReport(
        n_windows_judged=report.n_windows_judged,
        n_windows_unjudged=report.n_windows_unjudged,
        last_sample_time_ns=report.last_sample_time_ns,
    )
