"""Protocol ``deterioration``: who of those in intensive care now will die in this hospital?

clinical.md section 4: challenge2012, features up to hour h only, stays (one a patient) in five
folds, area under the curve with its interval, calibration, and min(Se, +P) of that challenge.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.challenge2012 import Stays, read_stays
from models.deterioration.bedside import bedside_scores
from models.deterioration.figures import (
    area,
    area_difference,
    area_interval,
    figures_of,
    with_interval,
)
from models.deterioration.training import HOURS, fit_model, subsets
from models.evaluation.harness import EvaluationRequest, Progress
from models.evaluation.outcome import Confusion, Outcome, PredictionTable, Scored, ends, rounded
from models.evaluation.report import ProtocolReport
from models.settings import CHECKOUT, SHIPPED_BUNDLE
from wardstream.contracts.errors import ConfigurationError, ContractError
from wardstream.inference.deterioration.features import FEATURES, feature_rows
from wardstream.inference.deterioration.model import (
    MANIFEST_FILE,
    DeteriorationManifest,
    DeteriorationModel,
    load_model,
    save_model,
    without,
)

N_FOLDS: Final = 5
SEED: Final = 20120925
SHIPPED: Final = SHIPPED_BUNDLE.parent / "deterioration"

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Judge = Callable[[Floats], Floats]
"""From rows of every stay to probabilities, NaN where it abstains."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Stays, asked about at each of `HOURS`.

    Attributes
    ----------
    stays : Stays
        Who.
    rows : ndarray of float64, shape (n_hours, n_stays, n_features)
        What is known by then.
    fold : ndarray of intp, shape (n_stays,)
        By digest of the record name: the same on every machine.
    """

    stays: Stays
    rows: Floats
    fold: NDArray[np.intp]

    def only(self, mask: Bools) -> tuple[Floats, Bools]:
        """Rows and outcomes of the stays of `mask`, for learning."""
        return self.rows[:, mask], self.stays.died[mask] > 0


def evaluate_deterioration(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    question = read_question(request.folder("challenge2012"))
    judged = np.isfinite(question.stays.died)
    folds: list[list[str]] = []
    if request.cross_validate:
        if not judged.any():
            raise ConfigurationError(["challenge2012 has no outcomes: nothing can be learned"])
        fold_models = models_of_folds(question, request.cache_dir, request.progress)
        folds = [question.stays.record[question.fold == k].tolist() for k in range(N_FOLDS)]
        name, points = "by folds", np.array([m.point for m in fold_models])[question.fold]

        def judge(rows: Floats) -> Floats:
            found = np.full(len(rows), math.nan)
            for k, model in enumerate(fold_models):
                own = question.fold == k
                found[own] = model.judge(rows[own]).probability
            return found
    else:
        model, manifest = _shipped(request.bundle_dir or SHIPPED)
        name = f"{manifest.name}/{manifest.version} {manifest.sha256[:12]}"
        points = np.full(len(question.fold), model.point)

        def judge(rows: Floats) -> Floats:
            return model.judge(rows).probability

    report = ProtocolReport(
        protocol="deterioration",
        model=name if not request.cross_validate else f"deterioration {name}",
        cross_validated=request.cross_validate,
        n_records=len(question.stays.record),
        folds=folds,
    )
    probability = np.array([judge(rows) for rows in question.rows])
    if judged.any():
        _figures(report, question, probability, points, judged)
        _bedside(report, question, probability, judged)
        _missing(report, question, judge, judged)
    return _outcome(report, question, probability, points, judged)


def read_question(folder: Path) -> Question:
    """The stays in `folder` with their features at each hour."""
    stays = read_stays(folder)
    everyone = np.arange(len(stays.record))
    return Question(
        stays,
        np.array(
            [
                feature_rows(stays.histories, everyone, np.full(len(everyone), hour))
                for hour in HOURS
            ]
        ),
        np.array([fold_of(str(record)) for record in stays.record], dtype=np.intp),
    )


def fold_of(record: str) -> int:
    """The stay's fold: the same on every machine and whoever else takes part."""
    return hashlib.sha256(f"challenge2012/{record}".encode()).digest()[0] % N_FOLDS


def models_of_folds(
    question: Question, cache_dir: Path, progress: Progress
) -> list[DeteriorationModel]:
    """The model of each fold, learned from the others; kept, as each takes half a minute."""
    digest = training_digest(question)
    known = np.isfinite(question.stays.died)
    found: list[DeteriorationModel] = []
    for k in range(N_FOLDS):
        folder = cache_dir / "deterioration" / digest[:16] / f"fold-{k}"
        if not (folder / MANIFEST_FILE).exists():
            rows, died = question.only(known & (question.fold != k))
            model = fit_model(rows, died, seed=SEED + k)
            save_model(model, folder, _cached(digest))
        found.append(load_model(folder)[0])
        progress(k + 1, N_FOLDS, f"deterioration/fold-{k}")
    return found


def training_digest(question: Question) -> str:
    """Over stays, outcomes, features and the sources that learn from them."""
    digest = hashlib.sha256(question.rows.tobytes())
    digest.update(question.stays.died.tobytes())
    digest.update("\n".join([*FEATURES, *question.stays.record.tolist()]).encode())
    here = CHECKOUT / "models" / "deterioration" / "training.py"
    digest.update(here.read_bytes())
    return digest.hexdigest()


def _cached(digest: str) -> dict[str, object]:
    return {
        "name": "deterioration",
        "version": 1,
        "created_time_ns": 0,
        "training_data": {"challenge2012": digest},
        "metrics": {},
    }


def _shipped(folder: Path) -> tuple[DeteriorationModel, DeteriorationManifest]:
    try:
        return load_model(folder)
    except ContractError as error:
        raise ConfigurationError(
            [f"{error} (`models train-deterioration` makes one, or use --cross-validate)"]
        ) from error


def _figures(
    report: ProtocolReport, question: Question, probability: Floats, points: Floats, judged: Bools
) -> None:
    died = question.stays.died > 0
    by_hour: dict[str, dict[str, float]] = {}
    limits: dict[str, dict[str, list[float] | None]] = {}
    for hour, found in zip(HOURS, probability, strict=True):
        known = judged & np.isfinite(found)
        figures = figures_of(found[known], died[known], (found >= points)[known])
        figures |= {"n": float(known.sum()), "n_abstained": float((judged & ~known).sum())}
        by_hour[f"{hour:g}"] = figures
        limits[f"{hour:g}"] = {"auroc": ends(area_interval(found[known], died[known]))}
    last = f"{HOURS[-1]:g}"
    report.metrics.update(by_hour[last] | {"by_hour": by_hour})
    report.confidence.update({"auroc": limits[last]["auroc"], "by_hour": limits})


def _bedside(
    report: ProtocolReport, question: Question, probability: Floats, judged: Bools
) -> None:
    died = question.stays.died > 0
    table: dict[str, dict[str, list[float]]] = {}
    for hour, rows, found in zip(HOURS, question.rows, probability, strict=True):
        known = judged & np.isfinite(found)
        scores = bedside_scores(rows)
        if hour == HOURS[-1]:
            scores |= {n.lower(): v for n, v in question.stays.classical.items()}
        for name, score in scores.items():
            both = known & np.isfinite(score)
            if not both.any():
                continue
            interval = area_interval(score[both], died[both])
            table.setdefault(name, {})[f"{hour:g}"] = with_interval(
                area(score[both], died[both]), interval
            )
            if hour == HOURS[-1] and name == "news2":
                gain = area_difference(found[both], score[both], died[both])
                report.metrics["auroc_above_news2"] = rounded(
                    area(found[both], died[both]) - area(score[both], died[both])
                )
                report.confidence["auroc_above_news2"] = ends(gain)
    report.metrics["bedside_auroc"] = table


def _missing(report: ProtocolReport, question: Question, judge: Judge, judged: Bools) -> None:
    died = question.stays.died > 0
    table: dict[str, dict[str, float | list[float]]] = {}
    for gone in subsets():
        found = judge(without(question.rows[-1], gone))
        known = judged & np.isfinite(found)
        name = " + ".join(sorted(gone)) or "nothing"
        table[name] = {"n": int(known.sum()), "n_abstained": int((judged & ~known).sum())}
        if known.any() and died[known].any() and not died[known].all():
            table[name] |= {
                "auroc": with_interval(
                    area(found[known], died[known]), area_interval(found[known], died[known])
                ),
                "brier": rounded(float(np.mean((found[known] - died[known]) ** 2))),
                "deaths_expected": rounded(float(found[known].sum())),
                "deaths": int(died[known].sum()),
            }
    report.metrics["without"] = table


def _outcome(
    report: ProtocolReport, question: Question, probability: Floats, points: Floats, judged: Bools
) -> Outcome:
    died = question.stays.died > 0
    last = probability[-1]
    known = judged & np.isfinite(last)
    named = last >= points
    rows = [
        (str(record), int(hour), int(found[i] >= points[i]), rounded(found[i]))
        for hour, found in zip(HOURS, probability, strict=True)
        for i, record in enumerate(question.stays.record)
        if np.isfinite(found[i])
    ]
    return Outcome(
        report=report,
        predictions=PredictionTable(("record", "hour", "decision", "score"), rows),
        confusions={
            "48 h": Confusion(
                ("died", "survived"),
                ("named", "not named"),
                (
                    (int((known & died & named).sum()), int((known & died & ~named).sum())),
                    (int((known & ~died & named).sum()), int((known & ~died & ~named).sum())),
                ),
            )
        },
        scored={"48 h": Scored(last[known], died[known])} if known.any() else {},
        reliability={
            f"{hour:g} h": Scored(found[ok], died[ok])
            for hour, found in zip(HOURS, probability, strict=True)
            if (ok := judged & np.isfinite(found)).any()
        },
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "Sets of the PhysioNet/CinC Challenge 2012 that are there; the question is death in this "
        "hospital, asked at 6, 12, 24 and 48 h with observations up to that hour and none later. "
        "Folds by stay; calibration and operating point are chosen inside the training folds. "
        "Intervals: 95 %, 1000 bootstrap draws of stays."
    ),
    (
        "Bedside scores are of the newest values at the same hour, what is missing counting "
        "nothing; respiration is missing in most stays, which costs NEWS2, MEWS and qSOFA. SAPS-I "
        "and SOFA are those the challenge gives, of the first day."
    ),
    (
        "`without` takes whole modalities from the rows of stays at 48 h. Where nothing but "
        "demographics is left the score abstains. Death in hospital is not deterioration within "
        "hours: the score ranks who is in danger, it predicts no moment."
    ),
)
