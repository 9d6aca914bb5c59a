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
    scale_1 = _points_array(_SPO2_SCALE_1, spo2_percent)
    air = _points_array(_SPO2_SCALE_2_AIR, spo2_percent)
    oxygen = _points_array(_SPO2_SCALE_2_OXYGEN, spo2_percent)
    unknown = np.isnan(on_oxygen)
    with_oxygen = on_oxygen == 1.0
    low_2 = np.where(
        unknown, np.minimum(air[0], oxygen[0]), np.where(with_oxygen, oxygen[0], air[0])
    )
    high_2 = np.where(
        unknown, np.maximum(air[1], oxygen[1]), np.where(with_oxygen, oxygen[1], air[1])
    )
    parts = [
        _points_array(_RESPIRATION, respiration_per_min),
        (
            np.where(hypercapnic_target, low_2, scale_1[0]),
            np.where(hypercapnic_target, high_2, scale_1[1]),
        ),
        _flags_array(on_oxygen, 2),
        _points_array(_SYSTOLIC, systolic_mmhg),
        _points_array(_PULSE, pulse_per_min),
        _flags_array(impaired_consciousness, 3),
        _points_array(_TEMPERATURE, temperature_celsius, decimals=1),
    ]
    low = np.sum([part[0] for part in parts], axis=0)
    high = np.sum([part[1] for part in parts], axis=0)
    return low.astype(np.int16), high.astype(np.int16)


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


def _points_array(
    bands: _Bands, values: NDArray[np.floating], *, decimals: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = np.array([highest for highest, _ in bands[:-1]])
    points = np.array([points for _, points in bands])
    missing = np.isnan(values)
    scale = 10.0**decimals
    scaled = np.asarray(values, dtype=np.float64) * scale
    charted = np.floor(np.where(missing, 0.0, scaled) + 0.5 + 1e-9) / scale
    found = points[np.searchsorted(edges, charted, side="left")]
    return np.where(missing, points.min(), found), np.where(missing, points.max(), found)


def _flags_array(
    flags: NDArray[np.floating], points: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    low = np.where(flags == 1.0, points, 0)
    return low, np.where(np.isnan(flags), points, low)
