"""Which windows an epoch sees: balanced by class, and within a class by patient."""

import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import admissible_bits
from models.datasets.windows import WindowTable
from models.training.config import FitConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES


def sampling_probability(
    table: WindowTable, indices: NDArray[np.intp], config: FitConfig
) -> NDArray[np.float64]:
    """Chance of each window of `indices` to be drawn, shape (n,), adding up to 1.

    A class gets its configured share; within it a patient counts by its windows to the power
    `FitConfig.patient_power`, so that one with an hour of VF does not stand for all.
    """
    certain = table.certain_class[indices]
    patients = table.patient_of[indices]
    weights = table.rows["weight"][indices].astype(np.float64)
    shares = [config.class_share[name] for name in RHYTHM_CLASSES]
    probability = np.zeros(len(indices))
    # "Tachycardia or fibrillation" is drawn with tachycardia, not with the denied alarms.
    either = admissible_bits(("vt", "vf"))
    group = np.where(
        table.rows["admissible"][indices] == either, RHYTHM_CLASSES.index("vt"), certain
    )
    for index, share in (*enumerate(shares), (-1, config.partial_share)):
        mask = group == index
        if not mask.any() or share == 0:
            continue
        within = np.zeros(int(mask.sum()))
        for patient in np.unique(patients[mask]):
            own = patients[mask] == patient
            within[own] = weights[mask][own] * own.sum() ** (config.patient_power - 1)
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
