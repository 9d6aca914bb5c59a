"""What every runtime must do, asked of the fake, a tiny graph and the model that is shipped."""

from pathlib import Path

import numpy as np
import pytest
from fakes.rhythm_runtime import FakeRhythmRuntime
from fakes.tiny_model import tiny_bundle
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.inference.bundle import qualify
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "artifacts" / "rhythm"


@pytest.fixture(params=["fake", "tiny", "shipped"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> RhythmRuntime:
    if request.param == "fake":
        return FakeRhythmRuntime(lambda window: "vf" if window.max() > 2 else "sinus_like")
    if request.param == "tiny":
        tiny_bundle(tmp_path, version=1)
        return load_runtime(tmp_path)
    return load_runtime(SHIPPED)


@pytest.fixture
def windows() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((5, 1, 1000)).astype(np.float32)


def test_every_answer_is_a_probability(
    runtime: RhythmRuntime, windows: NDArray[np.float32]
) -> None:
    extremes = np.concatenate([windows, np.full((1, 1, 1000), 8.0, np.float32), 0 * windows[:1]])
    answers = runtime.infer(extremes)
    assert answers.shape == (7, len(runtime.manifest.classes))
    assert answers.dtype == np.float32
    assert np.isfinite(answers).all()
    assert answers.min() >= 0
    assert answers.max() <= 1


def test_an_answer_does_not_depend_on_its_neighbours(
    runtime: RhythmRuntime, windows: NDArray[np.float32]
) -> None:
    together = runtime.infer(windows)
    alone = np.concatenate([runtime.infer(windows[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_windows_are_left_alone(runtime: RhythmRuntime, windows: NDArray[np.float32]) -> None:
    before = windows.copy()
    runtime.infer(windows)
    np.testing.assert_array_equal(windows, before)


def test_an_answer_is_not_overwritten_by_the_next(
    runtime: RhythmRuntime, windows: NDArray[np.float32]
) -> None:
    first = runtime.infer(windows[:1])
    kept = first.copy()
    runtime.infer(windows[1:] * 3)
    np.testing.assert_array_equal(first, kept)


def test_no_windows_give_no_answers(runtime: RhythmRuntime, windows: NDArray[np.float32]) -> None:
    assert runtime.infer(windows[:0]).shape == (0, len(runtime.manifest.classes))


def test_windows_of_another_shape_are_refused(
    runtime: RhythmRuntime, windows: NDArray[np.float32]
) -> None:
    for wrong in (windows[:, :, :999], windows[:, 0], windows.astype(np.float64)):
        with pytest.raises(OutOfRangeError, match="windows are"):
            runtime.infer(wrong)


def test_the_shipped_model_gives_its_golden_answers() -> None:
    runtime = load_runtime(SHIPPED)
    assert qualify(runtime, SHIPPED) <= runtime.manifest.golden.max_abs_error
