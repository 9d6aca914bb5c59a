"""Write a bundle, and make a runtime of a graph that has no bundle yet."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from models.datasets.windows import WindowTable
from models.evaluation.originals import original_file
from wardstream.contracts.codec import encode
from wardstream.contracts.model_manifest import (
    RHYTHM_CLASSES,
    GoldenVectors,
    ModelManifest,
    ShockableRule,
    TensorSpec,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit
from wardstream.inference.bundle import MANIFEST_FILE, Bundle
from wardstream.inference.onnxruntime_backend import OnnxRuntime
from wardstream.inference.port import (
    EMBEDDING,
    PROBABILITY,
    QUALITY,
    ModelRefusedError,
    RhythmRuntime,
)
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import HOP_S, PREPROCESSING_ID, WINDOW_S, WINDOW_SAMPLES

GOLDEN_FILE: Final = "golden.npz"

N_GOLDEN: Final = 32

MAX_GOLDEN_ERROR: Final = 0.08
"""INT8 kernels round differently from one instruction set to the next, a layer at a time; a
graph with one weight changed, or fed with another scale, is off by far more."""

# What the outputs of a rhythm graph mean, in the order of a manifest; the first must be there.
_AXES: Final = {PROBABILITY: "class", QUALITY: "channel", EMBEDDING: "feature"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleParts:
    """What a bundle is made of.

    Attributes
    ----------
    name, version : str, int
        As in `ModelManifest`.
    graph : bytes
        The ONNX file.
    golden_inputs : ndarray of float32, shape (n, n_channels, 1000)
        Windows of the qualification set; their answers are computed here.
    operating_points, shockable_operating_point, shockable_rule, training_data, metrics
        As in `ModelManifest`.
    created_time_ns : int
        When it was exported.
    original : bytes or None
        The FP32 graph that `graph` was quantized from, kept beside it for evaluation; no device
        loads it.
    """

    name: str
    version: int
    graph: bytes
    golden_inputs: NDArray[np.float32]
    operating_points: Mapping[str, float]
    created_time_ns: int
    training_data: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    shockable_operating_point: float | None = None
    shockable_rule: ShockableRule | None = None
    original: bytes | None = None


def runtime_of_graph(graph: bytes) -> RhythmRuntime:
    """A runtime of a rhythm graph that is in no bundle yet, for evaluation.

    Raises
    ------
    ModelRefusedError
        The graph cannot be loaded, or does not have the tensors of a rhythm model.
    """
    empty = np.zeros((0, n_channels_of(graph), WINDOW_SAMPLES), dtype=np.float32)
    draft = BundleParts(
        name="draft",
        version=1,
        graph=graph,
        golden_inputs=empty,
        operating_points={},
        created_time_ns=0,
    )
    manifest = _manifest(draft, GoldenVectors(file="", sha256="", n_vectors=0, max_abs_error=0.0))
    return OnnxRuntime(
        Bundle(
            manifest=manifest,
            graph=graph,
            golden_inputs=empty,
            golden_outputs=np.zeros((0, len(RHYTHM_CLASSES)), dtype=np.float32),
        )
    )


def n_channels_of(graph: bytes) -> int:
    """Channels of the windows that a rhythm graph takes.

    Raises
    ------
    ModelRefusedError
        It is no graph, or its input is not of shape (n, channels, samples).
    """
    return _tensors_of(graph)[0].shape[0]


def _tensors_of(graph: bytes) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    # The input and the outputs, as the graph itself declares them.
    try:
        declared = onnx.load_model_from_string(graph).graph
    except DecodeError as error:
        raise ModelRefusedError(f"the graph is no ONNX file: {error}") from error
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:])
        for value in (*declared.input, *declared.output)
    }
    name = declared.input[0].name if declared.input else ""
    if len(shapes.get(name, ())) != 2:
        raise ModelRefusedError(f"the graph has inputs {shapes}, expected (n, channels, samples)")
    n_channels, n_samples = shapes[name]
    source = TensorSpec(
        name=name,
        dtype="float32",
        shape=(n_channels, n_samples),
        axes=("channel", "sample"),
        unit=Unit.DIMENSIONLESS,
        sampling_rate_hz=TARGET_RATE_HZ,
        channels=tuple(f"ecg_{i + 1}" for i in range(n_channels)),
    )
    outputs = tuple(
        TensorSpec(
            name=output,
            dtype="float32",
            shape=shapes.get(output, (len(RHYTHM_CLASSES),)),
            axes=(axis,),
            unit=Unit.DIMENSIONLESS,
            channels=source.channels if axis == "channel" else (),
        )
        for output, axis in _AXES.items()
        if output in shapes or output == PROBABILITY
    )
    return source, outputs


def write_bundle(parts: BundleParts, bundle_dir: Path) -> ModelManifest:
    """Write `parts` as a bundle into `bundle_dir` and return its manifest.

    The manifest is written last: a folder with one is whole.

    Raises
    ------
    ModelRefusedError
        The graph cannot be loaded.
    """
    bundle_dir.mkdir(parents=True, exist_ok=True)
    golden = _golden_bytes(parts)
    manifest = _manifest(
        parts,
        GoldenVectors(
            file=GOLDEN_FILE,
            sha256=sha256(golden).hexdigest(),
            n_vectors=len(parts.golden_inputs),
            max_abs_error=MAX_GOLDEN_ERROR,
        ),
    )
    (bundle_dir / manifest.artifact).write_bytes(parts.graph)
    (bundle_dir / GOLDEN_FILE).write_bytes(golden)
    if parts.original is not None:
        (bundle_dir / original_file(manifest)).write_bytes(parts.original)
    write_manifest(manifest, bundle_dir)
    return manifest


def golden_windows(table: WindowTable, seed: int, n_leads: int) -> NDArray[np.float32]:
    """`N_GOLDEN` windows of all classes and as many patients as can be, as the model sees them.

    In every third one only the first lead is there.
    """
    generator = np.random.default_rng(seed)
    certain, patients = table.certain_class, table.patient_of
    chosen: list[int] = []
    for turn in range(N_GOLDEN):
        members = np.flatnonzero(certain == turn % len(RHYTHM_CLASSES))
        members = members[~np.isin(members, chosen)]
        fresh = members[~np.isin(patients[members], patients[np.array(chosen, dtype=np.intp)])]
        pool = fresh if len(fresh) else members
        if len(pool):
            chosen.append(int(generator.choice(pool)))
    windows = table.normalised(np.array(chosen, dtype=np.intp), n_leads)
    windows[::3, 1:] = 0
    return windows


def write_manifest(manifest: ModelManifest, bundle_dir: Path) -> None:
    """Write `manifest` into `bundle_dir`, readable by people, wholly or not at all."""
    temporary = bundle_dir / f".{MANIFEST_FILE}.part"
    temporary.write_bytes(msgspec.json.format(encode(manifest), indent=2) + b"\n")
    temporary.replace(bundle_dir / MANIFEST_FILE)


def _golden_bytes(parts: BundleParts) -> bytes:
    # Half precision holds the inputs exactly once rounded to it, and halves the file.
    inputs = parts.golden_inputs.astype(np.float16)
    outputs = runtime_of_graph(parts.graph).infer(inputs.astype(np.float32))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=inputs, outputs=outputs)
    return buffer.getvalue()


def _manifest(parts: BundleParts, golden: GoldenVectors) -> ModelManifest:
    source, outputs = _tensors_of(parts.graph)
    return ModelManifest(
        name=parts.name,
        version=parts.version,
        artifact=f"{parts.name}.onnx",
        sha256=sha256(parts.graph).hexdigest(),
        n_bytes=len(parts.graph),
        classes=RHYTHM_CLASSES,
        inputs=(source,),
        outputs=outputs,
        operating_points=dict(parts.operating_points),
        window_s=WINDOW_S,
        hop_s=HOP_S,
        preprocessing=PREPROCESSING_ID,
        golden=golden,
        created_time_ns=TimestampNs(parts.created_time_ns),
        training_data=dict(parts.training_data),
        metrics=dict(parts.metrics),
        shockable_operating_point=parts.shockable_operating_point,
        shockable_rule=parts.shockable_rule,
        # An older agent knows neither the rule nor that it does not know it.
        min_agent_version="0.1.0" if parts.shockable_rule is None else "0.2.0",
    )
