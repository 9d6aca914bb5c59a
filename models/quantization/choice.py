"""Post-training INT8 where it is good enough, quantization-aware training where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from models.datasets.windows import WindowTable
from models.evaluation.agreement import SensitivityLoss, sensitivity_losses
from models.evaluation.judgement import Judgement, infer_in_batches
from models.evaluation.originals import FP32_DIGEST, METHOD
from models.quantization.accepted_by_tensorrt import tensorrt_problems
from models.quantization.static_int8 import calibration_indices, quantize
from models.registry.bundle import n_channels_of, runtime_of_graph
from models.training.config import QuantizationConfig
from wardstream.contracts.errors import OutOfRangeError

if TYPE_CHECKING:
    from models.quantization.aware_training import AwareConfig

MAX_LOSS_POINTS: Final = 0.5
"""Points of sensitivity at a fixed specificity that no class may lose beyond chance."""

N_CHECKED: Final = 12_000
N_LEARNED: Final = 6_000

STATIC, AWARE = "static", "aware"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedGraph:
    """An INT8 graph and where it came from.

    Attributes
    ----------
    int8, fp32 : bytes
        ONNX files. The first names the digest of the second in its metadata.
    method : str
        ``static`` or ``aware``.
    max_loss_points : float
        The gate.
    losses : mapping of method to mapping of class to SensitivityLoss
        What is lost at a fixed specificity by every method that was tried, on
        windows that the network may learn from: no held-out patient has a say in the choice.
    """

    int8: bytes
    fp32: bytes
    method: str
    max_loss_points: float
    losses: Mapping[str, Mapping[str, SensitivityLoss]]

    def to_report(self) -> dict[str, Any]:
        """The choice and the figures it rests on."""
        return {
            "method": self.method,
            "max_loss_points_allowed": self.max_loss_points,
            "se_loss_points": {
                method: {name: round(loss.points, 4) for name, loss in losses.items()}
                for method, losses in self.losses.items()
            },
            "standard_errors": {
                method: {name: round(loss.standard_error, 4) for name, loss in losses.items()}
                for method, losses in self.losses.items()
            },
        }


def quantize_within_gate(
    original: onnx.ModelProto,
    table: WindowTable,
    candidates: NDArray[np.intp],
    config: QuantizationConfig,
    specificities: Mapping[str, float],
    seed: int,
    *,
    max_loss_points: float = MAX_LOSS_POINTS,
    aware: AwareConfig | None = None,
) -> QuantizedGraph:
    """`original` in INT8, by training only where rounding alone loses too much.

    Parameters
    ----------
    original : onnx.ModelProto
        FP32 graph.
    table : WindowTable
        Windows; `candidates` are those of patients the network may learn from.
    candidates : ndarray of intp
        Indices into `table`.
    config : QuantizationConfig
        Which of them ranges are read from.
    specificities : mapping of class to float
        Where sensitivities are compared.
    seed : int
        Of every draw.
    max_loss_points : float
        Points of sensitivity that no class may lose without training.
    aware : AwareConfig or None
        How that training goes; its defaults where None.

    Raises
    ------
    OutOfRangeError
        The quantized graph is not one TensorRT would take; every reason is named.
    """
    n_leads = n_channels_of(original.SerializeToString())
    chosen = calibration_indices(table, candidates, config, seed)
    calibration = table.normalised(chosen, n_leads)
    generator = np.random.default_rng(seed)
    drawn = generator.choice(candidates, min(N_CHECKED, len(candidates)), replace=False)
    members = table.companions[drawn]
    checked = np.unique(members[members >= 0])  # the other leads of a window come with it
    subset = replace(table, rows=table.rows[checked], filtered_mv=table.filtered_mv[checked])
    fp32 = original.SerializeToString()
    wanted = _answers(fp32, subset)

    def losses_of(graph: bytes) -> dict[str, SensitivityLoss]:
        judgement = Judgement(
            table=subset,
            probability=_answers(graph, subset),
            fold=np.full(len(subset), -1),
            fold_lists=[],
        )
        return sensitivity_losses(judgement, wanted, specificities)

    int8 = quantize(original, calibration)
    losses = {STATIC: losses_of(int8)}
    method = STATIC
    if any(loss.exceeds(max_loss_points) for loss in losses[STATIC].values()):
        # torch is imported only where it is needed.
        from models.quantization.aware_training import train_aware

        drawn = generator.choice(candidates, min(N_LEARNED, len(candidates)), replace=False)
        learned = train_aware(
            onnx.load_model_from_string(int8),
            original,
            table.normalised(np.sort(drawn), n_leads),
            aware,
        ).SerializeToString()
        losses[AWARE] = losses_of(learned)
        if _worst(losses[AWARE]) < _worst(losses[STATIC]):
            int8, method = learned, AWARE
    return QuantizedGraph(
        int8=_named(int8, fp32, method),
        fp32=fp32,
        method=method,
        max_loss_points=max_loss_points,
        losses=losses,
    )


def _worst(losses: Mapping[str, SensitivityLoss]) -> float:
    return max(loss.points for loss in losses.values())


def _named(int8: bytes, fp32: bytes, method: str) -> bytes:
    # In the metadata of the graph that is signed, so that nobody can pass off another origin.
    model = onnx.load_model_from_string(int8)
    problems = tensorrt_problems(model)
    if problems:
        raise OutOfRangeError(f"TensorRT would refuse the graph: {'; '.join(problems)}")
    onnx.helper.set_model_props(model, {FP32_DIGEST: sha256(fp32).hexdigest(), METHOD: method})
    return model.SerializeToString()


def _answers(graph: bytes, table: WindowTable) -> NDArray[np.float32]:
    return infer_in_batches(runtime_of_graph(graph), table, np.arange(len(table)))
