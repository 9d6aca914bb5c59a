"""All leads of a moment as one question, and the belief of the last moments."""

import numpy as np
import pytest

from wardstream.alerting.confirmation import Confirmation
from wardstream.contracts.model_manifest import ShockableRule
from wardstream.contracts.timebase import TimestampNs
from wardstream.inference.leads import (
    MEMORY_HOPS,
    SHORT_RULE,
    ShockableBelief,
    ShockableOdds,
    answer_to,
    decided_odds,
    question_of,
)


def test_a_model_of_one_channel_is_asked_of_each_lead_and_averaged_by_weight() -> None:
    windows = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    weights = np.array([1.0, 2.0, 1.0])
    asked = question_of(windows, weights, 1)
    assert asked.shape == (6, 1, 4)
    answers = answer_to(asked[:, 0, :2], weights, 1)
    np.testing.assert_allclose(answers, np.average(windows, axis=1, weights=weights)[:, :2])


def test_a_model_of_two_channels_is_given_the_two_best_leads() -> None:
    windows = np.arange(3, dtype=np.float32)[None, :, None].repeat(4, 2)
    asked = question_of(windows, np.array([0.4, 0.1, 0.9]), 2)
    assert asked[0, :, 0].tolist() == [0.0, 2.0]
    alone = question_of(windows[:, 2:], np.array([0.9]), 2)
    assert alone[0, :, 0].tolist() == [2.0, 0.0]


@pytest.mark.parametrize("point", [0.2, 0.5, 0.8])
def test_belief_reaches_a_point_exactly_when_the_alert_is_confirmed(point: float) -> None:
    belief, confirmation = ShockableBelief(), Confirmation(*SHORT_RULE)
    scores = np.random.default_rng(0).uniform(0.0, 1.0, 2000) ** 0.5
    n_confirmed = 0
    for hop, score in enumerate(scores.tolist()):
        held = belief.push(score)
        confirmation.push(score >= point, TimestampNs(hop))
        if hop + 1 >= SHORT_RULE[1]:
            assert (held >= point) == confirmation.confirmed
            n_confirmed += confirmation.confirmed
    assert 0 < n_confirmed < len(scores)


def test_a_record_that_begins_is_judged_by_what_there_is() -> None:
    belief = ShockableBelief()
    assert belief.push(0.9) == 0.9
    assert belief.push(0.1) == 0.1
    belief.clear()
    assert belief.push(0.7) == 0.7


def test_odds_are_means_over_the_last_four_seconds_and_slowness_counts_against_them() -> None:
    odds, rule = ShockableOdds(), ShockableRule(point=0.0, slow_and_regular=2.0)
    for _ in range(MEMORY_HOPS):
        odds.push(0.1, 0.0)
    means = [odds.push(0.75, 0.5) for _ in range(MEMORY_HOPS)][-1]
    assert means == pytest.approx((np.log(3.0), 0.5))
    assert decided_odds(means, rule) == pytest.approx(np.log(3.0) - 1.0)
    odds.clear()
    assert odds.push(0.5, 0.0) == (0.0, 0.0)


def test_one_certain_hop_is_bounded() -> None:
    odds = ShockableOdds()
    odds.push(0.0, 0.0)
    assert odds.push(1.0, 0.0)[0] == pytest.approx(0.0)
