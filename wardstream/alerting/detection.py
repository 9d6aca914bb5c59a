"""From what is known of a bed at one moment to findings, condition by condition.

Pure functions of `BedSigns`. A second signal may contradict the ECG; it then delays or
withholds an alert, and what contradicts is said in the evidence, never silently.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.engine import Finding
from wardstream.alerting.lead_signs import LeadSigns, beating_lead, slower_lead
from wardstream.contracts.alert import AlertPriority, Condition
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs

ASYSTOLE_S: Final = 4.0
BEAT_KNOWN_AFTER_S: Final = 0.2
"""A beat this young may not be known yet (`wardstream.kernels.beats`)."""

BRADYCARDIA_PER_MIN: Final = 40.0
BRADYCARDIA_ENDS_PER_MIN: Final = 45.0
BRADYCARDIA_INTERVALS: Final = 4
"""Five consecutive beats."""

TACHYCARDIA_PER_MIN: Final = 140.0
TACHYCARDIA_ENDS_PER_MIN: Final = 135.0
TACHYCARDIA_INTERVALS: Final = 16
"""Seventeen consecutive beats."""

VENTRICULAR_RATE_PER_MIN: Final = 100.0
OFF_AFTER_S: Final = 3.0

_LOST_BEAT: Final = 1.7  # an interval longer than this many medians has lost a beat
_PULSE_RECENT_S: Final = 4.0
_PULSE_DIFFERS: Final = 1.25  # rates this far apart are two different rhythms


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseSigns:
    """What one PPG or arterial pressure channel says.

    Attributes
    ----------
    usable : bool
        Its quality allows to say anything, its silence included.
    seen_before : bool
        It has shown pulses, so that their absence means something.
    last_pulse_ns : TimestampNs or None
        Onset of the last pulse.
    n_recent : int
        Pulses over the last 4 s.
    rate_per_min : float
        Of those, NaN below three.
    regular : bool
        Whether the last intervals agree within a fifth.
    """

    usable: bool
    seen_before: bool
    last_pulse_ns: TimestampNs | None
    n_recent: int
    rate_per_min: float
    regular: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmSigns:
    """What the model holds, confirmed over hops.

    Attributes
    ----------
    probabilities : dict of class to float
        At the last hop.
    vf, vt, asystole : bool
        Confirmed by the short rule, 6 of 8 hops.
    vf_long, vt_long : bool
        Confirmed by the long rule, which a contradicted finding must pass.
    vf_since_ns, vt_since_ns : TimestampNs or None
        Middle of the first window that counted.
    shockable : bool or None
        Whether the last 4 s call for a shock, which a tachycardia of up to 150 a minute does
        not although it alarms; None: the model does not say.
    """

    probabilities: dict[str, float] = field(default_factory=dict[str, float])
    vf: bool = False
    vt: bool = False
    asystole: bool = False
    vf_long: bool = False
    vt_long: bool = False
    vf_since_ns: TimestampNs | None = None
    vt_since_ns: TimestampNs | None = None
    shockable: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BedSigns:
    """Everything a condition may be decided from, at one moment.

    Attributes
    ----------
    time_ns : TimestampNs
        End of the newest ECG sample judged (of any sample, where there is no ECG).
    has_ecg : bool
        Whether any ECG lead is acquired.
    usable_since_ns : TimestampNs or None
        Since when at least one lead has been fit to judge without a break; None if none is.
    all_leads_flat_since_ns : TimestampNs or None
        Since when every lead has been flat (attached or not cannot be told).
    last_beat_ns : TimestampNs or None
        R peak of the last beat.
    rr_ms : ndarray of float64, shape (n,)
        The last intervals, oldest first, none across an interruption.
    pulses : sequence of PulseSigns
        One for each PPG and arterial pressure channel.
    rhythm : RhythmSigns or None
        None: no model judges now.
    model_available : bool
        Whether there is a model at all.
    channels_off_s : dict of label to float
        Channels flat, at their rail or missing, and for how long.
    leads_alone : callable
        What each lead that can be judged shows by itself; asked only where it can decide.
    """

    time_ns: TimestampNs
    has_ecg: bool
    usable_since_ns: TimestampNs | None
    all_leads_flat_since_ns: TimestampNs | None
    last_beat_ns: TimestampNs | None
    rr_ms: NDArray[np.float64]
    pulses: Sequence[PulseSigns]
    rhythm: RhythmSigns | None
    model_available: bool
    channels_off_s: dict[str, float]
    leads_alone: Callable[[], Sequence[LeadSigns]] = tuple


IsActive = Callable[[Condition], bool]
"""Whether an alert of that condition is on: hysteresis depends on it."""

Active = Set[Condition]
"""Those on which an alert is on."""


def find_all(
    signs: BedSigns, is_active: IsActive, wanted: Collection[Condition] | None = None
) -> list[Finding]:
    """Findings on every condition that `signs` can decide, or on those of them `wanted`."""
    active = {condition for condition in _DEPENDENT if is_active(condition)}
    return [
        find(signs, active)
        for condition, find in _DETECTORS.items()
        if wanted is None or condition in wanted
    ]


def contradicting_pulse(signs: BedSigns) -> PulseSigns | None:
    """A regular pulse on a usable channel: the heart pumps, whatever the ECG looks like."""
    for pulse in signs.pulses:
        if pulse.usable and pulse.n_recent >= 3 and pulse.regular:
            return pulse
    return None


def _asystole(signs: BedSigns, _: Active) -> Finding:
    since_ns = _ecg_silent_since(signs)
    if since_ns is None:
        return _unknown(Condition.ASYSTOLE, signs)
    silence_s = (signs.time_ns - since_ns) / NS_PER_S
    silent = _is_silent(signs, since_ns)
    recent = _pulsing(signs) or (silent and _beats_on_one_lead(signs))
    # A silence that has only begun to be watched says nothing yet, for or against.
    undecided = not silent and not recent and since_ns != signs.last_beat_ns
    evidence = {"ecg_silence_s": silence_s, "n_pulses_4s": float(_most_recent(signs))}
    return Finding(
        condition=Condition.ASYSTOLE,
        present=None if undecided else silent and not recent,
        time_ns=signs.time_ns,
        since_ns=since_ns,
        evidence=evidence,
    )


def _is_silent(signs: BedSigns, since_ns: TimestampNs) -> bool:
    return (signs.time_ns - since_ns) / NS_PER_S >= ASYSTOLE_S + BEAT_KNOWN_AFTER_S


def _pulsing(signs: BedSigns) -> bool:
    return any(pulse.usable and pulse.n_recent >= 2 for pulse in signs.pulses)


def _beats_on_one_lead(signs: BedSigns) -> bool:
    # All leads together may be deafened by one that has just come off.
    return signs.usable_since_ns is not None and beating_lead(signs.leads_alone()) is not None


def _ecg_silent_since(signs: BedSigns) -> TimestampNs | None:
    # Begin of the silence of an ECG that is fit to be silent, else None.
    if signs.usable_since_ns is not None:
        last_ns = signs.last_beat_ns
        usable_ns = signs.usable_since_ns
        return usable_ns if last_ns is None else TimestampNs(max(last_ns, usable_ns))
    # A flat line may be a lead off or the end: a pulse that was there and is gone decides.
    flat_ns = signs.all_leads_flat_since_ns
    gone = any(pulse.usable and pulse.seen_before and pulse.n_recent == 0 for pulse in signs.pulses)
    return flat_ns if gone else None


def _most_recent(signs: BedSigns) -> int:
    return max((pulse.n_recent for pulse in signs.pulses if pulse.usable), default=0)


def _fibrillation(signs: BedSigns, _: Active) -> Finding:
    rhythm = signs.rhythm
    if rhythm is None or signs.usable_since_ns is None:
        return _unknown(Condition.VENTRICULAR_FIBRILLATION, signs)
    pulse = contradicting_pulse(signs)
    # Shockable, named tachycardia, but without a rate to count: nobody may wait for one.
    uncountable = math.isnan(_rate(signs.rr_ms, 4))
    short, long = rhythm.vf, rhythm.vf_long
    if uncountable:
        short, long = short or rhythm.vt, long or rhythm.vt_long
    return Finding(
        condition=Condition.VENTRICULAR_FIBRILLATION,
        # A regular pulse does not silence fibrillation; it makes it prove itself for longer.
        present=long if pulse is not None else short,
        time_ns=signs.time_ns,
        since_ns=rhythm.vf_since_ns,
        evidence=_rhythm_evidence(rhythm, "vf", pulse),
        judged_by_model=True,
    )


def _ventricular_tachycardia(signs: BedSigns, _: Active) -> Finding:
    rhythm = signs.rhythm
    if rhythm is None or signs.usable_since_ns is None:
        return _unknown(Condition.VENTRICULAR_TACHYCARDIA, signs)
    rate = _rate(signs.rr_ms, 4)
    pulse = contradicting_pulse(signs)
    slower = pulse is not None and not rate < _PULSE_DIFFERS * pulse.rate_per_min
    confirmed = rhythm.vt_long if slower else rhythm.vt
    return Finding(
        condition=Condition.VENTRICULAR_TACHYCARDIA,
        present=confirmed and rate > VENTRICULAR_RATE_PER_MIN,
        time_ns=signs.time_ns,
        since_ns=rhythm.vt_since_ns,
        evidence=_rhythm_evidence(rhythm, "vt", pulse if slower else None)
        | ({"rate_per_min": rate} if not math.isnan(rate) else {}),
        judged_by_model=True,
    )


def _bradycardia(signs: BedSigns, active: Active) -> Finding:
    condition = Condition.EXTREME_BRADYCARDIA
    rr_ms = signs.rr_ms[-BRADYCARDIA_INTERVALS:]
    if signs.usable_since_ns is None or rr_ms.size < BRADYCARDIA_INTERVALS:
        return _unknown(condition, signs)
    rate = 60_000.0 / float(rr_ms.mean())
    if condition in active:
        present = _rate(signs.rr_ms, 2) < BRADYCARDIA_ENDS_PER_MIN
    else:
        present = float(rr_ms.min()) > 60_000.0 / BRADYCARDIA_PER_MIN
    pulse = contradicting_pulse(signs)
    faster = pulse is not None and pulse.rate_per_min > _PULSE_DIFFERS * rate
    return Finding(
        condition=condition,
        present=present and not faster,
        time_ns=signs.time_ns,
        since_ns=_before(signs, rr_ms),
        evidence={"rate_per_min": rate} | _pulse_evidence(pulse),
    )


def _tachycardia(signs: BedSigns, active: Active) -> Finding:
    condition = Condition.EXTREME_TACHYCARDIA
    standing = condition in active
    rr_ms = signs.rr_ms[-TACHYCARDIA_INTERVALS:]
    if signs.usable_since_ns is None or rr_ms.size < TACHYCARDIA_INTERVALS:
        return _unknown(condition, signs)
    if not standing and Condition.VENTRICULAR_FIBRILLATION in active:
        # What the detector counts in a fibrillating ECG is no rate; one arrest, one alarm.
        return _unknown(condition, signs)
    rate = 60_000.0 / float(rr_ms.mean())
    if not rate > TACHYCARDIA_ENDS_PER_MIN:
        return Finding(condition=condition, present=False, time_ns=signs.time_ns)
    unbroken = float(rr_ms.max()) < _LOST_BEAT * float(np.median(rr_ms))
    present = standing or rate > TACHYCARDIA_PER_MIN
    pulse = contradicting_pulse(signs)
    slower = pulse is not None and rate > _PULSE_DIFFERS * pulse.rate_per_min
    present = present and (unbroken or standing) and not slower
    evidence = {"rate_per_min": rate} | _pulse_evidence(pulse)
    if present and not standing:
        # A lead of artefact beside a good one gives beats of its own.
        lead = slower_lead(signs.leads_alone(), rate)
        if lead is not None:
            present, evidence["best_lead_rate_per_min"] = False, lead.rate_per_min
    return Finding(
        condition=condition,
        present=present,
        time_ns=signs.time_ns,
        since_ns=_before(signs, rr_ms),
        evidence=evidence,
    )


def _channel_off(signs: BedSigns, _: Active) -> Finding:
    off = {label: s for label, s in signs.channels_off_s.items() if s >= OFF_AFTER_S}
    blind = signs.has_ecg and signs.usable_since_ns is None
    return Finding(
        condition=Condition.LEAD_OFF,
        present=bool(off),
        time_ns=signs.time_ns,
        evidence={f"off_{label.lower().replace(' ', '_')}_s": s for label, s in off.items()},
        priority=AlertPriority.MEDIUM if blind else None,
    )


def _artefact(signs: BedSigns, _: Active) -> Finding:
    since_ns = _ecg_silent_since(signs)
    silent = since_ns is not None and _is_silent(signs, since_ns)
    contradicted = silent and (_pulsing(signs) or _beats_on_one_lead(signs))
    all_off = signs.all_leads_flat_since_ns is not None
    unfit = signs.has_ecg and signs.usable_since_ns is None and not all_off
    return Finding(
        condition=Condition.ARTEFACT,
        present=unfit or contradicted,
        time_ns=signs.time_ns,
        evidence={"n_pulses_4s": float(_most_recent(signs))} if contradicted else {},
    )


def _model_unavailable(signs: BedSigns, _: Active) -> Finding:
    return Finding(
        condition=Condition.MODEL_UNAVAILABLE,
        present=not signs.model_available,
        time_ns=signs.time_ns,
    )


def _unknown(condition: Condition, signs: BedSigns) -> Finding:
    return Finding(condition=condition, present=None, time_ns=signs.time_ns)


def _rate(rr_ms: NDArray[np.float64], n: int) -> float:
    return 60_000.0 / float(rr_ms[-n:].mean()) if rr_ms.size >= n else float("nan")


def _before(signs: BedSigns, rr_ms: NDArray[np.float64]) -> TimestampNs | None:
    if signs.last_beat_ns is None:
        return None
    return TimestampNs(signs.last_beat_ns - round(float(rr_ms.sum()) * NS_PER_MS))


def _rhythm_evidence(rhythm: RhythmSigns, name: str, pulse: PulseSigns | None) -> dict[str, float]:
    evidence = {f"probability_{name}": rhythm.probabilities.get(name, 0.0)}
    if rhythm.shockable is not None:
        evidence["shockable"] = float(rhythm.shockable)
    return evidence | _pulse_evidence(pulse)


def _pulse_evidence(pulse: PulseSigns | None) -> dict[str, float]:
    if pulse is None or math.isnan(pulse.rate_per_min):
        return {}
    return {"pulse_rate_per_min": pulse.rate_per_min}


# In the order in which they are told.
_DETECTORS: Final[Mapping[Condition, Callable[[BedSigns, Active], Finding]]] = {
    Condition.ASYSTOLE: _asystole,
    Condition.VENTRICULAR_FIBRILLATION: _fibrillation,
    Condition.VENTRICULAR_TACHYCARDIA: _ventricular_tachycardia,
    Condition.EXTREME_BRADYCARDIA: _bradycardia,
    Condition.EXTREME_TACHYCARDIA: _tachycardia,
    Condition.LEAD_OFF: _channel_off,
    Condition.ARTEFACT: _artefact,
    Condition.MODEL_UNAVAILABLE: _model_unavailable,
}

DETECTED: Final = frozenset(_DETECTORS)
"""Conditions on which `find_all` finds."""

_DEPENDENT: Final = (
    Condition.EXTREME_BRADYCARDIA,
    Condition.EXTREME_TACHYCARDIA,
    Condition.VENTRICULAR_FIBRILLATION,
)
"""Conditions whose alerts have a say in findings."""
