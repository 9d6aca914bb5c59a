"""The parts of one bed's agent, made in the order in which they need one another."""

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import msgspec

from edge_agent import __version__
from edge_agent.adapters.clock import SteadyClock
from edge_agent.adapters.hook import CommandHook
from edge_agent.adapters.model_store import ModelStore
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.playback import Clocks
from edge_agent.bootstrap.annunciation import Authority, make_authority, make_sounder
from edge_agent.bootstrap.curves import Curves, after_judgement, make_curves, make_live_view, recall
from edge_agent.bootstrap.judgement import make_pipeline
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
from edge_agent.services.pulse import Pulse
from edge_agent.services.self_report import Concern, SelfReport
from edge_agent.services.service_watchdog import ServiceWatchdog
from edge_agent.services.sounder import Sounder
from edge_agent.services.supervisor import Service
from edge_agent.services.thermal_watch import ThermalWatch
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


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything else stands on."""

    settings: EdgeSettings
    measurements: Measurements
    loop: asyncio.AbstractEventLoop
    boot_id: str
    clock: SteadyClock
    source: WaveformSource
    outbox: SqliteOutbox


@dataclass(frozen=True, slots=True)
class BedParts:
    """What judges the bed, what sounds there, and what keeps both on disk."""

    pipeline: BedPipeline
    bedside: Bedside
    sounder: Sounder
    hooks: Annunciator
    writer: OutboxWriter
    curves: Curves
    updater: ModelUpdater


@dataclass(frozen=True, slots=True)
class LinkParts:
    """What speaks with the rest of the world, and who may order what."""

    status: StatusParts
    authority: Authority
    thermal: ThermalWatch
    live: LiveView
    uplink: Uplink | None
    heartbeat: Heartbeat
    pulse: Pulse


def make_ground(
    settings: EdgeSettings, measurements: Measurements, loop: asyncio.AbstractEventLoop
) -> Ground:
    """Clock, source and outbox.

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
    limits = OutboxLimits(**settings.outbox.model_dump())
    outbox = SqliteOutbox(settings.state_dir, settings.device_id, limits)
    return Ground(settings, measurements, loop, boot_id, clock, source, outbox)


def make_bed(ground: Ground, wiring: "Wiring") -> BedParts:
    """The judgement, its kernels compiled and its model qualified, and whom it tells."""
    settings, measurements = ground.settings, ground.measurements
    shelf = ModelStore(settings.state_dir)
    load = Qualifier(settings.model.backend, settings.model.latency_budget_ms, GuardLimits())
    runtime, report = first_model(shelf, settings.model.bundle_dir, load)
    pipeline = make_pipeline(
        settings, ground.boot_id, runtime, ground.clock, _last_snapshot(ground.outbox)
    )
    hooks = Annunciator(_hook(settings), measurements)
    sounder = make_sounder(settings, pipeline.snapshot().alerts)
    writer = OutboxWriter(ground.outbox, wiring.wake, measurements)
    curves = make_curves(settings, measurements)
    recall(curves.ring, pipeline, ground.clock.now_ns())
    bedside = Bedside(
        judge=pipeline,
        snapshot=lambda: msgspec.json.encode(pipeline.snapshot()),
        annunciate=lambda event: _announce(event, sounder, hooks, curves.keeper),
        store=writer,
        clock_ns=ground.clock.now_ns,
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
    return BedParts(pipeline, bedside, sounder, hooks, writer, curves, updater)


def make_link(ground: Ground, bed: BedParts, wiring: "Wiring") -> LinkParts:
    """Status, orders, live view and the link itself; `wiring` knows them from here on."""
    settings, measurements = ground.settings, ground.measurements
    status = StatusParts(
        fixed=_fixed_status(settings, ground.boot_id, ground.source, bed.updater.report),
        judged=lambda: _judged(bed.pipeline),
        model=lambda: bed.updater.report,
        outbox=ground.outbox.stats,
        channels=lambda: ground.source.codes,
        quarantined=lambda: _quarantined(ground.source, bed.pipeline),
        clock_ns=ground.clock.now_ns,
        correct_clock=ground.clock.correct,
    )
    authority = make_authority(
        settings,
        ground.boot_id,
        ground.loop,
        ground.outbox,
        bed.bedside,
        bed.updater,
        measurements,
    )
    thermal = make_thermal(settings.platform.thermal, bed.pipeline, lambda: wiring.uplink)
    live = make_live_view(
        settings,
        ground.boot_id,
        authority,
        wiring.show,
        ground.clock.now_ns,
        measurements,
        lambda: Shed.LIVE_VIEW not in thermal.shed,
    )
    on_command = _commands(authority.desk, live, ground.loop)
    uplink = _uplink(settings, ground.outbox, bed.writer, status, on_command, measurements)
    heartbeat = Heartbeat(status, uplink.say if uplink else None, measurements)
    wiring.uplink, wiring.heartbeat = uplink, heartbeat
    facts = {"storage_failing": lambda: _storage_fails(bed)}
    if uplink is not None:
        facts["broker_connected"] = lambda: uplink.connected
    pulse = Pulse(measurements, facts)
    return LinkParts(status, authority, thermal, live, uplink, heartbeat, pulse)


def services_of(ground: Ground, bed: BedParts, link: LinkParts) -> tuple[Service, ...]:
    """Everything with a life of its own, in the order of its dependence."""
    realtime = ground.settings.source.pace == "realtime"
    keeper = bed.curves.keeper
    services: list[Service | None] = [
        link.pulse,
        bed.writer,
        bed.sounder,
        bed.hooks,
        link.authority.watch,
        link.uplink,
        bed.updater,
        link.heartbeat,
        keeper,
        Acquisition(
            ground.source,
            bed.bedside,
            ticks_by_data=not realtime,
            keep=after_judgement(keeper, link.live),
        ),
        Watchdog(ground.source, bed.bedside) if realtime else None,
        SelfReport(_concerns(bed, link.uplink), bed.bedside, ground.source.data_time_ns),
        link.thermal,
        ServiceWatchdog(os.environ),  # entered last: ready means that all the others are
    ]
    return tuple(service for service in services if service is not None)


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


def _storage_fails(bed: BedParts) -> bool:
    return bed.writer.failing or bed.curves.keeper.failing


def _concerns(bed: BedParts, uplink: Uplink | None) -> list[Concern]:
    concerns = [Concern(Condition.STORAGE_FAILING, lambda: _storage_fails(bed))]
    if uplink is not None:
        concerns.append(Concern(Condition.LINK_LOST, lambda: not uplink.connected))
    return concerns


class Wiring:
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
