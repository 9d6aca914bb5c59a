"""A runtime that says what a test wants to hear, within the contract of the port."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.model_manifest import (
    RHYTHM_CLASSES,
    GoldenVectors,
    ModelManifest,
    TensorSpec,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit
from wardstream.inference.port import RhythmAnswers
from wardstream.kernels.windows import HOP_S, PREPROCESSING_ID, WINDOW_S, WINDOW_SAMPLES

Opinion = Callable[[NDArray[np.float32]], str]
"""The class of one window of shape (1000,)."""


def manifest(version: int = 1, **changes: object) -> ModelManifest:
    """A manifest that this agent can serve."""
    fields: dict[str, object] = {
        "name": "rhythm",
        "version": version,
        "artifact": "rhythm.onnx",
        "sha256": "0" * 64,
        "n_bytes": 1,
        "classes": RHYTHM_CLASSES,
        "inputs": (
            TensorSpec(
                name="window",
                dtype="float32",
                shape=(1, WINDOW_SAMPLES),
                axes=("channel", "sample"),
                unit=Unit.DIMENSIONLESS,
                sampling_rate_hz=250.0,
            ),
        ),
        "outputs": (
            TensorSpec(
                name="probability",
                dtype="float32",
                shape=(len(RHYTHM_CLASSES),),
                axes=("class",),
                unit=Unit.DIMENSIONLESS,
            ),
        ),
        "operating_points": {"vf": 0.5, "vt": 0.5},
        "window_s": WINDOW_S,
        "hop_s": HOP_S,
        "preprocessing": PREPROCESSING_ID,
        "golden": GoldenVectors(
            file="golden.npz", sha256="0" * 64, n_vectors=1, max_abs_error=0.01
        ),
        "created_time_ns": TimestampNs(0),
    }
    return ModelManifest(**(fields | changes))  # type: ignore[arg-type]


class FakeRhythmRuntime:
    """Gives 0.94 to the class that `opinion` names for a window, 0.01 to each other."""

    def __init__(self, opinion: Opinion = lambda _: "sinus_like", version: int = 1) -> None:
        self.manifest = manifest(version)
        self.n_windows = 0
        self._opinion = opinion

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        if windows.shape[1:] != (1, WINDOW_SAMPLES) or windows.dtype != np.float32:
            raise OutOfRangeError(f"windows are {windows.dtype} of shape {windows.shape}")
        answers = np.full((len(windows), len(RHYTHM_CLASSES)), 0.01, dtype=np.float32)
        for row, window in enumerate(windows):
            answers[row, RHYTHM_CLASSES.index(self._opinion(window[0]))] = 0.94
        self.n_windows += len(windows)
        return answers

    def describe(self, windows: NDArray[np.float32]) -> RhythmAnswers:
        return RhythmAnswers(probability=self.infer(windows))
