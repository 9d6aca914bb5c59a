"""A Q/DQ graph as a torch module: the same roundings, with gradients that pass through them.

The module is read from the very graph that ships, not built beside it: every ``QuantizeLinear`` →
``DequantizeLinear`` pair rounds with that pair's scale, every quantized weight with the scale of
its ``DequantizeLinear``, and `to_onnx` writes the learned values back into the same graph.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from models.quantization.torch_operators import OPERATORS
from wardstream.contracts.errors import OutOfRangeError

LOWEST, HIGHEST = -128, 127
LARGEST_WEIGHT: Final = 127
"""Weights keep away from -128: their range is symmetric."""

_SMALLEST_SCALE: Final = 1e-8
_LEARNED_BY: Final = ("Conv", "Gemm", "MatMul")


def rounded(values: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    """`values` as they come back from INT8 with `scale`.

    Notes
    -----
    Straight-through: the gradient of rounding is 1 within the range and 0 outside. That of the
    scale follows from it: the rounding error within, the end of the range outside (Esser et al.,
    Learned step size quantization, ICLR 2020).
    """
    steps = torch.clamp(values / scale, lowest, highest)
    return (steps + (torch.round(steps) - steps).detach()) * scale


class FakeQuantizedGraph(nn.Module):
    """A Q/DQ graph that can learn.

    Parameters
    ----------
    quantized : onnx.ModelProto
        As `static_int8.quantize` makes it.
    original : onnx.ModelProto or None
        The FP32 graph it came from, whose weights are where learning begins; without it they are
        the quantized ones.

    Raises
    ------
    OutOfRangeError
        The graph has an operator that `torch_operators` does not know.
    """

    def __init__(self, quantized: onnx.ModelProto, original: onnx.ModelProto | None = None) -> None:
        super().__init__()
        self._model = quantized
        constants = _arrays(quantized)
        started = _arrays(original) if original is not None else {}
        self._quantized_weight: dict[str, str] = {}  # output of the DQ: the INT8 constant
        self._weights = nn.ParameterDict()
        self._log_scales = nn.ParameterDict()
        self._constants: dict[str, Tensor] = {}
        for node in quantized.graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in constants:
                name = node.input[0]
                scale = _column(constants[node.input[1]], constants[name], _axis(node))
                start = started.get(name.removesuffix("_quantized"))
                if start is None:
                    start = constants[name].astype(np.float32) * scale
                self._quantized_weight[node.output[0]] = name
                self._weights[_key(name)] = nn.Parameter(torch.tensor(start))
            elif node.op_type == "QuantizeLinear":
                scale_of = torch.tensor(np.log(constants[node.input[1]]), dtype=torch.float32)
                self._log_scales[_key(node.input[1])] = nn.Parameter(scale_of)
            elif node.op_type not in OPERATORS and node.op_type not in (
                "DequantizeLinear",
                "Constant",
            ):
                raise OutOfRangeError(
                    f"{node.op_type} cannot be learned through: add it to torch_operators"
                )
        learned = {
            name
            for node in quantized.graph.node
            if node.op_type in _LEARNED_BY
            for name in node.input[1:]
        }
        for name, value in constants.items():
            if name in learned and value.dtype == np.float32:
                self._weights[_key(name)] = nn.Parameter(torch.tensor(value))
            elif not any(
                name == quantized_name for quantized_name in self._quantized_weight.values()
            ):
                self._constants[name] = torch.tensor(value)

    def forward(self, windows: Tensor) -> dict[str, Tensor]:
        """Every output of the graph by name, of windows (n, channels, samples)."""
        values = self.run_all(windows)
        return {output.name: values[output.name] for output in self._model.graph.output}

    def run_all(self, windows: Tensor) -> dict[str, Tensor]:
        """Every tensor of the graph by name; quantized ones as the numbers they stand for."""
        values: dict[str, Tensor] = dict(self._constants)
        values |= {
            name: self._weights[_key(name)]
            for name in _arrays(self._model)
            if _key(name) in self._weights
        }
        values[self._model.graph.input[0].name] = windows
        for node in self._model.graph.node:
            values[node.output[0]] = self._compute(node, values)
        return values

    def scales(self) -> Iterator[nn.Parameter]:
        """Logarithms of the activation scales."""
        yield from self._log_scales.values()

    def weights(self) -> Iterator[nn.Parameter]:
        """Weights and biases."""
        yield from self._weights.values()

    def to_onnx(self) -> onnx.ModelProto:
        """The graph with what was learned, quantized exactly as it was rounded here."""
        learned = onnx.ModelProto()
        learned.CopyFrom(self._model)
        fresh: dict[str, NDArray[Any]] = {}
        with torch.no_grad():
            for node in learned.graph.node:
                if node.output[0] in self._quantized_weight:
                    name = node.input[0]
                    weight = self._weights[_key(name)]
                    scale = _weight_scale(weight, _axis(node), per_channel=self._per_channel(node))
                    steps = torch.round(weight / scale).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
                    fresh[name] = steps.numpy().astype(np.int8)
                    fresh[node.input[1]] = scale.reshape(
                        self._constants[node.input[1]].shape
                    ).numpy()
                elif node.op_type == "QuantizeLinear":
                    fresh[node.input[1]] = self._scale(node.input[1]).numpy()
            for name, weight in self._weights.items():
                if name not in {_key(known) for known in fresh}:
                    fresh[name] = weight.numpy()
        for tensor in learned.graph.initializer:
            value = fresh.get(tensor.name, fresh.get(_key(tensor.name)))
            if value is not None:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
        onnx.checker.check_model(learned, full_check=True)
        return learned

    def _compute(self, node: onnx.NodeProto, values: Mapping[str, Tensor]) -> Tensor:
        if node.op_type == "QuantizeLinear":
            scale = self._scale(node.input[1])
            return rounded(values[node.input[0]], scale, LOWEST, HIGHEST)
        if node.op_type == "DequantizeLinear":
            if node.output[0] not in self._quantized_weight:
                return values[node.input[0]]  # the pair has rounded already
            weight = self._weights[_key(node.input[0])]
            scale = _weight_scale(weight, _axis(node), per_channel=self._per_channel(node))
            return rounded(weight, scale, -LARGEST_WEIGHT, LARGEST_WEIGHT)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            return torch.tensor(numpy_helper.to_array(attributes["value"]))
        inputs = [values[name] if name else None for name in node.input]
        return OPERATORS[node.op_type](inputs, attributes)

    def _scale(self, name: str) -> Tensor:
        return torch.exp(self._log_scales[_key(name)]).clamp_min(_SMALLEST_SCALE)

    def _per_channel(self, node: onnx.NodeProto) -> bool:
        return self._constants[node.input[1]].numel() > 1


def _weight_scale(weight: Tensor, axis: int, *, per_channel: bool) -> Tensor:
    # Follows the weights as they are learned, and is no way for the gradient.
    magnitude = weight.detach().abs()
    if not per_channel:
        return (magnitude.max() / LARGEST_WEIGHT).clamp_min(_SMALLEST_SCALE)
    others = [i for i in range(weight.ndim) if i != axis]
    return (magnitude.amax(others, keepdim=True) / LARGEST_WEIGHT).clamp_min(_SMALLEST_SCALE)


def _arrays(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    # A copy: what onnx hands out may not be written to.
    return {t.name: np.array(numpy_helper.to_array(t)) for t in model.graph.initializer}


def _axis(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 1)


def _column(scale: NDArray[Any], like: NDArray[Any], axis: int) -> NDArray[Any]:
    if scale.size == 1:
        return scale.reshape(())
    return scale.reshape([-1 if i == axis else 1 for i in range(like.ndim)])


def _key(name: str) -> str:
    # A ParameterDict takes no dots in names.
    return name.replace(".", "_")
