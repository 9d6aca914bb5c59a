"""A judge that is ready: model qualified, kernels compiled, nothing left to warm up."""

import ctypes
import gc
import logging
import time
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import msgspec

from edge_agent.adapters.clock import SteadyClock
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from edge_agent.settings import EdgeSettings
from wardstream.alerting.engine import EngineSnapshot
from wardstream.alerting.numerics import Measure
from wardstream.alerting.site_alarms import site_limits, site_rules
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime
from wardstream.kernels.warm_up import warm_up as warm_up_kernels

logger = logging.getLogger(__name__)


def make_pipeline(
    settings: EdgeSettings,
    boot_id: str,
    runtime: RhythmRuntime | None,
    clock: SteadyClock,
    snapshot: bytes | None,
) -> BedPipeline:
    """The pipeline of the bed, with the alerts that `snapshot` says were not over."""
    config = pipeline_config(settings)
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


def pipeline_config(settings: EdgeSettings) -> PipelineConfig:
    """What the site set: in the settings, and above them in its signed alarm profile.

    Raises
    ------
    ConfigurationError
        The profile cannot be read, nobody trusted signed it, or it crosses a bound.
    """
    config = PipelineConfig(**settings.judgement.model_dump())
    if settings.site_alarms is None:
        return config
    from edge_agent.adapters.site_alarms import read_site_alarms

    site = read_site_alarms(settings.site_alarms, settings.site_id, settings.orders_key)
    limits = site_limits(site, config.all_limits)
    spo2 = limits[Measure.SPO2].lower
    return replace(
        config,
        rules=site_rules(site),
        limits=limits,
        spo2_lower_percent=config.spo2_lower_percent if spo2 is None else spo2,
    )


def warm_up(runtime: RhythmRuntime | None, config: PipelineConfig) -> None:
    """Run a simulated arrest through a pipeline that nobody listens to.

    Afterwards every kernel is compiled, the model is warm, and what start-up left behind is
    taken out of the garbage collector's sight.
    """
    from edge_agent.adapters.scenario import Crisis, Event, Scenario
    from edge_agent.adapters.simulator import SimulatedPatient

    # The simulated patient comes at one rate; a bed may come at any.
    warm_up_kernels()
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
    _settle_memory()


def _settle_memory() -> None:
    gc.collect()
    gc.freeze()
    # What compiling and importing needed goes back to the system, where there is a glibc.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
