"""Which back ends run a model, by name. One is imported when it is chosen, never tried out."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.bundle import Bundle, read_bundle
from wardstream.inference.port import RhythmRuntime

BACKENDS: Final = {
    "onnxruntime": "wardstream.inference.onnxruntime_backend:OnnxRuntime",
    "tensorrt": "wardstream.inference.tensorrt_backend:TensorRtRuntime",
}


def load_runtime(bundle_dir: Path, backend: str = "onnxruntime") -> RhythmRuntime:
    """The verified model of `bundle_dir`, loaded and warmed up on `backend`.

    Golden vectors are not run here: `wardstream.inference.bundle.qualify` does it.

    Raises
    ------
    ModelRefusedError
        The bundle breaks its manifest, or the back end cannot run its graph.
    ConfigurationError
        There is no such back end, or what it needs is not installed. There is no fallback.
    """
    runtime_class = _load_class(backend)
    return runtime_class(read_bundle(Path(bundle_dir)))


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
