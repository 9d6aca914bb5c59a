"""Samples of one channel in few bytes, exactly as they came.

A front-end delivers whole ADC steps, so its float32 values lie on a grid. The grid is found
from the samples and believed only if it gives back every value of the block; then the steps'
first differences are stored. A channel that lies on no grid (a simulated patient, a filtered
export) keeps its float32 bits. Both go through deflate with their bytes sorted by place. What
comes out equals what went in; NaN, the missing sample, included.
"""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError

_LEVELS: Final = (1, 6, 6)
"""Of deflate. The low bytes of floats are noise: more effort finds nothing in them."""
_HEAD: Final = struct.Struct("<BdIH")
"""Way of storing, steps a unit, number of samples, number of runs of NaN."""

_FLOATS, _STEPS_16, _STEPS_32 = 0, 1, 2
_WORDS: Final = {_STEPS_16: np.dtype("<i2"), _STEPS_32: np.dtype("<i4")}

_SEARCH_EVERY: Final = 12
"""Blocks between two searches for the grid of a channel that had none."""

_MOST_STEPS: Final = 2**30


class ChannelCodec:
    """Encodes blocks of one channel; remembers the grid it found last."""

    def __init__(self) -> None:
        self._steps_a_unit = 0.0
        self._not_before = 0

    def encode(self, samples: NDArray[np.float32]) -> bytes:
        """One block.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_samples,), n_samples >= 1
            Finite or NaN.
        """
        if samples.ndim != 1 or samples.size < 1:
            raise OutOfRangeError(f"samples has shape {samples.shape}, expected (n_samples,)")
        missing = np.isnan(samples)
        runs = _runs(missing)
        filled = _filled(samples, missing) if len(runs) else samples
        steps = self._on_grid(filled)
        if steps is None:
            way, words = _FLOATS, np.diff(_ordered(filled), prepend=np.uint32(0))
        else:
            differences = np.diff(steps, prepend=0)
            way = _STEPS_16 if np.abs(differences).max() < 2**15 else _STEPS_32
            words = differences.astype(_WORDS[way])
        head = _HEAD.pack(way, self._steps_a_unit, samples.size, len(runs))
        places = words.view(np.uint8).reshape(samples.size, -1).T
        return head + runs.tobytes() + zlib.compress(places.tobytes(), _LEVELS[way])

    def _on_grid(self, values: NDArray[np.float32]) -> NDArray[np.int64] | None:
        steps = _steps(values, self._steps_a_unit)
        if steps is not None:
            return steps
        self._not_before -= 1
        if self._not_before >= 0:
            return None  # a channel without a grid is not searched for one all the time
        for steps_a_unit in _candidates(values):
            steps = _steps(values, steps_a_unit)
            if steps is not None:
                self._steps_a_unit = steps_a_unit
                return steps
        self._steps_a_unit, self._not_before = 0.0, _SEARCH_EVERY
        return None


def decode(block: bytes) -> NDArray[np.float32]:
    """What `ChannelCodec.encode` was given.

    Raises
    ------
    OutOfRangeError
        The block is damaged.
    """
    try:
        way, steps_a_unit, n_samples, n_runs = _HEAD.unpack_from(block)
        runs = np.frombuffer(block, "<u4", 2 * n_runs, _HEAD.size).reshape(n_runs, 2)
        places = np.frombuffer(zlib.decompress(block[_HEAD.size + runs.nbytes :]), np.uint8)
        words = np.ascontiguousarray(places.reshape(-1, n_samples).T)
        if way == _FLOATS:
            ordered = np.cumsum(words.view("<u4")[:, 0], dtype=np.uint32)
            samples = _unordered(ordered)
        else:
            steps = np.cumsum(words.view(_WORDS[way])[:, 0], dtype=np.int64)
            samples = (steps / steps_a_unit).astype(np.float32)
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise OutOfRangeError(f"a block of samples is damaged: {error}") from error
    for first, n in runs:
        samples[first : first + n] = np.nan
    return samples


def _runs(missing: NDArray[np.bool_]) -> NDArray[np.uint32]:
    edges = np.flatnonzero(np.diff(missing, prepend=False, append=False))
    pairs = edges.reshape(-1, 2)
    pairs[:, 1] -= pairs[:, 0]
    return pairs.astype("<u4")


def _filled(samples: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    # With the value before, which costs nothing as a difference.
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(samples.size)))
    return np.where(last < 0, np.float32(0), samples[last])


def _candidates(values: NDArray[np.float32]) -> list[float]:
    """Grids that might be meant, in steps a unit, the plainest first."""
    apart = np.unique(values.astype(np.float64))
    if apart.size < 2:
        return [1.0]
    # Two float32 may differ by their rounding alone, which is no step.
    gaps = np.diff(apart)
    gaps = gaps[gaps > 4 * np.finfo(np.float32).eps * np.abs(apart).max()]
    if not gaps.size:
        return []
    # Each gap is off by a rounding, which over the whole range would be many steps. So the step
    # is measured over ever longer spans, each known well enough to count the next one's steps.
    smallest = gaps.min()
    step = float(np.median(gaps[gaps < 1.5 * smallest]))
    reach = 16 * step
    while reach < apart[-1] - apart[0]:
        far = float(apart[np.searchsorted(apart, apart[0] + reach)] - apart[0])
        step = far / round(far / step)
        reach = 16 * far
    n_steps = round((apart[-1] - apart[0]) / step)
    exact = n_steps / float(apart[-1] - apart[0])
    plain = [float(f"{exact:.{digits}g}") for digits in (3, 5, 7)]
    return [float(round(exact)), *plain, exact] if exact >= 1 else [*plain, exact]


def _steps(values: NDArray[np.float32], steps_a_unit: float) -> NDArray[np.int64] | None:
    if not 0 < steps_a_unit < np.inf:
        return None
    steps = np.rint(values.astype(np.float64) * steps_a_unit)
    if np.abs(steps).max() > _MOST_STEPS:
        return None
    with np.errstate(over="ignore"):
        again = (steps / steps_a_unit).astype(np.float32)
    if not np.array_equal(again, values):
        return None
    return steps.astype(np.int64)


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Bits of floats as integers of the same order, so that neighbours have small differences."""
    bits = values.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _unordered(ordered: NDArray[np.uint32]) -> NDArray[np.float32]:
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return bits.astype(np.uint32).view(np.float32)
