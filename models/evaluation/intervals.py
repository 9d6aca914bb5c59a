"""Rates with their uncertainty: patients are drawn, not windows, for windows of one are alike."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES: Final = 1000
COVERAGE: Final = 0.90
"""Two-sided; its lower end is the 95 % one-sided bound. The AHA goals ask for 90 % bounds."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval.

    Attributes
    ----------
    value : float
        Share of windows in [0, 1]; NaN without any.
    low, high : float
        Interval of `COVERAGE` by bootstrap over patients; NaN with fewer than two patients.
    n_windows, n_patients : int
        What it rests on.
    """

    value: float
    low: float
    high: float
    n_windows: int
    n_patients: int


def rate_by_patient(hits: NDArray[np.bool_], patients: NDArray[np.str_], *, seed: int = 0) -> Rate:
    """Share of `hits` over all windows, with an interval from resampling `patients`."""
    if not len(hits):
        return Rate(float("nan"), float("nan"), float("nan"), 0, 0)
    names, owner = np.unique(patients, return_inverse=True)
    totals = np.bincount(owner).astype(float)
    found = np.bincount(owner, weights=hits.astype(float))
    value = float(found.sum() / totals.sum())
    if len(names) < 2:
        return Rate(value, float("nan"), float("nan"), len(hits), len(names))
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(names), size=(N_RESAMPLES, len(names)))
    rates = found[drawn].sum(axis=1) / totals[drawn].sum(axis=1)
    low, high = np.quantile(rates, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Rate(value, float(low), float(high), len(hits), len(names))
