"""Protocol ``shockable`` on whole records: every 4 s window at 1 s steps is decided.

clinical.md section 4: windows that lie in one rhythm label; noise and the 4 s around a change
of rhythm left out; VF, VFL and VT above 150 /min are shockable, slower VT is neither. All
windows are decided and written, labelled or not. The decision is the bed's: all leads together,
every 0.25 s, and six of the last eight of those (`ShockableBelief`); it looks back only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.catalogue import READERS
from models.datasets.labels import LabelledSpan
from models.datasets.recording import Recording
from models.evaluation.harness import EvaluationRequest
from models.evaluation.operating_points import point_at_specificity
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
from models.evaluation.shockable import (
    DATASETS,
    FIBRILLATION,
    GROUPS,
    RAPID_PER_MIN,
    SPECIFICITY,
    TRANSITION_S,
    rate_per_min,
)
from models.evaluation.statistics import (
    cluster_bootstrap,
    count,
    lower_bound_90,
    ratio,
    sensitivity_of,
    specificity_of,
    sum_by_cluster,
)
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.inference.leads import (
    MIN_SHARE_PRESENT,
    ShockableBelief,
    answer_to,
    question_of,
    shockable_score,
)
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime
from wardstream.kernels.windows import HOP_S, WINDOW_S, RecordWindows, record_windows

STEP_S: Final = 1.0
_BATCH: Final = 64
_DEFAULT_POINT: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedRecord:
    """Every window of one record; arrays of shape (n_windows,).

    Attributes
    ----------
    recording : Recording
        Which.
    start_s : ndarray of float64
        Begin of each window.
    score : ndarray of float64
        Belief at its end, from the probability of vt or vf; NaN where no lead was present.
    rhythm : ndarray of str
        The one label a window lies in, away from its changes; empty elsewhere.
    rate : ndarray of float64
        Rate of the strongest repetition, where the rhythm is VT.
    point : float
        From which on the decision is "shockable".
    """

    recording: Recording
    start_s: NDArray[np.float64]
    score: NDArray[np.float64]
    rhythm: NDArray[np.str_]
    rate: NDArray[np.float64]
    point: float

    @property
    def decision(self) -> NDArray[np.bool_]:
        """Whether each window is held to be shockable."""
        return np.nan_to_num(self.score) >= self.point

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each is."""
        return np.isin(self.rhythm, FIBRILLATION) | (self.rhythm == "VT")

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which windows are scored."""
        slow = (self.rhythm == "VT") & ~(self.rate > RAPID_PER_MIN)
        return (self.rhythm != "") & (self.rhythm != "NOISE") & ~slow


def evaluate_shockable_windows(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    return outcome_of(request, *judged_records(request))


def judged_records(request: EvaluationRequest) -> tuple["list[JudgedRecord]", "Models"]:
    """Every record judged by the model of `request`, or of its fold, and those models."""
    recordings = [
        recording
        for name in DATASETS
        if (request.data_dir / name).is_dir()
        for recording in READERS[name](request.folder(name))
    ]
    models = Models(request)
    judged: list[JudgedRecord] = []
    for i, recording in enumerate(recordings):
        judged.append(judge_record(recording, *models.of(recording.patient_id)))
        request.progress(i + 1, len(recordings), f"{recording.dataset}/{recording.record}")
    if models.has_folds:
        points = points_of_folds(judged, models.fold_of)
        judged = [
            replace(record, point=points[models.fold_of(record.recording.patient_id)])
            for record in judged
        ]
    return judged, models


def outcome_of(
    request: EvaluationRequest, judged: Sequence["JudgedRecord"], models: "Models"
) -> Outcome:
    """Figures, predictions and the worst cases of `judged`."""
    report = ProtocolReport(
        protocol="shockable",
        model=models.name,
        cross_validated=request.cross_validate,
        n_records=len(judged),
        folds=models.fold_lists(sorted({record.recording.patient_id for record in judged})),
    )
    _figures(report, judged)
    score = np.concatenate([record.score[record.counts] for record in judged])
    truth = np.concatenate([record.truth[record.counts] for record in judged])
    known = np.isfinite(score)
    return Outcome(
        report=report,
        predictions=_predictions(judged),
        confusions={"windows by rhythm": _confusion(judged)},
        scored={"shockable": Scored(score[known], truth[known])},
        worst=tuple(_worst(request, judged)),
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "All 4 s windows at 1 s steps, streaming preprocessing, all leads together; a window is "
        "shockable where six of the eight hops up to its end are, as at the bed. Scored are those "
        "wholly in one label and 4 s from its changes. VT is rapid above 150 /min by "
        "autocorrelation of the window. The point is the manifest's; with folds, chosen on the "
        "other folds."
    ),
)


class Models:
    """Who judges whom: the bundle for all, or each fold's."""

    def __init__(self, request: EvaluationRequest) -> None:
        self._fold_of: dict[str, int] = {}
        if request.cross_validate and request.fold_bundles is not None:
            folds = request.fold_bundles(request.data_dir, request.cache_dir)
            self._fold_of = dict(folds.fold_of)
            self._runtimes = [load_runtime(path) for path in folds.bundle_dirs]
            self._points = [_DEFAULT_POINT] * len(self._runtimes)  # chosen once all are judged
            self.name = f"{folds.name} by {len(self._runtimes)} folds"
        else:
            runtime = load_runtime(request.bundle_dir or SHIPPED_BUNDLE)
            manifest = runtime.manifest
            self._runtimes = [runtime]
            self._points = [manifest.shockable_operating_point or _DEFAULT_POINT]
            self.name = f"{manifest.name}/{manifest.version} {manifest.sha256[:12]}"

    @property
    def has_folds(self) -> bool:
        """Whether there is more than one."""
        return len(self._runtimes) > 1

    def fold_of(self, patient: str) -> int:
        """Fold that did not learn from `patient`; 0 for one in no fold."""
        return self._fold_of.get(patient, 0)

    def of(self, patient: str) -> tuple[RhythmRuntime, float]:
        """Model and point that judge `patient`."""
        fold = self.fold_of(patient)
        return self._runtimes[fold], self._points[fold]

    def fold_lists(self, patients: Sequence[str]) -> list[list[str]]:
        """`patients` by fold; empty without folds."""
        if len(self._runtimes) == 1:
            return []
        lists: list[list[str]] = [[] for _ in self._runtimes]
        for patient in patients:
            lists[self.fold_of(patient)].append(patient)
        return lists


def points_of_folds(
    judged: Sequence[JudgedRecord], fold_of: Callable[[str], int]
) -> dict[int, float]:
    """The point of each fold at `SPECIFICITY`, chosen on the records of the others."""
    folds = [fold_of(record.recording.patient_id) for record in judged]
    points: dict[int, float] = {}
    for fold in sorted(set(folds)):
        negative = [
            record.score[record.counts & ~record.truth & np.isfinite(record.score)]
            for record, own in zip(judged, folds, strict=True)
            if own != fold
        ]
        scores = np.concatenate(negative) if negative else np.zeros(0)
        points[fold] = point_at_specificity(scores.astype(np.float32), SPECIFICITY)
    return points


def judge_record(recording: Recording, runtime: RhythmRuntime, point: float) -> JudgedRecord:
    """Every window of `recording`, decided with the model `runtime` as the bed decides."""
    signal = recording.read()
    leads = [
        record_windows(lead, signal.sampling_rate_hz, preprocessing=runtime.manifest.preprocessing)
        for lead in signal.samples_mv
    ]
    every = round(STEP_S / HOP_S)
    start_s = leads[0].end_time_s[::every] - WINDOW_S
    hops = _scores_of_hops(leads, runtime)
    belief = ShockableBelief()
    score = np.array([belief.push(value) for value in np.nan_to_num(hops).tolist()])
    score[np.isnan(hops)] = np.nan
    rhythm = window_labels(recording.spans, start_s)
    return JudgedRecord(
        recording=recording,
        start_s=start_s,
        score=score[::every],
        rhythm=rhythm,
        rate=_rates(leads[0].windows[::every, 0], rhythm == "VT"),
        point=point,
    )


def _scores_of_hops(leads: Sequence[RecordWindows], runtime: RhythmRuntime) -> NDArray[np.float64]:
    # The model's score at every hop of the bed; NaN where no lead was present.
    n_channels = runtime.manifest.inputs[0].shape[0]
    columns = [RHYTHM_CLASSES.index(name) for name in runtime.manifest.classes]
    usable = np.stack([lead.share_present >= MIN_SHARE_PRESENT for lead in leads], axis=1)
    score = np.full(len(usable), np.nan)
    for chosen in np.unique(usable, axis=0):
        used = [lead for lead, is_used in zip(leads, chosen, strict=True) if is_used]
        hops = np.flatnonzero((usable == chosen).all(axis=1))
        for begin in range(0, len(hops) if used else 0, _BATCH):
            batch, worth = hops[begin : begin + _BATCH], np.ones(len(used))
            windows = np.concatenate([lead.windows[batch] for lead in used], axis=1)
            answers = runtime.infer(question_of(windows, worth, n_channels))
            probability = np.zeros((len(batch), len(RHYTHM_CLASSES)), dtype=np.float32)
            probability[:, columns] = answer_to(answers, worth, n_channels)
            score[batch] = shockable_score(probability)
    return score


def window_labels(spans: Sequence[LabelledSpan], start_s: NDArray[np.float64]) -> NDArray[np.str_]:
    """The label each window lies in with 4 s to spare on both sides; empty where there is none."""
    labels = np.full(len(start_s), "", dtype="<U12")
    for span in spans:
        first = span.start_s + (TRANSITION_S if span.opens else 0.0)
        last = span.end_s - (TRANSITION_S if span.closes else 0.0) - WINDOW_S
        labels[(start_s >= first - 1e-6) & (start_s <= last + 1e-6)] = span.rhythm
    return labels


def _rates(windows: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    rates = np.full(len(windows), math.nan)
    if chosen.any():
        rates[chosen] = rate_per_min(windows[chosen])
    return rates


def _rows(record: JudgedRecord, mask: NDArray[np.bool_]) -> list[int]:
    return count(record.decision[mask], record.truth[mask]).row()


def _figures(report: ProtocolReport, judged: Sequence[JudgedRecord]) -> None:
    patients = [record.recording.patient_id for record in judged]
    rows = np.array([_rows(record, record.counts) for record in judged], dtype=np.float64)
    _, sums = sum_by_cluster(patients, rows)
    tp, fp, tn, fn = rows.sum(axis=0)
    report.metrics.update(present({"se": ratio(tp, tp + fn), "sp": ratio(tn, tn + fp)}))
    report.metrics["point"] = float(np.median([record.point for record in judged]))
    report.support["se"] = [int(tp + fn), int((sums[:, [0, 3]].sum(axis=1) > 0).sum())]
    report.support["sp"] = [int(tn + fp), int((sums[:, [1, 2]].sum(axis=1) > 0).sum())]
    for name, statistic in (("se", sensitivity_of), ("sp", specificity_of)):
        if (limits := ends(cluster_bootstrap(sums, statistic))) is not None:
            report.confidence[name] = limits
    report.metrics["per_rhythm"] = {
        group: found
        for group, names in GROUPS.items()
        if (found := _group_figures(judged, names)) is not None
    }


def _group_figures(judged: Sequence[JudgedRecord], names: Sequence[str]) -> Any:
    rights: list[int] = []
    totals: list[int] = []
    for record in judged:
        mask = record.counts & np.isin(record.rhythm, names)
        rights.append(int((record.decision[mask] == record.truth[mask]).sum()))
        totals.append(int(mask.sum()))
    if not sum(totals):
        return None
    table = np.array([rights, totals], dtype=np.float64).T
    _, sums = sum_by_cluster([record.recording.patient_id for record in judged], table)
    asked = sums[sums[:, 1] > 0]
    return {
        **present(
            {
                "share_right": ratio(sum(rights), sum(totals)),
                "lower_bound_90": lower_bound_90(sum(rights), sum(totals)),
            }
        ),
        "interval": ends(cluster_bootstrap(asked, lambda s: s[:, 0] / s[:, 1])),
        "n_windows": sum(totals),
        "n_patients": len(asked),
    }


def _predictions(judged: Sequence[JudgedRecord]) -> PredictionTable:
    return PredictionTable(
        ("record", "start_s", "decision", "score"),
        [
            (record.recording.record, round(float(start), 3), int(found), round(float(score), 5))
            for record in judged
            for start, found, score in zip(
                record.start_s, record.decision, np.nan_to_num(record.score), strict=True
            )
        ],
    )


def _confusion(judged: Sequence[JudgedRecord]) -> Confusion:
    counts: list[tuple[int, int]] = []
    for names in GROUPS.values():
        masks = [record.counts & np.isin(record.rhythm, names) for record in judged]
        yes = sum(int(r.decision[m].sum()) for r, m in zip(judged, masks, strict=True))
        counts.append((yes, sum(int(m.sum()) for m in masks) - yes))
    return Confusion(truths=tuple(GROUPS), decisions=("shockable", "not"), counts=tuple(counts))


def _worst(request: EvaluationRequest, judged: Sequence[JudgedRecord]) -> list[Strip]:
    found: list[tuple[float, JudgedRecord, int]] = []
    for record in judged:
        wrong = np.flatnonzero(record.counts & (record.decision != record.truth))
        if len(wrong):
            margins = np.abs(np.nan_to_num(record.score[wrong]) - record.point)
            found.append((float(len(wrong)), record, int(wrong[int(np.argmax(margins))])))
    found.sort(key=lambda item: -item[0])
    return [
        Strip(
            record=request.data_dir / record.recording.dataset / record.recording.record,
            start_s=float(record.start_s[i]) - 2.0,
            end_s=float(record.start_s[i]) + WINDOW_S + 2.0,
            caption=f"{record.recording.record}: {record.rhythm[i]} scored "
            f"{record.score[i]:.2f}; {n:.0f} windows wrong in the record",
            marks=(("episode", (float(record.start_s[i]), float(record.start_s[i]) + WINDOW_S)),),
        )
        for n, record, i in found[:10]
    ]
