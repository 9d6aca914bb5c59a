"""Has what a device or a model says moved away from what it was learned on?

Population stability index over the reference's own quantiles, missing values as a class of
their own: a sensor that falls silent is drift too.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_BINS: Final = 10
NOTABLE_PSI: Final = 0.1
"""From here on a shift is worth a look; from `SERIOUS_PSI` on a model is to be judged anew
(Siddiqi, Credit Risk Scorecards, 2006: customary limits, no theorem)."""
SERIOUS_PSI: Final = 0.25
MIN_ROWS: Final = 100
"""With fewer rows ten classes differ by chance alone (expected PSI about classes / rows)."""
_FLOOR: Final = 1e-3


def reference_of(rows: Floats) -> tuple[Floats, Floats]:
    """Edges and shares of each column of `rows`, to compare with later.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, n_columns)
        What was learned on; NaN = missing.

    Returns
    -------
    edges : ndarray of float64, shape (n_columns, N_BINS - 1)
        Inner deciles of each column; NaN where it holds nothing.
    shares : ndarray of float64, shape (n_columns, N_BINS + 1)
        Share of rows in each bin, the missing ones last.
    """
    n_columns = rows.shape[1]
    edges = np.full((n_columns, N_BINS - 1), math.nan)
    steps = np.linspace(0, 1, N_BINS + 1)[1:-1]
    for j in range(n_columns):
        known = rows[np.isfinite(rows[:, j]), j]
        if len(known):
            edges[j] = np.quantile(known, steps)
    return edges, _shares(counts_of(rows, edges))


def counts_of(rows: Floats, edges: Floats) -> Integers:
    """How many of `rows` fall into each bin, shape (n_columns, N_BINS + 1), missing ones last.

    Counts of parts add up to those of the whole: an hour can be counted as it comes.

    Raises
    ------
    OutOfRangeError
        The rows have another number of columns than the edges.
    """
    if rows.ndim != 2 or rows.shape[1] != len(edges):
        raise OutOfRangeError(f"rows have shape {rows.shape}, the reference {len(edges)} columns")
    counts = np.zeros((len(edges), edges.shape[1] + 2), dtype=np.int64)
    for j in range(len(edges)):
        known = np.isfinite(rows[:, j])
        found = np.searchsorted(edges[j], rows[known, j], side="left")
        counts[j, :-1] = np.bincount(found, minlength=edges.shape[1] + 1)
        counts[j, -1] = len(rows) - int(known.sum())
    return counts


def stability_index(counts: Integers, reference_shares: Floats) -> Floats:
    """PSI of each column against the reference, 0 and more; NaN with fewer than `MIN_ROWS`."""
    now = np.maximum(_shares(counts), _FLOOR)
    then = np.maximum(reference_shares, _FLOOR)
    index = ((now - then) * np.log(now / then)).sum(axis=1)
    return np.where(counts.sum(axis=1) >= MIN_ROWS, index, math.nan)


def largest_gap(counts: Integers, reference_shares: Floats) -> Floats:
    """Kolmogorov-Smirnov distance of each column over the bins, of the values that are there."""
    now = counts[:, :-1] / np.maximum(counts[:, :-1].sum(axis=1, keepdims=True), 1)
    then = reference_shares[:, :-1] / np.maximum(
        reference_shares[:, :-1].sum(axis=1, keepdims=True), 1e-12
    )
    gap = np.abs(np.cumsum(now, axis=1) - np.cumsum(then, axis=1)).max(axis=1)
    return np.where(counts[:, :-1].sum(axis=1) >= MIN_ROWS, gap, math.nan)


def _shares(counts: Integers) -> Floats:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
