"""A patient's last two days as one row of numbers, for many patients in one compiled loop.

Several values of one hour count once, so that a monitor that measures every second and a chart
that has one line an hour give the same row.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.inference.deterioration.history import Histories
from wardstream.inference.deterioration.parameters import PARAMETERS, Kind, Modality
from wardstream.kernels.compile import kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WINDOW_H: Final = 48.0
"""How far back is looked."""
RECENT_H: Final = 12.0
"""What counts as recent."""

STATISTICS: Final = (
    "last", "first", "lowest", "highest", "mean", "spread", "slope_per_h", "recent_mean", "age_h",
)  # fmt: skip
_N: Final = len(STATISTICS)
_STATIC: Final = int(Kind.STATIC)
_SUM: Final = int(Kind.SUM)
_PRESENT: Final = int(Kind.PRESENT)

_DERIVED: Final = (
    ("hours_known", Modality.DEMOGRAPHICS),
    ("shock_index", Modality.VITALS),
    ("oxygenation_mmhg", Modality.LABS),
    ("urea_to_creatinine", Modality.LABS),
    ("urine_ml_per_kg_h", Modality.CHARTED),
)


def _columns() -> tuple[tuple[str, Modality, str], ...]:
    found: list[tuple[str, Modality, str]] = []
    for parameter in PARAMETERS:
        if parameter.kind is Kind.STATIC:
            found.append((parameter.name, parameter.modality, parameter.name))
        elif parameter.kind is Kind.PRESENT:
            found += [
                (f"{parameter.name}_{what}", parameter.modality, parameter.name)
                for what in ("hours", "age_h")
            ]
        else:
            found += [
                (f"{parameter.name}_{what}", parameter.modality, parameter.name)
                for what in STATISTICS
            ]
    return tuple(found + [(name, modality, name) for name, modality in _DERIVED])


_COLUMNS: Final = _columns()
FEATURES: Final = tuple(name for name, _, _ in _COLUMNS)
"""Names of the columns of a row."""
FEATURE_MODALITIES: Final = tuple(modality for _, modality, _ in _COLUMNS)
"""Where each column comes from."""
FEATURE_SUBJECTS: Final = tuple(subject for _, _, subject in _COLUMNS)
"""What each column is about: all columns of one quantity have one subject."""

_KINDS: Final = np.array([int(p.kind) for p in PARAMETERS], dtype=np.int64)
_FIRST: Final = np.array([FEATURES.index(
    p.name if p.kind is Kind.STATIC else f"{p.name}_{'hours' if p.kind is Kind.PRESENT else 'last'}"
) for p in PARAMETERS], dtype=np.int64)  # fmt: skip


def feature_rows(histories: Histories, patient: Integers, now_h: Floats) -> Floats:
    """Features of each question "what is known of this patient at that hour?".

    Parameters
    ----------
    histories : Histories
        Observations; those later than `now_h` are not looked at.
    patient : ndarray of int64, shape (n,)
        Which patient.
    now_h : ndarray of float64, shape (n,)
        Hour of the stay, 0 or more.

    Returns
    -------
    ndarray of float64, shape (n, n_features)
        In the order of `FEATURES`; NaN where nothing is known.

    Raises
    ------
    OutOfRangeError
        A patient does not exist, or an hour is negative or not a number.
    """
    if len(patient) != len(now_h) or not bool(np.all(now_h >= 0)):
        raise OutOfRangeError("every row needs a patient and an hour of the stay, 0 or more")
    if len(patient) and (int(patient.min()) < 0 or int(patient.max()) >= len(histories)):
        raise OutOfRangeError(f"patient numbers must lie in [0, {len(histories)})")
    rows = np.full((len(patient), len(FEATURES)), math.nan)
    _fill(
        rows, histories.offsets, histories.times_h, histories.values,
        np.asarray(patient, dtype=np.int64), np.asarray(now_h, dtype=np.float64), _KINDS, _FIRST,
    )  # fmt: skip
    _derive(rows, np.minimum(now_h, WINDOW_H))
    return rows


def _derive(rows: Floats, hours: Floats) -> None:
    def of(name: str) -> Floats:
        return rows[:, FEATURES.index(name)]

    def put(name: str, values: Floats) -> None:
        rows[:, FEATURES.index(name)] = values

    put("hours_known", hours)
    put("shock_index", of("heart_rate_per_min_last") / of("systolic_mmhg_last"))
    put("oxygenation_mmhg", of("oxygen_mmhg_last") / of("fio2_share_last"))
    put("urea_to_creatinine", of("urea_nitrogen_mg_per_dl_last") / of("creatinine_mg_per_dl_last"))
    put("urine_ml_per_kg_h", of("urine_ml_mean") / of("weight_kg"))


@kernel
def _fill(
    rows: Floats, offsets: Integers, times_h: Floats, values: Floats,
    patient: Integers, now_h: Floats, kinds: Integers, first: Integers,
) -> None:  # fmt: skip
    n_parameters = len(kinds)
    hours = np.empty(64)
    means = np.empty(64)
    for row in range(len(patient)):
        begin_h = max(0.0, now_h[row] - WINDOW_H)
        for j in range(n_parameters):
            cell = patient[row] * n_parameters + j
            at = first[j]
            if kinds[j] == _STATIC:
                if offsets[cell] < offsets[cell + 1] and times_h[offsets[cell]] <= now_h[row]:
                    rows[row, at] = values[offsets[cell]]
                continue
            last_h = -1.0
            n = 0
            n_in_hour = 0
            bucket = -1.0
            for i in range(offsets[cell], offsets[cell + 1]):
                if times_h[i] < begin_h:
                    continue
                if times_h[i] > now_h[row]:
                    break
                # Buckets end at the present, so that an hour is never cut short by the clock.
                own = math.floor(now_h[row] - times_h[i])
                if own != bucket:
                    bucket = own
                    hours[n] = times_h[i]
                    means[n] = 0.0
                    n_in_hour = 0
                    n += 1
                n_in_hour += 1
                if kinds[j] == _SUM:
                    means[n - 1] += values[i]
                else:
                    means[n - 1] += (values[i] - means[n - 1]) / n_in_hour
                last_h = times_h[i]
            if n == 0:
                continue
            if kinds[j] == _PRESENT:
                rows[row, at] = n
                rows[row, at + 1] = now_h[row] - last_h
                continue
            _summarise(rows[row, at : at + _N], hours[:n], means[:n], now_h[row], begin_h, kinds[j])
            rows[row, at + _N - 1] = now_h[row] - last_h


@kernel
def _summarise(
    out: Floats, hours: Floats, means: Floats, now_h: float, begin_h: float, kind: int
) -> None:
    n = len(hours)
    total = 0.0
    lowest = means[0]
    highest = means[0]
    recent = 0.0
    n_recent = 0
    mean_h = 0.0
    for i in range(n):
        total += means[i]
        mean_h += hours[i] / n
        lowest = min(lowest, means[i])
        highest = max(highest, means[i])
        if hours[i] >= now_h - RECENT_H:
            recent += means[i]
            n_recent += 1
    mean = total / n
    squares = 0.0
    product = 0.0
    span = 0.0
    for i in range(n):
        squares += (means[i] - mean) ** 2
        product += (means[i] - mean) * (hours[i] - mean_h)
        span += (hours[i] - mean_h) ** 2
    out[0] = means[n - 1]
    out[1] = means[0]
    out[2] = lowest
    out[3] = highest
    out[4] = mean
    if n > 1:
        out[5] = math.sqrt(squares / n)
    if span > 1.0:
        out[6] = product / span
    if n_recent > 0:
        out[7] = recent / n_recent
    if kind == _SUM:  # amounts an hour that passed, whether or not somebody wrote them down
        out[4] = total / max(now_h - begin_h, 1.0)
        out[7] = recent / max(min(now_h - begin_h, RECENT_H), 1.0)
