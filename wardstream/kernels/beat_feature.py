"""The curve in which the QRS detector looks for beats: how steep the leads are, by quality.

Band-pass, slope and moving mean as in Pan and Tompkins (IEEE Trans. Biomed. Eng. 32:230-236,
1985); then leads are weighted by quality and by how far their QRS stand out of the rest.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.beat_memory import (
    BASELINE_HALF,
    MASK,
    MEAN_WIDTH,
    MIN_LEVEL,
    R_BEFORE,
    RING,
)
from wardstream.kernels.compile import inlined, kernel
from wardstream.kernels.filters import butterworth_highpass, butterworth_lowpass
from wardstream.kernels.resample import TARGET_RATE_HZ

GAP: Final = 50  # 200 ms of missing samples: a gap, which is no silence
_MEAN_GAIN: Final = 0.004  # mean between beats, time constant 1 s

_SECTIONS: Final = np.concatenate(
    [butterworth_highpass(7.0, TARGET_RATE_HZ), butterworth_lowpass(20.0, TARGET_RATE_HZ, 2)]
)


@inlined
def is_gap(leads: Any) -> bool:
    missing = True
    for c in range(leads.size):
        missing = missing and leads[c].gap >= GAP
    return missing


@inlined
def feature_at(
    samples: NDArray[np.float32],
    i: int,
    leads: Any,
    state: Any,
) -> float:
    # Weighted mean over leads of the moving mean of |slope|, each in units of its own QRS.
    total, weight_sum = 0.0, 0.0
    for c in range(leads.size):
        lead = leads[c]
        mean = _feed(float(samples[c, i]), lead, state.n)
        if state.n < state.learn_until:
            lead.level = max(lead.level, mean)
        lead.mean += _MEAN_GAIN * (mean - lead.mean)
        # A lead in which nothing has ever moved stands out of nothing: it gets no say.
        prominence = max(lead.level / (lead.mean + 1e-9), 1.0) if lead.level > MIN_LEVEL else 0.0
        lead.weight = lead.quality * prominence * prominence
        total += lead.weight * mean / lead.level
        weight_sum += lead.weight
    return total / weight_sum if weight_sum > 0 else 0.0


@inlined
def _feed(x: float, lead: Any, n: int) -> float:
    raw, band, slope = lead.raw, lead.band, lead.slope
    if math.isnan(x):
        x = 0.0 if math.isnan(lead.held) else lead.held
        lead.gap += 1
    else:
        if math.isnan(lead.held) or lead.gap >= GAP:
            # The first sample, or the first after a gap: as if it had always been there, for a
            # step would ring for longer than a beat. The high-pass comes first and holds such a
            # level back, so only its own state is not zero.
            lead.a0 = -_SECTIONS[0, 0] * x
            lead.a1 = _SECTIONS[0, 2] * x
            lead.b0 = lead.b1 = 0.0
            for k in range(1, 5):
                band[(n - k) & MASK] = 0.0
            for k in range(1, R_BEFORE + 2 * BASELINE_HALF):  # as far as an R peak is looked for
                raw[(n - k) & MASK] = x
        if math.isnan(lead.held):
            for k in range(RING):
                raw[k] = x
        lead.held = x
        lead.gap = 0
    raw[n & MASK] = x
    y = _SECTIONS[0, 0] * x + lead.a0
    z0 = _SECTIONS[0, 1] * x - _SECTIONS[0, 3] * y + lead.a1
    z1 = _SECTIONS[0, 2] * x - _SECTIONS[0, 4] * y
    lead.a0 = z0 if abs(z0) > 1e-30 else 0.0
    lead.a1 = z1 if abs(z1) > 1e-30 else 0.0
    x = _SECTIONS[1, 0] * y + lead.b0
    z0 = _SECTIONS[1, 1] * y - _SECTIONS[1, 3] * x + lead.b1
    z1 = _SECTIONS[1, 2] * y - _SECTIONS[1, 4] * x
    lead.b0 = z0 if abs(z0) > 1e-30 else 0.0
    lead.b1 = z1 if abs(z1) > 1e-30 else 0.0
    band[n & MASK] = x
    rise = 2 * x + band[(n - 1) & MASK]
    rise = rise - band[(n - 3) & MASK] - 2 * band[(n - 4) & MASK]
    slope[n & MASK] = abs(rise) / 8
    if n & MASK == 0:  # summed anew now and then, so that rounding never adds up
        lead.sum = sum_before(lead, n)
    else:
        lead.sum += slope[n & MASK] - slope[(n - MEAN_WIDTH) & MASK]
    return lead.sum / MEAN_WIDTH


@kernel
def sum_before(lead: Any, n: int) -> float:
    """Sum of the slope of the last `MEAN_WIDTH` samples up to sample `n`."""
    total = 0.0
    for k in range(MEAN_WIDTH):
        total += lead.slope[(n - k) & MASK]
    return total
