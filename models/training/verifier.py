"""Learning whether a monitor's alarm of the named type is true.

One forest a type, beside a rule where true alarms are few; a point that weighs a miss five times.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.datasets.alarms import ALARM_TYPES
from models.training.forest import fit_forest
from wardstream.inference.alarms.forest import Forest
from wardstream.inference.alarms.verifier import Verifier, log_odds

_POINTS: Final = np.arange(0.10, 0.61, 0.01)
_N_DRAWS: Final = 200

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlarmTable:
    """Alarms as rows of features.

    Attributes
    ----------
    names : tuple of str
        Of the features.
    rows : ndarray of float64, shape (n, n_features)
        NaN where a figure does not exist.
    alarm_type : ndarray of str, shape (n,)
        Members of `ALARM_TYPES`.
    truth : ndarray of bool, shape (n,)
        What the clinicians said.
    fold : ndarray of int, shape (n,)
        Runs of patients.
    """

    names: tuple[str, ...]
    rows: Floats
    alarm_type: NDArray[np.str_]
    truth: Bools
    fold: NDArray[np.intp]

    def only(self, mask: Bools) -> "AlarmTable":
        """The rows of `mask`."""
        return AlarmTable(
            names=self.names,
            rows=self.rows[mask],
            alarm_type=self.alarm_type[mask],
            truth=self.truth[mask],
            fold=self.fold[mask],
        )


def table_of(
    rows: Sequence[Mapping[str, float]],
    alarm_type: Sequence[str],
    truth: Sequence[bool],
    fold: Sequence[int],
    names: Sequence[str] | None = None,
) -> AlarmTable:
    """Rows by name as a table; columns in order of name, or as `names` has them."""
    found = tuple(names) if names else tuple(sorted({name for row in rows for name in row}))
    return AlarmTable(
        names=found,
        rows=np.array([[row.get(name, np.nan) for name in found] for row in rows]),
        alarm_type=np.array(alarm_type, dtype=np.str_),
        truth=np.array(truth, dtype=bool),
        fold=np.array(fold, dtype=np.intp),
    )


def fit_verifier(table: AlarmTable, *, seed: int) -> Verifier:
    """Forests on all of `table`; the point from scores by its own folds.

    Notes
    -----
    The best point of one type rests on few true alarms and does not hold on other patients
    (measured: 76 against 82 for one point). Scores of all forests are on one scale, so one point
    is chosen over all types: the one with the best mean score over resampled records.
    """
    inner = np.zeros(len(table.truth))
    for fold in np.unique(table.fold):
        held_out = table.fold == fold
        partial = Verifier(
            names=table.names, forests=_forests(table.only(~held_out), seed), points={}
        )
        inner[held_out] = score_of(partial, table.only(held_out))
    point = choose_point(inner, table.truth, seed=seed)
    return Verifier(
        names=table.names,
        forests=_forests(table, seed),
        points=dict.fromkeys(ALARM_TYPES, point),
        calibration=fit_calibration(inner, table.truth),
    )


def score_of(verifier: Verifier, table: AlarmTable) -> Floats:
    """Score of each alarm of `table`."""
    return verifier.score_rows(table.rows, table.alarm_type)


def decide(verifier: Verifier, table: AlarmTable, score: Floats) -> Bools:
    """Whether each alarm is held to be true; one of a type nobody learned of is."""
    points = np.array([verifier.points.get(str(name), 0.0) for name in table.alarm_type])
    return score >= points


def fit_calibration(score: Floats, truth: Bools) -> tuple[float, float]:
    """Slope and intercept from log odds of held-out scores to those of being true.

    Notes
    -----
    Platt, Advances in Large Margin Classifiers (1999): two numbers over all types, since single
    types have too few alarms for more.
    """
    if truth.all() or not truth.any():
        return 1.0, 0.0
    model: Any = LogisticRegression(C=1e3)
    model.fit(log_odds(score)[:, None], truth)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _forests(table: AlarmTable, seed: int) -> dict[str, Forest]:
    found: dict[str, Forest] = {}
    for name in ALARM_TYPES:
        of_type = table.only(table.alarm_type == name)
        if of_type.truth.any() and not of_type.truth.all():
            found[name] = fit_forest(of_type.rows, of_type.truth, seed=seed)
    return found


def choose_point(score: Floats, truth: Bools, *, seed: int) -> float:
    """The point of the best mean challenge score over resampled alarms."""
    found = score[None, :] >= _POINTS[:, None]
    draws = np.random.default_rng(seed).multinomial(
        len(truth), np.full(len(truth), 1 / len(truth)), _N_DRAWS
    )
    right = (found == truth) @ draws.T
    false = (found & ~truth) @ draws.T
    missed = (~found & truth) @ draws.T
    return float(_POINTS[int(np.argmax((right / (right + false + 5 * missed)).mean(axis=1)))])


def save_verifier(verifier: Verifier, path: Path) -> None:
    """Write `verifier` as one ``.npz``."""
    arrays: dict[str, Any] = {
        "names": np.array(verifier.names),
        "types": np.array(list(verifier.forests)),
        "points": np.array([verifier.points[name] for name in verifier.forests]),
        "calibration": np.array(verifier.calibration),
        "rule_shares": np.array([verifier.rule_shares.get(n, 0.0) for n in verifier.forests]),
    }
    for name, forest in verifier.forests.items():
        arrays |= {f"{name}.{field}": values for field, values in forest.arrays().items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
