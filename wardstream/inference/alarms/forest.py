"""A forest as plain arrays: asked without the library that grew it."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MISSING: Final = -9.0
"""What a figure that does not exist is to a tree: below everything."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest:
    """Trees laid end to end.

    Attributes
    ----------
    roots : ndarray of int32, shape (n_trees,)
        Root node of each tree.
    feature : ndarray of int16, shape (n_nodes,)
        Column asked at a node; -1 at a leaf.
    threshold : ndarray of float32, shape (n_nodes,)
        Up to this a row goes left.
    left, right : ndarray of int32, shape (n_nodes,)
        Next nodes.
    share : ndarray of float32, shape (n_nodes,)
        Share of positives at a leaf, classes weighted as in training.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    share: NDArray[np.float32]

    def score(self, rows: Floats) -> Floats:
        """Mean share over the trees, shape (n_rows,), for `rows` of shape (n_rows, n_features)."""
        x = np.where(np.isfinite(rows), rows, MISSING).astype(np.float32)
        node = np.tile(self.roots, (len(x), 1))
        while True:
            column = self.feature[node]
            inner = column >= 0
            if not inner.any():
                return self.share[node].mean(axis=1).astype(np.float64)
            values = np.take_along_axis(x, np.maximum(column, 0).astype(np.intp), axis=1)
            goes_left = values <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, to be kept in an ``.npz``."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS: Final = ("roots", "feature", "threshold", "left", "right", "share")
