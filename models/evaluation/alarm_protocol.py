"""Protocol ``cinc2015``: is the monitor's alarm of the named type true, in real time?

clinical.md section 4: curves up to 5:00 exactly; header comments, which carry the label, are
never read; score = (TP+TN)/(TP+TN+FP+5·FN); five folds by blocks of record numbers.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.alarms import (
    ALARM_TYPES,
    N_FOLDS,
    AlarmRecord,
    alarm_records,
    read_alarm_curves,
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
    rounded,
)
from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import (
    challenge_score_of,
    cluster_bootstrap,
    count,
    lower_bound_90,
    sensitivity_of,
    specificity_of,
    sum_by_cluster,
)
from models.settings import CHECKOUT, SHIPPED_BUNDLE
from models.training.verifier import (
    AlarmTable,
    decide,
    fit_verifier,
    save_verifier,
    score_of,
    table_of,
)
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.alarms.curves import REACH_S
from wardstream.inference.alarms.features import alarm_features
from wardstream.inference.alarms.rules import rule_decision
from wardstream.inference.alarms.verifier import Verifier, load_verifier
from wardstream.inference.bundle import MANIFEST_FILE
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime

SEED: Final = 20150917
SHIPPED_VERIFIER: Final = SHIPPED_BUNDLE.parent / "verifier" / "verifier.npz"

RuntimeOf = Callable[[str], RhythmRuntime | None]
"""From a block of records to the rhythm model that may judge it."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def evaluate_alarms(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    records = alarm_records(request.folder("cinc2015"))
    if request.cross_validate:
        records = _labelled(records)
    runtime_of, model = _runtimes(request)
    rows = feature_rows(request, records, runtime_of)
    if request.cross_validate:
        table = _table(records, rows)
        score, chance, decision = _by_folds(table)
        folds = [
            [record.path.name for record in records if record.fold == k] for k in range(N_FOLDS)
        ]
    else:
        verifier = shipped_verifier()
        table = _table(records, rows, verifier.names)
        score = score_of(verifier, table)
        chance = verifier.probability(score)
        decision, folds = decide(verifier, table, score), []
    report = ProtocolReport(
        protocol="cinc2015",
        model=f"verifier on {model}",
        cross_validated=request.cross_validate,
        n_records=len(records),
        folds=folds,
    )
    judged = np.array([record.is_true is not None for record in records])
    if judged.any():
        _figures(
            report, [r for r, known in zip(records, judged, strict=True) if known], decision[judged]
        )
        rules = np.array(
            [rule_decision(r.alarm_type, row) for r, row in zip(records, rows, strict=True)]
        )
        report.metrics["rules_alone"] = _summary(count(rules[judged], table.truth[judged]))
        error = chance[judged] - table.truth[judged].astype(np.float64)
        report.metrics["brier"] = rounded(float(np.mean(error**2)))
    return _outcome(report, records, table, chance, decision)


def train_verifier(request: EvaluationRequest, path: Path = SHIPPED_VERIFIER) -> Verifier:
    """Learn from every alarm, with rhythm models that never saw its patient, and write `path`."""
    records = _labelled(alarm_records(request.folder("cinc2015")))
    runtime_of, _ = _runtimes(request)
    verifier = fit_verifier(_table(records, feature_rows(request, records, runtime_of)), seed=SEED)
    save_verifier(verifier, path)
    return verifier


def alarm_table(request: EvaluationRequest) -> tuple[AlarmTable, list[str]]:
    """Labelled alarms as rows, and the name of each row's record."""
    records = _labelled(alarm_records(request.folder("cinc2015")))
    runtime_of, _ = _runtimes(request)
    rows = feature_rows(request, records, runtime_of)
    return _table(records, rows), [record.path.name for record in records]


def _labelled(records: Sequence[AlarmRecord]) -> list[AlarmRecord]:
    labelled = [record for record in records if record.is_true is not None]
    if not labelled:
        raise ConfigurationError(["ALARMS.csv has no label: nothing can be learned from it"])
    return labelled


def shipped_verifier() -> Verifier:
    """The verifier of this checkout.

    Raises
    ------
    ConfigurationError
        There is none: it must be trained first.
    """
    if not SHIPPED_VERIFIER.exists():
        raise ConfigurationError(
            [f"{SHIPPED_VERIFIER} is not there: `models train-verifier`, or use --cross-validate"]
        )
    return load_verifier(SHIPPED_VERIFIER)


def _by_folds(table: AlarmTable) -> tuple[Floats, Floats, Bools]:
    # Score, calibrated probability and decision, of each fold by what the others taught.
    score, chance = np.zeros(len(table.truth)), np.zeros(len(table.truth))
    decision = np.zeros(len(table.truth), dtype=bool)
    for fold in range(N_FOLDS):
        own = table.fold == fold
        if not own.any():
            continue
        verifier = fit_verifier(table.only(~own), seed=SEED)
        score[own] = score_of(verifier, table.only(own))
        chance[own] = verifier.probability(score[own])
        decision[own] = decide(verifier, table.only(own), score[own])
    return score, chance, decision


def _runtimes(request: EvaluationRequest) -> tuple[RuntimeOf, str]:
    # A rhythm model learned from these very alarms: with folds, each block has one that did not.
    if request.fold_bundles is not None:
        folds = request.fold_bundles(request.data_dir, request.cache_dir)
        runtimes = [load_runtime(path) for path in folds.bundle_dirs]
        fold_of = folds.fold_of
        return (lambda block: runtimes[fold_of.get(block, 0)]), f"{folds.name} by folds"
    bundle_dir = request.bundle_dir or SHIPPED_BUNDLE
    if not (bundle_dir / MANIFEST_FILE).exists():
        return (lambda block: None), "no rhythm model"
    runtime = load_runtime(bundle_dir)
    name = f"{runtime.manifest.name}/{runtime.manifest.version}"
    return (lambda block: runtime), f"{name} {runtime.manifest.sha256[:12]}"


def feature_rows(
    request: EvaluationRequest, records: Sequence[AlarmRecord], runtime_of: RuntimeOf
) -> list[dict[str, float]]:
    """Features of each record, from the cache where sources, model and curves are the same."""
    kept = _cache_path(request, records, runtime_of)
    if kept.exists():
        with np.load(kept, allow_pickle=False) as arrays:
            names, matrix = arrays["names"].tolist(), arrays["matrix"]
        return [dict(zip(names, row.tolist(), strict=True)) for row in matrix]
    rows: list[dict[str, float]] = []
    for i, record in enumerate(records):
        curves = read_alarm_curves(record.path, REACH_S)
        row = alarm_features(curves, runtime_of(record.block))
        rows.append(row | {"rule": float(rule_decision(record.alarm_type, row))})
        request.progress(i + 1, len(records), f"cinc2015/{record.path.name}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, np.nan) for name in names] for row in rows])
    np.savez_compressed(kept, names=np.array(names), matrix=matrix)
    return rows


def _cache_path(
    request: EvaluationRequest, records: Sequence[AlarmRecord], runtime_of: RuntimeOf
) -> Path:
    digest = hashlib.sha256()
    sources = [*(CHECKOUT / "wardstream" / "kernels").glob("*.py")]
    sources += (CHECKOUT / "wardstream" / "inference" / "alarms").glob("*.py")
    for path in sorted(sources):
        digest.update(path.read_bytes())
    for record in records:
        runtime = runtime_of(record.block)
        model = runtime.manifest.sha256 if runtime is not None else "none"
        digest.update(f"{record.path.name} {record.alarm_type} {model}\n".encode())
        digest.update(record.path.with_suffix(".hea").read_bytes())
        for curves in sorted(record.path.parent.glob(f"{record.path.name}.[dm]at")):
            digest.update(curves.read_bytes())
    return request.cache_dir / "alarm-features" / f"{digest.hexdigest()[:16]}.npz"


def _table(
    records: Sequence[AlarmRecord],
    rows: Sequence[Mapping[str, float]],
    names: Sequence[str] | None = None,
) -> AlarmTable:
    return table_of(
        rows,
        [record.alarm_type for record in records],
        [bool(record.is_true) for record in records],
        [record.fold for record in records],
        names,
    )


def _summary(total: Any) -> dict[str, Any]:
    return {
        **present(
            {
                "score": total.challenge_score,
                "tpr": total.sensitivity,
                "tnr": total.specificity,
            }
        ),
        "tp": total.tp,
        "fp": total.fp,
        "tn": total.tn,
        "fn": total.fn,
    }


def _figures(report: ProtocolReport, records: Sequence[AlarmRecord], decision: Bools) -> None:
    truth = np.array([bool(record.is_true) for record in records])
    types = np.array([record.alarm_type for record in records])
    report.metrics.update(_summary(count(decision, truth)))
    report.confidence.update(_intervals(records, decision))
    per_type: dict[str, Any] = {}
    for name in ALARM_TYPES:
        chosen = types == name
        if chosen.any():
            total = count(decision[chosen], truth[chosen])
            bound = lower_bound_90(total.tp, total.tp + total.fn)
            per_type[name] = {**_summary(total), **present({"tpr_lower_bound_90": bound})}
            kept = [record for record, take in zip(records, chosen, strict=True) if take]
            report.confidence.setdefault("per_type", {})[name] = _intervals(kept, decision[chosen])
    report.metrics["per_type"] = per_type
    vital = types != "Ventricular_Tachycardia"
    total = count(decision[vital], truth[vital])
    report.metrics["tpr_asystole_vf_brady_tachy"] = present({"x": total.sensitivity}).get("x")


def _intervals(records: Sequence[AlarmRecord], decision: Bools) -> dict[str, Any]:
    rows = np.array(
        [
            count(decision[i : i + 1], np.array([bool(r.is_true)])).row()
            for i, r in enumerate(records)
        ],
        dtype=np.float64,
    )
    _, sums = sum_by_cluster([record.block for record in records], rows)
    found = {
        "score": ends(cluster_bootstrap(sums, challenge_score_of)),
        "tpr": ends(cluster_bootstrap(sums, sensitivity_of)),
        "tnr": ends(cluster_bootstrap(sums, specificity_of)),
    }
    return {name: limits for name, limits in found.items() if limits is not None}


_NOTES: Final = (
    (
        "Real time: the file is read up to 5:00 and no further; the label comes from ALARMS.csv and "
        "header comments are never read. A cross-validated score on the public alarms is not "
        "comparable with the hidden test of the challenge (best 81.39 in real time)."
    ),
    (
        "The point is one for all types, chosen on the folds learned from: points of single types rest on "
        "few true alarms and do not hold on other patients."
    ),
)


def _outcome(
    report: ProtocolReport,
    records: Sequence[AlarmRecord],
    table: AlarmTable,
    chance: Floats,
    decision: Bools,
) -> Outcome:
    # Every alarm is decided; only those that somebody judged are scored.
    known = np.array([record.is_true is not None for record in records])
    judged = [record for record, take in zip(records, known, strict=True) if take]
    scored, said = table.only(known), chance[known]
    return Outcome(
        report=report,
        predictions=PredictionTable(
            ("record", "alarm_type", "decision", "score"),
            [
                (record.path.name, record.alarm_type, int(found), round(float(value), 5))
                for record, found, value in zip(records, decision, chance, strict=True)
            ],
        ),
        confusions={name: _confusion(scored, decision[known], name) for name in ALARM_TYPES},
        scored=_curves(scored, said),
        reliability={"probability that the alarm is true": Scored(said, scored.truth)}
        if judged
        else {},
        worst=tuple(_worst(judged, scored, said, decision[known])),
        notes=_NOTES,
    )


def _curves(table: AlarmTable, chance: Floats) -> dict[str, Scored]:
    of = {"all types": np.ones(len(chance), dtype=bool)}
    of |= {name: table.alarm_type == name for name in ALARM_TYPES}
    return {
        name: Scored(chance[chosen], table.truth[chosen])
        for name, chosen in of.items()
        if len(set(table.truth[chosen].tolist())) == 2
    }


def _confusion(table: AlarmTable, decision: Bools, name: str) -> Confusion:
    chosen = table.alarm_type == name
    total = count(decision[chosen], table.truth[chosen])
    return Confusion(
        ("true alarm", "false alarm"),
        ("held to be true", "held to be false"),
        ((total.tp, total.fn), (total.fp, total.tn)),
    )


def _worst(
    records: Sequence[AlarmRecord], table: AlarmTable, chance: Floats, decision: Bools
) -> list[Strip]:
    # Missed true alarms first, the surest first; then false ones held to be true.
    wrong = np.flatnonzero(decision != table.truth)
    order = sorted(
        wrong.tolist(),
        key=lambda i: (not table.truth[i], chance[i] if table.truth[i] else -chance[i]),
    )
    return [
        Strip(
            record=records[i].path,
            start_s=284.0,
            end_s=300.0,
            caption=f"{records[i].path.name}: {'true' if table.truth[i] else 'false'} "
            f"{records[i].alarm_type} held to be {'true' if decision[i] else 'false'}, "
            f"probability {chance[i]:.2f}",
        )
        for i in order[:10]
    ]
