"""ONNX operators in torch, one function each: as many as a rhythm graph may use.

A function takes the operator's inputs (None where an optional one is left out) and its
attributes, and computes what the ONNX specification says, differentiably.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

Attributes = Mapping[str, Any]
Operator = Callable[[list[Tensor | None], Attributes], Tensor]

_TORCH_TYPE: Final = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
}
"""By the numbers of ``onnx.TensorProto``."""


def _given(inputs: list[Tensor | None]) -> list[Tensor]:
    return [value for value in inputs if value is not None]


def _elementwise(function: Callable[..., Tensor]) -> Operator:
    def run(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
        return function(*_given(inputs))

    return run


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def run(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
        first, *others = _given(inputs)
        for other in others:
            first = function(first, other)
        return first

    return run


def _axes(inputs: list[Tensor | None], attributes: Attributes) -> list[int] | None:
    # An attribute until opset 13 or 18, an input since.
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(axis) for axis in inputs[1].tolist()]
    found = attributes.get("axes")
    return None if found is None else list(found)


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def run(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
        values = _given(inputs)[0]
        axes = _axes(inputs, attributes) or list(range(values.ndim))
        return function(values, axes, bool(attributes.get("keepdims", 1)))

    return run


def _conv(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values, weight = _given(inputs)[:2]
    bias = inputs[2] if len(inputs) > 2 else None
    n_axes = weight.ndim - 2
    pads = attributes.get("pads", [0] * 2 * n_axes)
    begin, end = pads[:n_axes], pads[n_axes:]
    # torch pads last axis first.
    both = [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]
    convolve = functional.conv1d if n_axes == 1 else functional.conv2d
    return convolve(
        functional.pad(values, both),
        weight,
        bias,
        stride=tuple(attributes.get("strides", [1] * n_axes)),
        dilation=tuple(attributes.get("dilations", [1] * n_axes)),
        groups=attributes.get("group", 1),
    )


def _gemm(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    left, right, *bias = _given(inputs)
    left = left.T if attributes.get("transA") else left
    right = right.T if attributes.get("transB") else right
    answer = attributes.get("alpha", 1.0) * (left @ right)
    return answer + attributes.get("beta", 1.0) * bias[0] if bias else answer


def _reshape(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values, shape = _given(inputs)
    keep = not attributes.get("allowzero")
    return values.reshape(
        [
            values.shape[i] if size == 0 and keep else int(size)
            for i, size in enumerate(shape.tolist())
        ]
    )


def _unsqueeze(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values = _given(inputs)[0]
    axes = _axes(inputs, attributes) or []
    n_axes = values.ndim + len(axes)
    for axis in sorted(axis % n_axes for axis in axes):
        values = values.unsqueeze(axis)
    return values


def _squeeze(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values = _given(inputs)[0]
    axes = _axes(inputs, attributes)
    return values.squeeze() if axes is None else values.squeeze(tuple(axes))


def _slice(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values, *limits = _given(inputs)
    starts, ends, *rest = [[int(value) for value in limit.tolist()] for limit in limits]
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    index = [slice(None)] * values.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return values[tuple(index)]


def _gather(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values, index = _given(inputs)
    axis = attributes.get("axis", 0) % values.ndim
    picked = values.index_select(axis, index.reshape(-1))
    return picked.reshape([*values.shape[:axis], *index.shape, *values.shape[axis + 1 :]])


def _clip(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    low = inputs[1] if len(inputs) > 1 else attributes.get("min")
    high = inputs[2] if len(inputs) > 2 else attributes.get("max")
    return torch.clamp(_given(inputs)[0], low, high)


def _cast(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    return _given(inputs)[0].to(_TORCH_TYPE[attributes["to"]])


def _shape(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    shape = list(_given(inputs)[0].shape)
    return torch.tensor(shape[attributes.get("start", 0) : attributes.get("end")])


def _flatten(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values, axis = _given(inputs)[0], attributes.get("axis", 1)
    return values.reshape(int(torch.tensor(values.shape[:axis]).prod()), -1)


def _normalise(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    return functional.normalize(
        _given(inputs)[0], p=attributes.get("p", 2), dim=attributes.get("axis", -1)
    )


def _global_mean(values: Tensor) -> Tensor:
    return values.mean(tuple(range(2, values.ndim)), keepdim=True)


def _global_max(values: Tensor) -> Tensor:
    return values.amax(tuple(range(2, values.ndim)), keepdim=True)


def _expand(inputs: list[Tensor | None], attributes: Attributes) -> Tensor:
    values, shape = _given(inputs)
    return values.expand(torch.broadcast_shapes(values.shape, [int(s) for s in shape.tolist()]))


OPERATORS: Final[Mapping[str, Operator]] = {
    "Abs": _elementwise(torch.abs),
    "Add": _elementwise(torch.add),
    "And": _elementwise(torch.logical_and),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(_given(inputs), dim=attributes["axis"]),
    "Conv": _conv,
    "Div": _elementwise(torch.div),
    "Equal": _elementwise(torch.eq),
    "Exp": _elementwise(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _elementwise(_global_mean),
    "GlobalMaxPool": _elementwise(_global_max),
    "Greater": _elementwise(torch.gt),
    "GreaterOrEqual": _elementwise(torch.ge),
    "Identity": _elementwise(torch.clone),
    "IsNaN": _elementwise(torch.isnan),
    "Less": _elementwise(torch.lt),
    "LessOrEqual": _elementwise(torch.le),
    "Log": _elementwise(torch.log),
    "LpNormalization": _normalise,
    "MatMul": _elementwise(torch.matmul),
    "Max": _folded(torch.maximum),
    "Min": _folded(torch.minimum),
    "Mul": _elementwise(torch.mul),
    "Neg": _elementwise(torch.neg),
    "Not": _elementwise(torch.logical_not),
    "Or": _elementwise(torch.logical_or),
    "Pow": _elementwise(torch.pow),
    "Reciprocal": _elementwise(torch.reciprocal),
    "ReduceL2": _reduction(lambda x, axes, keep: (x * x).sum(axes, keepdim=keep).sqrt()),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": _elementwise(torch.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _elementwise(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(
        _given(inputs)[0], dim=attributes.get("axis", -1)
    ),
    "Sqrt": _elementwise(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(torch.sub),
    "Tanh": _elementwise(torch.tanh),
    "Transpose": lambda inputs, attributes: _given(inputs)[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise(torch.where),
}
"""By ONNX operator name; axes of the specification's opset 17 and of 18."""
