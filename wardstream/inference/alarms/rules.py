"""The same question by rules on the same features: what the learned verifier must beat.

An alarm is held to be true unless a channel that can be believed contradicts its definition
(clinical.md section 1), with room for a detector's error.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

Row = Mapping[str, float]

_USABLE: Final = 0.5
_SILENT_S: Final = 3.2  # 4 s by definition, less what a detector and a monitor may differ
_SILENT_LEAD_S: Final = 3.0
_SMALL_EXTENT: Final = 0.7  # of what the lead usually shows within 3 s


def rule_decision(alarm_type: str, row: Row) -> bool:
    """Whether the alarm is held to be true; an unknown type is."""
    rule = _RULES.get(alarm_type)
    return True if rule is None else rule(row)


def _value(row: Row, name: str) -> float:
    return row.get(name, math.nan)


def _has_pulse(row: Row) -> bool:
    return _value(row, "n_pulse_channels") > 0


def _asystole(row: Row) -> bool:
    # Silent on every lead, the curve itself and not only its beats; or no blood moves.
    silent = (
        _value(row, "ecg_gap_recent_s") >= _SILENT_S
        and _value(row, "lowest_alone_longest_gap_s") >= _SILENT_LEAD_S
        and _value(row, "highest_extent_least") < _SMALL_EXTENT
    )
    return _value(row, "standstill") > 0 or (silent and not _value(row, "pulse_goes_on") > 0)


def _bradycardia(row: Row) -> bool:
    slow_pulse = _has_pulse(row) and _value(row, "pulse_most_slowest_5") < 45
    return slow_pulse or _value(row, "ecg_slowest_5") < 45


def _tachycardia(row: Row) -> bool:
    fast_pulse = _has_pulse(row) and _value(row, "pulse_most_fastest_17") > 130
    return fast_pulse or not _value(row, "ecg_fastest_17") < 130


def _ventricular_tachycardia(row: Row) -> bool:
    return (
        _value(row, "model_vt_highest") > 0.5
        or _value(row, "model_vf_highest") > 0.5
        or (_value(row, "highest_longest_unlike_run") >= 4 and _value(row, "ecg_fastest_5") > 100)
    )


def _fibrillation(row: Row) -> bool:
    looks_like_it = _value(row, "model_vf_third") > _USABLE or (
        # Without a model: full and of one frequency on the best lead.
        not math.isfinite(_value(row, "model_vf_third"))
        and _value(row, "best_highest_concentration") > _USABLE
        and _value(row, "best_mean_fullness") > _USABLE
    )
    return looks_like_it and not _value(row, "pulse_goes_on") > 0


_RULES: Final[Mapping[str, Callable[[Row], bool]]] = {
    "Asystole": _asystole,
    "Bradycardia": _bradycardia,
    "Tachycardia": _tachycardia,
    "Ventricular_Tachycardia": _ventricular_tachycardia,
    "Ventricular_Flutter_Fib": _fibrillation,
}
