"""Real recordings as the bed would get them."""

from pathlib import Path

import pytest
from fakes.bedside import BOOT_ID, chunks
from fakes.recordings import Replay, read_leads
from fakes.replaying import ReplayedAlert, replay

from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from wardstream.contracts.alert import AlertPriority, Transition
from wardstream.contracts.waveform import GenerationMode
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime
from wardstream.kernels.warm_up import warm_up

LEADS = ("MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_V1")
SHIPPED = Path(__file__).resolve().parents[2] / "models" / "artifacts" / "rhythm"


@pytest.fixture(scope="session")
def runtime() -> RhythmRuntime:
    """The model that is shipped, with every kernel warm."""
    warm_up()
    return load_runtime(SHIPPED)


@pytest.fixture
def onsets(runtime: RhythmRuntime) -> Replay:
    """Onsets of all alerts of a stretch of a record; times from the begin of the stretch."""

    def run(record: Path, start_s: float, end_s: float) -> list[ReplayedAlert]:
        samples, rate_hz = read_leads(record, start_s, end_s)
        pipeline = BedPipeline(
            PipelineIdentity(
                device_id="bed-1", boot_id=BOOT_ID, generation_mode=GenerationMode.TEST
            ),
            runtime,
            PipelineConfig(),
            clock_ns=lambda: 0,
            monotonic_ns=lambda: 0,
        )
        curves = dict(zip(LEADS, samples, strict=False))
        alerts = replay(pipeline, chunks(curves, rate_hz=rate_hz), clock_ns=lambda: 0)
        return [alert for alert in alerts if alert.event.transition is Transition.ONSET]

    return run


@pytest.fixture
def high_alerts(onsets: Replay) -> Replay:
    """Those of high priority."""

    def run(record: Path, start_s: float, end_s: float) -> list[ReplayedAlert]:
        found = onsets(record, start_s, end_s)
        return [alert for alert in found if alert.event.priority is AlertPriority.HIGH]

    return run
