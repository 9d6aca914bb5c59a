"""Protocol ``fusion``: at which level should signals and record meet?

The same folds, the same rows and the same subsets of missing modalities for all three levels:
death in hospital of challenge2012 at 48 h, and whether the alarms of cinc2015 are true.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from models.datasets.alarms import ALARM_TYPES, N_FOLDS
from models.deterioration.figures import area, area_difference, area_interval, with_interval
from models.deterioration.protocol import read_question
from models.evaluation.alarm_protocol import alarm_table
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import Outcome, PredictionTable, Scored, ends, rounded
from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import count
from models.fusion.every_level import levels
from models.fusion.levels import Columns, Grow, Score
from models.fusion.verifier_subsets import CHANNELS, channel_of, verifier_without
from models.training.forest import fit_forest
from models.training.verifier import choose_point
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.alarms.verifier import log_odds
from wardstream.inference.deterioration.features import FEATURE_MODALITIES
from wardstream.inference.deterioration.parameters import Modality

SEED: Final = 20121015
DEFAULT: Final = "early"
"""What the stream tier runs; the protocol says whether that is still right."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Table = tuple[Floats, Bools, NDArray[np.intp], NDArray[np.str_], Columns]
"""Rows, truth, fold, record, columns."""


def evaluate_fusion(request: EvaluationRequest) -> Outcome:
    """Run the protocol; always by folds."""
    if not request.cross_validate:
        raise ConfigurationError(["fusion compares learners: give --cross-validate"])
    report = ProtocolReport(
        protocol="fusion", model="early, middle, late by folds", cross_validated=True, n_records=0
    )
    rows: list[tuple[str, ...]] = []
    scored: dict[str, Scored] = {}
    n_records = 0
    for name, read in (("challenge2012", _stays), ("cinc2015", _alarms)):
        if not (request.data_dir / name).is_dir():
            continue
        table = read(request)
        n_records += len(table[1])
        found, unseen = _compare(request, name, table)
        if name == "cinc2015":
            found["verifier"] = verifier_without(request)
        report.metrics[name] = found
        for level, answers in unseen.items():
            scored[f"{name} {level}"] = Scored(answers, table[1])
            rows += [
                (name, str(record), level, repr(rounded(float(answer))))
                for record, answer in zip(table[3], answers, strict=True)
            ]
    if not n_records:
        raise ConfigurationError([f"{request.data_dir} holds no challenge2012 and no cinc2015"])
    return Outcome(
        report=ProtocolReport(
            protocol=report.protocol,
            model=report.model,
            cross_validated=True,
            n_records=n_records,
            metrics=report.metrics,
        ),
        predictions=PredictionTable(("dataset", "record", "level", "score"), rows),
        scored=scored,
        notes=_NOTES,
    )


def _compare(
    request: EvaluationRequest, name: str, table: Table
) -> tuple[dict[str, Any], dict[str, Floats]]:
    rows, truth, fold, _, columns = table
    grow: Grow = _boosted if name == "challenge2012" else _forest
    masks = {_name_of(columns, number): number for number in range(1 << len(columns.names))}
    kept = request.cache_dir / "fusion" / _digest(table)
    answers: dict[str, dict[str, Floats]] = {}
    for level in levels():
        answers[level] = {subset: np.full(len(rows), np.nan) for subset in masks}
        for k in range(N_FOLDS):
            found_of_fold = _fold(kept / f"{level}-{k}.npy", table, grow, level, k)
            for subset, number in masks.items():
                answers[level][subset][fold == k] = found_of_fold[number]
            request.progress(k + 1, N_FOLDS, f"{name}/{level}")
    everything = _name_of(columns, (1 << len(columns.names)) - 1)
    found: dict[str, Any] = {}
    for level, by_subset in answers.items():
        found[level] = {
            subset: _figures(score, truth, with_point=name == "cinc2015", fold=fold)
            for subset, score in by_subset.items()
        }
    best = max(answers, key=lambda level: found[level][everything]["auroc"][0])
    found["best"] = best
    for level in answers:
        if level != DEFAULT:
            limits = area_difference(
                answers[DEFAULT][everything], answers[level][everything], truth
            )
            found[f"{DEFAULT}_above_{level}"] = ends(limits)
    return found, {level: by_subset[everything] for level, by_subset in answers.items()}


def _fold(kept: Path, table: Table, grow: Grow, level: str, k: int) -> Floats:
    # Answers of one level for every subset, shape (n_subsets, n_own); kept, for a run may be ended.
    if kept.exists():
        return np.load(kept, allow_pickle=False)
    rows, truth, fold, _, columns = table
    own, size = fold == k, len(columns.names)
    fused = levels()[level](rows[~own], truth[~own], columns, grow, SEED + 100 * k)
    answers = np.array(
        [
            fused.log_odds(
                columns.without(rows[own], np.tile(_bits(number, size), (int(own.sum()), 1)))
            )
            for number in range(1 << size)
        ]
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, answers)
    return answers


def _digest(table: Table) -> str:
    rows, truth, fold, _, _ = table
    digest = hashlib.sha256(rows.tobytes() + truth.tobytes() + fold.tobytes())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _figures(
    score: Floats, truth: Bools, *, with_point: bool, fold: NDArray[np.intp]
) -> dict[str, Any]:
    known = np.isfinite(score)
    figures: dict[str, Any] = {"n": int(known.sum()), "n_abstained": int((~known).sum())}
    if known.sum() < 20 or truth[known].all() or not truth[known].any():
        return figures
    s, t = score[known], truth[known]
    chance = 1 / (1 + np.exp(-s))
    figures["auroc"] = with_interval(area(s, t), area_interval(s, t))
    figures["brier"] = rounded(float(np.mean((chance - t) ** 2)))
    if with_point:
        decision = np.ones(len(score), dtype=bool)  # an alarm nobody can judge stands
        for k in np.unique(fold):
            others = known & (fold != k)
            point = choose_point(1 / (1 + np.exp(-score[others])), truth[others], seed=SEED)
            own = known & (fold == k)
            decision[own] = 1 / (1 + np.exp(-score[own])) >= point
        total = count(decision, truth)
        figures |= {
            "score": rounded(total.challenge_score),
            "tpr": rounded(total.sensitivity),
            "tnr": rounded(total.specificity),
        }
    return figures


def _stays(request: EvaluationRequest) -> Table:
    question = read_question(request.folder("challenge2012"))
    known = np.isfinite(question.stays.died)
    names = tuple(Modality)
    modality = np.array([names.index(m) for m in FEATURE_MODALITIES], dtype=np.intp)
    return (
        question.rows[-1][known],
        question.stays.died[known] > 0,
        question.fold[known],
        question.stays.record[known],
        Columns(modality, tuple(str(m) for m in names)),
    )


def _alarms(request: EvaluationRequest) -> Table:
    # Columns that mix channels are left out: a level has to find out for itself.
    table, records = alarm_table(request)
    kept = [i for i, name in enumerate(table.names) if channel_of(name) >= 0]
    kinds = np.column_stack([(table.alarm_type == kind).astype(np.float64) for kind in ALARM_TYPES])
    return (
        np.column_stack([table.rows[:, kept], kinds]),
        table.truth,
        table.fold,
        np.array(records, dtype=np.str_),
        Columns(
            np.array([channel_of(table.names[i]) for i in kept] + [-1] * kinds.shape[1]), CHANNELS
        ),
    )


def _boosted(rows: Floats, truth: Bools, seed: int) -> Score:
    classifier: Any = HistGradientBoostingClassifier
    model = classifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=60,
        max_features=0.3, l2_regularization=5.0, random_state=seed, early_stopping=False,
    )  # fmt: skip
    model.fit(rows, truth)
    return lambda asked: np.asarray(model.decision_function(asked), dtype=np.float64)


def _forest(rows: Floats, truth: Bools, seed: int) -> Score:
    forest = fit_forest(rows, truth, seed=seed)
    return lambda asked: log_odds(forest.score(asked))


def _bits(number: int, size: int) -> Bools:
    return (number >> np.arange(size) & 1).astype(bool)


def _name_of(columns: Columns, number: int) -> str:
    names: Sequence[str] = [n for i, n in enumerate(columns.names) if number >> i & 1]
    return " + ".join(names) or "nothing"


_NOTES: Final = (
    (
        "Rows, folds and subsets are the same for all levels; every level learns with modalities taken "
        "away at random. challenge2012: death in hospital at 48 h. cinc2015: is the alarm true, on the "
        "features of single channels with the alarm's type; where no channel is left the alarm stands. "
        "Intervals: 95 %, 1000 bootstrap draws of records."
    ),
)
