"""Learning the deterioration score: grown by scikit-learn, kept and asked without it."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from wardstream.alerting.drift import reference_of
from wardstream.inference.deterioration.boosted import FIELDS, BoostedTrees
from wardstream.inference.deterioration.model import DeteriorationModel, without
from wardstream.inference.deterioration.parameters import Modality

HOURS: Final = (6.0, 12.0, 24.0, 48.0)
"""A stay is asked about at each of these; one model answers at any."""
N_MEMBERS: Final = 3

_TREES: Final = {
    "max_iter": 250,
    "learning_rate": 0.045,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 80,
    "max_features": 0.3,
    "l2_regularization": 5.0,
}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def fit_model(
    rows: Floats, died: Bools, *, seed: int, said: Callable[[str], None] = lambda text: None
) -> DeteriorationModel:
    """Boosted trees that stand the loss of any modality, calibrated on stays they did not see.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_hours, n_stays, n_features)
        Features at each of `HOURS`.
    died : ndarray of bool, shape (n_stays,)
        How the stays ended.
    seed : int
        The same arguments give the same model.
    said : callable
        Told as it goes on.

    Notes
    -----
    Three members, each grown on two thirds of the stays and calibrated (Platt) on the other
    third; the answer is the mean of their calibrated log odds, which is again a sum of trees.
    Every stay is learned from whole and once more with some modalities taken away, so that what
    is missing in the ward does not push an answer where nothing in training was.
    """
    generator = np.random.default_rng(seed)
    part = generator.permutation(np.arange(rows.shape[1]) % N_MEMBERS)
    members: list[BoostedTrees] = []
    unseen = np.zeros(rows.shape[1])
    for k in range(N_MEMBERS):
        grown = _grow(rows[:, part != k], died[part != k], generator, seed + k)
        held_out = rows[:, part == k].reshape(-1, rows.shape[2])
        slope, intercept = _calibrate(grown.log_odds(held_out), np.tile(died[part == k], len(rows)))
        unseen[part == k] = intercept + slope * grown.log_odds(rows[-1, part == k])
        members.append(_scaled(grown, slope / N_MEMBERS, intercept / N_MEMBERS))
        said(f"member {k + 1} of {N_MEMBERS}")
    trees = _joined(members)
    flat = rows.reshape(-1, rows.shape[2])
    answers = trees.log_odds(flat)
    edges, shares = reference_of(np.column_stack([flat, answers]))
    return DeteriorationModel(
        trees=trees,
        point=_balanced_point(1 / (1 + np.exp(-unseen)), died),
        reference_edges=edges,
        reference_shares=shares,
    )


def subsets() -> list[tuple[Modality, ...]]:
    """Every set of modalities that may be missing, the empty one first."""
    every = list(Modality)
    return [
        tuple(m for i, m in enumerate(every) if number >> i & 1)
        for number in range(1 << len(every))
    ]


def _grow(rows: Floats, died: Bools, generator: np.random.Generator, seed: int) -> BoostedTrees:
    whole = rows.reshape(-1, rows.shape[2])
    truth = np.tile(died, len(rows))
    thinned = whole.copy()
    gone = generator.integers(1, (1 << len(Modality)) - 1, size=len(whole))
    for number, missing in enumerate(subsets()):
        chosen = gone == number
        if chosen.any():
            thinned[chosen] = without(whole[chosen], missing)
    classifier: Any = HistGradientBoostingClassifier
    model = classifier(random_state=seed, early_stopping=False, **_TREES)
    model.fit(np.concatenate([whole, thinned]), np.concatenate([truth, truth]))
    return _trees_of(model)


def _balanced_point(probability: Floats, died: Bools) -> float:
    # Where as many are named as die: sensitivity and positive predictivity are then equal.
    return float(np.sort(probability)[-max(int(died.sum()), 1)])


def _calibrate(log_odds: Floats, truth: Bools) -> tuple[float, float]:
    regression: Any = LogisticRegression(C=1e6)
    regression.fit(log_odds[:, None], truth)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


def _trees_of(model: Any) -> BoostedTrees:
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in FIELDS}
    n_nodes = 0
    for (predictor,) in model._predictors:  # noqa: SLF001  # there is no public way to the trees
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        parts["roots"].append(np.array([n_nodes], dtype=np.int32))
        parts["feature"].append(np.where(leaf, -1, nodes["feature_idx"]).astype(np.int16))
        parts["threshold"].append(np.where(leaf, 0.0, nodes["num_threshold"]))
        parts["left"].append(np.where(leaf, -1, nodes["left"] + np.int64(n_nodes)).astype(np.int32))
        parts["right"].append(
            np.where(leaf, -1, nodes["right"] + np.int64(n_nodes)).astype(np.int32)
        )
        parts["missing_left"].append(nodes["missing_go_to_left"].astype(bool))
        parts["value"].append(_expected(nodes))
        n_nodes += len(nodes)
    arrays: dict[str, Any] = {name: np.concatenate(found) for name, found in parts.items()}
    baseline = float(np.asarray(model._baseline_prediction).ravel()[0])  # noqa: SLF001
    return BoostedTrees(**arrays, intercept=baseline)


def _expected(nodes: Any) -> Floats:
    # Children come after their parents, so one pass from the end fills every node.
    value = nodes["value"].astype(np.float64)
    count = nodes["count"].astype(np.float64)
    for i in range(len(nodes) - 1, -1, -1):
        if not nodes["is_leaf"][i]:
            a, b = int(nodes["left"][i]), int(nodes["right"][i])
            value[i] = (value[a] * count[a] + value[b] * count[b]) / (count[a] + count[b])
    return value


def _scaled(trees: BoostedTrees, slope: float, intercept: float) -> BoostedTrees:
    arrays: dict[str, Any] = {name: getattr(trees, name) for name in FIELDS}
    arrays["value"] = trees.value * slope
    return BoostedTrees(**arrays, intercept=trees.intercept * slope + intercept)


def _joined(members: list[BoostedTrees]) -> BoostedTrees:
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in FIELDS}
    n_nodes = 0
    for member in members:
        for name in FIELDS:
            values = getattr(member, name)
            if name == "roots":
                values = values + np.int32(n_nodes)
            elif name in ("left", "right"):
                values = np.where(values >= 0, values + np.int32(n_nodes), values)
            parts[name].append(values)
        n_nodes += len(member.feature)
    arrays: dict[str, Any] = {name: np.concatenate(found) for name, found in parts.items()}
    return BoostedTrees(**arrays, intercept=sum(member.intercept for member in members))
