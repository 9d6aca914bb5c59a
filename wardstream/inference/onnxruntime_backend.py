"""The model on ONNX Runtime's CPU provider, on one thread."""

from importlib import import_module
from typing import Any, Final, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import Bundle
from wardstream.inference.port import ModelRefusedError

_WARM_UP_RUNS: Final = 3


def session_options() -> Any:
    """Options for a bedside model: one thread, no spinning, nothing that outlives the call.

    A window of 33,000 parameters takes 0.04 ms; waking a second thread costs more, and a pool
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
        The graph cannot be loaded, or its tensors are not those of the manifest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._input_shape = bundle.manifest.inputs[0].shape
        self._input_name = bundle.manifest.inputs[0].name
        self._output_names = [bundle.manifest.outputs[0].name]
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.graph, session_options(), providers=["CPUExecutionProvider"]
            )
        except _ORT_ERRORS as error:
            raise ModelRefusedError(f"ONNX Runtime cannot load the graph: {error}") from error
        self._check_graph()
        self._warm_up()

    @property
    def manifest(self) -> ModelManifest:
        """What the model says of itself."""
        return self._manifest

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `RhythmRuntime.infer`."""
        if windows.shape[1:] != self._input_shape or windows.dtype != np.float32:
            raise OutOfRangeError(
                f"windows are {windows.dtype} of shape {windows.shape}, "
                f"expected float32 of (n, {', '.join(map(str, self._input_shape))})"
            )
        if windows.shape[0] == 0:
            return np.empty((0, len(self._manifest.classes)), dtype=np.float32)
        answers = self._session.run(self._output_names, {self._input_name: windows})
        return cast("NDArray[np.float32]", answers[0])

    def _check_graph(self) -> None:
        inputs = {node.name: (node.type, node.shape) for node in self._session.get_inputs()}
        outputs = {node.name: (node.type, node.shape) for node in self._session.get_outputs()}
        expected = ("tensor(float)", list(self._input_shape))
        found = inputs.get(self._input_name, ("no such tensor", [None]))
        if len(inputs) != 1 or (found[0], list(found[1][1:])) != expected:
            raise ModelRefusedError(f"the graph has inputs {inputs}, the manifest says {expected}")
        if isinstance(found[1][0], int):
            raise ModelRefusedError(f"the graph takes batches of {found[1][0]} only")
        if self._output_names[0] not in outputs:
            raise ModelRefusedError(f"the graph has no output {self._output_names[0]!r}")

    def _warm_up(self) -> None:
        # The first runs allocate arenas and pick kernels: 10 times slower than all later ones.
        windows = np.zeros((2, *self._input_shape), dtype=np.float32)
        try:
            shapes = {self.infer(windows).shape for _ in range(_WARM_UP_RUNS)}
        except _ORT_ERRORS as error:
            raise ModelRefusedError(f"ONNX Runtime cannot run the graph: {error}") from error
        if shapes != {(2, len(self._manifest.classes))}:
            raise ModelRefusedError(f"the graph answers in shapes {sorted(shapes)}")


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
