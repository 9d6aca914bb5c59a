"""Protocol ``shockable`` on whole records: every 4 s window at 1 s steps is decided.

clinical.md section 4: windows that lie in one rhythm label; noise and the 4 s around a change
of rhythm left out; VF, VFL and VT above 150 /min are shockable, slower VT is neither. All
windows are decided and written, labelled or not. The decision is the bed's: all leads together,
every 0.25 s, weighed over the last 4 s (`ShockableOdds`); it looks back only. Six of the last
eight hops (`ShockableBelief`), on which an alarm rests, are reported beside it, and decide where
a manifest has no `ShockableRule`.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
from models.evaluation.shockable import GROUPS
from models.evaluation.shockable_judging import JudgedRecord, Models, judged_records
from models.evaluation.statistics import (
    cluster_bootstrap,
    count,
    lower_bound_90,
    ratio,
    sensitivity_of,
    specificity_of,
    sum_by_cluster,
)
from wardstream.kernels.windows import WINDOW_S


def evaluate_shockable_windows(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    return outcome_of(request, *judged_records(request))


def outcome_of(
    request: EvaluationRequest, judged: Sequence[JudgedRecord], models: Models
) -> Outcome:
    """Figures, predictions and the worst cases of `judged`."""
    report = ProtocolReport(
        protocol="shockable",
        model=models.name,
        cross_validated=request.cross_validate,
        n_records=len(judged),
        folds=models.fold_lists(sorted({record.patient for record in judged})),
    )
    _figures(report, judged)
    score = np.concatenate([record.belief[record.counts] for record in judged])
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
        "decided on the mean log odds of the 16 hops up to its end, less what is taken off where "
        "a lead repeats itself below 150 /min, as at the bed. Scored are those wholly in one "
        "label and 4 s from its changes. VT is rapid above 150 /min by autocorrelation of the "
        "window. Weight and point are the manifest's; with folds, learned on the other folds. "
        "`alarm.se` and `alarm.sp` are those of six of the last eight hops, on which an alarm "
        "rests."
    ),
)


def _rows(record: JudgedRecord, mask: NDArray[np.bool_]) -> list[int]:
    return count(record.decision[mask], record.truth[mask]).row()


def _rule_figures(judged: Sequence[JudgedRecord]) -> dict[str, float | None]:
    counts = [count(r.alarm[r.counts], r.truth[r.counts]).row() for r in judged]
    tp, fp, tn, fn = np.array(counts, dtype=np.float64).sum(axis=0)
    figures: dict[str, float | None] = {
        "alarm.se": ratio(tp, tp + fn),
        "alarm.sp": ratio(tn, tn + fp),
    }
    rules = [record.rule for record in judged if record.rule is not None]
    if rules:
        figures["rule.point"] = float(np.median([rule.point for rule in rules]))
        figures["rule.slow_and_regular"] = float(
            np.median([rule.slow_and_regular for rule in rules])
        )
    return figures


def _figures(report: ProtocolReport, judged: Sequence[JudgedRecord]) -> None:
    patients = [record.patient for record in judged]
    rows = np.array([_rows(record, record.counts) for record in judged], dtype=np.float64)
    _, sums = sum_by_cluster(patients, rows)
    tp, fp, tn, fn = rows.sum(axis=0)
    report.metrics.update(present({"se": ratio(tp, tp + fn), "sp": ratio(tn, tn + fp)}))
    report.metrics["point"] = float(np.median([record.point for record in judged]))
    report.metrics.update(present(_rule_figures(judged)))
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
    _, sums = sum_by_cluster([record.patient for record in judged], table)
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
                record.start_s, record.decision, np.nan_to_num(record.belief), strict=True
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
            margins = np.abs(np.nan_to_num(record.belief[wrong]) - record.limit)
            found.append((float(len(wrong)), record, int(wrong[int(np.argmax(margins))])))
    found.sort(key=lambda item: -item[0])
    return [
        Strip(
            record=request.data_dir / record.recording.dataset / record.recording.record,
            start_s=float(record.start_s[i]) - 2.0,
            end_s=float(record.start_s[i]) + WINDOW_S + 2.0,
            caption=f"{record.recording.record}: {record.rhythm[i]} scored "
            f"{record.belief[i]:.2f}; {n:.0f} windows wrong in the record",
            marks=(("episode", (float(record.start_s[i]), float(record.start_s[i]) + WINDOW_S)),),
        )
        for n, record, i in found[:10]
    ]
