"""Protocol ``af``: is a half minute atrial fibrillation?

clinical.md section 4: mitdb by its rhythm marks with beats as the causal detector finds them,
and RR-only sets; windows of 30 s from second 0; patient-wise.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.recording import Recording, record_paths
from models.datasets.rr_windows import (
    WINDOW_S,
    RrWindow,
    afdb_windows,
    mitdb_windows,
    nsrdb_windows,
    vitaldb_windows,
)
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import (
    Confusion,
    Outcome,
    PredictionTable,
    Scored,
    Strip,
    ends,
    present,
)
from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import (
    cluster_bootstrap,
    count,
    roc_curve,
    sensitivity_of,
    specificity_of,
    sum_by_cluster,
)
from models.evaluation.streaming import detect_beats
from wardstream.contracts.errors import ConfigurationError
from wardstream.kernels.atrial import (
    AF_POINT,
    AF_WEIGHTS,
    MEMORY_WEIGHTS,
    fused_probability,
)

N_FOLDS: Final = 5

Floats = NDArray[np.float64]


def evaluate_af(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    windows = read_windows(request)
    from models.training.atrial import features_of, fit_weights

    features = features_of(windows)
    if request.cross_validate:
        fold = np.array([fold_of(window.patient) for window in windows])
        score = np.full(len(windows), math.nan)
        for k in range(N_FOLDS):
            learning = [i for i in range(len(windows)) if fold[i] != k]
            weights = fit_weights([windows[i] for i in learning], features[learning])
            own = np.flatnonzero(fold == k)
            score[own] = scores([windows[i] for i in own], features[own], weights)
        folds = [
            sorted({w.patient for w, f in zip(windows, fold, strict=True) if f == k})
            for k in range(N_FOLDS)
        ]
    else:
        score, folds = scores(windows, features, AF_WEIGHTS), []
    report = ProtocolReport(
        protocol="af",
        model="kernels.atrial",
        cross_validated=request.cross_validate,
        n_records=len({(window.dataset, window.record) for window in windows}),
        folds=folds,
    )
    decision = score >= AF_POINT  # a window with too few beats is NaN, and not held to be AF
    _figures(report, windows, decision, score)
    return _outcome(request, report, windows, decision, score)


def read_windows(request: EvaluationRequest) -> list[RrWindow]:
    """Windows of mitdb, and of the RR-only sets that are there."""

    data_dir = request.data_dir
    has_mitdb = (data_dir / "mitdb").is_dir()
    n_records = len(record_paths(data_dir / "mitdb")) if has_mitdb else 0
    n_read = 0

    def beats_of(recording: Recording) -> Floats:
        nonlocal n_read
        n_read += 1
        request.progress(n_read, n_records, f"{recording.dataset}/{recording.record}")
        signal = recording.read()
        return detect_beats(signal, packet_s=1.0).samples / signal.sampling_rate_hz

    windows = list(mitdb_windows(data_dir / "mitdb", beats_of)) if has_mitdb else []
    if (data_dir / "afdb_rr").is_dir():
        windows += afdb_windows(data_dir / "afdb_rr")
    if (data_dir / "rr_longterm" / "nsrdb").is_dir():
        windows += nsrdb_windows(data_dir / "rr_longterm" / "nsrdb")
    if (data_dir / "vitaldb_rhythm_labels").is_dir():
        windows += vitaldb_windows(data_dir / "vitaldb_rhythm_labels")
    if not windows:
        raise ConfigurationError(
            [f"{data_dir} holds no mitdb, afdb_rr, rr_longterm or vitaldb_rhythm_labels (--data)"]
        )
    return windows


def fold_of(patient: str) -> int:
    """The patient's fold: the same on every machine and whoever else takes part."""
    return hashlib.sha256(patient.encode()).digest()[0] % N_FOLDS


def scores(windows: Sequence[RrWindow], features: Floats, weights: Floats) -> Floats:
    """Fused probability of each window, NaN where it has too few beats.

    A window leans on those of its record that end where it begins, as the bed's stream does;
    sampled windows (one in ten minutes) have none.
    """
    logits = weights[0] + features @ weights[1:]
    place = {(w.dataset, w.record, round(w.start_s, 1)): i for i, w in enumerate(windows)}

    def led_up_to(window: RrWindow) -> list[float]:
        before = [
            place.get((window.dataset, window.record, round(window.start_s - k * WINDOW_S, 1)))
            for k in range(len(MEMORY_WEIGHTS))
        ]
        return [math.nan if i is None else float(logits[i]) for i in before]

    return np.array([fused_probability(led_up_to(window)) for window in windows])


def _figures(
    report: ProtocolReport, windows: Sequence[RrWindow], decision: NDArray[np.bool_], score: Floats
) -> None:
    share = np.array([window.af_share for window in windows])
    datasets = np.array([window.dataset for window in windows])
    for dataset in dict.fromkeys(datasets.tolist()):
        chosen = np.flatnonzero((datasets == dataset) & np.isfinite(share))
        truth = share[chosen] >= 0.5
        total = count(decision[chosen], truth)
        rows = np.array(
            [count(decision[i : i + 1], share[i : i + 1] >= 0.5).row() for i in chosen],
            dtype=np.float64,
        )
        _, sums = sum_by_cluster([windows[int(i)].patient for i in chosen], rows)
        known = np.isfinite(score[chosen])
        area = (
            roc_curve(score[chosen][known], truth[known]).area
            if truth.any() and not truth.all()
            else math.nan
        )
        figures = present({"se": total.sensitivity, "sp": total.specificity, "auc": area})
        intervals = {
            "se": ends(cluster_bootstrap(sums, sensitivity_of)),
            "sp": ends(cluster_bootstrap(sums, specificity_of)),
        }
        kept = {name: limits for name, limits in intervals.items() if limits is not None}
        if dataset == "mitdb":
            report.metrics.update(figures)
            report.confidence.update(kept)
        report.metrics[dataset] = {**figures, "n_af": int(truth.sum()), "n": len(chosen)}
        report.confidence[dataset] = kept


def _outcome(
    request: EvaluationRequest,
    report: ProtocolReport,
    windows: Sequence[RrWindow],
    decision: NDArray[np.bool_],
    score: Floats,
) -> Outcome:
    share = np.array([window.af_share for window in windows])
    known = np.array([window.dataset == "mitdb" for window in windows]) & np.isfinite(share)
    judged = known & np.isfinite(score)
    total = count(decision[known], share[known] >= 0.5)
    return Outcome(
        report=report,
        predictions=PredictionTable(
            ("record", "start_s", "decision"),
            [
                (window.record, round(window.start_s, 3), int(found))
                for window, found in zip(windows, decision, strict=True)
            ],
        ),
        confusions={
            "mitdb": Confusion(
                ("AF", "not AF"), ("AF", "not AF"), ((total.tp, total.fn), (total.fp, total.tn))
            )
        },
        scored={"mitdb": Scored(score[judged], share[judged] >= 0.5)},
        worst=tuple(_worst(request.data_dir / "mitdb", windows, known, score)),
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "Windows of 30 s from second 0. AF: at least half is marked AFIB. Windows with more than a "
        "tenth of flutter or less than nine tenths of known rhythm are not scored; all are written "
        "to the predictions. The headline is mitdb, on beats as detected; the RR-only sets have "
        "beats as annotated."
    ),
)


def _worst(
    folder: Path, windows: Sequence[RrWindow], known: NDArray[np.bool_], score: Floats
) -> list[Strip]:
    def error(i: int) -> float:
        truth = windows[i].af_share >= 0.5
        said = 0.0 if math.isnan(score[i]) else float(score[i])
        return (1 - said) if truth else said

    order: list[Any] = sorted(np.flatnonzero(known).tolist(), key=error, reverse=True)
    return [
        Strip(
            record=folder / windows[i].record,
            start_s=windows[i].start_s,
            end_s=windows[i].start_s + WINDOW_S,
            caption=f"{windows[i].record}: score {score[i]:.2f}, {windows[i].af_share:.0%} AF",
        )
        for i in order[:10]
        if error(i) > 1 - AF_POINT
    ]
