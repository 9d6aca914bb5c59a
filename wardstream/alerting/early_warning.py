"""NEWS2 (Royal College of Physicians, 2017), as an interval where inputs are missing.

A missing input is not a made-up zero: it may be worth anything between nothing and the most
it can give, so the score lies between the sum of what is known and that plus the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.score_bands import add_flags, band_table


@dataclass(frozen=True, slots=True)
class Interval:
    """Lowest and highest possible score, both included; equal when nothing is missing."""

    low: int
    high: int

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.high + other.high)


class Consciousness(StrEnum):
    """ACVPU: alert, new confusion, responds to voice, to pain, unresponsive."""

    ALERT = "A"
    CONFUSION = "C"
    VOICE = "V"
    PAIN = "P"
    UNRESPONSIVE = "U"


class Band(StrEnum):
    """Clinical response the score asks for."""

    LOW = "low"
    SINGLE_RED = "single_red"
    """Low in all, but one parameter alone scores 3: urgent review."""
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class News2Inputs:
    """The seven parameters; NaN or None where unknown.

    Attributes
    ----------
    respiration_per_min, spo2_percent, systolic_mmhg, pulse_per_min, temperature_celsius : float
        As measured; rounded to the integer (temperature to 0.1) that the chart has.
    on_oxygen : bool or None
        Whether the patient breathes extra oxygen.
    consciousness : Consciousness or None
        Newly assessed.
    hypercapnic_target : bool
        Whether the record prescribes SpO2 scale 2 (88-92 %). Scale 1 unless it does.
    """

    respiration_per_min: float = math.nan
    spo2_percent: float = math.nan
    systolic_mmhg: float = math.nan
    pulse_per_min: float = math.nan
    temperature_celsius: float = math.nan
    on_oxygen: bool | None = None
    consciousness: Consciousness | None = None
    hypercapnic_target: bool = False


# (highest value of the band, points), ascending; the last band is open.
_RESPIRATION: Final = ((8, 3), (11, 1), (20, 0), (24, 2), (math.inf, 3))
_SPO2_SCALE_1: Final = ((91, 3), (93, 2), (95, 1), (math.inf, 0))
_SPO2_SCALE_2_AIR: Final = ((83, 3), (85, 2), (87, 1), (math.inf, 0))
_SPO2_SCALE_2_OXYGEN: Final = ((83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2), (math.inf, 3))
_SYSTOLIC: Final = ((90, 3), (100, 2), (110, 1), (219, 0), (math.inf, 3))
_PULSE: Final = ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (math.inf, 3))
_TEMPERATURE: Final = ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), (math.inf, 2))

_Bands = Sequence[tuple[float, int]]

_RESPIRATION_TABLE: Final = band_table(_RESPIRATION)
_SCALE_1_TABLE: Final = band_table(_SPO2_SCALE_1)
_SCALE_2_AIR_TABLE: Final = band_table(_SPO2_SCALE_2_AIR)
_SCALE_2_OXYGEN_TABLE: Final = band_table(_SPO2_SCALE_2_OXYGEN)
_SYSTOLIC_TABLE: Final = band_table(_SYSTOLIC)
_PULSE_TABLE: Final = band_table(_PULSE)
_TEMPERATURE_TABLE: Final = band_table(_TEMPERATURE, decimals=1)


def news2(inputs: News2Inputs) -> Interval:
    """The score of `inputs`, 0 to 20, as the interval of what it can be."""
    total = Interval(0, 0)
    for part in news2_parts(inputs).values():
        total += part
    return total


def news2_parts(inputs: News2Inputs) -> dict[str, Interval]:
    """Points of each parameter by its name, for the chart that explains a score."""
    return {
        "respiration": _points(_RESPIRATION, inputs.respiration_per_min),
        "spo2": _spo2_points(inputs),
        "oxygen": _flag_points(inputs.on_oxygen, 2),
        "systolic": _points(_SYSTOLIC, inputs.systolic_mmhg),
        "pulse": _points(_PULSE, inputs.pulse_per_min),
        "consciousness": _flag_points(
            None
            if inputs.consciousness is None
            else inputs.consciousness is not Consciousness.ALERT,
            3,
        ),
        "temperature": _points(_TEMPERATURE, inputs.temperature_celsius, decimals=1),
    }


def news2_band(inputs: News2Inputs) -> tuple[Band, Band]:
    """Lowest and highest possible clinical response."""
    parts = news2_parts(inputs).values()
    total = news2(inputs)
    return (
        _band(total.low, max(part.low for part in parts)),
        _band(total.high, max(part.high for part in parts)),
    )


def news2_arrays(
    *,
    respiration_per_min: NDArray[np.floating],
    spo2_percent: NDArray[np.floating],
    systolic_mmhg: NDArray[np.floating],
    pulse_per_min: NDArray[np.floating],
    temperature_celsius: NDArray[np.floating],
    on_oxygen: NDArray[np.floating],
    impaired_consciousness: NDArray[np.floating],
    hypercapnic_target: NDArray[np.bool_],
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """`news2` of many patients at once.

    Parameters
    ----------
    respiration_per_min, spo2_percent, systolic_mmhg, pulse_per_min, temperature_celsius
        Floating arrays of one shape (n,); NaN where unknown.
    on_oxygen, impaired_consciousness
        1.0 yes, 0.0 no, NaN unknown; shape (n,).
    hypercapnic_target
        Bool, shape (n,).

    Returns
    -------
    low, high : ndarray of int16, shape (n,)
        As `Interval`.
    """
    n = len(respiration_per_min)
    low, high = np.zeros(n, dtype=np.int16), np.zeros(n, dtype=np.int16)
    _RESPIRATION_TABLE.add(low, high, respiration_per_min)
    _SYSTOLIC_TABLE.add(low, high, systolic_mmhg)
    _PULSE_TABLE.add(low, high, pulse_per_min)
    _TEMPERATURE_TABLE.add(low, high, temperature_celsius)
    add_flags(low, high, on_oxygen, 2)
    add_flags(low, high, impaired_consciousness, 3)
    _SCALE_1_TABLE.add_where(low, high, spo2_percent, ~hypercapnic_target)
    if hypercapnic_target.any():
        _add_scale_2(low, high, spo2_percent, on_oxygen, hypercapnic_target)
    return low, high


def _add_scale_2(
    low: NDArray[np.int16],
    high: NDArray[np.int16],
    spo2_percent: NDArray[np.floating],
    on_oxygen: NDArray[np.floating],
    chosen: NDArray[np.bool_],
) -> None:
    air_low, air_high = np.zeros_like(low), np.zeros_like(high)
    oxygen_low, oxygen_high = np.zeros_like(low), np.zeros_like(high)
    _SCALE_2_AIR_TABLE.add_where(air_low, air_high, spo2_percent, chosen)
    _SCALE_2_OXYGEN_TABLE.add_where(oxygen_low, oxygen_high, spo2_percent, chosen)
    known, with_oxygen = ~np.isnan(on_oxygen), on_oxygen == 1.0
    low += np.where(
        known, np.where(with_oxygen, oxygen_low, air_low), np.minimum(air_low, oxygen_low)
    )
    high += np.where(
        known, np.where(with_oxygen, oxygen_high, air_high), np.maximum(air_high, oxygen_high)
    )


def _chart(value: float, decimals: int) -> float:
    # The chart has whole numbers (temperature tenths); halves go up, as people round.
    scale = 10.0**decimals
    return math.floor(value * scale + 0.5 + 1e-9) / scale


def _points(bands: _Bands, value: float, *, decimals: int = 0) -> Interval:
    if math.isnan(value):
        return Interval(min(p for _, p in bands), max(p for _, p in bands))
    rounded = _chart(value, decimals)
    points = next(points for highest, points in bands if rounded <= highest)
    return Interval(points, points)


def _spo2_points(inputs: News2Inputs) -> Interval:
    if not inputs.hypercapnic_target:
        return _points(_SPO2_SCALE_1, inputs.spo2_percent)
    air = _points(_SPO2_SCALE_2_AIR, inputs.spo2_percent)
    oxygen = _points(_SPO2_SCALE_2_OXYGEN, inputs.spo2_percent)
    if inputs.on_oxygen is None:
        return Interval(min(air.low, oxygen.low), max(air.high, oxygen.high))
    return oxygen if inputs.on_oxygen else air


def _flag_points(flag: bool | None, points: int) -> Interval:
    if flag is None:
        return Interval(0, points)
    return Interval(points, points) if flag else Interval(0, 0)


def _band(score: int, highest_part: int) -> Band:
    if score >= 7:
        return Band.HIGH
    if score >= 5:
        return Band.MEDIUM
    return Band.SINGLE_RED if highest_part == 3 else Band.LOW
