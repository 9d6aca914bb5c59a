"""Numerics against limits: desaturation, pressures, rates, apnoea.

Pure: what is remembered goes in and comes out. A value that a curve at the bed gives goes before
the monitor's numeric of the same measure while it is fresh.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from wardstream.alerting.limits import LimitRule, LimitState, observe_limit
from wardstream.alerting.state import Finding
from wardstream.contracts.alert import AlertPriority, Condition
from wardstream.contracts.authority import LimitPair
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs


class Measure(StrEnum):
    """What can have limits. The names are those of orders and of the site's profile."""

    SPO2 = "spo2_percent"
    HEART_RATE = "heart_rate_per_min"
    RESPIRATION_RATE = "respiration_rate_per_min"
    SYSTOLIC = "abp_systolic_mmhg"
    MEAN = "abp_mean_mmhg"
    DIASTOLIC = "abp_diastolic_mmhg"


class Source(StrEnum):
    """Where a value comes from."""

    CURVE = "curve"
    MONITOR = "monitor"


FRESH_NS: Final = 5 * NS_PER_S
"""How long a value from a curve keeps the monitor's from being judged."""

APNOEA_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureLimits:
    """Limits of one measure.

    Attributes
    ----------
    lower, upper : float or None
        In the unit the measure names; a value at a limit is inside.
    below, above : Condition or None
        What a violation is called.
    delay_s, hysteresis : float
        As in `LimitRule`.
    deep_lower : float or None
        Below it the finding is of high priority.
    lowest, highest : float
        What an order may set at all; a limit beyond is a slip of the pen.
    """

    lower: float | None
    upper: float | None
    below: Condition | None
    above: Condition | None
    delay_s: float
    hysteresis: float
    lowest: float
    highest: float
    deep_lower: float | None = None


DEFAULT_LIMITS: Final[Mapping[Measure, MeasureLimits]] = {
    Measure.SPO2: MeasureLimits(
        lower=90.0, upper=None, below=Condition.DESATURATION, above=None,
        delay_s=10.0, hysteresis=2.0, lowest=50.0, highest=100.0, deep_lower=80.0,
    ),
    Measure.HEART_RATE: MeasureLimits(
        lower=45.0, upper=130.0, below=Condition.LOW_HEART_RATE, above=Condition.HIGH_HEART_RATE,
        delay_s=10.0, hysteresis=3.0, lowest=20.0, highest=250.0,
    ),
    Measure.RESPIRATION_RATE: MeasureLimits(
        lower=8.0, upper=35.0, below=Condition.LOW_RESPIRATION_RATE,
        above=Condition.HIGH_RESPIRATION_RATE,
        delay_s=15.0, hysteresis=2.0, lowest=2.0, highest=100.0,
    ),
    Measure.SYSTOLIC: MeasureLimits(
        lower=90.0, upper=180.0, below=Condition.HYPOTENSION, above=Condition.HYPERTENSION,
        delay_s=10.0, hysteresis=3.0, lowest=30.0, highest=300.0,
    ),
    Measure.MEAN: MeasureLimits(
        lower=60.0, upper=120.0, below=Condition.HYPOTENSION, above=Condition.HYPERTENSION,
        delay_s=10.0, hysteresis=3.0, lowest=20.0, highest=250.0,
    ),
    Measure.DIASTOLIC: MeasureLimits(
        lower=40.0, upper=110.0, below=Condition.HYPOTENSION, above=Condition.HYPERTENSION,
        delay_s=10.0, hysteresis=3.0, lowest=10.0, highest=200.0,
    ),
}  # fmt: skip
"""Where neither the site nor a person said otherwise (adult)."""

Limits = Mapping[Measure, MeasureLimits]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    state: LimitState
    value: float
    time_ns: TimestampNs


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericsState:
    """What is remembered between values.

    Attributes
    ----------
    sides : mapping of (measure, condition) to what is remembered of that limit
        Only measures that were seen.
    curve_time_ns : mapping of measure to TimestampNs
        Last value of a curve.
    """

    sides: Mapping[tuple[Measure, Condition], _Side] = field(
        default_factory=dict[tuple[Measure, Condition], _Side]
    )
    curve_time_ns: Mapping[Measure, TimestampNs] = field(default_factory=dict[Measure, TimestampNs])


def with_limits(base: Limits, pairs: Mapping[str, LimitPair]) -> dict[Measure, MeasureLimits]:
    """`base`, with the limits of `pairs` in the place of its own.

    A side that a pair leaves open keeps no limit: an order states what it wants whole.

    Raises
    ------
    OutOfRangeError
        A measure is unknown, or a limit lies beyond what the measure can have.
    """
    limits = dict(base)
    for name, pair in pairs.items():
        try:
            measure = Measure(name)
        except ValueError as error:
            raise OutOfRangeError(
                f"there are no limits of {name!r}; there are {[str(one) for one in Measure]}"
            ) from error
        old = limits[measure]
        for value in (pair.lower, pair.upper):
            if value is not None and not old.lowest <= value <= old.highest:
                raise OutOfRangeError(
                    f"{name} cannot be limited at {value:g}, only {old.lowest:g} to {old.highest:g}"
                )
        if pair.upper is not None and old.above is None:
            raise OutOfRangeError(f"{name} has no upper limit")
        limits[measure] = replace(old, lower=pair.lower, upper=pair.upper)
    return limits


def observe_measure(
    limits: Limits,
    state: NumericsState,
    measure: Measure,
    value: float,
    time_ns: TimestampNs,
    source: Source = Source.MONITOR,
) -> tuple[NumericsState, list[Finding]]:
    """State after `value` of `measure` at `time_ns`, and what it says of each condition.

    NaN says nothing: where no measure of a condition has a value any more its finding is
    unknown, and nothing changes.
    """
    if math.isnan(value):
        return state, []
    curves = dict(state.curve_time_ns)
    if source is Source.CURVE:
        curves[measure] = time_ns
    elif time_ns - curves.get(measure, -FRESH_NS) < FRESH_NS:
        return state, []
    sides = dict(state.sides)
    of = limits[measure]
    findings: list[Finding] = []
    for condition, rule in _rules(of):
        before = sides.get((measure, condition))
        held = observe_limit(rule, LimitState() if before is None else before.state, value, time_ns)
        sides[measure, condition] = _Side(state=held, value=value, time_ns=time_ns)
        findings.append(_finding(limits, sides, condition, time_ns))
    # A limit that was taken away violates nothing any more.
    limited = {finding.condition for finding in findings}
    for condition in (of.below, of.above):
        if condition is None or condition in limited:
            continue
        if sides.pop((measure, condition), None) is not None:
            findings.append(_finding(limits, sides, condition, time_ns))
    return NumericsState(sides=sides, curve_time_ns=curves), findings


def is_uneventful(limits: Limits, state: NumericsState, measure: Measure, value: float) -> bool:
    """Whether `value` is inside its limits and has been: nothing could come of observing it."""
    of = limits[measure]
    if not math.isfinite(value):
        return False
    if (of.lower is not None and value < of.lower) or (of.upper is not None and value > of.upper):
        return False
    for condition in (of.below, of.above):
        side = None if condition is None else state.sides.get((measure, condition))
        if side is not None and side.state.outside_since_ns is not None:
            return False
    return True


def noted(state: NumericsState, measures: Iterable[Measure], time_ns: TimestampNs) -> NumericsState:
    """`state`, knowing that curves gave values of `measures` at `time_ns`."""
    return replace(state, curve_time_ns={**state.curve_time_ns, **dict.fromkeys(measures, time_ns)})


def apnoea(breath_age_s: float, time_ns: TimestampNs) -> Finding:
    """What `breath_age_s`, the seconds since the last breath, says at `time_ns`.

    NaN: no breath was seen yet, or the curve cannot be believed.
    """
    if math.isnan(breath_age_s):
        return Finding(condition=Condition.APNOEA, present=None, time_ns=time_ns)
    return Finding(
        condition=Condition.APNOEA,
        present=breath_age_s >= APNOEA_S,
        time_ns=time_ns,
        since_ns=TimestampNs(time_ns - round(breath_age_s * NS_PER_S)),
        evidence={"since_breath_s": breath_age_s},
    )


@lru_cache(maxsize=256)
def _rules(limits: MeasureLimits) -> tuple[tuple[Condition, LimitRule], ...]:
    # Kept, because limits hardly ever change and values come each second.
    rules: list[tuple[Condition, LimitRule]] = []
    common = {"delay_s": limits.delay_s, "hysteresis": limits.hysteresis}
    if limits.below is not None and limits.lower is not None:
        rules.append((limits.below, LimitRule(lower=limits.lower, **common)))
    if limits.above is not None and limits.upper is not None:
        rules.append((limits.above, LimitRule(upper=limits.upper, **common)))
    return tuple(rules)


def _finding(
    limits: Limits,
    sides: Mapping[tuple[Measure, Condition], _Side],
    condition: Condition,
    time_ns: TimestampNs,
) -> Finding:
    # Several measures may speak of one condition: it is there while one of them says so.
    speaking = {m: side for (m, named), side in sides.items() if named is condition}
    fresh = {m: side for m, side in speaking.items() if time_ns - side.time_ns <= 60 * NS_PER_S}
    violated = {m: side for m, side in fresh.items() if side.state.violated}
    since = [s.state.outside_since_ns for s in violated.values() if s.state.outside_since_ns]
    deep = any(
        (floor := limits[m].deep_lower) is not None and side.value < floor
        for m, side in violated.items()
    )
    shown = violated or fresh
    evidence = {str(m): side.value for m, side in shown.items()}
    for m in violated:
        limit = limits[m].lower if limits[m].below is condition else limits[m].upper
        if limit is not None:
            evidence[f"limit_{m}"] = limit
    return Finding(
        condition=condition,
        present=bool(violated),
        time_ns=time_ns,
        since_ns=TimestampNs(min(since)) if since else None,
        evidence=evidence,
        priority=AlertPriority.HIGH if deep else None,
    )
