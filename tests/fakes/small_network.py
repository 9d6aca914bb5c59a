"""A small network that tells frequencies, and windows to ask it about; made without torch."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.datasets.labels import admissible_bits
from models.datasets.windows import ROW, WindowTable
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

N_CLASSES = len(RHYTHM_CLASSES)


def network(scaled_by: float = 1.0) -> onnx.ModelProto:
    """Three convolutions that tell the frequency of a sine; a channel may be scaled.

    Scaling a channel and the weights that read it by the inverse leaves FP32 answers as they are
    and makes one range serve two magnitudes.
    """
    generator = np.random.default_rng(3)
    time_s = np.arange(9) / 250
    filters = np.stack(
        [np.sin(2 * np.pi * f * time_s + p) for f in (5, 15, 30, 50) for p in (0, 1.6)]
    )
    w = {
        "w0": filters[:, None].astype(np.float32) / 3,
        "w1": generator.standard_normal((8, 8, 3)).astype(np.float32) / 4,
        "w2": generator.standard_normal((8, 8, 3)).astype(np.float32) / 4,
        "head": generator.standard_normal((N_CLASSES, 8)).astype(np.float32) * 4,
    }
    biases = {f"b{i}": np.full(8, 0.05, np.float32) for i in range(3)}
    w["w1"][3] *= scaled_by
    biases["b1"][3] *= scaled_by
    w["w2"][:, 3] /= scaled_by
    nodes: list[onnx.NodeProto] = []
    current = "window"
    for i in range(3):
        nodes += [
            helper.make_node(
                "Conv", [current, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", strides=[4], pads=[1, 1]
            ),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"),
        ]
        current = f"r{i}"
    nodes += [
        helper.make_node("GlobalAveragePool", [current], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat", axis=1),
        helper.make_node("Gemm", ["flat", "head"], ["logits"], "gemm", transB=1),
        helper.make_node("Softmax", ["logits"], ["probability"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", 1, 1000])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", N_CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in (w | biases).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def sines(n: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    frequency, phase = generator.uniform(3, 50, (n, 1)), generator.uniform(0, 6, (n, 1))
    clean = np.sin(2 * np.pi * frequency * np.arange(1000) / 250 + phase)
    return (clean + generator.normal(0, 0.1, clean.shape)).astype(np.float32)[:, None]


def table_of(windows: NDArray[np.float32], classes: NDArray[np.intp]) -> WindowTable:
    rows = np.zeros(len(windows), dtype=ROW)
    rows["recording"] = np.arange(len(windows)) % 10
    rows["end_sample"] = 1000 * (1 + np.arange(len(windows)))
    rows["admissible"] = [admissible_bits((RHYTHM_CLASSES[i],)) for i in classes]
    names = tuple(f"p{i}" for i in range(10))
    return WindowTable(
        filtered_mv=windows[:, 0].astype(np.float16),
        rows=rows,
        datasets=("vfdb",) * 10,
        records=names,
        patients=names,
        rhythms=("N",),
        digests={"vfdb": "0"},
    )


def judged_by(model: onnx.ModelProto, n: int) -> WindowTable:
    """`n` sines of which is true what stands out most in the answers of `model`.

    So `model` in FP32 is right more often than chance, and only INT8 can lose.
    """
    from models.registry.bundle import runtime_of_graph

    draft = table_of(sines(n), np.zeros(n, np.intp))
    windows = draft.normalised(np.arange(n))
    scores = np.log(runtime_of_graph(model.SerializeToString()).infer(windows))
    truth = ((scores - scores.mean(axis=0)) / scores.std(axis=0)).argmax(axis=1)
    return table_of(sines(n), truth)
