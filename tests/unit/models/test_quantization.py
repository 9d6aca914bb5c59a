"""INT8: what TensorRT takes, and training through the very graph that ships."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.datasets.labels import admissible_bits  # noqa: E402
from models.datasets.windows import ROW, WindowTable  # noqa: E402
from models.evaluation.originals import FP32_DIGEST, METHOD  # noqa: E402
from models.quantization.accepted_by_tensorrt import tensorrt_problems  # noqa: E402
from models.quantization.aware_training import AwareConfig, train_aware  # noqa: E402
from models.quantization.choice import (  # noqa: E402
    AWARE,
    STATIC,
    quantize_within_gate,
)
from models.quantization.fake_quantization import FakeQuantizedGraph  # noqa: E402
from models.quantization.static_int8 import first_convolutions, quantize  # noqa: E402
from models.registry.bundle import runtime_of_graph  # noqa: E402
from models.training.config import CONFIG_DIR, load_config  # noqa: E402
from wardstream.contracts.errors import OutOfRangeError  # noqa: E402
from wardstream.contracts.model_manifest import RHYTHM_CLASSES  # noqa: E402

CONFIG = load_config(CONFIG_DIR / "smoke.yaml").quantization
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


def loaded(graph: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(graph)


@pytest.fixture(scope="module")
def int8() -> onnx.ModelProto:
    return loaded(quantize(network(), sines(128)))


def test_the_quantized_graph_is_one_that_tensorrt_takes(int8: onnx.ModelProto) -> None:
    assert tensorrt_problems(int8) == []
    weights = {n.input[0] for n in int8.graph.node if n.op_type == "DequantizeLinear"}
    constants = {t.name: numpy_helper.to_array(t) for t in int8.graph.initializer}
    assert {n for n in weights if n in constants} == {"w1_quantized", "w2_quantized"}
    assert constants["w1_scale"].shape == (8,)  # symmetric per output channel


def _set(model: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(value, name))
            return
    raise KeyError(name)


def _whole_batches(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def _free_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "length"


def _own_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Hardmax"


def _old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11


def _no_dequantizing(model: onnx.ModelProto) -> None:
    quantizer = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    model.graph.node[-1].input[0] = quantizer.output[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: _set(m, "r0_zero_point", np.array(3, np.int8)), "zero point is not 0"),
        (lambda m: _set(m, "r0_zero_point", np.array(0, np.uint8)), "quantized as UINT8"),
        (lambda m: _set(m, "r0_scale", np.array(0, np.float32)), "not above 0"),
        (lambda m: _set(m, "w1_quantized", np.full((8, 8, 3), -128, np.int8)), "-128"),
        (_whole_batches, "batches of 4 only"),
        (_free_length, "dynamic along axis 2"),
        (_own_operator, "imports no Hardmax"),
        (_old_opset, "opset 11"),
        (_no_dequantizing, "without dequantizing"),
    ],
)
def test_what_tensorrt_would_refuse_is_named(
    int8: onnx.ModelProto, change: Callable[[onnx.ModelProto], None], named: str
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(int8)
    change(model)
    assert any(named in problem for problem in tensorrt_problems(model))


def test_32_bit_biases_are_refused() -> None:
    node = helper.make_node("DequantizeLinear", ["bias", "scale", "zero"], ["b"], "bias_dq")
    model = loaded(quantize(network(), sines(64)))
    model.graph.node.insert(0, node)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.zeros(8, np.int32), "bias"),
            numpy_helper.from_array(np.ones(8, np.float32), "scale"),
            numpy_helper.from_array(np.zeros(8, np.int32), "zero"),
        ]
    )
    assert tensorrt_problems(model) == ["bias_dq: quantized as INT32, expected INT8"]


def test_the_first_convolutions_are_those_that_see_the_window() -> None:
    model = network()
    assert first_convolutions(model) == ["conv0"]
    model.graph.node[0].name = ""
    with pytest.raises(OutOfRangeError, match="has no name"):
        first_convolutions(model)


def test_what_was_learned_ships_as_it_was_rounded(int8: onnx.ModelProto) -> None:
    learned = train_aware(int8, network(), sines(64), AwareConfig(n_steps=20, batch_size=16))
    assert tensorrt_problems(learned) == []
    module = FakeQuantizedGraph(learned)
    windows = sines(64, seed=1)
    with torch.no_grad():
        values = module.run_all(torch.from_numpy(windows))
    shipped = module.to_onnx()
    for tensor in learned.graph.initializer:  # reading and writing changes nothing
        again = next(t for t in shipped.graph.initializer if t.name == tensor.name)
        np.testing.assert_allclose(
            numpy_helper.to_array(again), numpy_helper.to_array(tensor), rtol=1e-6
        )
    constants = {t.name: numpy_helper.to_array(t) for t in shipped.graph.initializer}
    pairs = {
        n.output[0]: constants[n.input[1]].item()
        for n in shipped.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] not in constants
    }
    assert len(pairs) == 5
    shipped.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in pairs
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        shipped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for name, scale in pairs.items():
        (found,) = session.run([name], {"window": windows})
        steps = np.abs(found - values[name].numpy()) / scale
        assert steps.max() < 1.01, name
        assert (steps > 0.5).mean() < 1e-3, name
    fused = runtime_of_graph(module.to_onnx().SerializeToString()).infer(windows)
    np.testing.assert_allclose(fused, values["probability"].numpy(), atol=0.02)


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


@pytest.mark.parametrize(("scaled_by", "method"), [(1.0, STATIC), (100.0, AWARE)])
def test_training_begins_where_rounding_loses_too_much(scaled_by: float, method: str) -> None:
    model = network(scaled_by)
    draft = table_of(sines(2000), np.zeros(2000, np.intp))
    # Truth is what the network says in FP32, so that only INT8 can lose: of each window the
    # class whose score stands out most from that class's own.
    windows = draft.normalised(np.arange(len(draft)))
    scores = np.log(runtime_of_graph(model.SerializeToString()).infer(windows))
    truth = ((scores - scores.mean(axis=0)) / scores.std(axis=0)).argmax(axis=1)
    table = table_of(sines(2000), truth)
    specificities = {
        name: 0.8 for i, name in enumerate(RHYTHM_CLASSES) if (truth == i).sum() >= 200
    }
    assert len(specificities) >= 3
    found = quantize_within_gate(
        model,
        table,
        np.arange(2000),
        CONFIG,
        specificities,
        seed=0,
        max_loss_points=3.0,
        aware=AwareConfig(n_steps=400, batch_size=32, learning_rate=5e-3, scale_learning_rate=5e-2),
    )
    report = found.to_report()
    lost = {name: max(points.values()) for name, points in report["se_loss_points"].items()}
    assert report["method"] == found.method == method
    assert tensorrt_problems(loaded(found.int8)) == []
    props = {p.key: p.value for p in loaded(found.int8).metadata_props}
    assert props[METHOD] == method
    assert len(props[FP32_DIGEST]) == 64
    if method == STATIC:
        assert lost == {STATIC: lost[STATIC]}
        assert lost[STATIC] <= 3.0
    else:
        assert lost[STATIC] > 10  # rounding alone cannot serve both magnitudes
        assert lost[AWARE] < lost[STATIC] / 2
