"""Boosted trees as plain arrays: asked, and taken apart, without the library that grew them."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel

Floats = NDArray[np.float64]

FIELDS: Final = ("roots", "feature", "threshold", "left", "right", "missing_left", "value")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoostedTrees:
    """Trees laid end to end, whose leaves add up to log odds.

    Attributes
    ----------
    roots : ndarray of int32, shape (n_trees,)
        Root node of each tree.
    feature : ndarray of int16, shape (n_nodes,)
        Column asked at a node; -1 at a leaf.
    threshold : ndarray of float64, shape (n_nodes,)
        Up to this a row goes left.
    left, right : ndarray of int32, shape (n_nodes,)
        Next nodes, always further on than the node itself.
    missing_left : ndarray of bool, shape (n_nodes,)
        Where a row without the value goes.
    value : ndarray of float64, shape (n_nodes,)
        At a leaf what it adds; at another node the mean of the leaves below over the rows it was
        grown on, which is what is expected before the node is asked.
    intercept : float
        Log odds before any tree.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: Floats
    intercept: float

    def __post_init__(self) -> None:
        nodes = np.arange(len(self.feature))
        inner = self.feature >= 0
        for name, following in (("left", self.left), ("right", self.right)):
            if ((following <= nodes) | (following >= len(nodes)))[inner].any():
                raise OutOfRangeError(f"{name} names a node that does not come after its parent")
        if ((self.roots < 0) | (self.roots >= len(nodes))).any():
            raise OutOfRangeError("roots names a node that is not there")

    @property
    def expected(self) -> float:
        """Log odds expected before anything is asked: what contributions start from."""
        return self.intercept + float(self.value[self.roots].sum())

    def log_odds(self, rows: Floats) -> Floats:
        """Log odds of each row, shape (n_rows,); `rows` as (n_rows, n_features), NaN = missing."""
        return self.contributions(rows).sum(axis=1) + self.expected

    def contributions(self, rows: Floats) -> Floats:
        """What each column adds to the log odds of each row, shape (n_rows, n_features).

        Notes
        -----
        Path contributions (Saabas, 2014; Palczewska et al., arXiv:1312.1121): whenever a node is
        asked, the change of the expected value is credited to its column. With `expected` they
        add up to the log odds exactly, at the cost of one walk a tree. Unlike Shapley values a
        column near the root is credited less than one further down that it interacts with.
        """
        found = np.zeros(rows.shape)
        if len(rows):
            self._check(rows)
            _walk(
                found, np.ascontiguousarray(rows, dtype=np.float64), self.roots, self.feature,
                self.threshold, self.left, self.right, self.missing_left, self.value,
            )  # fmt: skip
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, to be kept in an ``.npz``."""
        return {name: getattr(self, name) for name in FIELDS} | {
            "intercept": np.array(self.intercept)
        }

    def _check(self, rows: Floats) -> None:
        if rows.ndim != 2 or rows.shape[1] <= int(self.feature.max(initial=-1)):
            raise OutOfRangeError(
                f"rows have shape {rows.shape}; trees ask column {int(self.feature.max())}"
            )


@kernel
def _walk(
    found: Floats, rows: Floats, roots: NDArray[np.int32], feature: NDArray[np.int16],
    threshold: Floats, left: NDArray[np.int32], right: NDArray[np.int32],
    missing_left: NDArray[np.bool_], value: Floats,
) -> None:  # fmt: skip
    for row in range(rows.shape[0]):
        for tree in range(len(roots)):
            node = roots[tree]
            while feature[node] >= 0:
                asked = feature[node]
                x = rows[row, asked]
                goes_left = missing_left[node] if np.isnan(x) else x <= threshold[node]
                following = left[node] if goes_left else right[node]
                found[row, asked] += value[following] - value[node]
                node = following
