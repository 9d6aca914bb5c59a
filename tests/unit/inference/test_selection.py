"""Back ends are measured, never guessed, and never change in silence."""

import importlib.util
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fakes.tiny_model import tiny_bundle
from numpy.typing import NDArray

from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.inference.bundle import Bundle, read_bundle
from wardstream.inference.guard import GuardLimits
from wardstream.inference.onnxruntime_backend import OnnxRuntime
from wardstream.inference.port import ModelRefusedError, RhythmRuntime
from wardstream.inference.registry import BACKENDS, make_runtime
from wardstream.inference.selection import ChosenRuntime, choose_runtime

GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    tiny_bundle(tmp_path, version=3)
    return read_bundle(tmp_path)


class Changed(OnnxRuntime):
    """The real model with an answer that is off, or late."""

    def __init__(self, bundle: Bundle, off: float = 0.0, pause_s: float = 0.0) -> None:
        self.off, self.pause_s, self.closed = off, pause_s, False
        super().__init__(bundle)

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(self.pause_s)
        answers = super().infer(windows)
        return np.clip(answers + np.float32(self.off), 0, 1)

    def close(self) -> None:
        self.closed = True


def made(**variants: Callable[[Bundle], RhythmRuntime]) -> Callable[[Bundle, str], RhythmRuntime]:
    return lambda bundle, name: variants[name](bundle)


def test_the_fastest_that_agrees_is_taken_and_all_are_told(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    slow: list[Changed] = []

    def crawling(bundle: Bundle) -> RhythmRuntime:
        slow.append(Changed(bundle, pause_s=0.001))
        return slow[-1]

    def absent(bundle: Bundle) -> RhythmRuntime:
        raise ConfigurationError(["not installed"])

    def broken(bundle: Bundle) -> RhythmRuntime:
        raise TransientError("the GPU is in a bad state")

    with caplog.at_level(logging.INFO):
        choice = choose_runtime(
            bundle,
            make=made(
                slow=crawling,
                good=Changed,
                wrong=lambda b: Changed(b, off=0.5),
                absent=absent,
                broken=broken,
            ),
            candidates=("slow", "wrong", "absent", "good", "broken"),
        )
    assert choice.taken.backend == "good"
    told = {each.backend: each for each in choice.all}
    assert told["good"].latency_p50_ms is not None
    assert told["slow"].latency_p50_ms is not None
    assert told["good"].latency_p50_ms < 1 < told["slow"].latency_p50_ms
    assert told["good"].golden_error is not None
    assert told["good"].golden_error < 1e-6
    assert "golden vectors are off by" in told["wrong"].refused
    assert told["absent"].refused == "not installed"
    assert "bad state" in told["broken"].refused
    assert slow[0].closed  # what is not taken gives its memory back
    [record] = [r for r in caplog.records if "judges on" in r.message]
    assert "good" in record.message
    assert len(record.fields["measured"]) == 5  # type: ignore[attr-defined]


def test_a_named_back_end_is_taken_or_refused_and_none_takes_its_place(bundle: Bundle) -> None:
    make = made(wrong=lambda b: Changed(b, off=0.5), good=Changed)
    with pytest.raises(ModelRefusedError, match="wrong: golden vectors are off"):
        choose_runtime(bundle, "wrong", make=make, candidates=("wrong", "good"))


def test_a_back_end_above_the_budget_is_refused(bundle: Bundle) -> None:
    make = made(slow=lambda b: Changed(b, pause_s=0.002))
    with pytest.raises(ModelRefusedError, match="a window takes"):
        choose_runtime(bundle, make=make, candidates=("slow",), latency_budget_ms=1.0)


@pytest.mark.skipif(GPU, reason="this ONNX Runtime has a GPU")
def test_without_a_gpu_the_cpu_is_taken_and_the_others_say_why_not(bundle: Bundle) -> None:
    choice = choose_runtime(bundle)
    assert choice.taken.backend == "onnxruntime"
    refused = {each.backend: each.refused for each in choice.all if each.refused}
    assert set(refused) == set(BACKENDS) - {"onnxruntime"}
    assert "has no CUDAExecutionProvider" in refused["onnxruntime-cuda"]
    assert "has no TensorrtExecutionProvider" in refused["onnxruntime-tensorrt"]
    assert "not installed" in refused["tensorrt"]


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "onnxruntime"])
def test_every_other_back_end_gives_the_golden_answers(bundle: Bundle, backend: str) -> None:
    if backend == "tensorrt" and importlib.util.find_spec("tensorrt") is None:
        pytest.skip("TensorRT is not installed on this machine")
    if backend != "tensorrt" and not GPU:
        pytest.skip("this ONNX Runtime has no GPU")
    choice = choose_runtime(bundle, backend, latency_budget_ms=50.0)
    assert choice.taken.golden_error is not None
    assert choice.taken.golden_error <= bundle.manifest.golden.max_abs_error


def test_a_chosen_model_that_hangs_is_loaded_again_on_the_same_back_end(
    bundle: Bundle, tmp_path: Path
) -> None:
    for_ever = threading.Event()

    class Hanging(Changed):
        n_calls = 0

        def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            self.n_calls += 1
            if self.n_calls > 200:
                for_ever.wait()
            return super().infer(windows)

    choice = choose_runtime(bundle, make=made(onnxruntime=Hanging), candidates=("onnxruntime",))
    limits = GuardLimits(stall_s=0.1, first_pause_s=0.05)
    runtime = ChosenRuntime(choice, bundle, limits)
    for file in tmp_path.iterdir():  # installing moves the folder; nothing is read again
        file.unlink()
    windows = bundle.golden_inputs
    n_lost, ends_s = 0, time.monotonic() + 10
    while time.monotonic() < ends_s:
        try:
            answers = runtime.infer(windows)
        except TransientError:
            n_lost += 1
            time.sleep(0.01)
            continue
        if n_lost:
            break
    else:
        raise AssertionError("the model did not come back")
    np.testing.assert_allclose(answers, bundle.golden_outputs, atol=1e-5)
    assert runtime.guard is not None
    assert (runtime.guard.n_stalled, runtime.guard.n_recovered) == (1, 1)
    for_ever.set()
    runtime.close()


@pytest.mark.parametrize("n_windows", [1, 2, 15, 16, 64, 256])
def test_many_beds_are_asked_at_once(bundle: Bundle, n_windows: int) -> None:
    runtime = make_runtime(bundle)
    windows = np.random.default_rng(1).standard_normal((n_windows, 1, 1000)).astype(np.float32)
    together = runtime.infer(windows)
    assert together.shape == (n_windows, 7)
    np.testing.assert_allclose(together[-1:], runtime.infer(windows[-1:]), atol=1e-6)
