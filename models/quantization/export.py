"""The trained network as an FP32 ONNX graph: batch norm folded, all three answers inside."""

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.training.network import PRESENCE_GAIN, SMALLEST, RhythmNetwork
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.inference.port import EMBEDDING, PROBABILITY, QUALITY
from wardstream.kernels.windows import WINDOW_SAMPLES

INPUT_NAME: Final = "window"
OUTPUT_NAME: Final = PROBABILITY

# Runs on every onnxruntime and TensorRT in use; nothing in the graph needs a newer one.
OPSET: Final = 17
IR_VERSION: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class FoldedLayer:
    """A convolution with its batch norm folded in: weight (n_out, n_in, kernel), bias (n_out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int
    padding: int


def folded_layers(network: RhythmNetwork) -> list[FoldedLayer]:
    """Every convolution of `network` with the batch norm behind it folded in."""
    layers: list[FoldedLayer] = []
    modules = list(network.features)
    for convolution, norm in zip(modules[0::3], modules[1::3], strict=True):
        if not isinstance(convolution, nn.Conv1d) or not isinstance(norm, nn.BatchNorm1d):
            raise TypeError("the network is not convolution, batch norm, ReLU in turn")
        variance, mean = (
            cast("torch.Tensor", norm.running_var),
            cast("torch.Tensor", norm.running_mean),
        )
        scale = norm.weight.detach() / torch.sqrt(variance + norm.eps)
        weight = convolution.weight.detach() * scale[:, None, None]
        bias = norm.bias.detach() - mean * scale
        layers.append(
            FoldedLayer(
                weight=weight.numpy().astype(np.float32),
                bias=bias.numpy().astype(np.float32),
                stride=convolution.stride[0],
                padding=int(convolution.padding[0]),
            )
        )
    return layers


class _Graph:
    # Nodes and constants as they are added, in the order of their dependence.

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def linear(self, layer: nn.Linear, source: str, output: str, name: str | None = None) -> str:
        weight = layer.weight.detach().numpy().astype(np.float32)
        bias = layer.bias.detach().numpy().astype(np.float32)
        named = [self.constant(f"{name or output}_w", weight)]
        named.append(self.constant(f"{name or output}_b", bias))
        return self.node("Gemm", [source, *named], output, transB=1)


def to_onnx(network: RhythmNetwork) -> onnx.ModelProto:
    """`network` as a checked FP32 graph with its three outputs, windows (n, n_leads, 1000).

    Built node by node: no exporter whose choices change with its version. Every lead is a row of
    the batch of the convolutions; only the batch is dynamic.
    """
    network = network.cpu().eval()
    n_leads, n_embedding = network.n_leads, network.embedding.out_features
    graph = _Graph()
    one_by_one = graph.constant("one_by_one", np.array([-1, 1, WINDOW_SAMPLES], dtype=np.int64))
    current = graph.node("Reshape", [INPUT_NAME, one_by_one], "leads")
    for i, layer in enumerate(folded_layers(network)):
        named = [graph.constant(f"w{i}", layer.weight), graph.constant(f"b{i}", layer.bias)]
        pads = [layer.padding, layer.padding]
        graph.node("Conv", [current, *named], f"conv{i}", strides=[layer.stride], pads=pads)
        current = graph.node("Relu", [f"conv{i}"], f"relu{i}")
    views = [
        graph.node("GlobalAveragePool", [current], "mean"),
        graph.node("GlobalMaxPool", [current], "maximum"),
    ]
    graph.node("Concat", views, "pooled", axis=1)
    pooled = graph.node("Flatten", ["pooled"], "views", axis=1)
    _weigh_leads(graph, network, pooled)
    graph.linear(network.embedding, "fused", "dense", "embedding")
    hidden = graph.node("Relu", ["dense"], "hidden")
    graph.linear(network.head, hidden, "logits", "head")
    graph.node("Softmax", ["logits"], OUTPUT_NAME, axis=1)
    graph.node("ReduceL2", [hidden], "length", axes=[1], keepdims=1)
    smallest = graph.constant("smallest", np.array([SMALLEST], dtype=np.float32))
    graph.node("Max", ["length", smallest], "positive_length")
    graph.node("Div", [hidden, "positive_length"], EMBEDDING)
    outputs = {OUTPUT_NAME: len(RHYTHM_CLASSES), QUALITY: n_leads, EMBEDDING: n_embedding}
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "rhythm",
            [_tensor(INPUT_NAME, n_leads, WINDOW_SAMPLES)],
            [_tensor(name, length) for name, length in outputs.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wardstream",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _weigh_leads(graph: _Graph, network: RhythmNetwork, pooled: str) -> None:
    # From views (n * n_leads, k) to their mean by quality, "fused" of shape (n, k).
    n_leads, n_views = network.n_leads, network.embedding.in_features
    gain = graph.constant("presence_gain", np.array([PRESENCE_GAIN], dtype=np.float32))
    zero = graph.constant("zero", np.array(0, dtype=np.float32))
    one = graph.constant("one", np.array(1, dtype=np.float32))
    by_lead = graph.constant("by_lead", np.array([-1, n_leads], dtype=np.int64))
    graph.node("Abs", [INPUT_NAME], "size")
    graph.node("ReduceMax", ["size"], "largest", axes=[2], keepdims=0)
    graph.node("Mul", ["largest", gain], "magnified")
    graph.node("Clip", ["magnified", zero, one], "present")
    graph.linear(network.quality, pooled, "quality_flat", "quality")
    graph.node("Reshape", ["quality_flat", by_lead], "quality_logits")
    graph.node("Sigmoid", ["quality_logits"], "quality_if_present")
    graph.node("Mul", ["quality_if_present", "present"], QUALITY)
    axis = graph.constant("axis_of_leads", np.array([1], dtype=np.int64))
    graph.node("ReduceSum", [QUALITY, axis], "quality_sum", keepdims=1)
    least = graph.constant("least", np.array([SMALLEST], dtype=np.float32))
    graph.node("Add", ["quality_sum", least], "positive_sum")
    graph.node("Div", [QUALITY, "positive_sum"], "weight")
    columns = graph.constant("columns", np.array([-1, n_leads, 1], dtype=np.int64))
    graph.node("Reshape", ["weight", columns], "weight_column")
    stacked = graph.constant("stacked", np.array([-1, n_leads, n_views], dtype=np.int64))
    graph.node("Reshape", [pooled, stacked], "views_by_lead")
    graph.node("Mul", ["views_by_lead", "weight_column"], "weighed")
    graph.node("ReduceSum", ["weighed", axis], "fused", keepdims=0)


def _tensor(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
