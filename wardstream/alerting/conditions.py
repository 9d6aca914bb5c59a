"""The conditions in force: the table, a site's changes to it, and the version of both."""

import hashlib
from collections.abc import Mapping
from typing import Final

from wardstream.alerting.condition_rule import ConditionRule
from wardstream.alerting.condition_table import TABLE
from wardstream.contracts.alert import Condition

__all__ = [
    "DETECTOR_VERSION",
    "RULES",
    "RULE_VERSION",
    "ConditionRule",
    "rule_version",
    "table_rows",
]

RULES: Final[Mapping[Condition, ConditionRule]] = {rule.condition: rule for rule in TABLE}
"""Every condition of `wardstream.contracts.alert`, once."""

DETECTOR_VERSION: Final = 2
"""Raised by hand when `wardstream.alerting.detection` decides differently."""


def rule_version(rules: Mapping[Condition, ConditionRule] = RULES) -> str:
    """Version of a table: the detectors' number and a digest of every row.

    A site's override or an edited figure changes it without anyone having to remember.
    """
    text = "\n".join(repr(rules[condition]) for condition in sorted(rules))
    return f"{DETECTOR_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


RULE_VERSION: Final = rule_version()


def table_rows(rules: Mapping[Condition, ConditionRule] = RULES) -> str:
    """The table as Markdown, for people; delays above 10 s carry a mark."""
    head = (
        "| condition | definition | from | priority | latching | delay s | clear s | hysteresis"
        " | ended or kept back by | onset to alert, longest s |"
    )
    rows = [head, "|---|---|---|---|---|---|---|---|---|---|"]
    for rule in rules.values():
        mark = " ⚠" if rule.is_delay_disclosed else ""
        rows.append(
            f"| {rule.label} | {rule.definition} | {rule.source} | {rule.priority}"
            f" | {'yes' if rule.latching else 'no'} | {rule.delay_s:g} | {rule.clear_s:g}"
            f" | {rule.hysteresis} | {rule.silenced_by} | {rule.disclosed_delay_s:g}{mark} |"
        )
    return "\n".join(rows)
