"""What a pulse channel says of the last seconds against what is usual for it: is blood moved?

A count of pulses is fooled by noise that looks like pulses. Two things are not: the curve's
extent (an arterial line goes flat when the heart stops) and whether pulses have their usual shape.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.resample import TARGET_RATE_HZ

_SPAN_S: Final = 3.0
_STEP_S: Final = 0.5
_JUDGED_S: Final = 16.0
_RECENT_S: Final = 10.0
_BEFORE: Final = 12  # samples of a pulse before its onset ...
_AFTER: Final = 100  # ... and after it: 0.4 s
_LIKE: Final = 0.8
_SIZES: Final = (0.35, 3.0)
_FEW: Final = 5

Floats = NDArray[np.float64]
Row = dict[str, float]


def extent_features(curve: NDArray[np.float32]) -> Row:
    """How far the curve moves in its last seconds, against what is usual.

    Parameters
    ----------
    curve : ndarray of float32, shape (n_samples,)
        250 Hz, up to the moment judged; NaN = missing.
    """
    x = curve.astype(np.float64)
    size, step = round(_SPAN_S * TARGET_RATE_HZ), round(_STEP_S * TARGET_RATE_HZ)
    n = (len(x) - size) // step + 1
    if n <= round(_JUDGED_S / _STEP_S):
        return dict.fromkeys(_EXTENTS, math.nan)
    starts = len(x) - size - step * np.arange(n)[::-1]
    windows = np.sort(np.nan_to_num(x[starts[:, None] + np.arange(size)]), axis=1)
    low, high = windows[:, round(0.02 * size)], windows[:, round(0.98 * size) - 1]
    extent, middle = high - low, windows.mean(axis=1)
    n_judged, n_recent = round(_JUDGED_S / _STEP_S), round((_RECENT_S - _SPAN_S) / _STEP_S) + 1
    usual = float(np.median(extent[:-n_judged])) + 1e-9
    usual_middle = float(np.median(middle[:-n_judged]))
    usual_low = float(np.median(low[:-n_judged]))
    recent = extent[-n_recent:]
    return {
        "extent_now": float(extent[-1]) / usual,
        "extent_least": float(recent.min()) / usual,
        "extent_most": float(recent.max()) / usual,
        "fall_now": float(middle[-1] - usual_middle) / usual,
        "fall_most": float(middle[-n_recent:].min() - usual_middle) / usual,
        "low_now": float(low[-1] - usual_low) / usual,
        "extent_spread": float(extent[:-n_judged].std()) / usual,
    }


_EXTENTS: Final = (
    "extent_now", "extent_least", "extent_most", "fall_now", "fall_most", "low_now",
    "extent_spread",
)  # fmt: skip


def likeness_features(curve: NDArray[np.float32], onsets: Floats) -> Row:
    """Whether the last pulses have the shape and size that this patient's pulses have.

    Parameters
    ----------
    curve : ndarray of float32, shape (n_samples,)
        As above.
    onsets : ndarray of float64, shape (n_pulses,)
        Samples of `curve` at which pulses begin, in rising order.
    """
    x = np.nan_to_num(curve.astype(np.float64))
    inside = onsets[(onsets >= _BEFORE) & (onsets < len(x) - _AFTER)].astype(np.int64)
    before = inside[inside < len(x) - round(_JUDGED_S * TARGET_RATE_HZ)]
    if len(before) < _FEW:
        return dict.fromkeys(_LIKENESSES, math.nan)
    shapes = x[inside[:, None] + np.arange(-_BEFORE, _AFTER)]
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    template = np.median(shapes[: len(before)], axis=0)
    norm = np.linalg.norm(shapes, axis=1)
    likeness = shapes @ template / (norm * np.linalg.norm(template) + 1e-12)
    size = norm / (np.median(norm[: len(before)]) + 1e-12)
    time_s = (inside - len(x)) / TARGET_RATE_HZ
    like = (likeness >= _LIKE) & (size >= _SIZES[0]) & (size <= _SIZES[1])
    recent = time_s >= -_RECENT_S
    kept = time_s[like]
    # A pulse that began in the last 0.4 s has no shape yet: the last gap ends where it begins.
    edges = np.concatenate([[-_RECENT_S], kept[kept >= -_RECENT_S], [-_AFTER / TARGET_RATE_HZ]])
    gaps = np.diff(edges)
    rr = np.diff(kept[kept >= -_JUDGED_S])
    return {
        "likeness_usual": float(np.median(likeness[: len(before)])),
        "likeness_now": float(likeness[recent].mean()) if recent.any() else math.nan,
        "likeness_least": float(likeness[recent].min()) if recent.any() else math.nan,
        "n_like": float((like & recent).sum()),
        "share_like": float(like[recent].mean()) if recent.any() else 0.0,
        "gap_like_s": float(gaps.max()),
        "slowest_like": 240 / float(_sums(rr, 4).max()) if len(rr) >= 4 else math.nan,
        "fastest_like": 240 / float(_sums(rr, 4).min()) if len(rr) >= 4 else math.nan,
    }


_LIKENESSES: Final = (
    "likeness_usual", "likeness_now", "likeness_least", "n_like", "share_like", "gap_like_s",
    "slowest_like", "fastest_like",
)  # fmt: skip


def _sums(values: Floats, n: int) -> Floats:
    return np.convolve(values, np.ones(n), mode="valid")


def silence_features(beats_s: Floats) -> Row:
    """How long the heart was silent in the last ten seconds; `beats_s` of beats, 0 = now."""
    last = float(beats_s[-1]) if len(beats_s) else -_JUDGED_S
    held = beats_s[beats_s < -_RECENT_S]
    first = float(held[-1]) if len(held) else -_JUDGED_S
    edges = np.concatenate([[first], beats_s[beats_s >= -_RECENT_S], [0.0]])
    gaps = np.diff(edges)
    return {
        "since_last_s": max(0.0, -last),
        "gap_recent_s": float(gaps.max()),
        "second_gap_s": float(np.sort(gaps)[-2]) if len(gaps) > 1 else 0.0,
    }
