"""The search of tests/unit/alerting/test_silences_proof.py, over wider worlds."""

import pytest
from fakes.bounded_bed import ALSO_HIGH, HIGH, MEDIUM, NURSE, PHYSICIAN, search


@pytest.mark.parametrize(
    ("conditions", "people", "most_silences", "at_least"),
    [
        ((HIGH, ALSO_HIGH), (NURSE,), 1, 10_000),
        ((HIGH, MEDIUM), (PHYSICIAN,), 1, 30_000),
        ((HIGH,), (NURSE,), 2, 6_000),
    ],
    ids=["two high alerts", "high and medium, off allowed", "two silences at once"],
)
def test_no_reachable_state_leaves_a_high_priority_alert_quiet_and_unanswered(
    conditions, people, most_silences, at_least, record_property
) -> None:
    found = search(conditions, people, most_silences)
    record_property("n_states", found.n_states)
    print(f"{found.n_states} states, {found.n_moves} moves, {found.n_quiet} of them quiet")
    assert found.problem is None, " → ".join(found.trace)
    assert found.n_states >= at_least
