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
    centre, scale = features[keep].mean(axis=0), features[keep].std(axis=0) + 1e-12
    model: Any = LogisticRegression(C=1.0, max_iter=1000)
    model.fit((features[keep] - centre) / scale, truth, sample_weight=weight)
    slopes = np.asarray(model.coef_)[0] / scale
    return np.concatenate([[float(model.intercept_[0]) - float(slopes @ centre)], slopes])
