"""The trained network as an FP32 ONNX graph: batch norm folded, probabilities inside."""

from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.training.network import RhythmNetwork
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.kernels.windows import WINDOW_SAMPLES

INPUT_NAME: Final = "window"
OUTPUT_NAME: Final = "probability"

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


def to_onnx(network: RhythmNetwork) -> onnx.ModelProto:
    """`network` as a checked FP32 graph ``window (n, 1, 1000) → probability (n, 7)``.

    Built node by node: six operators, no exporter whose choices change with its version.
    """
    network = network.cpu().eval()
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[np.float32]) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    current = INPUT_NAME
    for i, layer in enumerate(folded_layers(network)):
        inputs = [current, constant(f"w{i}", layer.weight), constant(f"b{i}", layer.bias)]
        pads = [layer.padding, layer.padding]
        nodes.append(
            helper.make_node(
                "Conv", inputs, [f"conv{i}"], f"conv{i}", strides=[layer.stride], pads=pads
            )
        )
        nodes.append(helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"], f"relu{i}"))
        current = f"relu{i}"
    head_weight = network.head.weight.detach().numpy().astype(np.float32)
    head_bias = network.head.bias.detach().numpy().astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [current], ["mean"], "mean"),
        helper.make_node("GlobalMaxPool", [current], ["maximum"], "maximum"),
        helper.make_node("Concat", ["mean", "maximum"], ["pooled"], "pooled", axis=1),
        helper.make_node("Flatten", ["pooled"], ["embedding"], "embedding", axis=1),
        helper.make_node(
            "Gemm",
            ["embedding", constant("head_w", head_weight), constant("head_b", head_bias)],
            ["logits"],
            "head",
            transB=1,
        ),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME], "softmax", axis=1),
    ]
    window = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["n", 1, WINDOW_SAMPLES])
    probability = helper.make_tensor_value_info(
        OUTPUT_NAME, TensorProto.FLOAT, ["n", len(RHYTHM_CLASSES)]
    )
    graph = helper.make_graph(nodes, "rhythm", [window], [probability], weights)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wardstream",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
