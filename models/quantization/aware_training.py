"""Quantization-aware training: the Q/DQ graph learns to answer as the FP32 graph it came from.

The teacher is the FP32 graph itself, so nothing is needed but windows: no labels, and nothing
known of the network. Weights, biases and the scales of activations learn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.quantization.fake_quantization import FakeQuantizedGraph

StepReport = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, mean loss of late)."""

_TINY: Final = 1e-6
_REPORT_EVERY: Final = 50


class AwareConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how fast a quantized graph learns.

    Attributes
    ----------
    n_steps, batch_size : int
        Batches, and windows in one.
    learning_rate, scale_learning_rate : float
        Peaks, of weights and of the logarithms of activation scales; both end at 0.
    seed : int
        Decides the order of windows.
    """

    n_steps: int = 300
    batch_size: int = 64
    learning_rate: float = 1e-3
    scale_learning_rate: float = 1e-2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Output:
    name: str
    made_by: str


def train_aware(
    quantized: onnx.ModelProto,
    original: onnx.ModelProto,
    windows: NDArray[np.float32],
    config: AwareConfig | None = None,
    report: StepReport | None = None,
) -> onnx.ModelProto:
    """`quantized` after learning to answer `windows` as `original` does.

    Parameters
    ----------
    quantized, original : onnx.ModelProto
        Q/DQ graph of `static_int8.quantize`, and the FP32 graph it was made from.
    windows : ndarray of float32, shape (n, channels, samples)
        Of patients that may be learned from.
    config : AwareConfig or None
        Its defaults where None.
    report : callable or None
        Told now and then.

    Raises
    ------
    OutOfRangeError
        The graph has an operator that cannot be learned through.
    """
    chosen = config or AwareConfig()
    torch.manual_seed(chosen.seed)
    student, teacher = (FakeQuantizedGraph(quantized, original), FakeQuantizedGraph(original))
    makers = {name: node.op_type for node in original.graph.node for name in node.output}
    outputs = [_Output(o.name, makers[o.name]) for o in original.graph.output]
    optimiser = torch.optim.Adam(
        [
            {"params": list(student.weights()), "lr": chosen.learning_rate},
            {"params": list(student.scales()), "lr": chosen.scale_learning_rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[chosen.learning_rate, chosen.scale_learning_rate],
        total_steps=chosen.n_steps + 1,
        pct_start=0.1,
    )
    generator = np.random.default_rng(chosen.seed)
    recent: list[float] = []
    for step in range(1, chosen.n_steps + 1):
        drawn = generator.integers(len(windows), size=min(chosen.batch_size, len(windows)))
        batch = torch.from_numpy(windows[drawn])
        with torch.no_grad():
            wanted = teacher(batch)
        optimiser.zero_grad(set_to_none=True)
        answers = student(batch)
        loss = torch.stack([_distance(o, answers[o.name], wanted[o.name]) for o in outputs]).sum()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent = [*recent[-_REPORT_EVERY:], float(loss.detach())]
        if report is not None and (step % _REPORT_EVERY == 0 or step == chosen.n_steps):
            report(step, chosen.n_steps, float(np.mean(recent)))
    return student.to_onnx()


def _distance(output: _Output, answer: Tensor, wanted: Tensor) -> Tensor:
    # What an output means follows from what makes it: probabilities of classes, a probability,
    # or a number on a scale of its own.
    if output.made_by == "Softmax":
        return functional.kl_div(
            answer.clamp_min(_TINY).log(), wanted.clamp_min(_TINY).log(), log_target=True,
            reduction="batchmean",
        )  # fmt: skip
    if output.made_by == "Sigmoid":
        return functional.binary_cross_entropy(
            answer.clamp(_TINY, 1 - _TINY), wanted
        ) - functional.binary_cross_entropy(wanted.clamp(_TINY, 1 - _TINY), wanted)
    return ((answer - wanted) ** 2).mean() / wanted.var().clamp_min(_TINY)
