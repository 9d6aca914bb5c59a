"""Protocol ``quantization``: does the INT8 graph decide as the network it came from?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.judgement import Judgement
from models.evaluation.operating_points import negatives, point_at_specificity, positives
from models.evaluation.report import ProtocolReport
from wardstream.contracts.model_manifest import RHYTHM_CLASSES


@dataclass(frozen=True, slots=True)
class SensitivityLoss:
    """What one class loses.

    Attributes
    ----------
    points : float
        Percentage points of sensitivity; below 0 it is gained.
    standard_error : float
        Of `points`, from the windows on which the two decide differently (McNemar): with few
        windows of a class, one that lies at the point is half a percentage point.
    """

    points: float
    standard_error: float

    def exceeds(self, allowed_points: float) -> bool:
        """Whether more is lost than allowed, and more than chance explains (one-sided 95 %)."""
        return self.points > allowed_points and self.points > 1.645 * self.standard_error


def sensitivity_losses(
    int8: Judgement, fp32: NDArray[np.float32], specificities: Mapping[str, float]
) -> dict[str, SensitivityLoss]:
    """What INT8 loses of every class at a fixed specificity.

    Both models get the point that gives them that specificity on these very windows. Classes
    that have no positive or no negative window are left out.
    """
    losses: dict[str, SensitivityLoss] = {}
    for name, specificity in specificities.items():
        index = RHYTHM_CLASSES.index(name)
        yes, no = positives(int8, name), negatives(int8, name)
        if not yes.any() or not no.any():
            continue
        before, after = (
            scores[yes, index] >= point_at_specificity(scores[no, index], specificity)
            for scores in (fp32, int8.probability)
        )
        n_lost, n_gained = int((before & ~after).sum()), int((after & ~before).sum())
        losses[name] = SensitivityLoss(
            points=100 * (n_lost - n_gained) / len(before),
            standard_error=100 * float(np.sqrt(n_lost + n_gained)) / len(before),
        )
    return losses


def specificities_at(
    judgement: Judgement,
    scores: NDArray[np.float32],
    points: Mapping[str, NDArray[np.float64]],
) -> dict[str, float]:
    """Specificity of each class that `scores`, (n_windows, n_classes), have at `points`."""
    found: dict[str, float] = {}
    for name, limits in points.items():
        no = negatives(judgement, name)
        if no.any():
            below = scores[no, RHYTHM_CLASSES.index(name)] < limits[no]
            found[name] = float(below.mean())
    return found


def evaluate_agreement(
    int8: Judgement,
    fp32: NDArray[np.float32],
    points: Mapping[str, NDArray[np.float64]],
    specificities: Mapping[str, float],
    model: str,
    *,
    choices: Sequence[Mapping[str, object]] = (),
    shockable_points: NDArray[np.float64] | None = None,
) -> ProtocolReport:
    """Agreement of decisions per class, and the sensitivity lost at a fixed specificity.

    Parameters
    ----------
    int8 : Judgement
        Answers of the quantized graphs on held-out patients.
    fp32 : ndarray of float32, shape (n_windows, n_classes)
        Answers of the networks they came from, on the same windows.
    points : mapping of class to ndarray, shape (n_windows,)
        Operating points in force.
    specificities : mapping of class to float
        Specificity at which sensitivities are compared.
    model : str
        Name for the report.
    choices : sequence of mapping
        How each graph was quantized and what the ways lost, see `models.quantization.choice`.
    shockable_points : ndarray, shape (n_windows,), or None
        Point of the sum of vf and vt, where the bed decides by it.
    """
    report = ProtocolReport(
        protocol="quantization",
        model=model,
        cross_validated=int8.is_cross_validated,
        n_records=len(int8.table.records),
        folds=int8.fold_lists,
    )
    agreements: dict[str, float] = {}
    for name, limits in points.items():
        index = RHYTHM_CLASSES.index(name)
        same = (int8.probability[:, index] >= limits) == (fp32[:, index] >= limits)
        agreements[name] = float(same.mean())
    if shockable_points is not None:
        columns = [RHYTHM_CLASSES.index(name) for name in ("vf", "vt")]
        before, after = (
            scores[:, columns].sum(axis=1) >= shockable_points
            for scores in (fp32, int8.probability)
        )
        agreements["shockable"] = float((before == after).mean())
    losses = sensitivity_losses(int8, fp32, specificities)
    for name in agreements:
        report.metrics[f"{name}.agreement"] = round(agreements[name], 5)
        if name in losses:
            report.metrics[f"{name}.se_loss_points"] = round(losses[name].points, 4)
    report.metrics["decision_agreement"] = round(min(agreements.values(), default=1.0), 5)
    worst = max((loss.points for loss in losses.values()), default=0.0)
    report.metrics["max_se_loss_points"] = round(worst, 4)
    for name, loss in losses.items():
        margin = 1.645 * loss.standard_error
        report.confidence[f"{name}.se_loss_points"] = [
            round(loss.points - margin, 4),
            round(loss.points + margin, 4),
        ]
    report.metrics["argmax_agreement"] = round(
        float((int8.probability.argmax(axis=1) == fp32.argmax(axis=1)).mean()), 5
    )
    report.metrics["mean_abs_difference"] = round(float(np.abs(int8.probability - fp32).mean()), 6)
    if choices:
        report.support["choices"] = [dict(choice) for choice in choices]
    return report
