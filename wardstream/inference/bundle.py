"""A model bundle on disk: ``manifest.json``, the ONNX graph, the golden vectors.

Reading verifies: a `Bundle` in memory is one whose bytes are those its manifest names, and
which this agent's code can feed. Whether the manifest itself is to be trusted is decided
before, by the signed repository it came from.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codec import decode
from wardstream.contracts.errors import ContractError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.port import ModelRefusedError, RhythmRuntime
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import MIN_SCALE_MV, WINDOW_S, WINDOW_SAMPLES

MANIFEST_FILE: Final = "manifest.json"
MAX_ARTIFACT_BYTES: Final = 64_000_000

AGENT_VERSION: Final = "0.2.0"
"""What ``min_agent_version`` of a manifest is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes
    ----------
    manifest : ModelManifest
        What the model says of itself.
    graph : bytes
        The ONNX graph, whose sha256 is the manifest's.
    golden_inputs : ndarray of float32, shape (n_vectors, channels, samples)
        Windows of the qualification set.
    golden_outputs : ndarray of float32, shape (n_vectors, n_classes)
        The probabilities they must give.
    """

    manifest: ModelManifest
    graph: bytes
    golden_inputs: NDArray[np.float32]
    golden_outputs: NDArray[np.float32]


def read_bundle(bundle_dir: Path) -> Bundle:
    """The verified bundle in `bundle_dir`.

    Raises
    ------
    ModelRefusedError
        A file is missing, its digest or length is not the manifest's, the golden vectors do
        not fit, or this agent cannot feed such a model. The message says which.
    """
    manifest = read_manifest(bundle_dir)
    check_compatible(manifest)
    graph = _read_verified(bundle_dir, manifest.artifact, manifest.sha256)
    if len(graph) != manifest.n_bytes:
        raise ModelRefusedError(
            f"{manifest.artifact} has {len(graph)} bytes, the manifest says {manifest.n_bytes}"
        )
    golden = _read_verified(bundle_dir, manifest.golden.file, manifest.golden.sha256)
    inputs, outputs = _golden_vectors(golden, manifest)
    return Bundle(manifest=manifest, graph=graph, golden_inputs=inputs, golden_outputs=outputs)


def read_manifest(bundle_dir: Path) -> ModelManifest:
    """The manifest of `bundle_dir`, decoded but with nothing else checked.

    Raises
    ------
    ModelRefusedError
        It is missing or malformed.
    """
    try:
        return decode((bundle_dir / MANIFEST_FILE).read_bytes(), ModelManifest)
    except OSError as error:
        raise ModelRefusedError(f"no manifest in {bundle_dir}: {error.strerror}") from error
    except ContractError as error:
        raise ModelRefusedError(f"malformed manifest: {error}") from error


def check_compatible(manifest: ModelManifest) -> None:
    """Return if this agent makes the windows that `manifest` asks for.

    Raises
    ------
    ModelRefusedError
        It does not; all reasons are listed.
    """
    shapes = [spec.shape for spec in manifest.inputs]
    fed = [len(shape) == 2 and shape[0] >= 1 and shape[1] == WINDOW_SAMPLES for shape in shapes]
    rates = [spec.sampling_rate_hz for spec in manifest.inputs]
    outputs = [spec.shape for spec in manifest.outputs[:1]]
    checks = (
        (manifest.preprocessing in MIN_SCALE_MV, f"preprocessing {manifest.preprocessing!r}"),
        (
            fed == [True],
            f"input shapes {shapes}, this agent makes [(channels, {WINDOW_SAMPLES})]",
        ),
        (rates == [TARGET_RATE_HZ], f"input rates {rates}, this agent makes {TARGET_RATE_HZ} Hz"),
        (manifest.window_s == WINDOW_S, f"window of {manifest.window_s} s, expected {WINDOW_S}"),
        (0.1 <= manifest.hop_s <= 1.0, f"hop of {manifest.hop_s} s, expected 0.1 to 1"),
        (len(manifest.classes) >= 2, "fewer than two classes"),
        (outputs == [(len(manifest.classes),)], f"output shapes {outputs} do not fit the classes"),
        (
            all(spec.dtype == "float32" for spec in (*manifest.inputs, *manifest.outputs)),
            "tensors that are not float32",
        ),
        (
            _version(manifest.min_agent_version) <= _version(AGENT_VERSION),
            f"needs agent {manifest.min_agent_version}, this is {AGENT_VERSION}",
        ),
    )
    reasons = [reason for fits, reason in checks if not fits]
    if reasons:
        raise ModelRefusedError(f"{manifest.name} {manifest.version}: {'; '.join(reasons)}")


def qualify(runtime: RhythmRuntime, bundle_dir: Path) -> float:
    """`golden_error` of `runtime` on what lies in `bundle_dir`."""
    return golden_error(runtime, read_bundle(bundle_dir))


def golden_error(runtime: RhythmRuntime, bundle: Bundle) -> float:
    """Largest error of `runtime` on the golden vectors of `bundle`, if small enough.

    Raises
    ------
    ModelRefusedError
        An answer is not finite, not a probability, or further off than the manifest allows;
        or the runtime runs another version than the bundle holds.
    """
    if runtime.manifest != bundle.manifest:
        raise ModelRefusedError(
            f"the runtime has version {runtime.manifest.version}, "
            f"the bundle {bundle.manifest.version}"
        )
    answers = runtime.infer(bundle.golden_inputs)
    if not np.isfinite(answers).all() or answers.min() < 0 or answers.max() > 1:
        raise ModelRefusedError("a golden vector gave something that is no probability")
    error = float(np.abs(answers - bundle.golden_outputs).max())
    allowed = bundle.manifest.golden.max_abs_error
    if error > allowed:
        raise ModelRefusedError(f"golden vectors are off by {error:.3g}, allowed is {allowed:.3g}")
    return error


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError:
        raise ModelRefusedError(f"version {text!r} is not of the form 1.2.3") from None


def _read_verified(bundle_dir: Path, name: str, sha256: str) -> bytes:
    if PurePath(name).name != name:
        raise ModelRefusedError(f"{name!r} is no plain file name")
    path = bundle_dir / name
    try:
        if path.stat().st_size > MAX_ARTIFACT_BYTES:
            raise ModelRefusedError(f"{name} is longer than {MAX_ARTIFACT_BYTES} bytes")
        payload = path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(f"{name} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(payload).hexdigest()
    if digest != sha256:
        raise ModelRefusedError(f"sha256 of {name} is {digest}, the manifest says {sha256}")
    return payload


def _golden_vectors(
    payload: bytes, manifest: ModelManifest
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            inputs, outputs = arrays["inputs"], arrays["outputs"]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ModelRefusedError(f"golden vectors cannot be read: {error}") from error
    n = manifest.golden.n_vectors
    if n < 1 or inputs.shape != (n, *manifest.inputs[0].shape):
        raise ModelRefusedError(f"golden inputs have shape {inputs.shape}, expected {n} windows")
    if outputs.shape != (n, len(manifest.classes)):
        raise ModelRefusedError(f"golden outputs have shape {outputs.shape}")
    return inputs.astype(np.float32), outputs.astype(np.float32)
