"""Three levels at which modalities can be fused, behind one interface.

Early: one learner over all columns. Middle: an embedding of each modality, attended to. Late: a
learner a modality, whose calibrated log odds are combined. All learn with modalities taken away,
all answer for every subset, and none answers where nothing is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

N_PARTS: Final = 3
"""Parts of the learning rows; each is scored by a learner of the others before anything is
calibrated or combined."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Score = Callable[[Floats], Floats]
"""From rows, NaN where missing, to log odds."""
Grow = Callable[[Floats, Bools, int], Score]
"""From rows, truth and seed to a learner that takes NaN."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What the columns of a table are.

    Attributes
    ----------
    modality : ndarray of intp, shape (n_columns,)
        Which modality each comes from; -1 is always known.
    names : tuple of str
        Of the modalities.
    """

    modality: NDArray[np.intp]
    names: tuple[str, ...]

    def without(self, rows: Floats, present: Bools) -> Floats:
        """`rows` with NaN in the modalities that `present`, shape (n, n_modalities), says are gone."""
        known = np.where(self.modality[None, :] < 0, True, present[:, self.modality])
        return np.where(known, rows, np.nan)

    def present(self, rows: Floats) -> Bools:
        """Whether each row has anything of each modality, shape (n, n_modalities)."""
        known = np.isfinite(rows)
        return np.column_stack(
            [known[:, self.modality == m].any(axis=1) for m in range(len(self.names))]
        )


class Fused(Protocol):
    """A fitted level."""

    def log_odds(self, rows: Floats) -> Floats:
        """Log odds of each row; NaN where no modality is there."""
        ...


Fit = Callable[[Floats, Bools, Columns, Grow, int], Fused]


@dataclass(frozen=True, slots=True, eq=False)
class EarlyFusion:
    """One learner over all columns."""

    columns: Columns
    members: tuple[tuple[Score, float, float], ...]

    def log_odds(self, rows: Floats) -> Floats:
        """See `Fused`."""
        found = np.mean([a * score(rows) + b for score, a, b in self.members], axis=0)
        return np.where(self.columns.present(rows).any(axis=1), found, np.nan)


def fit_early(rows: Floats, truth: Bools, columns: Columns, grow: Grow, seed: int) -> Fused:
    """Members on two thirds each, calibrated on the rest."""
    part, generator = _parts(len(rows), seed)
    members: list[tuple[Score, float, float]] = []
    for k in range(N_PARTS):
        learning = part != k
        thinned = columns.without(rows[learning], _taken(learning.sum(), columns, generator))
        score = grow(
            np.concatenate([rows[learning], thinned]), np.tile(truth[learning], 2), seed + k
        )
        members.append((score, *_platt(score(rows[~learning]), truth[~learning])))
    return EarlyFusion(columns, tuple(members))


@dataclass(frozen=True, slots=True, eq=False)
class LateFusion:
    """A learner a modality, and a weight for each subset that is there."""

    columns: Columns
    members: tuple[tuple[Score, ...], ...]
    weights: Floats

    def log_odds(self, rows: Floats) -> Floats:
        """See `Fused`."""
        present = self.columns.present(rows)
        scores = np.column_stack(
            [
                np.mean([score(_only(rows, self.columns, m)) for score in members], axis=0)
                for m, members in enumerate(self.members)
            ]
        )
        found = _stack(scores, present) @ self.weights
        return np.where(present.any(axis=1), found, np.nan)


def fit_late(rows: Floats, truth: Bools, columns: Columns, grow: Grow, seed: int) -> Fused:
    """Learners of single modalities, combined by a logistic regression that knows who is there."""
    part, generator = _parts(len(rows), seed)
    members: list[tuple[Score, ...]] = []
    unseen = np.zeros((len(rows), len(columns.names)))
    for m in range(len(columns.names)):
        own = _only(rows, columns, m)
        grown: list[Score] = []
        for k in range(N_PARTS):
            grown.append(grow(own[part != k], truth[part != k], seed + 10 * m + k))
            unseen[part == k, m] = grown[k](own[part == k])
        members.append(tuple(grown))
    present = columns.present(rows)
    taken = present & _taken(len(rows), columns, generator)
    inputs = np.concatenate([_stack(unseen, present), _stack(unseen, taken)])
    regression: Any = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000)
    regression.fit(inputs, np.tile(truth, 2))
    return LateFusion(columns, tuple(members), np.asarray(regression.coef_[0], dtype=np.float64))


def _stack(scores: Floats, present: Bools) -> Floats:
    # Score where it is there, whether it is, and one for all: how much a modality weighs depends
    # on which others are missing, so pairs are told as well.
    here = present.astype(np.float64)
    known = np.where(present, np.clip(scores, -8, 8), 0.0)
    absent = 1 - here
    n = scores.shape[1]
    crossed = [known[:, i] * absent[:, j] for i in range(n) for j in range(n) if i != j]
    return np.column_stack([known, here, *crossed, np.ones(len(scores))])


def _only(rows: Floats, columns: Columns, modality: int) -> Floats:
    return rows[:, (columns.modality == modality) | (columns.modality < 0)]


def _taken(n: int, columns: Columns, generator: np.random.Generator) -> Bools:
    # Which modalities stay: any subset but none and all.
    size = len(columns.names)
    number = generator.integers(1, (1 << size) - 1, size=int(n))
    return (number[:, None] >> np.arange(size) & 1).astype(bool)


def _parts(n: int, seed: int) -> tuple[NDArray[np.intp], np.random.Generator]:
    generator = np.random.default_rng(seed)
    return generator.permutation(np.arange(n) % N_PARTS), generator


def _platt(log_odds: Floats, truth: Bools) -> tuple[float, float]:
    if truth.all() or not truth.any():
        return 1.0, 0.0
    regression: Any = LogisticRegression(C=1e3)
    regression.fit(log_odds[:, None], truth)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])
