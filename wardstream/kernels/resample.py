"""Any sampling rate to 250 Hz, causal and streaming, several channels at once.

Output sample `n` is the signal at exactly ``start + n * 4 ms``: a windowed-sinc interpolator
evaluates the band-limited input at that instant, so there is no drift and no shift in time.
What it costs is the wait for half a kernel of later samples: 16 ms at 250 Hz and above,
proportionally more below. At 250 Hz itself samples pass through untouched, at once.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel

TARGET_RATE_HZ: Final = 250.0
"""The one rate at which everything downstream of the source is computed."""

TARGET_PERIOD_NS: Final = 4_000_000

# Kernel reach on each side in periods of the slower of the two rates, and its Kaiser window:
# 4 periods with beta 5 keep 0-40 Hz within 0.1 dB and hold what folds back there below -50 dB
# (tested); longer kernels would only delay the alarm.
_HALF_WIDTH_PERIODS: Final = 4
_KAISER_BETA: Final = 5.0
_CUTOFF: Final = 0.9
_N_PHASES: Final = 512


class Resampler:
    """Streaming resampler of one group of channels that share a clock.

    Any division of the same samples into packets gives the same output, bit for bit.

    Parameters
    ----------
    n_channels : int
        At least 1.
    sampling_rate_hz : float
        Of the input, 1 to 100,000.

    Raises
    ------
    OutOfRangeError
        The rate lies outside that range, or there is no channel.
    """

    def __init__(self, n_channels: int, sampling_rate_hz: float) -> None:
        if n_channels < 1:
            raise OutOfRangeError(f"n_channels is {n_channels}, expected at least 1")
        if not 1.0 <= sampling_rate_hz <= 100_000.0:
            raise OutOfRangeError(f"sampling_rate_hz is {sampling_rate_hz}, expected 1 to 100000")
        self.sampling_rate_hz = sampling_rate_hz
        self._ratio = sampling_rate_hz / TARGET_RATE_HZ
        self._table = _kernel_table(self._ratio)
        self._history = np.full((n_channels, max(self._table.shape[1], 1)), np.nan)
        self._counters = np.zeros(2, dtype=np.int64)
        self._out = np.empty((n_channels, 64), dtype=np.float32)

    @property
    def delay_s(self) -> float:
        """How much later than its own instant an output sample can appear, at most."""
        return (self._table.shape[1] // 2 + 1) / self.sampling_rate_hz

    @property
    def n_out(self) -> int:
        """Samples given out since the start or the last `reset`."""
        return int(self._counters[1])

    def reset(self) -> None:
        """Forget everything: the next sample pushed is sample 0 of a new stretch."""
        self._history[:] = np.nan
        self._counters[:] = 0

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `resample` takes after the samples, for kernels that call it themselves."""
        return self._ratio, self._table, self._history, self._counters

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output samples that became due.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_channels, n_samples)
            The next input samples; NaN = missing.

        Returns
        -------
        ndarray of float32, shape (n_channels, n_out)
            Samples at 250 Hz, NaN where the nearest input sample is missing. A view that the
            next call overwrites.

        Raises
        ------
        OutOfRangeError
            `samples` has another number of channels.

        Notes
        -----
        Missing neighbours of a present sample count as equal to it, so neither a gap nor the
        beginning rings. Cost about 10 multiplications a channel and output sample.
        """
        if samples.ndim != 2 or samples.shape[0] != self._history.shape[0]:
            raise OutOfRangeError(
                f"samples has shape {samples.shape}, expected ({self._history.shape[0]}, n)"
            )
        if self._table.shape[1] == 0:
            self._counters += samples.shape[1]
            return samples
        needed = math.ceil(samples.shape[1] / self._ratio) + 2
        if needed > self._out.shape[1]:
            self._out = np.empty((samples.shape[0], 2 * needed), dtype=np.float32)
        n_out = _resample(
            samples, self._ratio, self._table, self._history, self._counters, self._out
        )
        return self._out[:, :n_out]


def _kernel_table(ratio: float) -> NDArray[np.float64]:
    # Row k: weights for an output that lies k/_N_PHASES of an input period after its left
    # neighbour; one row more than phases, for linear interpolation between rows.
    if ratio == 1.0:
        return np.empty((0, 0))
    width = max(1.0, ratio)
    half = math.ceil(_HALF_WIDTH_PERIODS * width)
    cutoff = _CUTOFF / width
    offsets = (
        np.arange(-half + 1, half + 1)[None, :] - np.arange(_N_PHASES + 1)[:, None] / _N_PHASES
    )
    inside = np.clip(1.0 - (offsets / half) ** 2, 0.0, None)
    weights = np.sinc(offsets * cutoff) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return np.ascontiguousarray(weights / weights.sum(axis=1, keepdims=True))


@kernel
def _resample(
    samples: NDArray[np.float32],
    ratio: float,
    table: NDArray[np.float64],
    history: NDArray[np.float64],
    counters: NDArray[np.int64],
    out: NDArray[np.float32],
) -> int:
    n_channels, n_samples = samples.shape
    n_taps = table.shape[1]
    half = n_taps // 2
    n_phases = table.shape[0] - 1
    n_in, n_out = counters[0], counters[1]
    written = 0
    for i in range(n_samples):
        slot = n_in % n_taps
        for c in range(n_channels):
            history[c, slot] = samples[c, i]
        n_in += 1
        while True:
            position = n_out * ratio  # multiplied out, never accumulated
            left = math.floor(position)
            if left + half > n_in - 1:
                break
            phase = (position - left) * n_phases
            row = int(phase)
            blend = phase - row
            nearest = left if position - left < 0.5 else left + 1
            for c in range(n_channels):
                centre = history[c, nearest % n_taps]
                total = math.nan
                if not math.isnan(centre):
                    total = 0.0
                    for j in range(n_taps):
                        index = left - half + 1 + j
                        x = history[c, index % n_taps] if index >= 0 else centre
                        if math.isnan(x):
                            x = centre
                        weight = table[row, j] + blend * (table[row + 1, j] - table[row, j])
                        total += weight * x
                out[c, written] = total
            written += 1
            n_out += 1
    counters[0], counters[1] = n_in, n_out
    return written


resample = _resample
"""For kernels of other modules (`wardstream.kernels.compile.joint_kernel`)."""
