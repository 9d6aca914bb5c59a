"""Labelled episodes against alarms: found, how late, and what was false. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wardstream.contracts.alert import Condition

ALARM_WITHIN_S: Final = 10.0
"""An alarm no later than this after the labelled onset counts (clinical.md section 4)."""

GUARD_S: Final = 10.0
"""An alarm this near to an episode is not false: marks are set by eye, seconds late or early."""

_VF, _VT = Condition.VENTRICULAR_FIBRILLATION.value, Condition.VENTRICULAR_TACHYCARDIA.value
_ASYSTOLE = Condition.ASYSTOLE.value

FITTING: Final[Mapping[str, frozenset[str]]] = {
    "vf": frozenset({_VF, _VT, _ASYSTOLE}),
    "vfl": frozenset({_VF, _VT}),
    "rapid_vt": frozenset({_VF, _VT, Condition.EXTREME_TACHYCARDIA.value}),
    "asystole": frozenset({_ASYSTOLE, _VF, Condition.EXTREME_BRADYCARDIA.value}),
}
"""High-priority conditions that call the right hands for an episode. VF and VT are treated
alike; fine fibrillation and asystole cannot be told apart by eye either."""

SHORTEST_S: Final[Mapping[str, float]] = {
    "vf": 4.0,
    "vfl": 4.0,
    "rapid_vt": 4.0,
    "asystole": 4.0,
}
"""Shorter episodes do not meet the conditions' own definitions: they are not asked for, and an
alarm in them is not false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One labelled episode.

    Attributes
    ----------
    record : str
        Data set and record, ``vfdb/418``.
    patient : str
        Whose.
    kind : str
        A key of `FITTING`, or ``other`` for what is neither asked for nor held against an
        alarm (slow ventricular tachycardia, episodes too short).
    start_s, end_s : float
        Half-open, in seconds of the record.
    """

    record: str
    patient: str
    kind: str
    start_s: float
    end_s: float

    @property
    def is_asked(self) -> bool:
        """Whether an alarm is asked for."""
        return self.kind in FITTING and self.end_s - self.start_s >= SHORTEST_S[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A high-priority alert: from when it was raised until its condition was found gone."""

    condition: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one episode.

    Attributes
    ----------
    episode : Episode
        Which.
    delay_s : float
        From the labelled onset to the first fitting alarm, 0 where one was sounding already;
        NaN if none came before the episode's end and `ALARM_WITHIN_S` were over.
    """

    episode: Episode
    delay_s: float

    @property
    def is_found(self) -> bool:
        """Whether the alarm came in time."""
        return not math.isnan(self.delay_s) and self.delay_s <= ALARM_WITHIN_S


def answer(episode: Episode, alarms: Sequence[Alarm]) -> Answer:
    """How `episode` was alarmed by the `alarms` of its record."""
    latest_s = max(episode.end_s, episode.start_s + ALARM_WITHIN_S)
    delays = [
        max(alarm.start_s - episode.start_s, 0.0)
        for alarm in alarms
        if alarm.condition in FITTING[episode.kind]
        and alarm.start_s <= latest_s
        # Raised before the mark: it must still have been there, or have come just before.
        and (alarm.end_s >= episode.start_s or alarm.start_s >= episode.start_s - GUARD_S)
    ]
    return Answer(episode=episode, delay_s=min(delays, default=math.nan))


def false_alarms(alarms: Sequence[Alarm], episodes: Sequence[Episode]) -> list[Alarm]:
    """Alarms raised further than `GUARD_S` from every episode of the record."""
    return [
        alarm
        for alarm in alarms
        if not any(
            episode.start_s - GUARD_S <= alarm.start_s <= episode.end_s + GUARD_S
            for episode in episodes
        )
    ]


def seconds_outside(length_s: float, episodes: Sequence[Episode]) -> float:
    """Seconds of a record of `length_s` in which an alarm would be false."""
    total, until = 0.0, 0.0
    for episode in sorted(episodes, key=lambda e: e.start_s):
        start_s = max(episode.start_s - GUARD_S, until)
        total += max(min(start_s, length_s) - until, 0.0)
        until = max(until, min(episode.end_s + GUARD_S, length_s))
    return total + max(length_s - until, 0.0)
