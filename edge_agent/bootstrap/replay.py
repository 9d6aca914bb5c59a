"""One recording through the whole pipeline, as fast as it can be judged."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from edge_agent.adapters.clock import SteadyClock
from edge_agent.adapters.playback import Clocks, FrameReader, PlaybackPlan, PlaybackSource
from edge_agent.bootstrap.judgement import warm_up
from edge_agent.core.outbox_port import StorageError
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from edge_agent.core.ports import Measurements, Output
from edge_agent.services.bedside import Bedside
from edge_agent.services.model_updater import Qualifier, first_model
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.waveform import GenerationMode

logger = logging.getLogger(__name__)


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
