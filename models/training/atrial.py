"""Fit the weights of `wardstream.kernels.atrial`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.datasets.rr_windows import RrWindow
from wardstream.kernels.atrial import rr_features

MIXED = 0.02
"""A window of which more than this is of the other kind teaches nothing."""

_DATASET_WEIGHT = {"mitdb": 2.0, "afdb_rr": 1.0, "vitaldb": 1.0, "nsrdb": 0.5}

_BREATHING_WEIGHT = 300.0
"""Of all made windows together: a third of what one kind of one data set weighs."""


def breathing_features(n_windows: int = 400) -> NDArray[np.float64]:
    """`rr_features` of made sinus rhythms that breathing moves, shape (n_windows, n_features).

    Notes
    -----
    The young and the deeply asleep have swings of 4 to 16 % of the interval with every breath
    (12 to 20 /min), and none of the recordings learned from shows that at length.
    """
    generator = np.random.default_rng(4)
    windows: list[NDArray[np.float64]] = []
    for _ in range(n_windows):
        mean_ms, depth = generator.uniform(650, 1150), generator.uniform(0.04, 0.16)
        breath_s = generator.uniform(3.0, 5.0)
        time_s = np.cumsum(np.full(round(30_000 / mean_ms), mean_ms / 1000))
        swing = np.sin(2 * np.pi * time_s / breath_s + generator.uniform(0, 2 * np.pi))
        jitter = generator.normal(0, 0.012, len(time_s))
        windows.append(rr_features(mean_ms * (1 + depth * swing + jitter)))
    return np.stack(windows)


def features_of(windows: Sequence[RrWindow]) -> NDArray[np.float64]:
    """`rr_features` of each window, shape (n_windows, n_features)."""
    return np.stack([rr_features(window.rr_ms) for window in windows])


def fit_weights(windows: Sequence[RrWindow], features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights for `af_probability`, intercept first.

    Parameters
    ----------
    windows : sequence of RrWindow
        What to learn from; mixed and unknown ones are left out.
    features : ndarray of float64, shape (n_windows, n_features)
        From `features_of`.

    Notes
    -----
    Logistic regression, ridge of 1 on standardised features. Within a data set AF and the rest
    weigh the same, so the intercept belongs to even odds; deterministic.
    """
    share = np.array([window.af_share for window in windows])
    pure = (share <= MIXED) | (share >= 1 - MIXED)
    keep = np.flatnonzero(pure & np.isfinite(features).all(axis=1))
    truth = share[keep] > 0.5
    datasets = np.array([windows[int(i)].dataset for i in keep])
    weight = np.zeros(len(keep))
    for name in np.unique(datasets):
        for positive in (False, True):
            chosen = (datasets == name) & (truth == positive)
            weight[chosen] = 1000 * _DATASET_WEIGHT.get(str(name), 1.0) / max(chosen.sum(), 1)
    breathing = breathing_features()
    learned = np.concatenate([features[keep], breathing])
    truth = np.concatenate([truth, np.zeros(len(breathing), dtype=np.bool_)])
    weight = np.concatenate([weight, np.full(len(breathing), _BREATHING_WEIGHT / len(breathing))])
    centre, scale = learned.mean(axis=0), learned.std(axis=0) + 1e-12
    model: Any = LogisticRegression(C=1.0, max_iter=1000)
    model.fit((learned - centre) / scale, truth, sample_weight=weight)
    slopes = np.asarray(model.coef_)[0] / scale
    return np.concatenate([[float(model.intercept_[0]) - float(slopes @ centre)], slopes])
