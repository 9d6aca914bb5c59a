"""The model on ONNX Runtime: on one thread of the CPU, or on a GPU where there is one."""

from importlib import import_module
from typing import Any, Final, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import Bundle
from wardstream.inference.port import (
    EMBEDDING,
    QUALITY,
    ModelRefusedError,
    RhythmAnswers,
    with_all_channels,
)
from wardstream.inference.tensorrt_engine import MAX_BATCH, TYPICAL_BATCH, default_engine_dir

_WARM_UP_RUNS: Final = 3


def session_options() -> Any:
    """Options for a bedside model: one thread, no spinning, nothing that outlives the call.

    A window of 65,000 parameters takes 0.1 ms; waking a second thread costs more, and a pool
    that spins would take a core from the other beds of a gateway.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class OnnxRuntime:
    """`RhythmRuntime` on ONNX Runtime.

    Parameters
    ----------
    bundle : Bundle
        Verified; loaded and warmed up here.

    Raises
    ------
    ModelRefusedError
        The graph cannot be loaded, its tensors are not those of the manifest, or the provider
        does not start: no other takes its place in silence.
    ConfigurationError
        The provider is not installed.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        missing = [
            name for name in self._needs() if name not in onnxruntime.get_available_providers()
        ]
        if missing:
            raise ConfigurationError(
                [f"this ONNX Runtime has no {' or '.join(missing)}; install onnxruntime-gpu"]
            )
        self._input_shape = bundle.manifest.inputs[0].shape
        self._input_name = bundle.manifest.inputs[0].name
        self._output_names = [spec.name for spec in bundle.manifest.outputs]
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.graph, session_options(), providers=self._providers()
            )
        except _ORT_ERRORS as error:
            raise ModelRefusedError(f"ONNX Runtime cannot load the graph: {error}") from error
        # A provider that cannot start is left out with a warning and the CPU takes its place.
        running = self._session.get_providers()
        if not running or running[0] != self._needs()[0]:
            raise ModelRefusedError(
                f"{self._needs()[0]} did not start; {running} would run instead"
            )
        self._check_graph()
        self._warm_up()

    @property
    def manifest(self) -> ModelManifest:
        """What the model says of itself."""
        return self._manifest

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `RhythmRuntime.infer`."""
        return self._run(windows, 1)[0]

    def describe(self, windows: NDArray[np.float32]) -> RhythmAnswers:
        """See `RhythmRuntime.describe`."""
        answers = self._run(windows, len(self._output_names))
        named = dict(zip(self._output_names, answers, strict=True))
        return RhythmAnswers(
            probability=answers[0], quality=named.get(QUALITY), embedding=named.get(EMBEDDING)
        )

    def _run(self, windows: NDArray[np.float32], n_outputs: int) -> list[NDArray[np.float32]]:
        whole = with_all_channels(windows, self._input_shape)
        if not len(whole):
            specs = self._manifest.outputs[:n_outputs]
            return [np.empty((0, *spec.shape), dtype=np.float32) for spec in specs]
        names, at_once = self._output_names[:n_outputs], self._at_once()
        if len(whole) <= at_once:
            answers = self._session.run(names, {self._input_name: whole})
            return cast("list[NDArray[np.float32]]", answers)
        parts = [
            self._session.run(names, {self._input_name: whole[start : start + at_once]})
            for start in range(0, len(whole), at_once)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _at_once(self) -> int:
        # What a core's cache holds: 32 windows at once take 32 us each, 256 take 38.
        return 32

    def _needs(self) -> tuple[str, ...]:
        # Providers without which this would be another back end; the first does the work.
        return ("CPUExecutionProvider",)

    def _providers(self) -> list[Any]:
        return list(self._needs())

    def _check_graph(self) -> None:
        inputs = {node.name: (node.type, node.shape) for node in self._session.get_inputs()}
        outputs = {node.name: (node.type, node.shape) for node in self._session.get_outputs()}
        expected = ("tensor(float)", list(self._input_shape))
        found = inputs.get(self._input_name, ("no such tensor", [None]))
        if len(inputs) != 1 or (found[0], list(found[1][1:])) != expected:
            raise ModelRefusedError(f"the graph has inputs {inputs}, the manifest says {expected}")
        if isinstance(found[1][0], int):
            raise ModelRefusedError(f"the graph takes batches of {found[1][0]} only")
        absent = [name for name in self._output_names if name not in outputs]
        if absent:
            raise ModelRefusedError(f"the graph has no output {', '.join(map(repr, absent))}")

    def _warm_up(self) -> None:
        # The first runs allocate arenas and pick kernels: 10 times slower than all later ones.
        windows = np.zeros((2, *self._input_shape), dtype=np.float32)
        found: list[tuple[int, ...]] = []
        try:
            for _ in range(_WARM_UP_RUNS):
                found = [answer.shape for answer in self._run(windows, len(self._output_names))]
                self.infer(windows[:1])
        except _ORT_ERRORS as error:
            raise ModelRefusedError(f"ONNX Runtime cannot run the graph: {error}") from error
        expected = [(2, *spec.shape) for spec in self._manifest.outputs]
        if found != expected:
            raise ModelRefusedError(f"the graph answers in shapes {found}, expected {expected}")


class CudaOnnxRuntime(OnnxRuntime):
    """`OnnxRuntime` on an NVIDIA GPU through CUDA."""

    def _at_once(self) -> int:
        return MAX_BATCH

    def _needs(self) -> tuple[str, ...]:
        return ("CUDAExecutionProvider",)

    def _providers(self) -> list[Any]:
        return [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]


class TensorRtOnnxRuntime(OnnxRuntime):
    """`OnnxRuntime` on an NVIDIA GPU through TensorRT; what that cannot run, CUDA does."""

    def _at_once(self) -> int:
        return MAX_BATCH

    def _needs(self) -> tuple[str, ...]:
        return ("TensorrtExecutionProvider", "CUDAExecutionProvider")

    def _providers(self) -> list[Any]:
        folder = default_engine_dir() / self._manifest.sha256[:16]
        folder.mkdir(parents=True, exist_ok=True)
        spec = self._manifest.inputs[0]

        def shapes(n_windows: int) -> str:
            return f"{spec.name}:{'x'.join(map(str, (n_windows, *spec.shape)))}"

        options = {
            "device_id": 0,
            "trt_int8_enable": True,
            "trt_fp16_enable": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
            "trt_profile_min_shapes": shapes(1),
            "trt_profile_opt_shapes": shapes(TYPICAL_BATCH),
            "trt_profile_max_shapes": shapes(MAX_BATCH),
        }
        return [
            ("TensorrtExecutionProvider", options),
            ("CUDAExecutionProvider", {"device_id": 0}),
            "CPUExecutionProvider",
        ]


def _ort_errors() -> tuple[type[Exception], ...]:
    # ONNX Runtime's exceptions have no common public root; they are named after its status
    # codes and live in its extension module.
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
        "ModelRequiresCompilation", "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException",
    )  # fmt: skip
    return tuple(getattr(state, name) for name in names if hasattr(state, name))


_ORT_ERRORS: Final = _ort_errors()
