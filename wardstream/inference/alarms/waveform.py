"""Shape of a filtered ECG lead: amplitude, spectrum, and how its beats resemble one another."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.resample import TARGET_RATE_HZ

_WINDOW: Final = 1000
_STEP: Final = 250
_N_JUDGED: Final = 13  # windows of 4 s at 1 s steps: the last 16 s
_HALF_BEAT: Final = 30  # 120 ms to each side
_ALIKE: Final = 0.85

Floats = NDArray[np.float64]
Row = dict[str, float]


def lead_features(filtered_mv: NDArray[np.float32]) -> Row:
    """Features of the last 16 s of a lead against what is usual for it.

    Parameters
    ----------
    filtered_mv : ndarray of float32, shape (n_samples,)
        ``ecg250-v1``, 250 Hz, up to the moment judged; NaN counts as 0.
    """
    x = np.nan_to_num(filtered_mv).astype(np.float64)
    n = (len(x) - _WINDOW) // _STEP + 1
    starts = len(x) - _WINDOW - _STEP * np.arange(n)[::-1]
    windows = x[starts[:, None] + np.arange(_WINDOW)]
    extent = np.quantile(windows, 0.98, axis=1) - np.quantile(windows, 0.02, axis=1)
    sharp = np.abs(np.diff(windows, axis=1)).max(axis=1)
    usual = float(np.median(extent[:-_N_JUDGED])) + 1e-6
    usual_sharp = float(np.median(sharp[:-_N_JUDGED])) + 1e-6
    judged = windows[-_N_JUDGED:]
    peak_hz, concentration = _spectrum(judged)
    fullness = _fullness(judged)
    return {
        "lowest_extent": float(extent[-_N_JUDGED:].min()) / usual,
        "highest_extent": float(extent[-_N_JUDGED:].max()) / usual,
        "lowest_sharpness": float(sharp[-_N_JUDGED:].min()) / usual_sharp,
        "usual_extent_mv": usual,
        "highest_concentration": float(concentration.max()),
        "peak_hz": float(peak_hz[int(np.argmax(concentration))]),
        "highest_fullness": float(fullness.max()),
        "mean_fullness": float(fullness.mean()),
        "lowest_fullness": float(fullness.min()),
    }


def _spectrum(windows: Floats) -> tuple[Floats, Floats]:
    # Strongest frequency from 1.5 to 10 Hz, and the share of power within 0.7 Hz of it:
    # high for fibrillation, flutter and wide tachycardia, low for narrow complexes.
    tapered = windows * np.hanning(windows.shape[1])
    power = np.abs(np.fft.rfft(tapered, axis=1)) ** 2
    hz = np.fft.rfftfreq(windows.shape[1], 1 / TARGET_RATE_HZ)
    band = (hz >= 1.5) & (hz <= 10)
    peak_hz = hz[band][np.argmax(power[:, band], axis=1)]
    near = np.abs(hz[None, :] - peak_hz[:, None]) <= 0.7
    total = power[:, (hz >= 0.5) & (hz <= 30)].sum(axis=1) + 1e-12
    return np.asarray(peak_hz, dtype=np.float64), np.asarray(
        (power * near).sum(axis=1) / total, dtype=np.float64
    )


def _fullness(windows: Floats) -> Floats:
    # Share of samples above a fifth of the highest: small for narrow complexes on a flat line.
    size = np.abs(windows - np.median(windows, axis=1, keepdims=True))
    return (size > 0.2 * np.quantile(size, 0.99, axis=1)[:, None]).mean(axis=1)


def similarity_features(filtered_mv: NDArray[np.float32], beats: Floats) -> Row:
    """How the last 16 s of beats resemble this patient's usual beat.

    Parameters
    ----------
    filtered_mv : ndarray of float32, shape (n_samples,)
        As above.
    beats : ndarray of float64
        R peaks in samples of `filtered_mv`, in rising order.
    """
    x = np.nan_to_num(filtered_mv).astype(np.float64)
    inside = beats[(beats >= _HALF_BEAT) & (beats < len(x) - _HALF_BEAT)].astype(np.int64)
    judged_from = len(x) - 16 * TARGET_RATE_HZ
    before, judged = inside[inside < judged_from], inside[inside >= judged_from]
    if len(before) < 5 or len(judged) < 2:
        return {
            "longest_unlike_run": math.nan,
            "unlike_rate": math.nan,
            "share_unlike": math.nan,
            "lowest_likeness": math.nan,
            "widest": math.nan,
        }
    usual = _shapes(x, before)
    template = np.median(usual, axis=0)
    likeness = _correlation(_shapes(x, judged), template)
    floor = min(_ALIKE, float(np.quantile(_correlation(usual, template), 0.1)))
    length, rate = _longest_run(likeness < floor, judged)
    width, usual_width = _widths(_shapes(x, judged)), _widths(usual)
    return {
        "longest_unlike_run": float(length),
        "unlike_rate": rate,
        "share_unlike": float((likeness < floor).mean()),
        "lowest_likeness": float(likeness.min()),
        "widest": float(np.sort(width)[-min(3, len(width))] / (np.median(usual_width) + 1e-6)),
    }


def _shapes(x: Floats, beats: NDArray[np.int64]) -> Floats:
    pieces = x[beats[:, None] + np.arange(-_HALF_BEAT, _HALF_BEAT)]
    return pieces - pieces.mean(axis=1, keepdims=True)


def _correlation(shapes: Floats, template: Floats) -> Floats:
    # Best over shifts of up to 20 ms: R peaks jitter.
    best = np.full(len(shapes), -1.0)
    for shift in range(-5, 6):
        moved = np.roll(shapes, shift, axis=1)[:, 5:-5]
        middle = template[5:-5]
        scale = np.linalg.norm(moved, axis=1) * np.linalg.norm(middle) + 1e-9
        best = np.maximum(best, moved @ middle / scale)
    return best


def _longest_run(unlike: NDArray[np.bool_], beats: NDArray[np.int64]) -> tuple[int, float]:
    # Longest run of unlike beats, and its rate a minute (NaN for fewer than two).
    edges = np.flatnonzero(np.diff(np.concatenate([[0], unlike.astype(np.int8), [0]])))
    runs = [(int(b - a), int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    if not runs:
        return 0, math.nan
    length, first, last = max(runs)
    if length < 2:
        return length, math.nan
    return length, 60 * TARGET_RATE_HZ * (length - 1) / float(beats[last] - beats[first])


def _widths(shapes: Floats) -> Floats:
    # Share of the stretch above half of its largest deflection.
    size = np.abs(shapes)
    return (size > 0.5 * size.max(axis=1, keepdims=True)).mean(axis=1)
