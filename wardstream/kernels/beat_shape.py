"""What the beats of a lead look like: shape, likeness to it, width; for the QRS detector.

Leads are known by their level and weight, curves by rings of `RING` samples at 250 Hz.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import kernel

RING: Final = 1024  # history in samples, a power of two: search-back reaches 2.5 s
MASK: Final = RING - 1

SHAPE_SAMPLES: Final = 40  # 160 ms in the band: what a beat of each lead looks like
_SHAPE_LAG: Final = 8  # 32 ms: how far the peak of the feature strays from the beat in noise
_SHAPE_GAIN: Final = 0.05
_STEEP_SHARE: Final = 0.2
_MS_PER_SAMPLE: Final = 4.0


@kernel
def likeness(
    at: int, leads: Any, band: NDArray[np.float64], shapes: NDArray[np.float64], state: Any
) -> float:
    """Correlation of what is at sample `at` with the shape of the beats so far.

    Parameters
    ----------
    at : int
        Sample at which the feature peaks.
    leads, state : structured record
        Of the detector: ``weight``; ``shaped``, beats learned from, and ``lag``, which is set.
    band : ndarray of float64, shape (n_leads, RING)
        The band-passed leads.
    shapes : ndarray of float64, shape (n_leads, SHAPE_SAMPLES + 1)
        Latest sample first; at the end the sum of squares.

    Returns
    -------
    float
        -1 to 1, weighted over the leads, at the lag of at most 32 ms where it is highest; -1
        before the first beat.
    """
    best, state.lag = -1.0, 0
    if state.shaped == 0:
        return best
    weight_sum = 1e-12
    for c in range(leads.size):
        weight_sum += leads[c].weight
    for lag in range(-_SHAPE_LAG, _SHAPE_LAG + 1):
        total = 0.0
        for c in range(leads.size):
            product, power = 0.0, 1e-12
            for k in range(SHAPE_SAMPLES):
                x = band[c, (at + lag - k) & MASK]
                product += x * shapes[c, k]
                power += x * x
            total += leads[c].weight * product / math.sqrt(power * shapes[c, SHAPE_SAMPLES])
        if total > best * weight_sum:
            best, state.lag = total / weight_sum, lag
    return best


@kernel
def learn_shape(
    at: int, leads: Any, band: NDArray[np.float64], shapes: NDArray[np.float64], state: Any
) -> None:
    """Take the beat at sample `at`, at the lag of the last `likeness`, into the shapes."""
    gain = max(_SHAPE_GAIN, 1.0 / (state.shaped + 1))
    for c in range(leads.size):
        for k in range(SHAPE_SAMPLES):
            x = band[c, (at + state.lag - k) & MASK] / leads[c].level
            shapes[c, k] += gain * (x - shapes[c, k])
        own = 1e-12
        for k in range(SHAPE_SAMPLES):
            own += shapes[c, k] * shapes[c, k]
        shapes[c, SHAPE_SAMPLES] = own
    state.shaped += 1


@kernel
def width(at: int, leads: Any, slope: NDArray[np.float64]) -> float:
    """Milliseconds for which the lead of most weight is at least a fifth as steep as at most."""
    best = 0
    for c in range(leads.size):
        if leads[c].weight > leads[best].weight:
            best = c
    steepest = 0.0
    for k in range(SHAPE_SAMPLES):
        steepest = max(steepest, slope[best, (at - k) & MASK])
    first, last = SHAPE_SAMPLES, 0
    for k in range(SHAPE_SAMPLES):
        if slope[best, (at - k) & MASK] >= _STEEP_SHARE * steepest:
            first, last = min(first, k), max(last, k)
    return max(last - first, 0) * _MS_PER_SAMPLE
