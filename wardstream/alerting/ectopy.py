"""Counts of ventricular beats: frequent PVC, couplets and runs, pauses. Pure, O(beats a minute)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wardstream.alerting.state import Finding
from wardstream.contracts.alert import AlertPriority, Condition
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

MINUTE_NS: Final = 60 * NS_PER_S
FREQUENT_PER_MIN: Final = 10
ENDS_PER_MIN: Final = 7
COUPLETS_PER_MIN: Final = 2
RUN_BEATS: Final = 3
PAUSE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat: when its R peak was, and whether it is ventricular."""

    time_ns: TimestampNs
    ventricular: bool


def ectopy(
    beats: Sequence[Beat], time_ns: TimestampNs, *, frequent_is_active: bool = False
) -> list[Finding]:
    """What the beats of the last minute before `time_ns` say of PVC, couplets and runs.

    Parameters
    ----------
    beats : sequence of Beat
        In time order; older ones than a minute are ignored. Empty: nothing can be said.
    time_ns : TimestampNs
        Now, on the clock of the data.
    frequent_is_active : bool
        Whether frequent PVC is alerted on now (hysteresis).
    """
    recent = [beat for beat in beats if time_ns - MINUTE_NS < beat.time_ns <= time_ns]
    if not recent:
        return [
            Finding(condition=condition, present=None, time_ns=time_ns)
            for condition in (Condition.FREQUENT_PVC, Condition.VENTRICULAR_RUN)
        ]
    n_ventricular = sum(beat.ventricular for beat in recent)
    lengths = _runs(recent)
    n_couplets = sum(length == 2 for length in lengths)
    longest = max(lengths, default=0)
    enough = ENDS_PER_MIN + 1 if frequent_is_active else FREQUENT_PER_MIN
    return [
        Finding(
            condition=Condition.FREQUENT_PVC,
            present=n_ventricular >= enough,
            time_ns=time_ns,
            evidence={"ventricular_beats_per_min": float(n_ventricular)},
        ),
        Finding(
            condition=Condition.VENTRICULAR_RUN,
            present=n_couplets >= COUPLETS_PER_MIN or longest >= RUN_BEATS,
            time_ns=time_ns,
            evidence={"couplets_per_min": float(n_couplets), "longest_run_beats": float(longest)},
            priority=AlertPriority.MEDIUM if longest >= RUN_BEATS else None,
        ),
    ]


def pause(longest_rr_ms: float, time_ns: TimestampNs) -> Finding:
    """Whether the heart has just paused.

    A pause is an interval between two beats; one that no beat ends is asystole.

    Parameters
    ----------
    longest_rr_ms : float
        Longest of the intervals that ended in the last 10 s; NaN without any: nothing is said.
    time_ns : TimestampNs
        End of the newest ECG sample that was fit to judge.
    """
    if not longest_rr_ms > 0:
        return Finding(condition=Condition.PAUSE, present=None, time_ns=time_ns)
    return Finding(
        condition=Condition.PAUSE,
        present=longest_rr_ms >= PAUSE_S * 1000,
        time_ns=time_ns,
        evidence={"pause_s": longest_rr_ms / 1000},
    )


def _runs(beats: Sequence[Beat]) -> list[int]:
    lengths: list[int] = []
    length = 0
    for beat in beats:
        if beat.ventricular:
            length += 1
        elif length:
            lengths.append(length)
            length = 0
    return [*lengths, length] if length else lengths
