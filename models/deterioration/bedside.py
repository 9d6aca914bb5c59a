"""The bedside scores of the same stays at the same hour: what a learned score must beat."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.bedside_scores import score_intervals
from wardstream.alerting.early_warning import news2_arrays
from wardstream.inference.deterioration.features import FEATURES

Floats = NDArray[np.float64]

_AIR: Final = 0.215


def bedside_scores(rows: Floats) -> dict[str, Floats]:
    """NEWS2, MEWS, qSOFA and shock index by name, of rows of `feature_rows`, shape (n,) each.

    Notes
    -----
    From the newest value of each input. Of an interval the low end is taken, as at a bedside
    where what nobody measured scores nothing; ``news2_middle`` is the middle. Oxygen: inspired
    above 21 % or ventilated. Consciousness from the Glasgow coma score: below 15 is impaired
    for NEWS2 and qSOFA; for MEWS at least 14 alert, 10 voice, 6 pain (McNarry and Goldhill,
    Anaesthesia 59:34-37, 2004, give 15, 13, 8 and 6 as medians of the four levels).
    """

    def last(name: str) -> Floats:
        return rows[:, FEATURES.index(f"{name}_last")]

    coma = last("glasgow_coma_score")
    impaired = np.where(np.isnan(coma), math.nan, (coma < 15).astype(np.float64))
    inspired = last("fio2_share")
    oxygen = np.where(np.isnan(inspired), math.nan, (inspired > _AIR).astype(np.float64))
    oxygen[rows[:, FEATURES.index("ventilated_hours")] > 0] = 1.0
    low, high = news2_arrays(
        respiration_per_min=last("respiration_rate_per_min"),
        spo2_percent=last("spo2_percent"),
        systolic_mmhg=last("systolic_mmhg"),
        pulse_per_min=last("heart_rate_per_min"),
        temperature_celsius=last("temperature_celsius"),
        on_oxygen=oxygen,
        impaired_consciousness=impaired,
        hypercapnic_target=np.zeros(len(rows), dtype=bool),
    )
    level = np.select(
        [coma >= 14, coma >= 10, coma >= 6, coma >= 3], [0.0, 1.0, 2.0, 3.0], math.nan
    )
    scores = score_intervals(
        respiration_per_min=last("respiration_rate_per_min"),
        systolic_mmhg=last("systolic_mmhg"),
        pulse_per_min=last("heart_rate_per_min"),
        temperature_celsius=last("temperature_celsius"),
        avpu_low=np.nan_to_num(level, nan=0.0),
        avpu_high=np.nan_to_num(level, nan=3.0),
        impaired_consciousness=impaired,
    )
    shock = scores.shock_index
    return {
        "news2": low.astype(np.float64),
        "news2_middle": (low + high) / 2,
        "mews": scores.mews_low.astype(np.float64),
        "qsofa": scores.qsofa_low.astype(np.float64),
        "shock_index": np.nan_to_num(shock, nan=float(np.nanmedian(shock))),
    }
