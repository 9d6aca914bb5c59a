"""NEWS2 of joined frames: curves first, what is charted where they are missing, else unknown.

The bands stand once, in `wardstream.alerting.early_warning`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_processors.core.context import JoinedContext
from wardstream.alerting.early_warning import news2_arrays
from wardstream.contracts.frame import FrameSchema
from wardstream.contracts.record import Consciousness

Points = NDArray[np.int16]


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
    charted = np.array([_charted(context) for context in contexts], dtype=np.float64)
    systolic, temperature, on_oxygen, impaired = charted[context_index].T
    hypercapnic = np.array([context.hypercapnic_target for context in contexts])
    low, high = news2_arrays(
        respiration_per_min=vitals.respiration_per_min,
        spo2_percent=vitals.spo2_percent,
        systolic_mmhg=_first(vitals.systolic_mmhg, systolic),
        pulse_per_min=vitals.pulse_per_min,
        temperature_celsius=_first(vitals.temperature_celsius, temperature),
        on_oxygen=on_oxygen,
        impaired_consciousness=impaired,
        hypercapnic_target=hypercapnic[context_index],
    )
    nobody = np.array([context.pseudonym is None for context in contexts])[context_index]
    return np.where(nobody, -1, low).astype(np.int16), np.where(nobody, -1, high).astype(np.int16)


def _charted(context: JoinedContext) -> tuple[float, float, float, float]:
    impaired = None
    if context.consciousness is not None:
        impaired = context.consciousness is not Consciousness.ALERT
    return (
        _or_nan(context.systolic_noninvasive_mmhg),
        _or_nan(context.temperature_celsius),
        _or_nan(context.supplemental_oxygen),
        _or_nan(impaired),
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _first(measured: NDArray[np.float64], charted: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(measured), charted, measured)
