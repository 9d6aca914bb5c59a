"""A rhythm graph of four nodes, made without torch: window mean and maximum to probabilities."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.registry.bundle import BundleParts, write_bundle
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest


def tiny_graph(seed: int = 0, n_samples: int = 1000, n_classes: int = len(RHYTHM_CLASSES)) -> bytes:
    """The bytes of such a graph; another seed gives another model."""
    weight = np.random.default_rng(seed).standard_normal((n_classes, 1)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalMaxPool", ["window"], ["maximum"]),
        helper.make_node("Flatten", ["maximum"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", 1, n_samples])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", n_classes])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def tiny_bundle(folder: Path, version: int, seed: int = 0, **metrics: float) -> ModelManifest:
    """A whole bundle of such a graph in `folder`."""
    windows = np.random.default_rng(7).standard_normal((8, 1, 1000)).astype(np.float32)
    parts = BundleParts(
        name="rhythm",
        version=version,
        graph=tiny_graph(seed),
        golden_inputs=windows,
        operating_points={"vf": 0.5},
        created_time_ns=1_760_000_000_000_000_000,
        metrics={name.replace("__", "."): value for name, value in metrics.items()},
    )
    return write_bundle(parts, folder)
