"""Whether TensorRT's ONNX parser and builder take a graph: what can be said without TensorRT.

The rules are those of TensorRT 10's explicit quantization: every ``DequantizeLinear`` reads INT8,
scales are constants above 0, zero points are 0, weights are quantized per output channel or as a
whole and activations as a whole, only the batch may be dynamic, and every operator has an importer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

OPSETS: Final = range(13, 22)
"""Per-channel Q/DQ came with opset 13; TensorRT 10 reads up to 21 (Q/DQ of 8 bits)."""

OPERATORS: Final = frozenset(
    (
        "Abs",
        "Add",
        "And",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "DequantizeLinear",
        "Div",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Gather",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "Log",
        "LpNormalization",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "QuantizeLinear",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    )
)
"""Operators of rhythm graphs that TensorRT 10 imports."""


def tensorrt_problems(model: onnx.ModelProto) -> list[str]:
    """Everything TensorRT would refuse `model` for; empty if nothing is known against it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        *_opset_problems(model),
        *_shape_problems(model),
        *[
            f"{node.name or node.op_type}: TensorRT imports no {node.op_type}"
            for node in model.graph.node
            if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx")
        ],
        *[
            problem
            for node in model.graph.node
            if node.op_type in ("QuantizeLinear", "DequantizeLinear")
            for problem in _quantization_problems(node, constants)
        ],
        *_pairing_problems(model, constants),
    ]


def _opset_problems(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            yield f"opset {opset.version}, expected {OPSETS.start} to {OPSETS.stop - 1}"


def _shape_problems(model: onnx.ModelProto) -> Iterator[str]:
    # Only inputs: what is dynamic in an output follows from them.
    for tensor in model.graph.input:
        batch, *others = tensor.type.tensor_type.shape.dim
        if batch.HasField("dim_value"):
            yield f"input {tensor.name} takes batches of {batch.dim_value} only"
        for axis, dimension in enumerate(others, 1):
            if not dimension.HasField("dim_value"):
                yield f"input {tensor.name} is dynamic along axis {axis}"
        if tensor.type.tensor_type.elem_type != TensorProto.FLOAT:
            yield f"input {tensor.name} is not float32"


def _quantization_problems(
    node: onnx.NodeProto, constants: Mapping[str, TensorProto]
) -> Iterator[str]:
    name = node.name or node.output[0]
    scale = constants.get(node.input[1])
    if scale is None:
        yield f"{name}: the scale is no constant"
    elif not (numpy_helper.to_array(scale) > 0).all():
        yield f"{name}: a scale is not above 0"
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None:
        yield f"{name}: without a zero point the type is UINT8, expected INT8"
    elif zero.data_type != TensorProto.INT8:
        kind = TensorProto.DataType.Name(zero.data_type)
        yield f"{name}: quantized as {kind}, expected INT8"
    elif numpy_helper.to_array(zero).any():
        yield f"{name}: the zero point is not 0"
    values = constants.get(node.input[0])
    per_channel = scale is not None and int(np.prod(scale.dims)) > 1
    if per_channel and values is None:
        yield f"{name}: an activation is quantized per channel"
    if values is not None and node.op_type == "DequantizeLinear":
        weights = numpy_helper.to_array(values)
        if weights.dtype == np.int8 and weights.size and weights.min() < -127:
            yield f"{name}: a weight is -128, so the range is not symmetric"


def _pairing_problems(
    model: onnx.ModelProto, constants: Mapping[str, TensorProto]
) -> Iterator[str]:
    # A Q whose INT8 values reach anything but a DQ is QOperator form, which has no importer.
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        for name in node.input:
            maker = made_by.get(name)
            if maker is None or maker.op_type != "QuantizeLinear":
                continue
            if node.op_type != "DequantizeLinear":
                yield f"{node.name or node.op_type}: reads quantized values without dequantizing"
            elif list(node.input[1:]) != list(maker.input[1:]) and not _same(
                node.input[1:], maker.input[1:], constants
            ):
                yield f"{node.name or node.output[0]}: not the scale it was quantized with"


def _same(
    names: Sequence[str], others: Sequence[str], constants: Mapping[str, TensorProto]
) -> bool:
    return len(names) == len(others) and all(
        first in constants
        and second in constants
        and np.array_equal(
            numpy_helper.to_array(constants[first]), numpy_helper.to_array(constants[second])
        )
        for first, second in zip(names, others, strict=True)
    )
