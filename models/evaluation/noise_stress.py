"""Noise added to a clean ECG at a known ratio, as the `nst` tool of WFDB does it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import wfdb
from numpy.typing import NDArray

CLEAN_S: Final = 300.0
"""Noise begins after this; what a detector learns before it, it learns from clean signal."""

SEGMENT_S: Final = 120.0
"""Noisy and clean segments alternate, noisy first."""

_MAX_MEASUREMENTS: Final = 300
_QRS_HALF_WIDTH_S: Final = 0.05
_TRIM: Final = 0.05

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """A recording of noise, shape (n_channels, n_samples), in its own unit."""

    name: str
    samples: Samples
    sampling_rate_hz: float


def read_noise(path: Path) -> Noise:
    """The noise record at `path` (no extension)."""
    record: Any = wfdb.rdrecord(str(path))
    return Noise(path.name, np.nan_to_num(np.asarray(record.p_signal).T), float(record.fs))


def add_noise(
    clean: Samples, beats: NDArray[np.int64], noise: Noise, snr_db: float, sampling_rate_hz: float
) -> Samples:
    """`clean` with `noise` in alternating two-minute segments from 5:00 on.

    Parameters
    ----------
    clean : ndarray of float64, shape (n_leads, n_samples)
        Clean ECG; NaN = missing, and stays so.
    beats : ndarray of int64
        Normal beats as marked, in samples, for the size of the QRS complex.
    noise : Noise
        At the same rate. Lead i takes channel i modulo the number of channels; the noise runs
        on through clean segments and starts anew at its end.
    snr_db : float
        Ratio of the power of a sine as high as the mean QRS complex to the noise's mean power.

    Notes
    -----
    Moody, Muldrow, Mark, Computers in Cardiology 11:381-384 (1984) and nst(1): the signal's
    power is its mean QRS peak-to-peak amplitude squared over 8, the noise's is the squared
    root mean square of 1 s stretches; both means leave out 5 % at each end.
    """
    n_samples = clean.shape[1]
    index = np.arange(n_samples) % noise.samples.shape[1]
    mask = noisy(n_samples, sampling_rate_hz)
    mixed = clean.copy()
    for lead in range(len(clean)):
        curve = noise.samples[lead % len(noise.samples)]
        signal_power = qrs_amplitude(clean[lead], beats, sampling_rate_hz) ** 2 / 8
        noise_power = noise_amplitude(curve, sampling_rate_hz) ** 2
        gain = np.sqrt(signal_power / noise_power * 10 ** (-snr_db / 10))
        mixed[lead, mask] += gain * curve[index[mask]]
    return mixed


def noisy(n_samples: int, sampling_rate_hz: float) -> NDArray[np.bool_]:
    """Which samples get noise, shape (n_samples,)."""
    after_s = np.arange(n_samples) / sampling_rate_hz - CLEAN_S
    return (after_s >= 0) & (np.floor(after_s / SEGMENT_S).astype(np.int64) % 2 == 0)


def qrs_amplitude(lead: Samples, beats: NDArray[np.int64], sampling_rate_hz: float) -> float:
    """Mean peak-to-peak height of the first 300 beats, 50 ms to each side."""
    half = round(_QRS_HALF_WIDTH_S * sampling_rate_hz)
    inside = beats[(beats >= half) & (beats < len(lead) - half)][:_MAX_MEASUREMENTS]
    pieces = lead[inside[:, None] + np.arange(-half, half + 1)]
    return _trimmed_mean(pieces.max(axis=1) - pieces.min(axis=1))


def noise_amplitude(curve: Samples, sampling_rate_hz: float) -> float:
    """Mean of the root mean square about the mean of the first 300 s, second by second."""
    second = round(sampling_rate_hz)
    n_seconds = min(len(curve) // second, _MAX_MEASUREMENTS)
    return _trimmed_mean(curve[: n_seconds * second].reshape(n_seconds, second).std(axis=1))


def _trimmed_mean(values: Samples) -> float:
    ordered = np.sort(values[np.isfinite(values)])
    cut = int(_TRIM * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())
