"""Protocol ``windows``: sensitivity and specificity of every class on 4 s windows."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import rate_by_patient
from models.evaluation.judgement import Judgement
from models.evaluation.operating_points import negatives, positives
from models.evaluation.report import ProtocolReport
from wardstream.contracts.model_manifest import RHYTHM_CLASSES


def evaluate_class_windows(
    judgement: Judgement, points: Mapping[str, NDArray[np.float64]], model: str
) -> ProtocolReport:
    """Se and Sp of each class at its operating point, one against the rest, and the AUC.

    Parameters
    ----------
    judgement : Judgement
        Answers; every labelled window counts, weak labels included.
    points : mapping of class to ndarray of float64, shape (n_windows,)
        Operating point in force for each window.
    model : str
        Name for the report.

    Notes
    -----
    Windows that may or may not be of the class are left out of both sides. vt and vf are not
    negatives of each other. A window of a false alarm is a negative of the class alarmed.
    """
    table = judgement.table
    report = ProtocolReport(
        protocol="windows",
        model=model,
        cross_validated=judgement.is_cross_validated,
        n_records=len(table.records),
        folds=judgement.fold_lists,
    )
    patients = table.patient_of
    for name, limits in points.items():
        score = judgement.probability[:, RHYTHM_CLASSES.index(name)]
        present = score >= limits
        yes, no = positives(judgement, name), negatives(judgement, name)
        report.add(f"{name}.se", rate_by_patient(present[yes], patients[yes]))
        report.add(f"{name}.sp", rate_by_patient(~present[no], patients[no]))
        if yes.any() and no.any():
            report.metrics[f"{name}.auc"] = round(auc(score[yes], score[no]), 5)
    return report


def auc(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    """Chance that a positive scores above a negative, ties counted half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    up_to = np.searchsorted(ordered, positive, side="right")
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))
