"""Beds that are judged together are told what each would be told alone."""

import pytest
from fakes.bedside import (
    BOOT_ID,
    LEAD_II,
    LEAD_V,
    PLETH,
    chunks,
    ecg,
    fibrillation,
    merged,
    pulse,
    regular,
)
from fakes.rhythm_runtime import FakeRhythmRuntime

from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity, PipelineOutput
from edge_agent.core.ward import Ward
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime

SECONDS = 40


def _pipeline(device_id: str, runtime: RhythmRuntime) -> BedPipeline:
    return BedPipeline(
        PipelineIdentity(device_id=device_id, boot_id=BOOT_ID, generation_mode=GenerationMode.TEST),
        runtime,
        PipelineConfig(),
        clock_ns=lambda: 5,
        monotonic_ns=lambda: 7,
    )


def _curves(device_id: str, number: int) -> list[WaveformChunk]:
    beats = regular(60 + 7 * number, 0.3, 20 if number == 1 else SECONDS)  # the second one stops
    lead = ecg(beats, SECONDS)
    if number == 2:
        lead[15 * 250 :] = fibrillation(SECONDS - 15)
    return merged(
        chunks({LEAD_II: lead, LEAD_V: 0.7 * lead}, device_id=device_id, packet_s=0.24),
        chunks(
            {PLETH: pulse(beats, SECONDS)},
            unit=Unit.ARBITRARY, rate_hz=125.0, device_id=device_id, packet_s=0.24,
        ),
    )  # fmt: skip


def _told(outputs: list[PipelineOutput], device_id: str) -> list[object]:
    told: list[object] = []
    for output in outputs:
        if output.device_id != device_id:
            continue
        if isinstance(output, AlertEvent):
            told.append(output)
        elif isinstance(output, FeatureFrame):
            told.append((output.start_time_ns, output.values.tobytes()))
    return told


class _CountingRuntime(FakeRhythmRuntime):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def infer(self, windows):
        self.batches.append(len(windows))
        return super().infer(windows)


def test_together_each_bed_is_told_what_it_is_told_alone() -> None:
    names = [f"bed-{number}" for number in range(4)]
    curves = {name: _curves(name, number) for number, name in enumerate(names)}
    alone = {}
    for name in names:
        pipeline = _pipeline(name, FakeRhythmRuntime())
        alone[name] = _told([o for c in curves[name] for o in pipeline.push(c, 5)], name)
    runtime = _CountingRuntime()
    ward = Ward((name, _pipeline(name, runtime)) for name in names)
    together: list[PipelineOutput] = []
    for packet in zip(*curves.values(), strict=True):
        together.extend(ward.push(packet, 5))
    for name in names:
        assert _told(together, name) == alone[name]
    assert any(isinstance(output, AlertEvent) for output in together)
    assert max(runtime.batches) == 2 * len(names)


def test_a_model_that_gives_no_answer_leaves_every_bed_to_the_rules() -> None:
    class Gone(FakeRhythmRuntime):
        def infer(self, windows):
            from wardstream.contracts.errors import TransientError

            raise TransientError("gone")

    runtime = Gone()
    pipelines = {f"bed-{n}": _pipeline(f"bed-{n}", runtime) for n in range(2)}
    ward = Ward(pipelines.items())
    for packet in zip(*(_curves(f"bed-{n}", 0) for n in range(2)), strict=True):
        ward.push(packet, 5)
    for pipeline in pipelines.values():
        assert pipeline.report.n_windows_judged == 0
        assert pipeline.report.n_windows_unjudged > 100


def test_a_stranger_is_refused_before_anything_is_judged() -> None:
    pipeline = _pipeline("bed-0", FakeRhythmRuntime())
    ward = Ward([("bed-0", pipeline)])
    with pytest.raises(OutOfRangeError, match="bed-9"):
        ward.push([_curves("bed-0", 0)[0], _curves("bed-9", 0)[0]], 5)
    assert pipeline.report.n_chunks == 0
