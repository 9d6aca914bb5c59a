"""Scores of a minute of many beds at once: stateless ones, what is usual, and deterioration.

A minute is judged from what the store holds of it and of the two days before, so any worker may
do it, and one that was killed forgets nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_processors.core.context import JoinedContext
from stream_processors.core.news2 import Vitals, news2_intervals
from stream_processors.core.record_inputs import Stated
from wardstream.alerting.bedside_scores import AVPU_POINTS, ScoreIntervals, score_intervals
from wardstream.alerting.early_warning import Consciousness as Avpu
from wardstream.contracts.record import Consciousness
from wardstream.inference.deterioration.features import WINDOW_H, feature_rows
from wardstream.inference.deterioration.history import histories_of
from wardstream.inference.deterioration.model import DeteriorationModel, Judgements
from wardstream.inference.deterioration.parameters import column

Floats = NDArray[np.float64]
Points = NDArray[np.int16]

VITALS: Final = (
    "heart_rate_per_min",
    "respiration_rate_per_min",
    "spo2_percent",
    "temperature_celsius",
    "systolic_mmhg",
    "diastolic_mmhg",
    "mean_pressure_mmhg",
)
"""In the order of every array of vitals here and in ``patient_score``."""

N_HOURS: Final = int(WINDOW_H)
TREND_HOURS: Final = 6
_MIN_USUAL_HOURS: Final = 3
_MAD_TO_SD: Final = 1.4826
_NARROWEST: Final = np.array([10.0, 4.0, 2.0, 0.5, 15.0, 10.0, 10.0])
"""Half width of the usual band, at least: what a healthy day varies by (engineering choice)."""
_COLUMNS: Final = np.array([column(name) for name in VITALS])

_AVPU: Final = {
    None: AVPU_POINTS[None],
    Consciousness.ALERT: AVPU_POINTS[Avpu.ALERT],
    Consciousness.CONFUSION: AVPU_POINTS[Avpu.CONFUSION],
    Consciousness.VOICE: AVPU_POINTS[Avpu.VOICE],
    Consciousness.PAIN: AVPU_POINTS[Avpu.PAIN],
    Consciousness.UNRESPONSIVE: AVPU_POINTS[Avpu.UNRESPONSIVE],
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MinuteScores:
    """Stateless scores of n minutes, each array of shape (n,)."""

    news2_low: Points
    news2_high: Points
    others: ScoreIntervals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Usual:
    """What is usual for each patient, arrays of shape (n, len(VITALS)), NaN where unknown.

    Attributes
    ----------
    centre : ndarray of float64
        Median of the hours of the stay, two days at most.
    low, high : ndarray of float64
        Patient-specific band: three robust spreads to each side, never narrower than what a
        quiet day varies by. For people to look at; no alarm limit is set from it.
    trend_per_h : ndarray of float64
        Slope of the last six hours.
    """

    centre: Floats
    low: Floats
    high: Floats
    trend_per_h: Floats


def score_minutes(vitals: Floats, contexts: Sequence[JoinedContext]) -> MinuteScores:
    """Scores of minutes.

    Parameters
    ----------
    vitals : ndarray of float64, shape (n, len(VITALS))
        Means of the minute; NaN where not measured.
    contexts : sequence of JoinedContext, length n
        Who, and what is charted of them; a charted pressure or temperature stands in where the
        curves have none.
    """
    index = np.arange(len(contexts))
    charted = np.array(
        [
            (
                _or_nan(c.systolic_noninvasive_mmhg),
                _or_nan(c.temperature_celsius),
                math.nan
                if c.consciousness is None
                else float(c.consciousness is not Consciousness.ALERT),
                _AVPU[c.consciousness].low,
                _AVPU[c.consciousness].high,
            )
            for c in contexts
        ],
        dtype=np.float64,
    ).reshape(len(contexts), 5)
    pulse, respiration, spo2, temperature, systolic = vitals[:, :5].T
    measured = Vitals(
        respiration_per_min=respiration,
        spo2_percent=spo2,
        systolic_mmhg=systolic,
        pulse_per_min=pulse,
        temperature_celsius=temperature,
    )
    low, high = news2_intervals(measured, contexts, index)
    others = score_intervals(
        respiration_per_min=respiration,
        systolic_mmhg=np.where(np.isnan(systolic), charted[:, 0], systolic),
        pulse_per_min=pulse,
        temperature_celsius=np.where(np.isnan(temperature), charted[:, 1], temperature),
        avpu_low=charted[:, 3],
        avpu_high=charted[:, 4],
        impaired_consciousness=charted[:, 2],
    )
    return MinuteScores(news2_low=low, news2_high=high, others=others)


def usual_of(hours: Floats) -> Usual:
    """What is usual, from hourly means.

    Parameters
    ----------
    hours : ndarray of float64, shape (n, N_HOURS, len(VITALS))
        Mean of each vital sign in each hour back from now, the newest first; NaN where missing.
    """
    known = np.isfinite(hours).sum(axis=1)
    with np.errstate(all="ignore"):
        filled = np.where(known[:, None, :] > 0, hours, 0.0)
        centre = np.nanmedian(filled, axis=1)
        spread = _MAD_TO_SD * np.nanmedian(np.abs(filled - centre[:, None, :]), axis=1)
    enough = known >= _MIN_USUAL_HOURS
    centre = np.where(enough, centre, math.nan)
    half = np.maximum(3 * spread, _NARROWEST)
    return Usual(centre=centre, low=centre - half, high=centre + half, trend_per_h=_slope(hours))


def judge_deterioration(
    model: DeteriorationModel,
    hours: Floats,
    contexts: Sequence[JoinedContext],
    record: Sequence[Stated] = (),
) -> tuple[Judgements, Floats]:
    """Deterioration of each patient from hourly means and what the record knows of them.

    Parameters
    ----------
    model : DeteriorationModel
        In force.
    hours : ndarray of float64, shape (n, N_HOURS, len(VITALS))
        As for `usual_of`.
    contexts : sequence of JoinedContext, length n
        Who.
    record : sequence of Stated
        What chart and laboratory observed of them in the last two days.

    Returns
    -------
    judgements : Judgements
        Answers, NaN where the score abstains.
    rows : ndarray of float64, shape (n, n_features)
        What was asked, for drift.
    """
    n = len(contexts)
    row, hour, vital = np.nonzero(np.isfinite(hours))
    oldest = np.zeros(n)
    np.maximum.at(oldest, row, hour + 1.0)
    for one in record:
        oldest[one.row] = max(oldest[one.row], one.hours_ago)
    now_h = np.minimum(oldest, WINDOW_H)
    static = [
        (i, column(name), value)
        for i, context in enumerate(contexts)
        for name, value in (
            ("age_years", context.age_years),
            ("male", {"male": 1.0, "female": 0.0}.get(context.sex or "")),
        )
        if value is not None
    ]
    asked = [(s.row, s.parameter, now_h[s.row] - s.hours_ago, s.value) for s in record]
    asked += [(i, parameter, 0.0, float(value)) for i, parameter, value in static]
    known = np.array(asked, dtype=np.float64).reshape(-1, 4)
    histories = histories_of(
        n,
        np.concatenate([row, known[:, 0].astype(np.int64)]),
        np.concatenate([_COLUMNS[vital], known[:, 1].astype(np.int64)]),
        np.concatenate([now_h[row] - hour - 0.5, known[:, 2]]).clip(0),
        np.concatenate([hours[row, hour, vital], known[:, 3]]),
    )
    rows = feature_rows(histories, np.arange(n), now_h)
    return model.judge(rows), rows


def _slope(hours: Floats) -> Floats:
    recent = hours[:, :TREND_HOURS]
    known = np.isfinite(recent)
    time_h = -np.arange(TREND_HOURS, dtype=np.float64)[None, :, None]
    count = known.sum(axis=1)
    here = np.where(known, recent, 0.0)
    with np.errstate(all="ignore"):
        mean_t = (time_h * known).sum(axis=1) / count
        mean = here.sum(axis=1) / count
        offset = np.where(known, time_h - mean_t[:, None, :], 0.0)
        slope = (offset * (here - mean[:, None, :] * known)).sum(axis=1) / (offset**2).sum(axis=1)
    return np.where(count >= _MIN_USUAL_HOURS, slope, math.nan)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
