"""INT8: what TensorRT takes, and training through the very graph that ships."""

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import onnx
import onnxruntime
import pytest
from fakes.small_network import judged_by, network, sines
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.evaluation.originals import FP32_DIGEST, METHOD  # noqa: E402
from models.quantization.accepted_by_tensorrt import tensorrt_problems  # noqa: E402
from models.quantization.aware_training import AwareConfig, train_aware  # noqa: E402
from models.quantization.choice import (  # noqa: E402
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


def test_rounding_alone_is_taken_where_it_loses_little() -> None:
    model = network()
    table = judged_by(model, 1000)
    specificities = {
        name: 0.8
        for i, name in enumerate(RHYTHM_CLASSES)
        if (table.certain_class == i).sum() >= 100
    }
    assert len(specificities) >= 3
    found = quantize_within_gate(
        model, table, np.arange(1000), CONFIG, specificities, seed=0, max_loss_points=5.0
    )
    lost = found.to_report()["se_loss_points"]
    assert found.method == STATIC
    assert list(lost) == [STATIC]  # training was not tried
    assert max(lost[STATIC].values()) <= 5.0
    assert tensorrt_problems(loaded(found.int8)) == []
    props = {p.key: p.value for p in loaded(found.int8).metadata_props}
    assert props[METHOD] == STATIC
    assert props[FP32_DIGEST] == sha256(found.fp32).hexdigest()
