"""The verifier itself, with each of its channels taken away: what a lost sensor costs."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.deterioration.figures import area, area_interval, with_interval
from models.evaluation.alarm_protocol import SEED, alarm_table
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import rounded
from models.evaluation.statistics import count
from models.training.verifier import AlarmTable, decide, fit_verifier, score_of
from wardstream.inference.alarms.features import together
from wardstream.inference.alarms.rules import rule_decision

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHANNELS: Final = ("ecg", "ppg", "abp")
_OF_ECG: Final = ("ecg_", "best_", "lowest_", "highest_", "model_")


def channel_of(name: str) -> int:
    """Which of `CHANNELS` a feature is measured on; -1 for one that mixes them."""
    if name.startswith(_OF_ECG):
        return 0
    return 1 if name.startswith("ppg_") else 2 if name.startswith("abp_") else -1


def verifier_without(request: EvaluationRequest) -> dict[str, Any]:
    """Figures by folds for every subset of channels, by the channels that are left."""
    table, _ = alarm_table(request)
    size = len(CHANNELS)
    seen = {number: only_channels(table, number) for number in range(1 << size)}
    score = {number: np.zeros(len(table.truth)) for number in seen}
    held = {number: np.zeros(len(table.truth), dtype=bool) for number in seen}
    for fold in np.unique(table.fold):
        own = table.fold == fold
        verifier = fit_verifier(table.only(~own), seed=SEED)
        for number, rows in seen.items():
            asked = rows.only(own)
            score[number][own] = score_of(verifier, asked)
            held[number][own] = decide(verifier, asked, score[number][own])
    found: dict[str, Any] = {}
    for number in seen:
        name = " + ".join(c for i, c in enumerate(CHANNELS) if number >> i & 1) or "nothing"
        # With no channel there is nothing to judge by, and the alarm stands.
        decision = held[number] if number else np.ones(len(table.truth), dtype=bool)
        total = count(decision, table.truth)
        found[name] = {
            "score": rounded(total.challenge_score),
            "tpr": rounded(total.sensitivity),
            "tnr": rounded(total.specificity),
            "abstained": not number,
        }
        if number:
            found[name]["auroc"] = with_interval(
                area(score[number], table.truth), area_interval(score[number], table.truth)
            )
    return found


def only_channels(table: AlarmTable, number: int) -> AlarmTable:
    """`table` as it would be had only the channels of the bits of `number` been there."""
    gone = [
        i for i, n in enumerate(table.names) if (c := channel_of(n)) >= 0 and not number >> c & 1
    ]
    rows = table.rows.copy()
    rows[:, gone] = math.nan
    place = {name: i for i, name in enumerate(table.names)}
    for i, kind in enumerate(table.alarm_type.tolist()):
        # Names that are missing are missing to the rules as well, as in a bed without the channel.
        known = {n: float(rows[i, k]) for n, k in place.items() if np.isfinite(rows[i, k])}
        row = {**dict.fromkeys(table.names, math.nan), **known}
        mixed = together(row)
        mixed["rule"] = float(rule_decision(kind, {**row, **mixed}))
        for name, value in mixed.items():
            if name in place:
                rows[i, place[name]] = value
    return AlarmTable(
        names=table.names,
        rows=rows,
        alarm_type=table.alarm_type,
        truth=table.truth,
        fold=table.fold,
    )
