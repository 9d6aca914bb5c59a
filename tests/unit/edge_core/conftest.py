"""A pipeline whose clock stands still unless a test moves it."""

from collections.abc import Iterable

import pytest
from fakes.bedside import BOOT_ID, START_NS
from fakes.rhythm_runtime import FakeRhythmRuntime

from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity, PipelineOutput
from wardstream.alerting.engine import EngineSnapshot
from wardstream.contracts.alert import AlertEvent, Condition
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime


class Bedside:
    """A pipeline, everything it told, and a few words to ask about it."""

    def __init__(self, runtime: RhythmRuntime | None, state: EngineSnapshot | None = None) -> None:
        self.pipeline = BedPipeline(
            PipelineIdentity(
                device_id="bed-1", boot_id=BOOT_ID, generation_mode=GenerationMode.TEST
            ),
            runtime,
            PipelineConfig(),
            clock_ns=lambda: 5,
            monotonic_ns=lambda: 7,
            state=state,
        )
        self.outputs: list[PipelineOutput] = []

    def push(self, chunks: Iterable[WaveformChunk]) -> "Bedside":
        for chunk in chunks:
            self.outputs.extend(self.pipeline.push(chunk, 5))
        return self

    def tick(self, second: float) -> "Bedside":
        now_ns = TimestampNs(START_NS + round(second * NS_PER_S))
        self.outputs.extend(self.pipeline.tick(now_ns, 5))
        return self

    def told(self, kind: type) -> list:
        return [output for output in self.outputs if isinstance(output, kind)]

    def events(self, condition: Condition) -> list[AlertEvent]:
        return [event for event in self.told(AlertEvent) if event.condition is condition]

    def story(self, condition: Condition) -> list[tuple[float, str]]:
        """(seconds from the start, transition) of every event of a condition."""
        return [
            ((event.event_time_ns - START_NS) / NS_PER_S, event.transition.value)
            for event in self.events(condition)
        ]

    @property
    def onsets(self) -> set[Condition]:
        return {event.condition for event in self.told(AlertEvent)}


@pytest.fixture
def bed() -> Bedside:
    """With a model that finds everything normal."""
    return Bedside(FakeRhythmRuntime())


@pytest.fixture
def make_bed() -> type[Bedside]:
    return Bedside
