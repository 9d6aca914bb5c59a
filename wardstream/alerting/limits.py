"""A numeric against its limits, with delay and hysteresis. No clock: time is the data's."""

import math
from dataclasses import dataclass, replace

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """Violated once the value has been outside for `delay_s`; ends `hysteresis` inside again.

    Attributes
    ----------
    lower, upper : float or None
        Limits in the unit of the value; a value at a limit is inside.
    delay_s : float
        At least 0.
    hysteresis : float
        How far inside the value must return, at least 0.

    Raises
    ------
    OutOfRangeError
        There is no limit, they are crossed, or a figure is negative.
    """

    lower: float | None = None
    upper: float | None = None
    delay_s: float = 0.0
    hysteresis: float = 0.0

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise OutOfRangeError("a limit rule needs a lower or an upper limit")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise OutOfRangeError(f"limits {self.lower} and {self.upper} are crossed")
        if not (self.delay_s >= 0 and self.hysteresis >= 0):
            raise OutOfRangeError("delay_s and hysteresis are at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """What a rule remembers between observations.

    Attributes
    ----------
    violated : bool
        Whether the limit counts as violated.
    outside_since_ns : TimestampNs or None
        Begin of the unbroken observations outside; None while inside.
    """

    violated: bool = False
    outside_since_ns: TimestampNs | None = None


def observe_limit(
    rule: LimitRule, state: LimitState, value: float, time_ns: TimestampNs
) -> LimitState:
    """State after `value` was determined at `time_ns`.

    NaN is no observation and changes nothing: silence is a technical alert's business.
    """
    if math.isnan(value):
        return state
    margin = rule.hysteresis if state.violated else 0.0
    below = rule.lower is not None and value < rule.lower + margin
    above = rule.upper is not None and value > rule.upper - margin
    if not (below or above):
        return LimitState()
    since_ns = state.outside_since_ns
    if since_ns is None or since_ns > time_ns:  # the latter: the clock was set back
        since_ns = time_ns
    held = time_ns - since_ns >= rule.delay_s * NS_PER_S
    return replace(state, violated=state.violated or held, outside_since_ns=since_ns)
