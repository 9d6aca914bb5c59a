"""NEWS2 of whole batches, as an interval: what is missing may be anything, and is never made up.

Bands: Royal College of Physicians, National Early Warning Score (NEWS) 2, 2017. Values are
rounded as the chart states them (temperature to 0.1 °C, everything else to 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_processors.core.context import JoinedContext
from wardstream.contracts.frame import FrameSchema
from wardstream.contracts.record import Consciousness

Points = NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Points by value: ``points[i]`` up to and including ``upper[i]``, the last one above."""

    upper: NDArray[np.float64]
    points: Points

    def interval(self, values: NDArray[np.float64]) -> tuple[Points, Points]:
        """Lowest and highest possible points of each value; NaN may score anything."""
        missing = np.isnan(values)
        scored = self.points[np.searchsorted(self.upper, np.where(missing, 0, values), "left")]
        low = np.where(missing, self.points.min(), scored).astype(np.int16)
        high = np.where(missing, self.points.max(), scored).astype(np.int16)
        return low, high


def _bands(upper: Sequence[float], points: Sequence[int]) -> Bands:
    return Bands(np.array(upper, dtype=np.float64), np.array(points, dtype=np.int16))


RESPIRATION: Final = _bands((8, 11, 20, 24), (3, 1, 0, 2, 3))
SATURATION_SCALE_1: Final = _bands((91, 93, 95), (3, 2, 1, 0))
SATURATION_SCALE_2_AIR: Final = _bands((83, 85, 87), (3, 2, 1, 0))
SATURATION_SCALE_2_OXYGEN: Final = _bands((83, 85, 87, 92, 94, 96), (3, 2, 1, 0, 1, 2, 3))
SYSTOLIC: Final = _bands((90, 100, 110, 219), (3, 2, 1, 0, 3))
PULSE: Final = _bands((40, 50, 90, 110, 130), (3, 1, 0, 1, 2, 3))
TEMPERATURE: Final = _bands((35.0, 36.0, 38.0, 39.0), (3, 1, 0, 1, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vitals:
    """What NEWS2 takes from the curves; each float64 of shape (n_frames,), NaN where missing."""

    respiration_per_min: NDArray[np.float64]
    spo2_percent: NDArray[np.float64]
    systolic_mmhg: NDArray[np.float64]
    pulse_per_min: NDArray[np.float64]
    temperature_celsius: NDArray[np.float64]


RATE_FEATURES: Final = (
    "heart_rate_per_min",
    "pulse_rate_ppg_per_min",
    "pulse_rate_abp_per_min",
)
"""Where the pulse comes from: the first of these that was measured."""

VITAL_FEATURES: Final = (
    *RATE_FEATURES,
    "respiration_rate_per_min",
    "spo2_percent",
    "abp_systolic_mmhg",
    "temperature_celsius",
)
"""Every feature NEWS2 looks at."""


def vitals_of(schema: FrameSchema, features: NDArray[np.float32]) -> Vitals:
    """The inputs of NEWS2 in frames of `schema`."""
    return vitals_of_columns(
        {name: features[:, schema.index(name)].astype(np.float64) for name in VITAL_FEATURES}
    )


def vitals_of_columns(columns: Mapping[str, NDArray[np.float64]]) -> Vitals:
    """The inputs of NEWS2 from one column a feature of `VITAL_FEATURES`."""
    pulse = columns[RATE_FEATURES[0]]
    for name in RATE_FEATURES[1:]:
        pulse = np.where(np.isnan(pulse), columns[name], pulse)
    return Vitals(
        respiration_per_min=columns["respiration_rate_per_min"],
        spo2_percent=columns["spo2_percent"],
        systolic_mmhg=columns["abp_systolic_mmhg"],
        pulse_per_min=pulse,
        temperature_celsius=columns["temperature_celsius"],
    )


def news2_intervals(
    vitals: Vitals, contexts: Sequence[JoinedContext], context_index: NDArray[np.intp]
) -> tuple[Points, Points]:
    """Lowest and highest possible NEWS2 of each frame.

    Parameters
    ----------
    vitals : Vitals
        From the curves; charted values of the context stand in where they are missing.
    contexts, context_index
        What each of the n frames was joined with.

    Returns
    -------
    low, high : ndarray of int16, shape (n_frames,)
        0 to 20; -1 where there is no patient to score.
    """
    charted = _charted(contexts)[context_index]
    systolic = np.where(np.isnan(vitals.systolic_mmhg), charted["systolic"], vitals.systolic_mmhg)
    temperature = np.where(
        np.isnan(vitals.temperature_celsius), charted["temperature"], vitals.temperature_celsius
    )
    saturation = _saturation(np.rint(vitals.spo2_percent), charted)
    parts = (
        RESPIRATION.interval(np.rint(vitals.respiration_per_min)),
        SYSTOLIC.interval(np.rint(systolic)),
        PULSE.interval(np.rint(vitals.pulse_per_min)),
        TEMPERATURE.interval(np.rint(temperature * 10) / 10),
        saturation,
    )
    low = charted["fixed_low"] + sum(part[0] for part in parts)
    high = charted["fixed_high"] + sum(part[1] for part in parts)
    nobody = ~charted["somebody"]
    return np.where(nobody, -1, low).astype(np.int16), np.where(nobody, -1, high).astype(np.int16)


_CHARTED: Final = np.dtype(
    [
        ("somebody", "?"),
        ("hypercapnic", "?"),
        ("on_air", "?"),
        ("on_oxygen", "?"),
        ("systolic", "f8"),
        ("temperature", "f8"),
        ("fixed_low", "i2"),
        ("fixed_high", "i2"),
    ]
)


def _charted(contexts: Sequence[JoinedContext]) -> NDArray[np.void]:
    table = np.zeros(len(contexts), dtype=_CHARTED)
    for row, context in zip(table, contexts, strict=True):
        row["somebody"] = context.pseudonym is not None
        row["hypercapnic"] = context.hypercapnic_target
        row["on_air"] = context.supplemental_oxygen is False
        row["on_oxygen"] = context.supplemental_oxygen is True
        row["systolic"] = _or_nan(context.systolic_noninvasive_mmhg)
        row["temperature"] = _or_nan(context.temperature_celsius)
        awake = _interval(context.consciousness, context.consciousness is Consciousness.ALERT, 3)
        oxygen = _interval(context.supplemental_oxygen, not context.supplemental_oxygen, 2)
        row["fixed_low"] = awake[0] + oxygen[0]
        row["fixed_high"] = awake[1] + oxygen[1]
    return table


def _interval(known: object, harmless: bool, points: int) -> tuple[int, int]:
    if known is None:
        return 0, points
    return (0, 0) if harmless else (points, points)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _saturation(
    spo2_percent: NDArray[np.float64], charted: NDArray[np.void]
) -> tuple[Points, Points]:
    scale_1 = SATURATION_SCALE_1.interval(spo2_percent)
    if not charted["hypercapnic"].any():
        return scale_1
    air = SATURATION_SCALE_2_AIR.interval(spo2_percent)
    oxygen = SATURATION_SCALE_2_OXYGEN.interval(spo2_percent)
    # Not charted whether oxygen is given: the lower of both, up to the higher of both.
    low = np.where(charted["on_air"], air[0], np.minimum(air[0], oxygen[0]))
    high = np.where(charted["on_air"], air[1], np.maximum(air[1], oxygen[1]))
    low = np.where(charted["on_oxygen"], oxygen[0], low)
    high = np.where(charted["on_oxygen"], oxygen[1], high)
    hypercapnic = charted["hypercapnic"]
    return (
        np.where(hypercapnic, low, scale_1[0]).astype(np.int16),
        np.where(hypercapnic, high, scale_1[1]).astype(np.int16),
    )
