"""The curves that had arrived when an alarm sounded."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

REACH_S: Final = 120.0
"""How far back curves are asked for: the detectors have settled long before what is judged."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlarmCurves:
    """Curves that had arrived when the alarm sounded.

    Attributes
    ----------
    ecg, ppg, abp, resp : ndarray of float32, shape (n_channels, n_samples)
        By what they measure, at most; NaN = missing.
    sampling_rate_hz : float
        Of all.
    """

    ecg: NDArray[np.float32]
    ppg: NDArray[np.float32]
    abp: NDArray[np.float32]
    resp: NDArray[np.float32]
    sampling_rate_hz: float
