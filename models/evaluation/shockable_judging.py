"""Whole records judged window by window as a bed judges them, for protocol ``shockable``."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.catalogue import READERS
from models.datasets.labels import LabelledSpan
from models.datasets.recording import Recording
from models.evaluation.harness import EvaluationRequest
from models.evaluation.operating_points import point_at_specificity
from models.evaluation.shockable import (
    DATASETS,
    FIBRILLATION,
    RAPID_PER_MIN,
    SPECIFICITY,
    TRANSITION_S,
    rate_per_min,
)
from models.evaluation.shockable_rule import belief_by, odds_by, rules_of_folds
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ShockableRule
from wardstream.inference.leads import (
    MIN_SHARE_PRESENT,
    ShockableBelief,
    ShockableOdds,
    answer_to,
    question_of,
    shockable_score,
)
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime
from wardstream.kernels.repetition import RepetitionMeter
from wardstream.kernels.windows import (
    HOP_S,
    WINDOW_S,
    WINDOW_SAMPLES,
    RecordWindows,
    record_windows,
)

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
        Six of eight at its end, from the probability of vt or vf; NaN where no lead was present.
    means : ndarray of float64, shape (n_windows, 2)
        Log odds and slowness over the 4 s before its end, of `ShockableOdds`; NaN likewise.
    rhythm : ndarray of str
        The one label a window lies in, away from its changes; empty elsewhere.
    rate : ndarray of float64
        Rate of the strongest repetition, where the rhythm is VT.
    point : float
        Of six of eight, from which on it alarms.
    rule : ShockableRule or None
        What decides; None: `point` does.
    """

    recording: Recording
    start_s: NDArray[np.float64]
    score: NDArray[np.float64]
    means: NDArray[np.float64]
    rhythm: NDArray[np.str_]
    rate: NDArray[np.float64]
    point: float
    rule: ShockableRule | None

    @property
    def patient(self) -> str:
        """Whose."""
        return self.recording.patient_id

    @property
    def belief(self) -> NDArray[np.float64]:
        """That each window is shockable, 0 to 1; NaN where no lead was present."""
        return self.score if self.rule is None else belief_by(self.rule, self.means)

    @property
    def limit(self) -> float:
        """From which belief on a window is held to be shockable."""
        return self.point if self.rule is None else 0.5

    @property
    def decision(self) -> NDArray[np.bool_]:
        """Whether each window is held to be shockable."""
        if self.rule is None:
            return self.alarm
        # The belief of a point itself may round to a half from below.
        return np.nan_to_num(odds_by(self.rule, self.means), nan=-np.inf) >= 0

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """Whether six of the eight hops up to the end of each would alarm."""
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
        rules = rules_of_folds(judged, models.fold_of)
        judged = [
            replace(record, point=points[fold], rule=rules[fold])
            for record in judged
            for fold in [models.fold_of(record.patient)]
        ]
    return judged, models


class Models:
    """Who judges whom: the bundle for all, or each fold's."""

    def __init__(self, request: EvaluationRequest) -> None:
        self._fold_of: dict[str, int] = {}
        if request.cross_validate and request.fold_bundles is not None:
            folds = request.fold_bundles(request.data_dir, request.cache_dir)
            self._fold_of = dict(folds.fold_of)
            self._runtimes = [load_runtime(path) for path in folds.bundle_dirs]
            # Points and rules are chosen once all are judged.
            self._points = [_DEFAULT_POINT] * len(self._runtimes)
            self._rules: list[ShockableRule | None] = [None] * len(self._runtimes)
            self.name = f"{folds.name} by {len(self._runtimes)} folds"
        else:
            runtime = load_runtime(request.bundle_dir or SHIPPED_BUNDLE)
            manifest = runtime.manifest
            self._runtimes = [runtime]
            self._points = [manifest.shockable_operating_point or _DEFAULT_POINT]
            self._rules = [manifest.shockable_rule]
            self.name = f"{manifest.name}/{manifest.version} {manifest.sha256[:12]}"

    @property
    def has_folds(self) -> bool:
        """Whether there is more than one."""
        return len(self._runtimes) > 1

    def fold_of(self, patient: str) -> int:
        """Fold that did not learn from `patient`; 0 for one in no fold."""
        return self._fold_of.get(patient, 0)

    def of(self, patient: str) -> tuple[RhythmRuntime, float, ShockableRule | None]:
        """Model, point and rule that judge `patient`."""
        fold = self.fold_of(patient)
        return self._runtimes[fold], self._points[fold], self._rules[fold]

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
    folds = [fold_of(record.patient) for record in judged]
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


def judge_record(
    recording: Recording, runtime: RhythmRuntime, point: float, rule: ShockableRule | None = None
) -> JudgedRecord:
    """Every window of `recording`, decided with the model `runtime` as the bed decides."""
    signal = recording.read()
    leads = [
        record_windows(lead, signal.sampling_rate_hz, preprocessing=runtime.manifest.preprocessing)
        for lead in signal.samples_mv
    ]
    every = round(STEP_S / HOP_S)
    start_s = leads[0].end_time_s[::every] - WINDOW_S
    hops = _scores_of_hops(leads, runtime)
    belief, odds = ShockableBelief(), ShockableOdds()
    scores = np.nan_to_num(hops).tolist()
    score = np.array([belief.push(value) for value in scores])
    slowness = _slowness_of_hops(leads).tolist()
    means = np.array([odds.push(*hop) for hop in zip(scores, slowness, strict=True)])
    score[np.isnan(hops)] = np.nan
    means[np.isnan(hops)] = np.nan
    rhythm = window_labels(recording.spans, start_s)
    return JudgedRecord(
        recording=recording,
        start_s=start_s,
        score=score[::every],
        means=means[::every],
        rhythm=rhythm,
        rate=_rates(leads[0].windows[::every, 0], rhythm == "VT"),
        point=point,
        rule=rule,
    )


def _slowness_of_hops(leads: Sequence[RecordWindows]) -> NDArray[np.float64]:
    # As at the bed: the mean over the leads that are judged; 0 where there is none.
    meter = RepetitionMeter(WINDOW_SAMPLES)
    slow = np.array(
        [[meter.slow_and_regular(window) for window in lead.windows[:, 0]] for lead in leads]
    )
    usable = np.array([lead.share_present >= MIN_SHARE_PRESENT for lead in leads])
    return (slow * usable).sum(axis=0) / np.maximum(usable.sum(axis=0), 1)


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
