"""Causal recursive filters as cascades of second-order sections, streaming, NaN-safe."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel

_RESTART_AFTER_S: Final = 0.2
"""A longer gap restarts the filter at the first sample after it: the baseline may have moved."""

Sections = NDArray[np.float64]
"""Shape (n_sections, 5), columns b0 b1 b2 a1 a2 with a0 = 1."""


def butterworth_lowpass(cutoff_hz: float, sampling_rate_hz: float, order: int = 4) -> Sections:
    """Sections of a Butterworth low-pass of even `order`, -3 dB at `cutoff_hz`.

    Raises
    ------
    OutOfRangeError
        The cutoff does not lie between 0 and half the rate, or the order is odd.

    Notes
    -----
    Bilinear transform of the analogue prototype, pre-warped at the cutoff. Agrees with
    ``scipy.signal.butter(order, cutoff, output="sos")`` (tested).
    """
    return _butterworth(cutoff_hz, sampling_rate_hz, order, highpass=False)


def butterworth_highpass(cutoff_hz: float, sampling_rate_hz: float, order: int = 2) -> Sections:
    """Sections of a Butterworth high-pass of even `order`, -3 dB at `cutoff_hz`.

    Raises
    ------
    OutOfRangeError
        The cutoff does not lie between 0 and half the rate, or the order is odd.
    """
    return _butterworth(cutoff_hz, sampling_rate_hz, order, highpass=True)


def notch(centre_hz: float, sampling_rate_hz: float, quality: float) -> Sections:
    """One section with a zero at `centre_hz`, from an analogue notch of that `quality`.

    Raises
    ------
    OutOfRangeError
        The centre does not lie between 0 and half the rate, or quality is not positive.
    """
    _check_frequency(centre_hz, sampling_rate_hz)
    if not quality > 0:
        raise OutOfRangeError(f"quality is {quality}, expected > 0")
    w = 2 * math.pi * centre_hz / sampling_rate_hz
    alpha = math.sin(w) / (2 * quality)
    b1 = -2 * math.cos(w)
    return np.array([[1.0, b1, 1.0, b1, 1.0 - alpha]]) / np.array(
        [[1 + alpha, 1 + alpha, 1 + alpha, 1 + alpha, 1 + alpha]]
    )


def _check_frequency(frequency_hz: float, sampling_rate_hz: float) -> None:
    if not 0 < frequency_hz < sampling_rate_hz / 2:
        raise OutOfRangeError(
            f"{frequency_hz} Hz does not lie between 0 and half of {sampling_rate_hz} Hz"
        )


def _butterworth(cutoff_hz: float, rate_hz: float, order: int, *, highpass: bool) -> Sections:
    _check_frequency(cutoff_hz, rate_hz)
    if order < 2 or order % 2:
        raise OutOfRangeError(f"order is {order}, expected an even number")
    k = math.tan(math.pi * cutoff_hz / rate_hz)
    sections = np.empty((order // 2, 5))
    for i in range(order // 2):
        damping = 2 * math.cos(math.pi * (2 * i + 1) / (2 * order))
        a0 = 1 + damping * k + k * k
        gain = 1 / a0 if highpass else k * k / a0
        middle = -2 * gain if highpass else 2 * gain
        sections[i] = gain, middle, gain, 2 * (k * k - 1) / a0, (1 - damping * k + k * k) / a0
    return sections


class CascadeFilter:
    """Streaming cascade over several channels; any packet size gives the same bits.

    Parameters
    ----------
    n_channels : int
        Channels filtered alike.
    sections : ndarray of float64, shape (n_sections, 5)
        From the functions above, put together with ``np.concatenate``.
    sampling_rate_hz : float
        Rate of the samples.
    """

    def __init__(self, n_channels: int, sections: Sections, sampling_rate_hz: float) -> None:
        self._sections = np.ascontiguousarray(sections, dtype=np.float64)
        self._state = np.zeros((n_channels, len(sections), 2))
        self._held = np.zeros(n_channels)
        # Samples missing in a row; at the limit and beyond, the next one restarts the filter.
        self._limit = max(1, round(_RESTART_AFTER_S * sampling_rate_hz))
        self._missing = np.full(n_channels, self._limit, dtype=np.int64)

    def reset(self) -> None:
        """Forget everything; the next sample present starts the filter in its steady state."""
        self._missing[:] = self._limit

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `cascade` takes after the samples, for kernels that call it themselves."""
        return self._sections, self._state, self._held, self._missing, self._limit

    def push(self, samples: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Filter `samples` into `out`.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_channels, n_samples)
            The next samples; NaN = missing.
        out : ndarray of float32, same shape
            Filtered samples, NaN where the input is. May be `samples` itself.

        Notes
        -----
        Over a short gap the filter is fed the last value present; after a long one, and at
        the beginning, it starts as if the first value had always been there, so there is no
        step to ring on.
        """
        _cascade(samples, self._sections, self._state, self._held, self._missing, self._limit, out)


@kernel
def _cascade(
    samples: NDArray[np.float32],
    sections: NDArray[np.float64],
    state: NDArray[np.float64],
    held: NDArray[np.float64],
    missing: NDArray[np.int64],
    limit: int,
    out: NDArray[np.float32],
) -> None:
    n_channels, n_samples = samples.shape
    n_sections = sections.shape[0]
    for c in range(n_channels):
        for i in range(n_samples):
            x = float(samples[c, i])
            present = not math.isnan(x)
            if present:
                if missing[c] >= limit:
                    level = x
                    for s in range(n_sections):
                        b0, b1, b2 = sections[s, 0], sections[s, 1], sections[s, 2]
                        a1, a2 = sections[s, 3], sections[s, 4]
                        y = level * (b0 + b1 + b2) / (1.0 + a1 + a2)
                        state[c, s, 0] = y - b0 * level
                        state[c, s, 1] = b2 * level - a2 * y
                        level = y
                missing[c] = 0
                held[c] = x
            else:
                missing[c] = min(missing[c] + 1, limit)
                if missing[c] >= limit:
                    out[c, i] = math.nan
                    continue
                x = held[c]
            for s in range(n_sections):
                y = sections[s, 0] * x + state[c, s, 0]
                z0 = sections[s, 1] * x - sections[s, 3] * y + state[c, s, 1]
                z1 = sections[s, 2] * x - sections[s, 4] * y
                # Subnormal numbers of a decayed filter cost a hundred times a normal one.
                state[c, s, 0] = z0 if abs(z0) > 1e-30 else 0.0
                state[c, s, 1] = z1 if abs(z1) > 1e-30 else 0.0
                x = y
            out[c, i] = x if present else math.nan


cascade = _cascade
"""For kernels of other modules (`wardstream.kernels.compile.joint_kernel`)."""
