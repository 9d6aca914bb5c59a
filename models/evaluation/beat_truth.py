"""What high-priority alarms the marked beats of a record justify. Pure.

clinical.md section 1: asystole is 4 s without a beat; extreme bradycardia below 40 /min for 5
consecutive beats; extreme tachycardia above 140 /min for 17; ventricular tachycardia 5 or more
ventricular beats above 100 /min; flutter between its marks.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.beats import ReferenceBeats
from wardstream.contracts.alert import Condition

TOLERANCE_S: Final = 10.0
"""An alarm this near to what justifies it is true."""

_ASYSTOLE_S: Final = 4.0
_BRADY_RR_S: Final = 60 / 40
_TACHY_RR_S: Final = 60 / 140
_VT_RR_S: Final = 60 / 100
_VENTRICULAR: Final = ("V", "E")

Spans = list[tuple[float, float]]


def justified(reference: ReferenceBeats, sampling_rate_hz: float) -> Mapping[str, Spans]:
    """Stretches in seconds of the record that justify an alarm, by condition.

    Ventricular tachycardia justifies an alarm of tachycardia and fibrillation too, and flutter
    one of ventricular tachycardia: the same hands are called.
    """
    times_s = reference.samples / sampling_rate_hz
    rr_s = np.diff(times_s)
    flutter = [
        (a / sampling_rate_hz, min(b / sampling_rate_hz, 1e9)) for a, b in reference.excluded
    ]
    ventricular = np.isin(reference.symbols, _VENTRICULAR)
    runs = _runs(times_s, ventricular[1:] & ventricular[:-1] & (rr_s < _VT_RR_S), 4)
    fast = _mean_runs(times_s, rr_s, 16, below=_TACHY_RR_S)
    # 5 % slower than the limit is still the same moment to anyone who looks at the curve.
    slow = _runs(times_s, rr_s > 0.95 * _BRADY_RR_S, 4)
    pauses = _runs(times_s, rr_s > 0.95 * _ASYSTOLE_S, 1)
    return {
        Condition.ASYSTOLE.value: pauses,
        Condition.EXTREME_BRADYCARDIA.value: slow + pauses,
        Condition.EXTREME_TACHYCARDIA.value: fast + runs + flutter,
        Condition.VENTRICULAR_TACHYCARDIA.value: runs + flutter,
        Condition.VENTRICULAR_FIBRILLATION.value: flutter + runs,
    }


def is_true(condition: str, time_s: float, spans: Mapping[str, Spans]) -> bool:
    """Whether an alarm on `condition` at `time_s` has something marked to stand on."""
    return any(
        start_s - TOLERANCE_S <= time_s <= end_s + TOLERANCE_S
        for start_s, end_s in spans.get(condition, [])
    )


def _runs(times_s: NDArray[np.float64], hits: NDArray[np.bool_], shortest: int) -> Spans:
    # Runs of at least `shortest` intervals in a row that are hits.
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hits.astype(np.int8), [0]])))
    return [
        (float(times_s[begin]), float(times_s[end]))
        for begin, end in zip(edges[::2], edges[1::2], strict=True)
        if end - begin >= shortest
    ]


def _mean_runs(
    times_s: NDArray[np.float64], rr_s: NDArray[np.float64], n: int, *, below: float
) -> Spans:
    # Stretches over which the mean of n intervals lies below the limit (5 % above it included).
    if len(rr_s) < n:
        return []
    means = np.convolve(rr_s, np.ones(n) / n, mode="valid")
    hits = means < 1.05 * below
    return [
        (a, float(times_s[min(_index(times_s, b) + n, len(times_s) - 1)]))
        for a, b in _runs(times_s[: len(means) + 1], hits, 1)
    ]


def _index(times_s: NDArray[np.float64], time_s: float) -> int:
    return int(np.searchsorted(times_s, time_s))
