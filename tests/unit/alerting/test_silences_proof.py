"""No reachable state of a bounded world in which a high-priority alert is quiet unanswered."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes.bounded_bed import HIGH, MEDIUM, NURSE, PHYSICIAN, Search, search

from wardstream.alerting import silence as silencing
from wardstream.alerting.bed_alerts import BedAlerts
from wardstream.contracts.alert import AlertPriority


def test_every_reachable_state_of_a_small_world_is_safe() -> None:
    found = search((HIGH,), (PHYSICIAN,), most_silences=1)
    assert found.problem is None, " → ".join(found.trace)
    assert found.n_states > 500
    assert found.n_quiet > 50  # the search does get to where alarms are quiet


def _anyone_may_switch_off(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = silencing.refusal
    monkeypatch.setattr(
        silencing,
        "refusal",
        lambda command, alerts, now_ns: honest(
            replace(command, authority=silencing.Authority.ORDER), alerts, now_ns
        ),
    )


def _nobody_asks_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silencing, "refusal", lambda *_: None)


def _new_alerts_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silencing, "is_broken_by", lambda *_: False)


def _only_a_higher_priority_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        silencing,
        "is_broken_by",
        lambda one, alert: (
            one.ceiling is not AlertPriority.HIGH and alert.priority is AlertPriority.HIGH
        ),
    )


def _a_lapsed_lease_goes_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = BedAlerts.hold

    def hold(self: BedAlerts, holders, now_ns):
        return honest(self, self._holders | holders, now_ns)

    monkeypatch.setattr(BedAlerts, "hold", hold)


def _a_restart_keeps_silences_held(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = BedAlerts._restore

    def restore(self: BedAlerts, snapshot):
        honest(self, snapshot)
        self._silences = snapshot.silences

    monkeypatch.setattr(BedAlerts, "_restore", restore)


def _silences_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silencing, "is_over", lambda *_: False)


@pytest.mark.parametrize(
    "break_it",
    [
        _anyone_may_switch_off,
        _nobody_asks_what_was_seen,
        _new_alerts_break_nothing,
        _only_a_higher_priority_breaks,
        _a_lapsed_lease_goes_unnoticed,
        _a_restart_keeps_silences_held,
        _silences_never_end,
    ],
    ids=lambda break_it: break_it.__name__.strip("_"),
)
def test_the_search_catches_an_engine_that_is_broken(
    break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    found: Search = search((HIGH, MEDIUM), (NURSE,), most_silences=1)
    assert found.problem is not None
    assert "quiet" in found.problem
