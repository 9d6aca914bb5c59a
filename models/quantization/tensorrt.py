"""A TensorRT engine of a bundle, built where TensorRT is installed, refused with a reason elsewhere.

The same code builds it on a device as the agent starts; here it is built ahead, for one that shall
not spend its first minute on it. A plan runs only on the hardware and TensorRT it was built on.
"""

from pathlib import Path
from typing import Any

import msgspec
import onnx

from models.quantization.accepted_by_tensorrt import tensorrt_problems
from wardstream.contracts.errors import TransientError
from wardstream.inference.bundle import read_bundle
from wardstream.inference.port import ModelRefusedError
from wardstream.inference.tensorrt_engine import cached_engine, default_engine_dir, engine_key


def build_engine(
    bundle_dir: Path, out_dir: Path | None = None, *, fp16: bool = True
) -> dict[str, Any]:
    """Build the engine of the bundle in `bundle_dir`, or find it built already.

    Parameters
    ----------
    bundle_dir : Path
        A verified bundle.
    out_dir : Path or None
        Where engines are kept; where the agent of this user looks for them by default.
    fp16 : bool
        Whether layers that are not INT8 may be FP16.

    Returns
    -------
    dict
        ``engine`` (the file), ``from_cache`` and what its record says.

    Raises
    ------
    ModelRefusedError
        The graph is not one TensorRT takes; every reason is named, TensorRT or not.
    ConfigurationError
        TensorRT or cuda-python is not installed.
    TransientError
        The GPU does not answer, or the folder cannot be written.
    """
    bundle = read_bundle(bundle_dir)
    problems = tensorrt_problems(onnx.load_model_from_string(bundle.graph))
    if problems:
        raise ModelRefusedError(f"TensorRT would refuse the graph: {'; '.join(problems)}")
    key = engine_key(bundle.manifest.sha256, fp16=fp16)
    built = cached_engine(bundle.graph, bundle.manifest, out_dir or default_engine_dir(), key)
    if built.not_kept:
        raise TransientError(built.not_kept)
    return {
        "engine": str(built.path),
        "from_cache": built.from_cache,
        **msgspec.to_builtins(built.record),
    }
