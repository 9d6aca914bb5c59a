"""Which numbers of a stream are handled: runs of sequence numbers, as the store keeps them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Run = tuple[int, int]
"""First and last number, both included."""


def runs_of(sequence_numbers: NDArray[np.int64]) -> list[Run]:
    """The runs of consecutive numbers in `sequence_numbers`, in order, each number once.

    Parameters
    ----------
    sequence_numbers : ndarray of int64, shape (n,)
        In any order, with repeats.
    """
    if sequence_numbers.size == 0:
        return []
    numbers = np.unique(sequence_numbers)
    starts = np.flatnonzero(np.diff(numbers) != 1) + 1
    firsts = numbers[np.concatenate(([0], starts))]
    lasts = numbers[np.concatenate((starts - 1, [numbers.size - 1]))]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def multirange_text(runs: Iterable[Run]) -> str:
    """`runs` as a PostgreSQL ``int8multirange`` literal."""
    return "{" + ",".join(f"[{first},{last + 1})" for first, last in runs) + "}"
