"""What the bed says of its model: the back end, how it did, and how it fares."""

import threading
from pathlib import Path

import numpy as np
import pytest
from fakes.rhythm_runtime import FakeRhythmRuntime
from fakes.tiny_model import tiny_bundle
from prometheus_client import CollectorRegistry, generate_latest

from edge_agent.adapters.metrics import AgentCollector
from edge_agent.adapters.model_store import ModelStore
from edge_agent.core.outbox_port import OutboxStats
from edge_agent.core.ports import JudgeReport, Measurements
from edge_agent.services.model_updater import (
    ModelParts,
    ModelUpdater,
    Qualifier,
    first_model,
    report_of,
)
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.device import ModelReport, ModelState
from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import TimestampNs
from wardstream.inference.bundle import read_bundle
from wardstream.inference.guard import GuardLimits
from wardstream.inference.port import ModelRefusedError
from wardstream.inference.selection import BackendMeasurement, Choice, ChosenRuntime


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "bundle", version=3)
    return tmp_path / "bundle"


class _NoStore:
    def submit(self, *_: object) -> None:
        """Nothing is kept."""


def updater_of(runtime: ChosenRuntime, shelf: ModelStore, shipped: Path) -> ModelUpdater:
    parts = ModelParts(
        shelf=shelf, repository=None, shipped=shipped, load=Qualifier(), swap=lambda _: None
    )
    report = report_of(runtime, ModelState.RUNNING)
    return ModelUpdater(parts, runtime, report, store=_NoStore(), on_change=lambda: None)


def test_the_report_says_which_back_end_was_chosen_and_how_all_did(
    bundle_dir: Path, tmp_path: Path
) -> None:
    load = Qualifier("auto", 5.0, GuardLimits())
    runtime, report = first_model(ModelStore(tmp_path), bundle_dir, load)
    assert isinstance(runtime, ChosenRuntime)
    assert report.backend
    assert len(report.backends) == 4
    assert any(said.startswith(f"{report.backend}: ") for said in report.backends)
    assert report.latency_p50_ms is not None
    assert 0 < report.latency_p50_ms < 5
    assert report.golden_error is not None
    assert report.golden_error < 0.01
    runtime.close()


def test_a_named_back_end_that_is_not_here_is_no_model(bundle_dir: Path, tmp_path: Path) -> None:
    load = Qualifier("onnxruntime-cuda")
    try:
        load(bundle_dir)
    except ModelRefusedError as error:
        assert "has no CUDAExecutionProvider" in str(error)  # noqa: PT017
    else:
        pytest.skip("this ONNX Runtime has a GPU")
    runtime, report = first_model(ModelStore(tmp_path), bundle_dir, load)
    assert runtime is None
    assert report.state is ModelState.UNAVAILABLE
    assert "CUDAExecutionProvider" in report.reason


def test_a_model_lost_in_use_is_counted_and_shown(bundle_dir: Path, tmp_path: Path) -> None:
    for_ever = threading.Event()

    class Hanging(FakeRhythmRuntime):
        def infer(self, windows: np.ndarray) -> np.ndarray:
            for_ever.wait()
            return super().infer(windows)

    taken = BackendMeasurement(
        backend="onnxruntime",
        latency_p50_ms=0.05,
        latency_p90_ms=0.06,
        batch_ms_per_window=0.02,
        golden_error=0.001,
    )
    runtime = ChosenRuntime(
        Choice(runtime=Hanging(), taken=taken, all=(taken,)),
        read_bundle(bundle_dir),
        GuardLimits(stall_s=0.05),
    )
    updater = updater_of(runtime, ModelStore(tmp_path), bundle_dir)
    assert (updater.report.n_lost, updater.report.n_recovered) == (0, 0)
    with pytest.raises(TransientError):
        runtime.infer(np.zeros((1, 1, 1000), dtype=np.float32))
    for_ever.set()
    assert updater.report.n_lost == 1
    text = metrics_of(updater.report)
    label = 'backend="onnxruntime",version="1"'
    assert "wardstream_edge_model_lost_total 1.0" in text
    assert f"wardstream_edge_model_latency_p50_seconds{{{label}}} 5e-05" in text
    assert f"wardstream_edge_model_golden_error{{{label}}} 0.001" in text
    runtime.close()


def metrics_of(report: ModelReport) -> str:
    registry = CollectorRegistry()
    registry.register(
        AgentCollector(
            Measurements(),
            lambda: OutboxStats(rows={}, n_bytes={}, numbered={}, gaps=0),
            lambda: JudgeReport(
                n_windows_judged=0, n_windows_unjudged=0, last_sample_time_ns=TimestampNs(0)
            ),
            lambda: True,
            lambda: report,
        )
    )
    return generate_latest(registry).decode()


def test_what_older_agents_say_of_their_model_is_still_understood() -> None:
    old = encode(ModelReport(state=ModelState.RUNNING, version=1, sha256="ab" * 32))
    kept = decode(old, ModelReport)
    assert kept.backend == ""
    assert kept.latency_p50_ms is None
