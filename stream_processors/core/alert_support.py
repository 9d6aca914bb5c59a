"""What the record and the other signals of the bed add to an alarm: support or contradiction.

It stands beside the alert. Nothing here removes, delays or lowers one. The weights of context are
set by reasoning, not learned (no public set of alarms has a record beside it); together they move
the log odds by `MOST_MOVED` at most, so that context alone never turns a clear answer round.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stream_processors.core.context import JoinedContext
from wardstream.contracts.alert import Condition

MOST_MOVED: Final = 1.5
SUPPORTS_FROM: Final = 0.7
CONTRADICTS_TO: Final = 0.3
VERIFIER_EVIDENCE: Final = "verifier_probability"
"""Key of the alert's evidence under which the bed says what its own channels make of it."""

JUDGED: Final = frozenset(
    {
        Condition.ASYSTOLE,
        Condition.VENTRICULAR_FIBRILLATION,
        Condition.VENTRICULAR_TACHYCARDIA,
        Condition.EXTREME_BRADYCARDIA,
        Condition.EXTREME_TACHYCARDIA,
    }
)
_PACED_WORDS: Final = ("pacemaker", "paced", "起搏")
_AF_WORDS: Final = ("atrial fibrillation", "afib", "房颤", "心房颤动")
_USABLE: Final = 0.5
_DAMPED_PULSE_MMHG: Final = 15.0
_FLOWING_S: Final = 2.0
_STANDSTILLS: Final = (Condition.ASYSTOLE, Condition.VENTRICULAR_FIBRILLATION)


class Verdict(StrEnum):
    """What is said of the alert."""

    SUPPORTS = "supports"
    CONTRADICTS = "contradicts"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSupport:
    """The answer, with its reasons in words that a nurse can check.

    Attributes
    ----------
    verdict : Verdict
        From the probability.
    probability : float
        That the alarm is true.
    verifier_probability : float or None
        What the bed's own verifier said, before context.
    reasons : tuple of str
        What moved it.
    """

    verdict: Verdict
    probability: float
    verifier_probability: float | None
    reasons: tuple[str, ...]


def support_of(
    condition: Condition,
    evidence: Mapping[str, float],
    frame: Mapping[str, float],
    context: JoinedContext,
) -> AlertSupport:
    """What is said of an alert.

    Parameters
    ----------
    condition : Condition
        One of `JUDGED`; another is left undecided.
    evidence : mapping of str to float
        The figures the alert came with.
    frame : mapping of str to float
        Features of the bed in the seconds before it, NaN where not measured.
    context : JoinedContext
        Who was in the bed then.
    """
    said = evidence.get(VERIFIER_EVIDENCE, math.nan)
    verifier = said if 0 <= said <= 1 else None
    terms = _context_terms(condition, frame, context)
    if verifier is None:
        terms += _signal_terms(condition, frame)
        start = 0.0
    else:
        inside = min(max(verifier, 0.01), 0.99)
        start = math.log(inside / (1 - inside))
    moved = max(-MOST_MOVED, min(MOST_MOVED, sum(weight for weight, _ in terms)))
    probability = 1 / (1 + math.exp(-(start + moved)))
    verdict = Verdict.UNDECIDED
    if condition in JUDGED and probability >= SUPPORTS_FROM:
        verdict = Verdict.SUPPORTS
    elif condition in JUDGED and probability <= CONTRADICTS_TO:
        verdict = Verdict.CONTRADICTS
    return AlertSupport(
        verdict=verdict,
        probability=probability,
        verifier_probability=verifier,
        reasons=tuple(reason for _, reason in terms),
    )


Term = tuple[float, str]


def _context_terms(
    condition: Condition, frame: Mapping[str, float], context: JoinedContext
) -> list[Term]:
    terms: list[Term] = []
    problems = " | ".join(context.problems or ()).lower()
    paced = any(word in problems for word in _PACED_WORDS)
    if paced or frame.get("probability_paced", math.nan) > _USABLE:
        if condition is Condition.VENTRICULAR_TACHYCARDIA:
            terms.append((-1.0, "paced: its beats are wide as those of ventricular tachycardia"))
        elif condition in (Condition.ASYSTOLE, Condition.EXTREME_BRADYCARDIA):
            terms.append((-0.5, "paced: small paced beats are easily missed"))
    if any(word in problems for word in _AF_WORDS):
        if condition is Condition.EXTREME_TACHYCARDIA:
            terms.append((0.5, "atrial fibrillation is known: it may be conducted fast"))
        elif condition is Condition.VENTRICULAR_TACHYCARDIA:
            terms.append((-0.5, "atrial fibrillation is known: aberrant beats look ventricular"))
    if _damped(frame) and condition in _STANDSTILLS:
        terms.append((-0.5, "arterial line damped: that it shows no pulse says little"))
    if _disturbed(frame):
        terms.append((-1.0, "several sensors disturbed at once, as when a patient is moved"))
    return terms


def _signal_terms(condition: Condition, frame: Mapping[str, float]) -> list[Term]:
    since_s = frame.get("time_since_pulse_s", math.nan)
    if condition not in _STANDSTILLS or math.isnan(since_s) or _damped(frame):
        return []
    if since_s <= _FLOWING_S:
        return [(-1.5, "the pulse goes on")]
    if since_s >= 2 * _FLOWING_S:
        return [(1.5, "no pulse in any channel either")]
    return []


def _damped(frame: Mapping[str, float]) -> bool:
    # Pressure is there, but hardly pulses, while the finger does.
    pulse_mmhg = frame.get("abp_systolic_mmhg", math.nan) - frame.get(
        "abp_diastolic_mmhg", math.nan
    )
    finger = frame.get("quality_ppg", math.nan) > _USABLE
    return pulse_mmhg < _DAMPED_PULSE_MMHG and finger


def _disturbed(frame: Mapping[str, float]) -> bool:
    qualities = [frame.get(name, math.nan) for name in ("quality_ecg1", "quality_ppg")]
    return all(quality < _USABLE for quality in qualities)
