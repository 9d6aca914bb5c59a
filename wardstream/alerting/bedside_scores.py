"""MEWS, qSOFA and the shock index, as intervals where inputs are missing.

NEWS2 stands in `wardstream.alerting.early_warning`. Sources: Subbe et al., QJM 94:521-526 (2001);
Singer et al., JAMA 315:801-810 (2016); Allgöwer and Burri, Dtsch Med Wochenschr 92:1947-1950
(1967). A missing input is not a made-up zero.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.early_warning import Consciousness, Interval
from wardstream.alerting.score_bands import add_flags, band_table

Floats = NDArray[np.floating]
Points = NDArray[np.int16]

# (highest charted value of the band, points), ascending; the last band is open.
_MEWS_SYSTOLIC: Final = band_table(((70, 3), (80, 2), (100, 1), (199, 0), (math.inf, 2)))
_MEWS_PULSE: Final = band_table(((40, 2), (50, 1), (100, 0), (110, 1), (129, 2), (math.inf, 3)))
_MEWS_RESPIRATION: Final = band_table(((8, 2), (14, 0), (20, 1), (29, 2), (math.inf, 3)))
_MEWS_TEMPERATURE: Final = band_table(((34.9, 2), (38.4, 0), (math.inf, 2)), decimals=1)
_QSOFA_RESPIRATION: Final = band_table(((21, 0), (math.inf, 1)))
_QSOFA_SYSTOLIC: Final = band_table(((100, 1), (math.inf, 0)))

HIGHEST_MEWS: Final = 14
HIGHEST_QSOFA: Final = 3

AVPU_POINTS: Final[dict[Consciousness | None, Interval]] = {
    Consciousness.ALERT: Interval(0, 0),
    # AVPU has no word for a patient who is awake but newly confused.
    Consciousness.CONFUSION: Interval(0, 1),
    Consciousness.VOICE: Interval(1, 1),
    Consciousness.PAIN: Interval(2, 2),
    Consciousness.UNRESPONSIVE: Interval(3, 3),
    None: Interval(0, 3),
}
"""What MEWS gives for each level of consciousness."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreIntervals:
    """Scores of n patients; where inputs are missing a score lies between low and high.

    Attributes
    ----------
    mews_low, mews_high, qsofa_low, qsofa_high : ndarray of int16, shape (n,)
        0 to `HIGHEST_MEWS` and to `HIGHEST_QSOFA`.
    shock_index : ndarray of float64, shape (n,)
        Heart rate over systolic pressure, min⁻¹ mmHg⁻¹; NaN unless both are known. Above 0.9 it
        goes with a need for intensive treatment.
    """

    mews_low: Points
    mews_high: Points
    qsofa_low: Points
    qsofa_high: Points
    shock_index: NDArray[np.float64]


def score_intervals(
    *,
    respiration_per_min: Floats,
    systolic_mmhg: Floats,
    pulse_per_min: Floats,
    temperature_celsius: Floats,
    avpu_low: Floats,
    avpu_high: Floats,
    impaired_consciousness: Floats,
) -> ScoreIntervals:
    """MEWS, qSOFA and shock index of n patients.

    Parameters
    ----------
    respiration_per_min, systolic_mmhg, pulse_per_min, temperature_celsius
        Floating arrays of shape (n,); NaN where unknown.
    avpu_low, avpu_high
        Points for consciousness as `AVPU_POINTS` has them, shape (n,).
    impaired_consciousness
        1.0 yes, 0.0 no, NaN unknown; shape (n,).
    """
    n = len(pulse_per_min)
    mews_low, mews_high = (
        np.asarray(avpu_low, np.int16).copy(),
        np.asarray(avpu_high, np.int16).copy(),
    )
    _MEWS_SYSTOLIC.add(mews_low, mews_high, systolic_mmhg)
    _MEWS_PULSE.add(mews_low, mews_high, pulse_per_min)
    _MEWS_RESPIRATION.add(mews_low, mews_high, respiration_per_min)
    _MEWS_TEMPERATURE.add(mews_low, mews_high, temperature_celsius)
    qsofa_low, qsofa_high = np.zeros(n, np.int16), np.zeros(n, np.int16)
    _QSOFA_RESPIRATION.add(qsofa_low, qsofa_high, respiration_per_min)
    _QSOFA_SYSTOLIC.add(qsofa_low, qsofa_high, systolic_mmhg)
    add_flags(qsofa_low, qsofa_high, impaired_consciousness, 1)
    pressure = np.asarray(systolic_mmhg, np.float64)
    return ScoreIntervals(
        mews_low=mews_low,
        mews_high=mews_high,
        qsofa_low=qsofa_low,
        qsofa_high=qsofa_high,
        shock_index=np.asarray(pulse_per_min, np.float64)
        / np.where(pressure > 0, pressure, math.nan),
    )
