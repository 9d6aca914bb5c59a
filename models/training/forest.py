"""Growing a forest: by scikit-learn, kept without it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from wardstream.inference.alarms.forest import FIELDS, MISSING, Forest

Floats = NDArray[np.float64]


def fit_forest(rows: Floats, truth: NDArray[np.bool_], *, seed: int) -> Forest:
    """Extremely randomised trees (Geurts et al., Machine Learning 63:3-42, 2006).

    Notes
    -----
    400 trees, leaves of 2, a third of the features a split; a positive weighs three: at a
    point of 0.375 a miss then costs five false alarms. Deterministic in its arguments.
    """
    trees: Any = ExtraTreesClassifier
    model = trees(
        n_estimators=400,
        min_samples_leaf=2,
        max_features=0.3,
        class_weight={False: 1.0, True: 3.0},
        random_state=seed,
        n_jobs=1,
    )
    model.fit(np.where(np.isfinite(rows), rows, MISSING), truth)
    positive = list(model.classes_).index(True) if True in model.classes_ else -1
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in FIELDS}
    n_nodes = 0
    for estimator in model.estimators_:
        tree: Any = estimator.tree_
        inner = tree.children_left >= 0
        values = tree.value[:, 0, :]
        share = values[:, positive] / values.sum(axis=1) if positive >= 0 else np.zeros(len(values))
        parts["roots"].append(np.array([n_nodes], dtype=np.int32))
        parts["feature"].append(np.where(inner, tree.feature, -1).astype(np.int16))
        parts["threshold"].append(tree.threshold.astype(np.float32))
        parts["left"].append(np.where(inner, tree.children_left + n_nodes, -1).astype(np.int32))
        parts["right"].append(np.where(inner, tree.children_right + n_nodes, -1).astype(np.int32))
        parts["share"].append(share.astype(np.float32))
        n_nodes += len(values)
    return Forest(**{name: np.concatenate(arrays) for name, arrays in parts.items()})
