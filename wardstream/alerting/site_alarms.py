"""What a site changes of the condition table and of the limits, and the bounds it may not cross.

What kills within minutes keeps its high priority, its latching and its speed whatever a site
says: these rows may be made more urgent, never less.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from wardstream.alerting.condition_rule import ConditionRule
from wardstream.alerting.conditions import RULES
from wardstream.alerting.numerics import DEFAULT_LIMITS, Limits, with_limits
from wardstream.contracts.alert import DISCLOSURES, AlertPriority, Condition
from wardstream.contracts.authority import LimitPair
from wardstream.contracts.errors import ConfigurationError, OutOfRangeError
from wardstream.contracts.timebase import TimestampNs

MOST_DELAY_S: Final = 60.0
MOST_CLEAR_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChange:
    """What a site says of one condition; what it leaves out stays as it is."""

    priority: AlertPriority | None = None
    latching: bool | None = None
    delay_s: float | None = None
    clear_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAlarms:
    """A site's alarm profile, signed by whoever answers for it.

    Attributes
    ----------
    site_id : str
        Where it holds.
    version : int
        Counts its editions.
    author : str
        Who answers for it.
    issued_time_ns : TimestampNs
        When it was signed.
    rules : mapping of Condition to RuleChange
        Changes of the table.
    limits : mapping of measure to LimitPair
        Limits in the place of the shipped ones.
    reason : str or None
        Why.
    signature : str
        See `wardstream.contracts.authority`.
    """

    SCHEMA: ClassVar[str] = "site_alarms/1"

    site_id: str
    version: int
    author: str
    issued_time_ns: TimestampNs
    rules: Mapping[Condition, RuleChange] = field(default_factory=dict[Condition, RuleChange])
    limits: Mapping[str, LimitPair] = field(default_factory=dict[str, LimitPair])
    reason: str | None = None
    signature: str = ""


def site_rules(site: SiteAlarms) -> dict[Condition, ConditionRule]:
    """The table as `site` changes it; `rule_version` of it differs from the shipped one's.

    Raises
    ------
    ConfigurationError
        It crosses a bound; lists every crossing.
    """
    problems: list[str] = []
    rules = dict(RULES)
    for condition, change in site.rules.items():
        rule = rules[condition]
        problems += [f"{condition}: {why}" for why in _crossings(rule, change)]
        delay_s = rule.delay_s if change.delay_s is None else change.delay_s
        rules[condition] = replace(
            rule,
            priority=change.priority or rule.priority,
            latching=rule.latching if change.latching is None else change.latching,
            delay_s=delay_s,
            clear_s=rule.clear_s if change.clear_s is None else change.clear_s,
            disclosed_delay_s=rule.disclosed_delay_s + delay_s - rule.delay_s,
        )
    if problems:
        raise ConfigurationError(problems)
    return rules


def site_limits(site: SiteAlarms, base: Limits = DEFAULT_LIMITS) -> Limits:
    """`base` as `site` changes it.

    Raises
    ------
    ConfigurationError
        A measure is unknown or a limit cannot be meant.
    """
    try:
        return with_limits(base, site.limits)
    except OutOfRangeError as error:
        raise ConfigurationError([f"limits: {error}"]) from error


def _crossings(rule: ConditionRule, change: RuleChange) -> list[str]:
    found: list[str] = []
    if rule.condition in DISCLOSURES:
        return ["what people ordered is told as it is"]
    if change.delay_s is not None and not 0 <= change.delay_s <= MOST_DELAY_S:
        found.append(f"delay_s is {change.delay_s:g}, expected 0 to {MOST_DELAY_S:g}")
    if change.clear_s is not None and not 0 <= change.clear_s <= MOST_CLEAR_S:
        found.append(f"clear_s is {change.clear_s:g}, expected 0 to {MOST_CLEAR_S:g}")
    if rule.priority is not AlertPriority.HIGH:
        return found
    if change.priority not in (None, AlertPriority.HIGH):
        found.append("its priority stays high")
    if change.latching is False:
        found.append("it stays latching")
    if change.delay_s is not None and change.delay_s > rule.delay_s:
        found.append(f"its delay stays at {rule.delay_s:g} s")
    return found
