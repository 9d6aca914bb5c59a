"""What protocol ``shockable`` calls shockable: VF, flutter and rapid VT, by label and rate."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.resample import TARGET_RATE_HZ

DATASETS: Final = ("vfdb", "cudb", "mitdb")
TRANSITION_S: Final = 4.0
RAPID_PER_MIN: Final = 150.0
SPECIFICITY: Final = 0.985
"""The decision's point keeps this specificity on the other folds."""

FIBRILLATION: Final = ("VF", "VFIB", "VFL")
GROUPS: Final = {
    "vf": ("VF", "VFIB"),
    "vfl": ("VFL",),
    "rapid_vt": ("VT",),
    "sinus": ("N", "SBR", "NOD"),
    "af": ("AFIB", "AFL"),
    "asystole": ("ASYS",),
    "paced": ("P", "PM"),
    "other": ("B", "BI", "T", "PREX", "SVTA", "BII", "AB", "IVR", "VER", "HGEA"),
}


def rate_per_min(filtered_mv: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rate of the strongest repetition of each window, shape (n,); vfdb marks no beats.

    Parameters
    ----------
    filtered_mv : ndarray of float32, shape (n, n_samples)
        Filtered windows at 250 Hz; NaN counts as 0.

    Notes
    -----
    First lag between 0.15 and 1.5 s whose autocorrelation is a local maximum and at least
    0.85 of the highest there: a repetition at twice the period is never preferred. On purpose not
    `wardstream.kernels.repetition`: what is judged does not say what is true.
    """
    x = np.nan_to_num(filtered_mv).astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    n = x.shape[1]
    spectrum = np.abs(np.fft.rfft(x, 2 * n, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, :n] / np.arange(n, 0, -1)
    first, last = int(0.15 * TARGET_RATE_HZ), int(1.5 * TARGET_RATE_HZ)
    middle = correlation[:, first:last]
    is_peak = (middle >= correlation[:, first - 1 : last - 1]) & (
        middle >= correlation[:, first + 1 : last + 1]
    )
    peaks = np.where(is_peak, middle, -np.inf)
    strong = peaks >= 0.85 * np.maximum(peaks.max(axis=1, keepdims=True), 1e-12)
    lag = first + np.argmax(strong, axis=1)
    return np.where(strong.any(axis=1), 60 * TARGET_RATE_HZ / lag, np.nan)
