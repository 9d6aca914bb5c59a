"""A device that is hot asks its model half as often, and alarms no later than one hop more."""

from uuid import uuid4

import pytest

from edge_agent.adapters.scenario import Crisis, Event, Scenario
from edge_agent.adapters.simulator import FRAME_RATE_HZ, SimulatedPatient
from edge_agent.cli import _BUNDLE as BUNDLE
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from edge_agent.services.model_updater import Qualifier
from wardstream.contracts.alert import AlertEvent, Condition, Transition
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime

START_NS = 1_800_000_000 * NS_PER_S
CRISES = {
    Crisis.VENTRICULAR_FIBRILLATION: Condition.VENTRICULAR_FIBRILLATION,
    Crisis.ASYSTOLE: Condition.ASYSTOLE,
}


@pytest.fixture(scope="module")
def runtime() -> RhythmRuntime:
    return Qualifier()(BUNDLE)


def onset_s(runtime: RhythmRuntime, crisis: Crisis, seed: int, model_every: int) -> float:
    """Second at which the crisis, which begins at 15, was told."""
    patient = SimulatedPatient(
        Scenario(events=(Event(crisis=crisis, at_s=15, for_s=30),)), seed=seed
    )
    identity = PipelineIdentity(
        device_id="d1", boot_id=str(uuid4()), generation_mode=GenerationMode.TEST
    )
    bed = BedPipeline(
        identity, runtime, PipelineConfig(), clock_ns=lambda: 0, monotonic_ns=lambda: 0
    )
    bed.model_every = model_every
    for number in range(30 * 25):
        block = patient.read(5 * number, 5 * number + 5)
        for group, samples in zip(patient.groups, block.samples, strict=True):
            chunk = WaveformChunk(
                device_id="d1",
                boot_id=identity.boot_id,
                sequence_number=number,
                codes=group.codes,
                unit=group.unit,
                sampling_rate_hz=FRAME_RATE_HZ * group.samples_per_frame,
                start_time_ns=TimestampNs(START_NS + 40_000_000 * number),
                samples=samples,
            )
            for event in bed.push(chunk, 0):
                if (
                    isinstance(event, AlertEvent)
                    and event.condition is CRISES[crisis]
                    and event.transition is Transition.ONSET
                ):
                    return (event.event_time_ns - START_NS) / NS_PER_S
    pytest.fail(f"{crisis} was never told")


@pytest.mark.parametrize("crisis", CRISES)
@pytest.mark.parametrize("seed", range(4))
def test_half_as_many_questions_cost_at_most_a_hop(
    runtime: RhythmRuntime, crisis: Crisis, seed: int
) -> None:
    cool, hot = (onset_s(runtime, crisis, seed, every) for every in (1, 2))
    assert hot - cool <= 0.251, (cool, hot)
