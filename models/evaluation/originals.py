"""The FP32 graph that lies beside an INT8 one: what quantization is measured against."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import Bundle
from wardstream.inference.port import ModelRefusedError

FP32_DIGEST: Final = "wardstream.fp32_sha256"
METHOD: Final = "wardstream.quantization"
"""Metadata of an INT8 graph: digest of the FP32 graph it came from, and how it was quantized."""


def original_file(manifest: ModelManifest) -> str:
    """Name of the FP32 graph beside the artifact of `manifest`."""
    return f"{Path(manifest.artifact).stem}.fp32.onnx"


def read_original(bundle: Bundle, bundle_dir: Path) -> bytes:
    """The FP32 graph that the artifact of `bundle` was quantized from.

    Raises
    ------
    ModelRefusedError
        It is not there, or not the one that the metadata of the artifact names.
    """
    import onnx

    path = bundle_dir / original_file(bundle.manifest)
    try:
        original = path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(
            f"{path}: {error.strerror}; the FP32 graph is written beside the INT8 one by "
            "`wardstream models train`"
        ) from error
    model = onnx.load_model_from_string(bundle.graph)
    named = {entry.key: entry.value for entry in model.metadata_props}.get(FP32_DIGEST)
    if named != sha256(original).hexdigest():
        raise ModelRefusedError(
            f"{path} is not the graph that {bundle.manifest.artifact} came from"
        )
    return original
