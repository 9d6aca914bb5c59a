"""How far a channel can be believed, judged five times a second over the last second."""

import math
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel
from wardstream.kernels.resample import TARGET_RATE_HZ


class Flaw(IntEnum):
    """The worst that is wrong with a channel over the last second."""

    NONE = 0
    NOISY = 1
    ARTEFACT = 2
    """Moves further than the quantity can."""
    SATURATED = 3
    FLAT = 4
    MISSING = 5


class QualityFlag(IntFlag):
    """Each thing that is wrong with a channel over the last second; several may be."""

    FLAT = 1
    SATURATED = 2
    """Rests at its rails for much of the second."""
    CLIPPED = 4
    """Its tops or bottoms are cut off."""
    NOISY = 8
    LEAD_OFF = 16
    """The sensor is not on the patient: nothing comes, or what is flat or saturated."""
    MAINS = 32
    """A tone of 50 or 60 Hz outweighs all else that is as fast."""


OFF_FLAWS: Final = frozenset({Flaw.SATURATED, Flaw.FLAT, Flaw.MISSING})
"""Flaws that say the sensor is not on the patient, rather than that the patient moves."""

BIN_SAMPLES: Final = 50
_N_BINS: Final = 5

_IS_FLAT, _IS_SATURATED = int(QualityFlag.FLAT), int(QualityFlag.SATURATED)
_IS_CLIPPED, _IS_NOISY = int(QualityFlag.CLIPPED), int(QualityFlag.NOISY)
_IS_LEAD_OFF, _IS_MAINS = int(QualityFlag.LEAD_OFF), int(QualityFlag.MAINS)

# Columns of a bin.
_COUNT, _MISSING, _MIN, _MAX, _JERK, _HELD = range(6)
_AT_MIN, _AT_MAX, _POWER, _COS_50, _SIN_50, _COS_60, _SIN_60 = range(6, 13)
_N_COLUMNS: Final = 13
_NEAR_RAIL: Final = 0.002  # of the range: how close to an extreme counts as at the rail
_MIN_RAIL_SHARE: Final = 0.3
_HARMLESS_RANGE_SHARE: Final = 0.2  # of the artefact range: a smaller one is never saturated
_CLIPPED_SAMPLES: Final = 8  # of a second at one extreme, each like the one before
_CLIPPED_RANGE: Final = 10.0  # times the flat range: a smaller curve may rest at its extremes
_MAINS_AMPLITUDE: Final = 4.0  # times the flat range
_MAINS_SHARE: Final = 0.5  # of the power of the second difference
_MAINS_BINS: Final = 3  # of five: QRS complexes take up the others

# The second difference holds beats back and lets the mains through. Both frequencies go a whole
# number of times into a bin, so a level and each other do not leak into them.
_MAINS_HZ: Final = np.array([50.0, 60.0])
_TURN: Final = 2 * np.pi * _MAINS_HZ[:, None] * np.arange(BIN_SAMPLES) / TARGET_RATE_HZ
_COS: Final = np.cos(_TURN)
_SIN: Final = np.sin(_TURN)
_MAINS_GAIN: Final = 2.0 - 2.0 * np.cos(2 * np.pi * _MAINS_HZ / TARGET_RATE_HZ)


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
    flags : ndarray of int64, shape (n_channels,)
        `QualityFlag` over the last second, together.
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
        self._bins = np.zeros((n_channels, _N_BINS, _N_COLUMNS))
        self._last = np.full((n_channels, 2), np.nan)
        self._counters = np.zeros(1, dtype=np.int64)
        self.score = np.zeros(n_channels)
        self._verdict = np.zeros((2, n_channels), dtype=np.int64)
        self.flaw, self.flags = self._verdict
        self.flaw[:] = Flaw.MISSING
        self.flags[:] = QualityFlag.LEAD_OFF
        self.flawed_bins = np.zeros(n_channels, dtype=np.int64)
        self.share_missing = np.ones(n_channels)

    def reset(self) -> None:
        """Forget everything; until a second has passed nothing is to be used."""
        self._bins[:] = 0.0
        self._last[:] = np.nan
        self._counters[:] = 0
        self.score[:] = 0.0
        self.flaw[:] = Flaw.MISSING
        self.flags[:] = QualityFlag.LEAD_OFF
        self.flawed_bins[:] = 0
        self.share_missing[:] = 1.0

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `measure` takes after the samples, for kernels that call it themselves."""
        return (
            self._limits, self._bins, self._last, self._counters,
            self.score, self._verdict, self.flawed_bins, self.share_missing,
        )  # fmt: skip

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (n_channels, n_samples); NaN = missing.

        Notes
        -----
        Any packet size gives the same scores at the same sample. O(n), no allocation.
        """
        _measure(
            samples, self._limits, self._bins, self._last, self._counters,
            self.score, self._verdict, self.flawed_bins, self.share_missing,
        )  # fmt: skip


@kernel
def _measure(
    samples: NDArray[np.float32],
    limits: NDArray[np.float64],
    bins: NDArray[np.float64],
    last: NDArray[np.float64],
    counters: NDArray[np.int64],
    score: NDArray[np.float64],
    verdict: NDArray[np.int64],
    flawed_bins: NDArray[np.int64],
    share_missing: NDArray[np.float64],
) -> None:
    n_channels, n_samples = samples.shape
    for i in range(n_samples):
        k, at = (counters[0] // BIN_SAMPLES) % _N_BINS, counters[0] % BIN_SAMPLES
        if at == 0:
            for c in range(n_channels):
                bins[c, k, :] = 0.0
                bins[c, k, _MIN], bins[c, k, _MAX] = math.inf, -math.inf
        for c in range(n_channels):
            _count(float(samples[c, i]), at, bins[c, k], last[c], limits)
        counters[0] += 1
        if counters[0] % BIN_SAMPLES == 0 and counters[0] >= BIN_SAMPLES * _N_BINS:
            for c in range(n_channels):
                _assess(bins[c], limits, c, score, verdict, flawed_bins, share_missing)


@kernel
def _count(
    x: float,
    at: int,
    one: NDArray[np.float64],
    last: NDArray[np.float64],
    limits: NDArray[np.float64],
) -> None:
    one[_COUNT] += 1
    if math.isnan(x) or x < limits[3] or x > limits[4]:
        one[_MISSING] += 1
        last[0] = last[1] = math.nan
        return
    held = abs(x - last[0]) <= _NEAR_RAIL * limits[0]
    if x < one[_MIN]:
        one[_MIN], one[_AT_MIN] = x, 0.0
    if x > one[_MAX]:
        one[_MAX], one[_AT_MAX] = x, 0.0
    if held:
        one[_HELD] += 1
        one[_AT_MIN] += x == one[_MIN]
        one[_AT_MAX] += x == one[_MAX]
    bend = x - 2 * last[0] + last[1]
    if not math.isnan(bend):
        one[_JERK] += abs(bend)
        one[_POWER] += bend * bend
        one[_COS_50] += bend * _COS[0, at]
        one[_SIN_50] += bend * _SIN[0, at]
        one[_COS_60] += bend * _COS[1, at]
        one[_SIN_60] += bend * _SIN[1, at]
    last[1] = last[0]
    last[0] = x


@kernel
def _assess(
    bins: NDArray[np.float64],
    limits: NDArray[np.float64],
    c: int,
    score: NDArray[np.float64],
    verdict: NDArray[np.int64],
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
    flags = _flags_of(bins, limits, lowest, highest, held, noise) if missing <= n / 2 else 0
    if found >= 3:
        flags |= _IS_LEAD_OFF
    score[c], share_missing[c] = value, missing / n
    verdict[0, c], verdict[1, c] = found, flags
    flawed_bins[c] = flawed_bins[c] + 1 if found >= 3 else 0


@kernel
def _flags_of(
    bins: NDArray[np.float64],
    limits: NDArray[np.float64],
    lowest: float,
    highest: float,
    held: float,
    noise: float,
) -> int:
    flags, extent, n = 0, highest - lowest, _N_BINS * BIN_SAMPLES
    if extent < limits[0]:
        flags |= _IS_FLAT
    if held > _MIN_RAIL_SHARE * n and extent > _HARMLESS_RANGE_SHARE * limits[1]:
        flags |= _IS_SATURATED
    if extent > _CLIPPED_RANGE * limits[0] and _is_clipped(bins, lowest, highest):
        flags |= _IS_CLIPPED
    if noise > 1.0:
        flags |= _IS_NOISY
    if _has_mains(bins, _MAINS_AMPLITUDE * limits[0]):
        flags |= _IS_MAINS
    return flags


@kernel
def _is_clipped(bins: NDArray[np.float64], lowest: float, highest: float) -> bool:
    n_low, n_high = 0.0, 0.0
    for k in range(_N_BINS):
        if bins[k, _MIN] == lowest:
            n_low += bins[k, _AT_MIN]
        if bins[k, _MAX] == highest:
            n_high += bins[k, _AT_MAX]
    return max(n_low, n_high) >= _CLIPPED_SAMPLES


@kernel
def _has_mains(bins: NDArray[np.float64], min_amplitude: float) -> bool:
    # A tone of amplitude a in a bin of n samples: its sum of squares is n a^2 / 2, and that of
    # its two products with the cosine and the sine (n a / 2)^2.
    for f in range(2):
        n_bins = 0
        for k in range(_N_BINS):
            if bins[k, _MISSING] > 0 or bins[k, _POWER] <= 0:
                continue
            real, imaginary = bins[k, _COS_50 + 2 * f], bins[k, _SIN_50 + 2 * f]
            square = real * real + imaginary * imaginary
            share = 2.0 * square / (BIN_SAMPLES * bins[k, _POWER])
            amplitude = 2.0 * math.sqrt(square) / (BIN_SAMPLES * _MAINS_GAIN[f])
            n_bins += share > _MAINS_SHARE and amplitude > min_amplitude
        if n_bins >= _MAINS_BINS:
            return True
    return False


measure = _measure
"""For kernels of other modules (`wardstream.kernels.compile.joint_kernel`)."""
