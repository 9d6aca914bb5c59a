"""Folds in which no patient is on both sides."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError


def patient_folds(
    class_counts: Mapping[str, NDArray[np.float64]], n_folds: int, seed: int
) -> dict[str, int]:
    """The fold of every patient, so that each fold sees its share of every class.

    Parameters
    ----------
    class_counts : mapping of patient to ndarray of float64, shape (n_classes,)
        How much of each class a patient has.
    n_folds : int
        At least 2.
    seed : int
        Breaks ties between patients alike.

    Returns
    -------
    dict of patient to int
        Fold in ``range(n_folds)``. Deterministic in its arguments, whatever their order.

    Raises
    ------
    OutOfRangeError
        There are fewer patients than folds.

    Notes
    -----
    Greedy: patients by the share they hold of their rarest class, largest first, each to the
    fold where the squared excess over an even share grows least.
    """
    if not 2 <= n_folds <= len(class_counts):
        raise OutOfRangeError(f"{n_folds} folds of {len(class_counts)} patients")
    patients = sorted(class_counts)
    counts = np.array([class_counts[patient] for patient in patients])
    shares = counts / np.maximum(counts.sum(axis=0), 1e-9)
    tie_break = np.random.default_rng(seed).permutation(len(patients))
    order = np.lexsort((tie_break, -shares.max(axis=1)))
    held = np.zeros((n_folds, counts.shape[1]))
    size = np.zeros(n_folds)
    fold_of: dict[str, int] = {}
    for index in order:
        after = held + shares[index]
        cost = ((after**2).sum(axis=1) - (held**2).sum(axis=1)) + 1e-3 * size
        fold = int(np.argmin(cost))
        held[fold] += shares[index]
        size[fold] += 1 / len(patients)
        fold_of[patients[int(index)]] = fold
    return fold_of


def fold_lists(fold_of: Mapping[str, int]) -> list[list[str]]:
    """Patients of each fold in order of name, for the report: leakage can be checked by eye."""
    lists: list[list[str]] = [[] for _ in range(max(fold_of.values()) + 1)]
    for patient in sorted(fold_of):
        lists[fold_of[patient]].append(patient)
    return lists


def patients_in(fold_of: Mapping[str, int], folds: Sequence[int]) -> set[str]:
    """Every patient whose fold is among `folds`."""
    return {patient for patient, fold in fold_of.items() if fold in folds}
