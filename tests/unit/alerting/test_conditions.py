from dataclasses import replace

import pytest

from wardstream.alerting.conditions import RULES, ConditionRule, rule_version
from wardstream.contracts.alert import AlertKind, AlertPriority, Condition


def test_the_table_has_every_condition_once() -> None:
    assert set(RULES) == set(Condition)
    assert all(condition is rule.condition for condition, rule in RULES.items())


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_each_row_says_everything(rule: ConditionRule) -> None:
    assert rule.label
    assert rule.definition
    assert rule.source
    assert rule.silenced_by
    assert rule.delay_s >= 0
    assert rule.clear_s >= 0
    assert rule.disclosed_delay_s >= rule.delay_s


def test_what_kills_in_minutes_is_high_and_latches() -> None:
    for condition in (
        Condition.ASYSTOLE,
        Condition.VENTRICULAR_FIBRILLATION,
        Condition.VENTRICULAR_TACHYCARDIA,
        Condition.EXTREME_BRADYCARDIA,
        Condition.EXTREME_TACHYCARDIA,
    ):
        assert RULES[condition].priority is AlertPriority.HIGH
        assert RULES[condition].latching
        assert RULES[condition].kind is AlertKind.PHYSIOLOGICAL
        assert RULES[condition].disclosed_delay_s <= 10


def test_technical_conditions_are_never_high_nor_latching() -> None:
    for rule in RULES.values():
        if rule.kind is AlertKind.TECHNICAL:
            assert rule.priority is not AlertPriority.HIGH
            assert not rule.latching


def test_any_edit_of_the_table_changes_its_version() -> None:
    edited = dict(RULES)
    row = edited[Condition.ASYSTOLE]
    edited[Condition.ASYSTOLE] = replace(row, clear_s=row.clear_s + 1)
    assert rule_version(edited) != rule_version(RULES)
    assert rule_version(dict(reversed(RULES.items()))) == rule_version(RULES)
