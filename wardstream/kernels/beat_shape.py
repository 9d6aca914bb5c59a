"""What the beats of a lead look like: shape, likeness to it, width; for the QRS detector."""

import math
from typing import Any, Final

from wardstream.kernels.beat_memory import MASK, SHAPE_SAMPLES
from wardstream.kernels.compile import kernel

_SHAPE_LAG: Final = 8  # 32 ms: how far the peak of the feature strays from the beat in noise
_N_LAGS: Final = 2 * _SHAPE_LAG + 1
_LANES: Final = 20  # the lags, and as many more as make whole vectors of four
_SHAPE_GAIN: Final = 0.05
_STEEP_SHARE: Final = 0.2
_MS_PER_SAMPLE: Final = 4.0


@kernel
def likeness(at: int, leads: Any, state: Any) -> float:
    """Correlation of what is at sample `at` with the shape of the beats so far.

    Parameters
    ----------
    at : int
        Sample at which the feature peaks.
    leads, state : records of `LEAD` and `STATE`
        Of the detector; ``state.lag`` is set.

    Returns
    -------
    float
        -1 to 1, weighted over the leads, at the lag of at most 32 ms where it is highest; -1
        before the first beat.

    Notes
    -----
    All lags side by side, for vector instructions: each sum is still taken in order.
    """
    best, state.lag = -1.0, 0
    if state.shaped == 0:
        return best
    scratch = state.scratch
    window, product, power, total = scratch[0], scratch[1], scratch[2], scratch[3]
    total[:] = 0.0
    weight_sum = 1e-12
    for c in range(leads.size):
        weight_sum += leads[c].weight
        for j in range(SHAPE_SAMPLES + _N_LAGS):
            window[j] = leads[c].band[(at + _SHAPE_LAG - j) & MASK]
        product[:] = 0.0
        power[:] = 1e-12
        for k in range(SHAPE_SAMPLES):
            usual = leads[c].shape[k]
            for lane in range(_LANES):
                x = window[lane + k]
                product[lane] += x * usual
                power[lane] += x * x
        for lane in range(_N_LAGS):
            alike = (
                leads[c].weight
                * product[lane]
                / math.sqrt(power[lane] * leads[c].shape[SHAPE_SAMPLES])
            )
            total[lane] += alike
    for lane in range(_N_LAGS - 1, -1, -1):
        if total[lane] > best * weight_sum:
            best, state.lag = total[lane] / weight_sum, _SHAPE_LAG - lane
    return best


@kernel
def learn_shape(at: int, leads: Any, state: Any) -> None:
    """Take the beat at sample `at`, at the lag of the last `likeness`, into the shapes."""
    gain = max(_SHAPE_GAIN, 1.0 / (state.shaped + 1))
    for c in range(leads.size):
        for k in range(SHAPE_SAMPLES):
            x = leads[c].band[(at + state.lag - k) & MASK] / leads[c].level
            leads[c].shape[k] += gain * (x - leads[c].shape[k])
        own = 1e-12
        for k in range(SHAPE_SAMPLES):
            own += leads[c].shape[k] * leads[c].shape[k]
        leads[c].shape[SHAPE_SAMPLES] = own
    state.shaped += 1


@kernel
def width(at: int, leads: Any) -> float:
    """Milliseconds for which the lead of most weight is at least a fifth as steep as at most."""
    best = 0
    for c in range(leads.size):
        if leads[c].weight > leads[best].weight:
            best = c
    steepest = 0.0
    for k in range(SHAPE_SAMPLES):
        steepest = max(steepest, leads[best].slope[(at - k) & MASK])
    first, last = SHAPE_SAMPLES, 0
    for k in range(SHAPE_SAMPLES):
        if leads[best].slope[(at - k) & MASK] >= _STEEP_SHARE * steepest:
            first, last = min(first, k), max(last, k)
    return max(last - first, 0) * _MS_PER_SAMPLE
