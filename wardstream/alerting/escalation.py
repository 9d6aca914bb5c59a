"""Who is called, and when, about an alert that nobody answers. Pure.

A call that nobody's station has shown within `delivery_s` counts as not made: the next in line is
called at once. Acknowledging ends the ladder; a new activation begins it anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S


@dataclass(frozen=True, slots=True)
class Step:
    """One rung: who, and how long after the alert's activation."""

    role: str
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationPolicy:
    """The ladder of a site.

    Attributes
    ----------
    steps : tuple of Step
        In the order of calling.
    delivery_s : float
        How long a call may go unshown.

    Raises
    ------
    OutOfRangeError
        There is no step, the times do not grow, or one is negative.
    """

    steps: tuple[Step, ...]
    delivery_s: float = 15.0

    def __post_init__(self) -> None:
        times = [step.after_s for step in self.steps]
        if not times or times[0] < 0 or times != sorted(set(times)):
            raise OutOfRangeError("an escalation needs steps at growing times, from 0 s on")
        if not self.delivery_s > 0:
            raise OutOfRangeError(f"delivery_s is {self.delivery_s}, expected > 0")


DEFAULT_POLICY: Final = EscalationPolicy(
    steps=(Step("nurse", 0.0), Step("second_nurse", 60.0), Step("physician", 120.0))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that was made.

    Attributes
    ----------
    level : int
        Position in the ladder, from 0.
    called_time_ns : int
        When.
    delivered : bool
        Whether a station of somebody of that role has shown it.
    """

    level: int
    called_time_ns: int
    delivered: bool


def next_call(
    policy: EscalationPolicy,
    calls: Sequence[Call],
    *,
    activated_time_ns: int,
    now_ns: int,
    answered: bool,
) -> int | None:
    """Level that is to be called now; None: nobody, for now.

    Parameters
    ----------
    policy : EscalationPolicy
        The ladder.
    calls : sequence of Call
        Those made about this activation, in any order.
    activated_time_ns, now_ns : int
        On one clock.
    answered : bool
        Whether somebody took it on, or it is over.
    """
    if answered:
        return None
    last = max(calls, key=lambda call: call.level, default=None)
    level = 0 if last is None else last.level + 1
    if level >= len(policy.steps):
        return None
    due = now_ns - activated_time_ns >= policy.steps[level].after_s * NS_PER_S
    unheard = (
        last is not None
        and not last.delivered
        and now_ns - last.called_time_ns >= policy.delivery_s * NS_PER_S
    )
    return level if due or unheard else None
