"""Protocol ``quantization``: does the INT8 graph decide as the network it came from?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.evaluation.judgement import Judgement
from models.evaluation.operating_points import negatives, point_at_specificity, positives
from models.evaluation.report import ProtocolReport
from wardstream.contracts.model_manifest import RHYTHM_CLASSES


def evaluate_agreement(
    int8: Judgement,
    fp32: NDArray[np.float32],
    points: Mapping[str, NDArray[np.float64]],
    specificities: Mapping[str, float],
    model: str,
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
    """
    report = ProtocolReport(
        protocol="quantization",
        model=model,
        cross_validated=int8.is_cross_validated,
        n_records=len(int8.table.records),
        folds=int8.fold_lists,
    )
    agreements: list[float] = []
    losses: list[float] = []
    for name, limits in points.items():
        index = RHYTHM_CLASSES.index(name)
        agreement = float(
            ((int8.probability[:, index] >= limits) == (fp32[:, index] >= limits)).mean()
        )
        report.metrics[f"{name}.agreement"] = round(agreement, 5)
        agreements.append(agreement)
        yes, no = positives(int8, name), negatives(int8, name)
        if yes.any() and no.any():
            sensitivity = [
                float(
                    (
                        scores[yes, index]
                        >= point_at_specificity(scores[no, index], specificities[name])
                    ).mean()
                )
                for scores in (fp32, int8.probability)
            ]
            loss = 100 * (sensitivity[0] - sensitivity[1])
            report.metrics[f"{name}.se_loss_points"] = round(loss, 4)
            losses.append(loss)
    report.metrics["decision_agreement"] = round(min(agreements), 5)
    report.metrics["max_se_loss_points"] = round(max(losses), 4)
    report.metrics["argmax_agreement"] = round(
        float((int8.probability.argmax(axis=1) == fp32.argmax(axis=1)).mean()), 5
    )
    report.metrics["mean_abs_difference"] = round(float(np.abs(int8.probability - fp32).mean()), 6)
    return report
