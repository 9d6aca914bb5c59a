"""Preprocessing ``ecg250``: from a lead as it was sampled to the windows a model sees.

There is one implementation, this one. The bed feeds it packets as they come; training feeds
it whole records; any packet size gives the same windows, bit for bit.

resample to 250 Hz → high-pass 0.5 Hz (order 2) → low-pass 40 Hz (order 4) → notches at 50 and
60 Hz → last 4 s → minus median, over half the 5-95 % range (at least 0.15 mV) → clip to ±8 →
missing samples are 0. ``ecg250-v1`` differs from ``ecg250-v2`` in that smallest range only, 0.05
mV: it blew the noise of a standstill up to the size of fibrillation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel
from wardstream.kernels.filters import (
    CascadeFilter,
    Sections,
    butterworth_highpass,
    butterworth_lowpass,
    notch,
)
from wardstream.kernels.resample import TARGET_RATE_HZ, Resampler

FILTER_ID: Final = "ecg250-v1"
"""What is done before a window is cut; all versions share it."""

PREPROCESSING_ID: Final = "ecg250-v2"
"""What models are trained on."""

WINDOW_SAMPLES: Final = 1000
WINDOW_S: Final = WINDOW_SAMPLES / TARGET_RATE_HZ
HOP_S: Final = 0.25

MIN_SCALE_MV: Final[Mapping[str, float]] = {"ecg250-v1": 0.05, PREPROCESSING_ID: 0.15}
"""By preprocessing, all that this agent can make. Below this a lead counts as still: asystole is
not blown up into something that moves, and how small it is can be seen."""

CLIP: Final = 8.0


def ecg_sections() -> Sections:
    """The band-pass of ``ecg250``.

    Mains is 50 or 60 Hz by country; both lie above the band, so both are always taken out and
    no site has to say where it stands.
    """
    rate = TARGET_RATE_HZ
    return np.concatenate(
        [
            butterworth_highpass(0.5, rate, 2),
            butterworth_lowpass(40.0, rate, 4),
            notch(50.0, rate, 6.0),
            notch(60.0, rate, 6.0),
        ]
    )


class LeadPreprocessor:
    """Streaming first half of ``ecg250``: resampled and filtered samples of some leads.

    Parameters
    ----------
    n_leads : int
        Leads that share a clock.
    sampling_rate_hz : float
        Rate at which they arrive.
    """

    def __init__(self, n_leads: int, sampling_rate_hz: float) -> None:
        self._resampler = Resampler(n_leads, sampling_rate_hz)
        self._filter = CascadeFilter(n_leads, ecg_sections(), TARGET_RATE_HZ)
        self._filtered = np.empty((n_leads, 64), dtype=np.float32)

    @property
    def n_out(self) -> int:
        """Samples at 250 Hz since the last `reset`; sample n is at ``start + n * 4 ms``."""
        return self._resampler.n_out

    def reset(self) -> None:
        """Forget everything: the next sample pushed is sample 0 of a new stretch."""
        self._resampler.reset()
        self._filter.reset()

    def push(
        self, samples_mv: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The 250 Hz samples that became due: as resampled, and filtered.

        Parameters
        ----------
        samples_mv : ndarray of float32, shape (n_leads, n_samples)
            The next samples in mV; NaN = missing.

        Returns
        -------
        resampled, filtered : ndarray of float32, shape (n_leads, n_out)
            In mV; views that the next call overwrites.
        """
        resampled = self._resampler.push(samples_mv)
        if resampled.shape[1] > self._filtered.shape[1]:
            shape = (resampled.shape[0], 2 * resampled.shape[1])
            self._filtered = np.empty(shape, dtype=np.float32)
        filtered = self._filtered[:, : resampled.shape[1]]
        self._filter.push(resampled, filtered)
        return resampled, filtered


def normalise_window(
    filtered_mv: NDArray[np.float32],
    out: NDArray[np.float32],
    scratch: NDArray[np.float32],
    preprocessing: str = PREPROCESSING_ID,
) -> float:
    """Second half of ``ecg250``: write the window a model sees into `out`.

    Parameters
    ----------
    filtered_mv : ndarray of float32, shape (n_samples,)
        The last samples of one lead, filtered; NaN = missing.
    out : ndarray of float32, shape (n_samples,)
        Receives the window: dimensionless, within ±8, 0 where missing.
    scratch : ndarray of float32, shape (n_samples,)
        Working space.
    preprocessing : str
        A key of `MIN_SCALE_MV`, as the model's manifest says.

    Returns
    -------
    float
        Share of samples present, 0 to 1. With none present the window is all zeros.

    Notes
    -----
    Median and 5 %, 95 % points are exact order statistics (the ceil(q n)-th smallest), found
    by quickselect: O(n), no allocation.
    """
    return _normalise(filtered_mv, MIN_SCALE_MV[preprocessing], CLIP, out, scratch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordWindows:
    """All windows of one lead of one record.

    Attributes
    ----------
    windows : ndarray of float32, shape (n_windows, 1, 1000)
        As the model sees them.
    end_time_s : ndarray of float64, shape (n_windows,)
        End of each window (half open) in seconds from the first sample of the record; its
        begin is 4 s earlier. Only samples before this time are in the window.
    share_present : ndarray of float32, shape (n_windows,)
        Share of samples that were not missing.
    """

    windows: NDArray[np.float32]
    end_time_s: NDArray[np.float64]
    share_present: NDArray[np.float32]


def window_end_index(hop_index: int, hop_s: float = HOP_S) -> int:
    """Number of 250 Hz samples before the end of window `hop_index`.

    0.25 s are 62.5 samples: ends are multiplied out and rounded down, alternately 62 and 63
    apart, and never drift.
    """
    return WINDOW_SAMPLES + int(hop_index * hop_s * TARGET_RATE_HZ)


def record_windows(
    samples_mv: NDArray[np.float32],
    sampling_rate_hz: float,
    *,
    hop_s: float = HOP_S,
    packet_samples: int = 4096,
    preprocessing: str = PREPROCESSING_ID,
) -> RecordWindows:
    """Every window of one lead of a whole record, made by the code that runs at the bed.

    Parameters
    ----------
    samples_mv : ndarray, shape (n_samples,)
        One lead in mV; NaN = missing.
    sampling_rate_hz : float
        Its rate.
    hop_s : float
        Distance between two windows, at least one sample.
    packet_samples : int
        Samples pushed at once; does not change the result.
    preprocessing : str
        A key of `MIN_SCALE_MV`, as the model's manifest says.

    Raises
    ------
    OutOfRangeError
        The record is not one-dimensional, or the hop is shorter than a sample.
    """
    if samples_mv.ndim != 1:
        raise OutOfRangeError(f"samples_mv has shape {samples_mv.shape}, expected (n_samples,)")
    if not hop_s * TARGET_RATE_HZ >= 1:
        raise OutOfRangeError(f"hop_s is {hop_s}, expected at least one sample")
    filtered = filtered_record(samples_mv, sampling_rate_hz, packet_samples=packet_samples)
    ends: list[int] = []
    while (end := window_end_index(len(ends), hop_s)) <= filtered.size:
        ends.append(end)
    windows = np.empty((len(ends), 1, WINDOW_SAMPLES), dtype=np.float32)
    share = np.empty(len(ends), dtype=np.float32)
    scratch = np.empty(WINDOW_SAMPLES, dtype=np.float32)
    for i, end in enumerate(ends):
        piece = filtered[end - WINDOW_SAMPLES : end]
        share[i] = normalise_window(piece, windows[i, 0], scratch, preprocessing)
    return RecordWindows(
        windows=windows,
        end_time_s=np.asarray(ends, dtype=np.float64) / TARGET_RATE_HZ,
        share_present=share,
    )


def filtered_record(
    samples_mv: NDArray[np.float32], sampling_rate_hz: float, *, packet_samples: int = 4096
) -> NDArray[np.float32]:
    """The filtered 250 Hz samples of one whole lead, in mV, shape (n_out,)."""
    lead = LeadPreprocessor(1, sampling_rate_hz)
    row = np.ascontiguousarray(samples_mv, dtype=np.float32)[None, :]
    parts = [
        lead.push(row[:, i : i + packet_samples])[1][0].copy()
        for i in range(0, row.shape[1], packet_samples)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


@kernel
def _normalise(
    filtered: NDArray[np.float32],
    min_scale: float,
    clip: float,
    out: NDArray[np.float32],
    scratch: NDArray[np.float32],
) -> float:
    n = 0
    for i in range(filtered.size):
        if not np.isnan(filtered[i]):
            scratch[n] = filtered[i]
            n += 1
    if n == 0:
        out[:] = 0.0
        return 0.0
    # Ranks ceil(q n), counted from 1; integers, so that no rounding decides.
    middle = (n + 1) // 2 - 1
    low = (n + 19) // 20 - 1
    high = (19 * n + 19) // 20 - 1
    centre = float(_select(scratch, 0, n - 1, middle))
    lower = float(_select(scratch, 0, middle, low))
    upper = float(_select(scratch, middle, n - 1, high))
    scale = max((upper - lower) / 2, min_scale)
    for i in range(filtered.size):
        value = (float(filtered[i]) - centre) / scale
        if np.isnan(value):
            out[i] = 0.0
        else:
            out[i] = min(max(value, -clip), clip)
    return n / filtered.size


@kernel
def _select(a: NDArray[np.float32], first: int, last: int, k: int) -> float:
    # Hoare's quickselect: afterwards a[first..k] <= a[k] <= a[k..last].
    while first < last:
        middle = (first + last) // 2
        x, y, z = a[first], a[middle], a[last]
        pivot = max(min(x, y), min(max(x, y), z))
        i, j = first, last
        while i <= j:
            while a[i] < pivot:
                i += 1
            while a[j] > pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if k <= j:
            last = j
        elif k >= i:
            first = i
        else:
            break
    return float(a[k])
