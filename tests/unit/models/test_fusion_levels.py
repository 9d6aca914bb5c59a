"""Every level of fusion answers for every subset of modalities, or says that it cannot."""

from functools import cache

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from models.deterioration.figures import area
from models.fusion.every_level import levels
from models.fusion.levels import Columns, Fused, Score

COLUMNS = Columns(np.array([0, 0, 1, 1, 2, 2, -1]), ("signal", "record", "noise"))


def cohort(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signal and record each tell half of the truth; the third modality tells nothing."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n, 7))
    truth = rows[:, 0] + rows[:, 2] + 0.5 * draw.normal(size=n) > 0
    rows[draw.random(rows.shape) < 0.1] = np.nan
    return rows, truth


def grow(rows: np.ndarray, truth: np.ndarray, seed: int) -> Score:
    model = HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=10, random_state=seed)
    return model.fit(rows, truth).decision_function


@cache
def fitted(level: str) -> Fused:
    return levels()[level](*cohort(300, 1), COLUMNS, grow, 3)


def answers(level: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    rows, _ = cohort(200, 2)
    present = np.tile((number >> np.arange(3) & 1).astype(bool), (len(rows), 1))
    shown = COLUMNS.without(rows, present)
    return fitted(level).log_odds(shown), COLUMNS.present(shown).any(axis=1)


@pytest.mark.parametrize("level", ["early", "middle", "late"])
@pytest.mark.parametrize("number", range(8))
def test_every_subset_gives_an_answer_or_an_abstention(level: str, number: int) -> None:
    found, there = answers(level, number)
    assert (np.isfinite(found) == there).all()
    assert there.any() == (number != 0)


@pytest.mark.parametrize("level", ["early", "middle", "late"])
def test_what_tells_the_truth_is_used_and_together_tells_more(level: str) -> None:
    _, truth = cohort(200, 2)
    both, signal = answers(level, 7)[0], answers(level, 1)[0]
    known = np.isfinite(signal)
    assert area(both, truth) > 0.8
    assert 0.6 < area(signal[known], truth[known]) < area(both, truth)


def test_what_is_taken_away_cannot_be_seen() -> None:
    rows, _ = cohort(50, 5)
    present = np.tile([True, False, True], (50, 1))
    changed = rows.copy()
    changed[:, 2:4] += 100.0
    for level in levels():
        a = fitted(level).log_odds(COLUMNS.without(rows, present))
        b = fitted(level).log_odds(COLUMNS.without(changed, present))
        np.testing.assert_array_equal(a, b)
