from typing import Any

import pytest

from wardstream.alerting.conditions import RULE_VERSION, RULES, rule_version, table_rows
from wardstream.alerting.numerics import DEFAULT_LIMITS, Measure
from wardstream.alerting.site_alarms import RuleChange, SiteAlarms, site_limits, site_rules
from wardstream.contracts.alert import AlertPriority, Condition
from wardstream.contracts.authority import LimitPair
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.timebase import TimestampNs


def profile(**changes: Any) -> SiteAlarms:
    fields: dict[str, Any] = {
        "site_id": "demo",
        "version": 3,
        "author": "head-of-icu",
        "issued_time_ns": TimestampNs(1),
    }
    return SiteAlarms(**(fields | changes))


def test_a_site_changes_what_it_may_and_the_version_says_so() -> None:
    site = profile(
        rules={
            Condition.HYPOTENSION: RuleChange(priority=AlertPriority.HIGH, latching=True),
            Condition.ARTEFACT: RuleChange(delay_s=30.0),
        },
        limits={"spo2_percent": LimitPair(lower=88.0)},
    )
    site = decode(encode(site), SiteAlarms)
    rules = site_rules(site)
    assert rules[Condition.HYPOTENSION].priority is AlertPriority.HIGH
    assert rules[Condition.HYPOTENSION].latching
    artefact = RULES[Condition.ARTEFACT]
    assert rules[Condition.ARTEFACT].disclosed_delay_s == artefact.disclosed_delay_s + 15
    assert rules[Condition.ASYSTOLE] == RULES[Condition.ASYSTOLE]
    assert rule_version(rules) != RULE_VERSION
    limits = site_limits(site)
    assert limits[Measure.SPO2].lower == 88.0
    assert limits[Measure.MEAN] == DEFAULT_LIMITS[Measure.MEAN]


def test_what_kills_keeps_its_priority_its_latching_and_its_speed() -> None:
    site = profile(
        rules={
            Condition.ASYSTOLE: RuleChange(
                priority=AlertPriority.MEDIUM, latching=False, delay_s=5.0
            ),
            Condition.NO_DATA: RuleChange(clear_s=1e9),
            Condition.AUDIO_OFF: RuleChange(priority=AlertPriority.LOW),
        }
    )
    with pytest.raises(ConfigurationError) as caught:
        site_rules(site)
    assert len(caught.value.problems) == 5


def test_limits_nobody_can_mean_are_named() -> None:
    with pytest.raises(ConfigurationError, match="spo2"):
        site_limits(profile(limits={"spo2": LimitPair(lower=88.0)}))


def test_the_table_for_people_names_every_condition_and_marks_long_delays() -> None:
    rows = {line.split(" | ")[0][2:]: line for line in table_rows().splitlines()[2:]}
    assert set(rows) == {rule.label for rule in RULES.values()}
    for rule in RULES.values():
        assert ("⚠" in rows[rule.label]) == (rule.disclosed_delay_s > 10)
