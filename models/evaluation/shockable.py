"""Protocol ``shockable``: VF, flutter and rapid VT against everything else, 4 s windows.

clinical.md section 4: windows that lie in one rhythm label; noise and the 4 s around a change
of rhythm left out; VF, VFL and VT above 150/min are shockable; slower VT is neither.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.windows import WindowTable
from models.evaluation.intervals import rate_by_patient
from models.evaluation.judgement import Judgement
from models.evaluation.operating_points import point_at_specificity
from models.evaluation.report import ProtocolReport
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.kernels.resample import TARGET_RATE_HZ

DATASETS: Final = ("vfdb", "cudb", "mitdb")
TRANSITION_S: Final = 4.0
RAPID_PER_MIN: Final = 150.0
SPECIFICITY: Final = 0.985
"""The decision's point keeps this specificity on the other folds."""

FIBRILLATION: Final = ("VF", "VFIB", "VFL")
GROUPS: Final = {
    "vf": ("VF", "VFIB"),
    "vfl": ("VFL",),
    "rapid_vt": ("VT",),
    "sinus": ("N", "SBR", "NOD"),
    "af": ("AFIB", "AFL"),
    "asystole": ("ASYS",),
    "paced": ("P", "PM"),
    "other": ("B", "BI", "T", "PREX", "SVTA", "BII", "AB", "IVR", "VER", "HGEA"),
}


def shockable_score(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Score of the decision, shape (n,): probability of vt or vf."""
    vt, vf = RHYTHM_CLASSES.index("vt"), RHYTHM_CLASSES.index("vf")
    return probability[:, vt] + probability[:, vf]


def rate_per_min(filtered_mv: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rate of the strongest repetition of each window, shape (n,); vfdb marks no beats.

    Parameters
    ----------
    filtered_mv : ndarray of float32, shape (n, n_samples)
        Filtered windows at 250 Hz; NaN counts as 0.

    Notes
    -----
    First lag between 0.15 and 1.5 s whose autocorrelation is a local maximum and at least
    0.85 of the highest there: a repetition at twice the period is never preferred.
    """
    x = np.nan_to_num(filtered_mv).astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    n = x.shape[1]
    spectrum = np.abs(np.fft.rfft(x, 2 * n, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, :n] / np.arange(n, 0, -1)
    first, last = int(0.15 * TARGET_RATE_HZ), int(1.5 * TARGET_RATE_HZ)
    middle = correlation[:, first:last]
    is_peak = (middle >= correlation[:, first - 1 : last - 1]) & (
        middle >= correlation[:, first + 1 : last + 1]
    )
    peaks = np.where(is_peak, middle, -np.inf)
    strong = peaks >= 0.85 * np.maximum(peaks.max(axis=1, keepdims=True), 1e-12)
    lag = first + np.argmax(strong, axis=1)
    return np.where(strong.any(axis=1), 60 * TARGET_RATE_HZ / lag, np.nan)


def evaluate_shockable(
    judgement: Judgement, model: str, point: float | None = None
) -> ProtocolReport:
    """Se and Sp of "shockable", overall and by rhythm.

    Parameters
    ----------
    judgement : Judgement
        Answers.
    model : str
        Name for the report.
    point : float or None
        Point of the decision. None: each fold's from the other folds, at `SPECIFICITY`.
    """
    table = judgement.table
    rhythm = table.rhythm_of
    indices, truth = _cases(table)
    score = shockable_score(judgement.probability[indices])
    points = _points(score, truth, judgement.fold[indices], point)
    decision = score >= points
    report = ProtocolReport(
        protocol="shockable",
        model=model,
        cross_validated=judgement.is_cross_validated,
        n_records=len(np.unique(table.rows["recording"][indices])),
        folds=judgement.fold_lists,
    )
    patients = table.patient_of[indices]
    report.add("se", rate_by_patient(decision[truth], patients[truth]))
    report.add("sp", rate_by_patient(~decision[~truth], patients[~truth]))
    report.metrics["point"] = round(float(np.median(points)), 5)
    for group, names in GROUPS.items():
        mask = np.isin(rhythm[indices], names)
        correct = decision[mask] == truth[mask]
        report.add(f"per_rhythm.{group}", rate_by_patient(correct, patients[mask]))
    return report


def shockable_point_without(judgement: Judgement, fold: int) -> float:
    """Point of the decision at `SPECIFICITY`, chosen on all folds but `fold`."""
    indices, truth = _cases(judgement.table)
    score = shockable_score(judgement.probability[indices])
    return point_at_specificity(score[~truth & (judgement.fold[indices] != fold)], SPECIFICITY)


def _cases(table: WindowTable) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    # Windows the protocol asks about, and whether each is shockable.
    rhythm = table.rhythm_of
    chosen = np.isin(table.dataset_of, DATASETS) & (table.rows["transition_s"] >= TRANSITION_S)
    chosen &= rhythm != "NOISE"
    indices = np.flatnonzero(chosen)
    truth = np.isin(rhythm[indices], FIBRILLATION)
    is_vt = rhythm[indices] == "VT"
    rate = np.full(len(indices), np.nan)
    rate[is_vt] = rate_per_min(table.filtered_mv[indices[is_vt]].astype(np.float32))
    kept = ~is_vt | (rate > RAPID_PER_MIN)
    return indices[kept], (truth | is_vt)[kept]


def _points(
    score: NDArray[np.float32],
    truth: NDArray[np.bool_],
    fold: NDArray[np.intp],
    point: float | None,
) -> NDArray[np.float64]:
    if point is not None:
        return np.full(len(score), point)
    points = np.full(len(score), 0.5)
    for number in np.unique(fold):
        others = ~truth & ((fold != number) | (number < 0))
        points[fold == number] = point_at_specificity(score[others], SPECIFICITY)
    return points
