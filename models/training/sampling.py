"""Which windows an epoch sees: balanced by class, and within a class by patient."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import admissible_bits
from models.datasets.windows import WindowTable
from models.training.config import FitConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

_EITHER: Final = -2


def sampling_probability(
    table: WindowTable, indices: NDArray[np.intp], config: FitConfig
) -> NDArray[np.float64]:
    """Chance of each window of `indices` to be drawn, shape (n,), adding up to 1.

    A class gets its configured share; within it a patient counts by the square root of its
    windows, so that one with an hour of VF does not stand for all.
    """
    certain = table.certain_class[indices]
    patients = table.patient_of[indices]
    weights = table.rows["weight"][indices].astype(np.float64)
    shares = [config.class_share[name] for name in RHYTHM_CLASSES]
    probability = np.zeros(len(indices))
    # "Tachycardia or fibrillation" must not crowd out the certain tachycardias, or the network
    # answers vf to both and vt to none; nor the denied alarms, hence a group of its own.
    either = table.rows["admissible"][indices] == admissible_bits(("vt", "vf"))
    group = np.where(either, _EITHER, certain)
    partial = config.partial_share / (2 if either.any() else 1)
    for index, share in (*enumerate(shares), (-1, partial), (_EITHER, partial)):
        mask = group == index
        if not mask.any() or share == 0:
            continue
        within = np.zeros(int(mask.sum()))
        for patient in np.unique(patients[mask]):
            own = patients[mask] == patient
            within[own] = weights[mask][own] / np.sqrt(own.sum())
        probability[mask] = share * within / within.sum()
    return probability / probability.sum()


def validation_indices(
    table: WindowTable, indices: NDArray[np.intp], *, at_most: int, seed: int
) -> NDArray[np.intp]:
    """At most `at_most` windows of each certain class among `indices`, the same every epoch."""
    generator = np.random.default_rng(seed)
    certain = table.certain_class[indices]
    chosen: list[NDArray[np.intp]] = []
    for index in range(len(RHYTHM_CLASSES)):
        members = indices[certain == index]
        if len(members) > at_most:
            members = generator.choice(members, at_most, replace=False)
        chosen.append(members)
    return np.sort(np.concatenate(chosen))
