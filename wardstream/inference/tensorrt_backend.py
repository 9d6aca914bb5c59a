"""The model on TensorRT, for Jetson-class devices with a GPU.

Needs NVIDIA's ``tensorrt`` (8.6 or later) and ``cuda-python``; importing this module without
them raises ImportError, which `wardstream.inference.registry` turns into an error for people.
"""

from typing import Any, Final

import numpy as np
import tensorrt  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray

from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.model_manifest import ModelManifest, TensorSpec
from wardstream.inference.bundle import Bundle
from wardstream.inference.port import (
    EMBEDDING,
    QUALITY,
    ModelRefusedError,
    RhythmAnswers,
    with_all_channels,
)
from wardstream.inference.tensorrt_engine import (
    MAX_BATCH,
    TYPICAL_BATCH,
    cached_engine,
    checked,
    cuda_module,
    default_engine_dir,
    engine_key,
)

try:
    cuda: Any = cuda_module()
except ConfigurationError as missing:
    raise ImportError(str(missing)) from missing

_WARM_UP_RUNS: Final = 3


class TensorRtRuntime:
    """`RhythmRuntime` on TensorRT.

    Parameters
    ----------
    bundle : Bundle
        Verified; the engine is taken from the cache or built, and warmed up here.

    Raises
    ------
    ModelRefusedError
        The graph cannot be parsed or built for this GPU.
    TransientError
        The GPU is out of memory or in a bad state.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._input = bundle.manifest.inputs[0]
        engine = cached_engine(
            bundle.graph,
            bundle.manifest,
            default_engine_dir(),
            engine_key(bundle.manifest.sha256),
        )
        self._logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine.plan)
        if self._engine is None:
            raise ModelRefusedError(f"TensorRT cannot load {engine.path}; delete it")
        self._context = self._engine.create_execution_context()
        self._stream = checked(cuda.cudaStreamCreate())
        self._memory: list[Any] = []
        self._device_input = self._bind(self._input)
        self._outputs = [
            (self._bind(spec), np.empty((MAX_BATCH, *spec.shape), dtype=np.float32))
            for spec in bundle.manifest.outputs
        ]
        for _ in range(_WARM_UP_RUNS):
            self.infer(np.zeros((TYPICAL_BATCH, *self._input.shape), dtype=np.float32))

    @property
    def manifest(self) -> ModelManifest:
        """What the model says of itself."""
        return self._manifest

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `RhythmRuntime.infer`."""
        return self._run(windows, 1)[0]

    def describe(self, windows: NDArray[np.float32]) -> RhythmAnswers:
        """See `RhythmRuntime.describe`."""
        answers = self._run(windows, len(self._outputs))
        names = [spec.name for spec in self._manifest.outputs]
        named = dict(zip(names, answers, strict=True))
        return RhythmAnswers(
            probability=answers[0], quality=named.get(QUALITY), embedding=named.get(EMBEDDING)
        )

    def close(self) -> None:
        """Give the GPU's memory back. Nothing may be judged afterwards."""
        for address in self._memory:
            checked(cuda.cudaFree(address))
        self._memory.clear()
        checked(cuda.cudaStreamDestroy(self._stream))

    def _bind(self, spec: TensorSpec) -> Any:
        # Every tensor of the engine needs memory, whether anybody reads it or not.
        address = checked(cuda.cudaMalloc(4 * MAX_BATCH * int(np.prod(spec.shape))))
        self._memory.append(address)
        if not self._context.set_tensor_address(spec.name, int(address)):
            raise ModelRefusedError(f"the engine has no tensor {spec.name!r}")
        return address

    def _run(self, windows: NDArray[np.float32], n_outputs: int) -> list[NDArray[np.float32]]:
        whole = with_all_channels(windows, self._input.shape)
        answers = [
            np.empty((len(whole), *host.shape[1:]), np.float32)
            for _, host in self._outputs[:n_outputs]
        ]
        for start in range(0, len(whole), MAX_BATCH):
            part = np.ascontiguousarray(whole[start : start + MAX_BATCH])
            self._run_batch(part, n_outputs)
            for answer, (_, host) in zip(answers, self._outputs, strict=False):
                answer[start : start + MAX_BATCH] = host[: len(part)]
        return answers

    def _run_batch(self, windows: NDArray[np.float32], n_outputs: int) -> None:
        to_device = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        to_host = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._context.set_input_shape(self._input.name, windows.shape)
        checked(
            cuda.cudaMemcpyAsync(
                self._device_input, windows.ctypes.data, windows.nbytes, to_device, self._stream
            )
        )
        if not self._context.execute_async_v3(int(self._stream)):
            raise TransientError("TensorRT did not run the model")
        for address, host in self._outputs[:n_outputs]:
            read = host[: len(windows)]
            checked(
                cuda.cudaMemcpyAsync(read.ctypes.data, address, read.nbytes, to_host, self._stream)
            )
        checked(cuda.cudaStreamSynchronize(self._stream))
