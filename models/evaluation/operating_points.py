"""From which probability on a class counts as present."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.judgement import Judgement
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

# Ventricular tachycardia and fibrillation call for the same hands: neither is a false alarm
# of the other.
_NOT_HELD_AGAINST: Final = {"vt": ("vf",), "vf": ("vt",)}

LOWEST, HIGHEST = 0.02, 0.98


def positives(judgement: Judgement, name: str) -> NDArray[np.bool_]:
    """Windows that certainly are of class `name`, shape (n_windows,)."""
    return np.equal(judgement.table.certain_class, RHYTHM_CLASSES.index(name))


def negatives(judgement: Judgement, name: str) -> NDArray[np.bool_]:
    """Windows that certainly are not, and may be held against the class, shape (n_windows,)."""
    admissible = judgement.table.admissible
    excused = [RHYTHM_CLASSES.index(n) for n in (name, *_NOT_HELD_AGAINST.get(name, ()))]
    return np.logical_not(admissible[:, excused].any(axis=1))


def point_at_specificity(scores: NDArray[np.float32], specificity: float) -> float:
    """Lowest point at which at least `specificity` of the negatives' `scores` lie below it."""
    if not len(scores):
        return 0.5
    ordered = np.sort(scores)
    position = min(int(np.ceil(specificity * len(ordered))), len(ordered) - 1)
    # Just above that negative, so that it stays below the point.
    return float(np.clip(np.nextafter(ordered[position - 1], np.float32(1)), LOWEST, HIGHEST))


def choose_points(judgement: Judgement, specificities: Mapping[str, float]) -> dict[str, float]:
    """The operating point of every class, from all windows of `judgement`."""
    return {
        name: point_at_specificity(
            judgement.probability[negatives(judgement, name), RHYTHM_CLASSES.index(name)],
            specificity,
        )
        for name, specificity in specificities.items()
    }


def points_for_windows(
    judgement: Judgement, specificities: Mapping[str, float]
) -> dict[str, NDArray[np.float64]]:
    """For every window the points chosen without its own fold, each of shape (n_windows,).

    So no figure at an operating point is computed on a patient that had a say in the point.
    """
    points = {name: np.full(len(judgement.table), 0.5) for name in specificities}
    for fold in np.unique(judgement.fold):
        for name, point in points_without(judgement, specificities, int(fold)).items():
            points[name][judgement.fold == fold] = point
    return points


def points_without(
    judgement: Judgement, specificities: Mapping[str, float], fold: int
) -> dict[str, float]:
    """The operating point of every class, from all windows but those of `fold`."""
    return {
        name: point_at_specificity(
            judgement.probability[
                negatives(judgement, name) & (judgement.fold != fold), RHYTHM_CLASSES.index(name)
            ],
            specificity,
        )
        for name, specificity in specificities.items()
    }
