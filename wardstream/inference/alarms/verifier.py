"""What was learned of true and false alarms, and how it is asked.

It supports an alarm or contradicts it. Nothing here removes, delays or lowers one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.alert import Condition
from wardstream.contracts.errors import ContractError
from wardstream.inference.alarms.curves import AlarmCurves
from wardstream.inference.alarms.features import alarm_features
from wardstream.inference.alarms.forest import FIELDS, Forest
from wardstream.inference.alarms.rules import rule_decision
from wardstream.inference.port import RhythmRuntime

ALARM_TYPE_OF: Final[Mapping[Condition, str]] = {
    Condition.ASYSTOLE: "Asystole",
    Condition.EXTREME_BRADYCARDIA: "Bradycardia",
    Condition.EXTREME_TACHYCARDIA: "Tachycardia",
    Condition.VENTRICULAR_TACHYCARDIA: "Ventricular_Tachycardia",
    Condition.VENTRICULAR_FIBRILLATION: "Ventricular_Flutter_Fib",
}
"""Which alarm a condition of the bed is, in the words of the alarms learned from."""

RULE_SHARES: Final[Mapping[str, float]] = {"Asystole": 0.35, "Ventricular_Flutter_Fib": 0.35}
"""What the rule weighs beside the forest, where true alarms are too few for a forest alone."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSupport:
    """What the other channels say of an alarm.

    Attributes
    ----------
    probability : float
        That it is true, 0 to 1, calibrated; NaN for an alarm nobody learned of.
    holds : bool
        Whether it is held to be true at the operating point, where a miss weighs five times.
    """

    probability: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verifier:
    """What was learned.

    Attributes
    ----------
    names : tuple of str
        Features, in the order of the columns.
    forests : mapping of alarm type to Forest
        One a type.
    points : mapping of alarm type to float
        Score from which an alarm of the type is held to be true.
    calibration : tuple of (float, float)
        Slope and intercept from the score's log odds to those of the probability.
    rule_shares : mapping of alarm type to float
        What the rule weighs in the score; the forest has the rest.
    """

    names: tuple[str, ...]
    forests: Mapping[str, Forest]
    points: Mapping[str, float]
    calibration: tuple[float, float] = (1.0, 0.0)
    rule_shares: Mapping[str, float] = field(default_factory=lambda: dict(RULE_SHARES))

    def score_rows(self, rows: Floats, alarm_type: NDArray[np.str_]) -> Floats:
        """Score of each alarm, 0 to 1; 1 for a type nobody learned of.

        Parameters
        ----------
        rows : ndarray of float64, shape (n, n_features)
            In the order of `names`; NaN where a figure does not exist.
        alarm_type : ndarray of str, shape (n,)
            Of each row.
        """
        score = np.ones(len(rows))
        rule = np.nan_to_num(rows[:, self.names.index("rule")]) if "rule" in self.names else None
        for name, forest in self.forests.items():
            chosen = alarm_type == name
            if not chosen.any():
                continue
            score[chosen] = forest.score(rows[chosen])
            if rule is not None and (share := self.rule_shares.get(name, 0.0)):
                score[chosen] = (1 - share) * score[chosen] + share * rule[chosen]
        return score

    def probability(self, score: Floats) -> Floats:
        """`score` as the probability that the alarm is true."""
        slope, intercept = self.calibration
        return 1 / (1 + np.exp(-(slope * log_odds(score) + intercept)))

    def judge(self, alarm_type: str, row: Mapping[str, float]) -> AlarmSupport:
        """What `row` of `alarm_features` says of one alarm; one of an unknown type holds."""
        if alarm_type not in self.forests:
            return AlarmSupport(probability=math.nan, holds=True)
        known = row if "rule" in row else {**row, "rule": float(rule_decision(alarm_type, row))}
        values = np.array([[known.get(name, math.nan) for name in self.names]])
        score = self.score_rows(values, np.array([alarm_type]))
        return AlarmSupport(
            probability=float(self.probability(score)[0]),
            holds=bool(score[0] >= self.points.get(alarm_type, 0.0)),
        )

    def support(
        self, condition: Condition, curves: AlarmCurves, runtime: RhythmRuntime | None
    ) -> AlarmSupport | None:
        """What `curves` up to now say of an alert on `condition`; None where nothing was learned.

        Some 40 ms of a core: to be asked once an alert, beside the alarm path and not in it.
        """
        alarm_type = ALARM_TYPE_OF.get(condition)
        if alarm_type is None or alarm_type not in self.forests:
            return None
        return self.judge(alarm_type, alarm_features(curves, runtime))


def log_odds(score: Floats) -> Floats:
    """Log odds of scores, those at 0 and 1 moved in by a hundredth."""
    inside = np.clip(score, 0.01, 0.99)
    return np.log(inside / (1 - inside))


def load_verifier(path: Path) -> Verifier:
    """The verifier in the file at `path`.

    Raises
    ------
    ContractError
        It is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            types = [str(name) for name in arrays["types"]]
            slope, intercept = arrays["calibration"].tolist()
            return Verifier(
                names=tuple(str(name) for name in arrays["names"]),
                forests={
                    name: Forest(**{part: arrays[f"{name}.{part}"] for part in FIELDS})
                    for name in types
                },
                points=dict(zip(types, arrays["points"].tolist(), strict=True)),
                calibration=(slope, intercept),
                rule_shares=dict(zip(types, arrays["rule_shares"].tolist(), strict=True)),
            )
    except (OSError, KeyError, ValueError) as error:
        raise ContractError(f"{path} is no verifier: {error}") from error
