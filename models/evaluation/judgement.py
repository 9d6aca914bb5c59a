"""What models said of a table of windows, and from which points on it counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.datasets.windows import WindowTable
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.inference.port import RhythmRuntime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """Answers for every window of a table.

    Attributes
    ----------
    table : WindowTable
        What was judged.
    probability : ndarray of float32, shape (n_windows, n_classes)
        Answers in the order of `RHYTHM_CLASSES`; 0 for a class the model does not give.
    fold : ndarray of int, shape (n_windows,)
        Fold whose model answered, -1 where one model answered for all.
    fold_lists : list of list of str
        Patients of each fold; empty without folds.
    """

    table: WindowTable
    probability: NDArray[np.float32]
    fold: NDArray[np.intp]
    fold_lists: list[list[str]]

    @property
    def is_cross_validated(self) -> bool:
        """Whether no window was judged by a model that learned from its patient."""
        return bool((self.fold >= 0).all())


def infer_in_batches(
    runtime: RhythmRuntime,
    table: WindowTable,
    indices: NDArray[np.intp],
    *,
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """Probabilities of windows `indices`, all leads of a window together, by `RHYTHM_CLASSES`."""
    n_leads = runtime.manifest.inputs[0].shape[0]
    columns = [RHYTHM_CLASSES.index(name) for name in runtime.manifest.classes]
    probability = np.zeros((len(indices), len(RHYTHM_CLASSES)), dtype=np.float32)
    for start in range(0, len(indices), batch_size):
        windows = table.normalised(
            indices[start : start + batch_size], n_leads, runtime.manifest.preprocessing
        )
        probability[start : start + batch_size, columns] = runtime.infer(windows)
    return probability


def judge(runtime: RhythmRuntime, table: WindowTable) -> Judgement:
    """What one model says of every window of `table`."""
    return Judgement(
        table=table,
        probability=infer_in_batches(runtime, table, np.arange(len(table))),
        fold=np.full(len(table), -1),
        fold_lists=[],
    )


def judge_by_folds(
    runtimes: Sequence[RhythmRuntime], fold_of: Mapping[str, int], table: WindowTable
) -> Judgement:
    """What the model of each fold says of the patients it never saw.

    Raises
    ------
    OutOfRangeError
        A patient of `table` is in no fold.
    """
    missing = sorted({patient for patient in table.patients if patient not in fold_of})
    if missing:
        raise OutOfRangeError(f"patients in no fold: {missing[:5]}")
    fold = np.array([fold_of[patient] for patient in table.patients])[table.rows["recording"]]
    probability = np.zeros((len(table), len(RHYTHM_CLASSES)), dtype=np.float32)
    for number, runtime in enumerate(runtimes):
        indices = np.flatnonzero(fold == number)
        probability[indices] = infer_in_batches(runtime, table, indices)
    lists: list[list[str]] = [[] for _ in runtimes]
    for patient in sorted(set(table.patients)):
        lists[fold_of[patient]].append(patient)
    return Judgement(table=table, probability=probability, fold=fold, fold_lists=lists)
