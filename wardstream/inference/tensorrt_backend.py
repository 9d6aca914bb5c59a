"""The model on TensorRT, for Jetson-class devices with a GPU.

Needs NVIDIA's ``tensorrt`` (8.6 or later) and ``cuda-python``; importing this module without
them raises ImportError, which `wardstream.inference.registry` turns into an error for people.
The engine is built from the same ONNX graph on the device: plans do not travel between GPUs.
Quantization comes from the graph's own QDQ nodes, so no calibration happens here.
"""

from typing import Any, Final

import numpy as np
import tensorrt  # pyright: ignore[reportMissingImports]
from cuda.bindings import runtime as cudart  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError, TransientError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import Bundle
from wardstream.inference.port import ModelRefusedError

_MAX_BATCH: Final = 64
_TYPICAL_BATCH: Final = 2
_WARM_UP_RUNS: Final = 3


class TensorRtRuntime:
    """`RhythmRuntime` on TensorRT.

    Parameters
    ----------
    bundle : Bundle
        Verified; the engine is built and warmed up here, which takes up to a minute.

    Raises
    ------
    ModelRefusedError
        The graph cannot be parsed or built for this GPU.
    TransientError
        The GPU is out of memory or in a bad state.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._input_shape = bundle.manifest.inputs[0].shape
        self._input_name = bundle.manifest.inputs[0].name
        self._output_name = bundle.manifest.outputs[0].name
        self._logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self._engine = self._build(bundle.graph)
        self._context = self._engine.create_execution_context()
        n_classes = len(bundle.manifest.classes)
        self._answers = np.empty((_MAX_BATCH, n_classes), dtype=np.float32)
        self._stream = _checked(cudart.cudaStreamCreate())
        self._device_input = _checked(
            cudart.cudaMalloc(4 * _MAX_BATCH * int(np.prod(self._input_shape)))
        )
        self._device_output = _checked(cudart.cudaMalloc(self._answers.nbytes))
        self._context.set_tensor_address(self._input_name, self._device_input)
        self._context.set_tensor_address(self._output_name, self._device_output)
        for _ in range(_WARM_UP_RUNS):
            self.infer(np.zeros((_TYPICAL_BATCH, *self._input_shape), dtype=np.float32))

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
        parts = [
            self._infer_batch(np.ascontiguousarray(windows[i : i + _MAX_BATCH]))
            for i in range(0, windows.shape[0], _MAX_BATCH)
        ]
        return np.concatenate([self._answers[:0], *parts])

    def close(self) -> None:
        """Give the GPU's memory back. Nothing may be judged afterwards."""
        _checked(cudart.cudaFree(self._device_input))
        _checked(cudart.cudaFree(self._device_output))
        _checked(cudart.cudaStreamDestroy(self._stream))

    def _infer_batch(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = self._answers[: windows.shape[0]]
        to_device = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        to_host = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._context.set_input_shape(self._input_name, windows.shape)
        _checked(
            cudart.cudaMemcpyAsync(
                self._device_input, windows.ctypes.data, windows.nbytes, to_device, self._stream
            )
        )
        if not self._context.execute_async_v3(int(self._stream)):
            raise TransientError("TensorRT did not run the model")
        _checked(
            cudart.cudaMemcpyAsync(
                answers.ctypes.data, self._device_output, answers.nbytes, to_host, self._stream
            )
        )
        _checked(cudart.cudaStreamSynchronize(self._stream))
        return answers.copy()

    def _build(self, graph: bytes) -> Any:
        builder = tensorrt.Builder(self._logger)
        network = builder.create_network(_network_flags())
        parser = tensorrt.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            problems = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise ModelRefusedError(f"TensorRT cannot parse the graph: {problems}")
        config = builder.create_builder_config()
        if hasattr(tensorrt.BuilderFlag, "INT8"):  # gone in TensorRT 11: always strongly typed
            config.set_flag(tensorrt.BuilderFlag.INT8)
        profile = builder.create_optimization_profile()
        profile.set_shape(
            self._input_name,
            (1, *self._input_shape),
            (_TYPICAL_BATCH, *self._input_shape),
            (_MAX_BATCH, *self._input_shape),
        )
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ModelRefusedError("TensorRT cannot build the graph for this GPU")
        return tensorrt.Runtime(self._logger).deserialize_cuda_engine(plan)


def _network_flags() -> int:
    # TensorRT 8 needs the flag, 10 ignores it, later ones have dropped it.
    flags = tensorrt.NetworkDefinitionCreationFlag
    return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0


def _checked(result: tuple[Any, ...]) -> Any:
    # cuda-python returns (status, value...) and raises nothing.
    status, *values = result
    if int(status) != 0:
        raise TransientError(f"CUDA: {status}")
    return values[0] if values else None
