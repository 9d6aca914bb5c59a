"""How far a channel can be believed, judged five times a second over the last second."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel


class Flaw(IntEnum):
    """The worst that is wrong with a channel over the last second."""

    NONE = 0
    NOISY = 1
    ARTEFACT = 2
    """Moves further than the quantity can."""
    SATURATED = 3
    FLAT = 4
    MISSING = 5


OFF_FLAWS: Final = frozenset({Flaw.SATURATED, Flaw.FLAT, Flaw.MISSING})
"""Flaws that say the sensor is not on the patient, rather than that the patient moves."""

BIN_SAMPLES: Final = 50
_N_BINS: Final = 5

# Columns of a bin.
_COUNT, _MISSING, _MIN, _MAX, _JERK, _HELD = range(6)
_NEAR_RAIL: Final = 0.002  # of the range: how close to an extreme counts as at the rail
_MIN_RAIL_SHARE: Final = 0.3
_HARMLESS_RANGE_SHARE: Final = 0.2  # of the artefact range: a smaller one is never saturated


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What is still believable of one modality, in its unit.

    Attributes
    ----------
    flat_range : float
        A second that moves less is flat.
    artefact_range : float
        A second that moves more is an artefact.
    noise : float
        Mean second difference, in the quietest fifth of the second, at which quality is one half.
    lowest, highest : float
        Values beyond are impossible.
    """

    flat_range: float
    artefact_range: float
    noise: float
    lowest: float = -math.inf
    highest: float = math.inf


LIMITS: Final[dict[Modality, QualityLimits]] = {
    # 5 uV is the step of the coarsest converters in our data; a live lead has more noise.
    Modality.ECG: QualityLimits(flat_range=0.006, artefact_range=12.0, noise=0.05),
    Modality.PPG: QualityLimits(flat_range=1e-4, artefact_range=math.inf, noise=math.inf),
    Modality.ARTERIAL_PRESSURE: QualityLimits(
        flat_range=0.5, artefact_range=250.0, noise=4.0, lowest=-20.0, highest=320.0
    ),
    Modality.CENTRAL_VENOUS_PRESSURE: QualityLimits(
        flat_range=0.05, artefact_range=100.0, noise=4.0, lowest=-30.0, highest=100.0
    ),
    Modality.RESPIRATION: QualityLimits(flat_range=1e-4, artefact_range=math.inf, noise=math.inf),
}


class QualityMeter:
    """Streaming signal quality of some channels of one modality, at 250 Hz.

    Attributes
    ----------
    score : ndarray of float64, shape (n_channels,)
        0 (not to be used) to 1, over the last second; 0 before the first.
    flaw : ndarray of int64, shape (n_channels,)
        `Flaw` over the last second.
    flawed_bins : ndarray of int64, shape (n_channels,)
        Fifths of a second for which the sensor has been off without a break.
    share_missing : ndarray of float64, shape (n_channels,)
        Of the last second.
    """

    def __init__(self, n_channels: int, limits: QualityLimits) -> None:
        if n_channels < 1:
            raise OutOfRangeError(f"n_channels is {n_channels}, expected at least 1")
        self._limits = np.array(
            [limits.flat_range, limits.artefact_range, limits.noise, limits.lowest, limits.highest]
        )
        self._bins = np.zeros((n_channels, _N_BINS, 6))
        self._last = np.full((n_channels, 2), np.nan)
        self._counters = np.zeros(1, dtype=np.int64)
        self.score = np.zeros(n_channels)
        self.flaw = np.full(n_channels, Flaw.MISSING, dtype=np.int64)
        self.flawed_bins = np.zeros(n_channels, dtype=np.int64)
        self.share_missing = np.ones(n_channels)

    def reset(self) -> None:
        """Forget everything; until a second has passed nothing is to be used."""
        self._bins[:] = 0.0
        self._last[:] = np.nan
        self._counters[:] = 0
        self.score[:] = 0.0
        self.flaw[:] = Flaw.MISSING
        self.flawed_bins[:] = 0
        self.share_missing[:] = 1.0

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `measure` takes after the samples, for kernels that call it themselves."""
        return (
            self._limits, self._bins, self._last, self._counters,
            self.score, self.flaw, self.flawed_bins, self.share_missing,
        )  # fmt: skip

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (n_channels, n_samples); NaN = missing.

        Notes
        -----
        Any packet size gives the same scores at the same sample. O(n), no allocation.
        """
        _measure(
            samples, self._limits, self._bins, self._last, self._counters,
            self.score, self.flaw, self.flawed_bins, self.share_missing,
        )  # fmt: skip


@kernel
def _measure(
    samples: NDArray[np.float32],
    limits: NDArray[np.float64],
    bins: NDArray[np.float64],
    last: NDArray[np.float64],
    counters: NDArray[np.int64],
    score: NDArray[np.float64],
    flaw: NDArray[np.int64],
    flawed_bins: NDArray[np.int64],
    share_missing: NDArray[np.float64],
) -> None:
    n_channels, n_samples = samples.shape
    for i in range(n_samples):
        k = (counters[0] // BIN_SAMPLES) % _N_BINS
        if counters[0] % BIN_SAMPLES == 0:
            for c in range(n_channels):
                bins[c, k, :] = 0.0
                bins[c, k, _MIN], bins[c, k, _MAX] = math.inf, -math.inf
        for c in range(n_channels):
            _count(float(samples[c, i]), bins[c, k], last[c], limits)
        counters[0] += 1
        if counters[0] % BIN_SAMPLES == 0 and counters[0] >= BIN_SAMPLES * _N_BINS:
            for c in range(n_channels):
                _assess(bins[c], limits, c, score, flaw, flawed_bins, share_missing)


@kernel
def _count(
    x: float, one: NDArray[np.float64], last: NDArray[np.float64], limits: NDArray[np.float64]
) -> None:
    one[_COUNT] += 1
    if math.isnan(x) or x < limits[3] or x > limits[4]:
        one[_MISSING] += 1
        last[0] = last[1] = math.nan
        return
    one[_MIN], one[_MAX] = min(one[_MIN], x), max(one[_MAX], x)
    jerk = abs(x - 2 * last[0] + last[1])
    if not math.isnan(jerk):
        one[_JERK] += jerk
    if abs(x - last[0]) <= _NEAR_RAIL * limits[0]:
        one[_HELD] += 1
    last[1] = last[0]
    last[0] = x


@kernel
def _assess(
    bins: NDArray[np.float64],
    limits: NDArray[np.float64],
    c: int,
    score: NDArray[np.float64],
    flaw: NDArray[np.int64],
    flawed_bins: NDArray[np.int64],
    share_missing: NDArray[np.float64],
) -> None:
    missing, held, lowest, highest, quietest = 0.0, 0.0, math.inf, -math.inf, math.inf
    for k in range(_N_BINS):
        missing += bins[k, _MISSING]
        held += bins[k, _HELD]
        lowest, highest = min(lowest, bins[k, _MIN]), max(highest, bins[k, _MAX])
        present = bins[k, _COUNT] - bins[k, _MISSING]
        if present > 2:
            quietest = min(quietest, bins[k, _JERK] / present)
    n = _N_BINS * BIN_SAMPLES
    extent = highest - lowest
    noise = (quietest / limits[2]) ** 2 if limits[2] < math.inf else 0.0
    value = (1.0 - missing / n) / (1.0 + noise)
    found = 0
    if missing > n / 2:
        found, value = 5, 0.0
    elif extent < limits[0]:
        found, value = 4, 0.0
    elif held > _MIN_RAIL_SHARE * n and extent > _HARMLESS_RANGE_SHARE * limits[1]:
        found, value = 3, 0.0
    elif extent > limits[1]:
        found, value = 2, 0.0
    elif value < 0.5:
        found = 1
    score[c], flaw[c], share_missing[c] = value, found, missing / n
    flawed_bins[c] = flawed_bins[c] + 1 if found >= 3 else 0


measure = _measure
"""For kernels of other modules (`wardstream.kernels.compile.joint_kernel`)."""
