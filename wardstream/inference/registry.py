"""Which back ends run a model, by name. One is imported when it is asked for and not before."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.bundle import Bundle, read_bundle
from wardstream.inference.port import RhythmRuntime

DEFAULT_BACKEND: Final = "onnxruntime"

BACKENDS: Final[Mapping[str, str]] = {
    "onnxruntime": "wardstream.inference.onnxruntime_backend:OnnxRuntime",
    "onnxruntime-cuda": "wardstream.inference.onnxruntime_backend:CudaOnnxRuntime",
    "onnxruntime-tensorrt": "wardstream.inference.onnxruntime_backend:TensorRtOnnxRuntime",
    "tensorrt": "wardstream.inference.tensorrt_backend:TensorRtRuntime",
}


def load_runtime(bundle_dir: Path, backend: str = DEFAULT_BACKEND) -> RhythmRuntime:
    """The verified model of `bundle_dir`, loaded and warmed up on `backend`.

    Golden vectors are not run here: `wardstream.inference.bundle.qualify` does it, and
    `wardstream.inference.selection` asks several back ends and takes the best.

    Raises
    ------
    ModelRefusedError
        The bundle breaks its manifest, or the back end cannot run its graph.
    ConfigurationError
        There is no such back end, or what it needs is not installed. There is no fallback.
    TransientError
        The accelerator is out of memory or in a bad state.
    """
    return make_runtime(read_bundle(Path(bundle_dir)), backend)


def make_runtime(bundle: Bundle, backend: str = DEFAULT_BACKEND) -> RhythmRuntime:
    """The model of a verified `bundle` on `backend`; errors as for `load_runtime`."""
    return _load_class(backend)(bundle)


def _load_class(backend: str) -> Callable[[Bundle], RhythmRuntime]:
    if backend not in BACKENDS:
        raise ConfigurationError([f"model back end {backend!r} is none of {sorted(BACKENDS)}"])
    module_name, _, attribute = BACKENDS[backend].partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(
            [f"model back end {backend!r} is not installed on this machine: {error}"]
        ) from error
    return cast("Callable[[Bundle], RhythmRuntime]", getattr(module, attribute))
