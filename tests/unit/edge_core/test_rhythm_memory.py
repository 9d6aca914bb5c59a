"""What the model's answers of the last hops come to: one belief in two names is one rhythm."""

import numpy as np
import pytest
from fakes.rhythm_runtime import FakeRhythmRuntime, manifest
from numpy.typing import NDArray

from edge_agent.core.rhythm import (
    LONG_RULE,
    SHORT_RULE,
    RhythmJudge,
    RhythmMemory,
    RhythmVerdict,
)
from wardstream.alerting.detection import BedSigns, RhythmSigns, find_all
from wardstream.contracts.alert import Condition
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.model_manifest import ShockableRule
from wardstream.contracts.timebase import TimestampNs
from wardstream.inference.leads import MEMORY_HOPS
from wardstream.kernels.windows import WINDOW_SAMPLES

HOP_NS = 250_000_000
RULE = ShockableRule(point=0.4, slow_and_regular=2.5)


def believed(hops: list[tuple[float, float]], *, point: float | None) -> RhythmSigns:
    memory = RhythmMemory()
    model = manifest(1, shockable_operating_point=point)
    for i, (vf, vt) in enumerate(hops, start=1):
        verdict = RhythmVerdict(probabilities={"vf": vf, "vt": vt}, n_leads=1)
        memory.push(verdict, model, TimestampNs(i * HOP_NS))
    assert memory.signs is not None
    return memory.signs


def decided(
    hops: list[tuple[float, float, float]], *, rule: ShockableRule | None = RULE
) -> RhythmSigns:
    memory = RhythmMemory()
    model = manifest(1, shockable_operating_point=0.75, shockable_rule=rule)
    for i, (vf, vt, slow) in enumerate(hops, start=1):
        verdict = RhythmVerdict(
            probabilities={"vf": vf, "vt": vt}, n_leads=1, slow_and_regular=slow
        )
        memory.push(verdict, model, TimestampNs(i * HOP_NS))
    assert memory.signs is not None
    return memory.signs


def bed_of(rhythm: RhythmSigns, rr_ms: NDArray[np.float64]) -> BedSigns:
    return BedSigns(
        time_ns=TimestampNs(10**10),
        has_ecg=True,
        usable_since_ns=TimestampNs(0),
        all_leads_flat_since_ns=None,
        last_beat_ns=TimestampNs(10**10),
        rr_ms=rr_ms,
        pulses=[],
        rhythm=rhythm,
        model_available=True,
        channels_off_s={},
    )


def told(runtime: FakeRhythmRuntime, leads: list[NDArray[np.float32]]) -> RhythmVerdict:
    # The faster lead is worth three times the slower one.
    worth = np.array([1.0, 3.0])[: len(leads)]
    verdict = RhythmJudge(runtime).judge(leads, worth)
    assert verdict is not None
    return verdict


def test_a_belief_divided_between_two_names_is_still_confirmed() -> None:
    divided = [(0.48, 0.44)] * SHORT_RULE[1]
    assert not believed(divided, point=None).vf
    signs = believed(divided, point=0.86)
    assert (signs.vf, signs.vt) == (True, False)


def test_the_larger_belief_names_the_rhythm() -> None:
    signs = believed([(0.2, 0.7)] * SHORT_RULE[1], point=0.86)
    assert (signs.vf, signs.vt) == (False, True)


def test_tachycardia_may_become_fibrillation_but_not_turn_back_before_it_is_over() -> None:
    tachycardia, fibrillation = [(0.1, 0.8)] * 8, [(0.8, 0.1)] * 8
    assert believed(tachycardia + fibrillation, point=0.86).vf
    assert believed(tachycardia + fibrillation + tachycardia, point=0.86).vf
    over = [(0.0, 0.0)] * 8
    assert believed(fibrillation + over + tachycardia, point=0.86).vt


def test_one_odd_window_is_no_rhythm() -> None:
    hops = [(0.0, 0.0)] * 7 + [(0.9, 0.0)]
    assert not believed(hops, point=0.86).vf


def test_a_contradicted_rhythm_must_hold_for_longer() -> None:
    assert not believed([(0.9, 0.0)] * (LONG_RULE[0] - 1), point=0.86).vf_long
    assert believed([(0.9, 0.0)] * LONG_RULE[0], point=0.86).vf_long


@pytest.mark.parametrize("point", [0.0, -0.1, 2.0, float("nan")])
def test_a_point_that_cannot_be_is_refused(point: float) -> None:
    with pytest.raises(OutOfRangeError, match="shockable_operating_point"):
        manifest(1, shockable_operating_point=point)


def test_a_slow_ventricular_tachycardia_alarms_although_it_calls_for_no_shock() -> None:
    signs = decided([(0.05, 0.85, 1.0)] * MEMORY_HOPS)
    assert signs.shockable is False
    assert signs.vt
    rr_ms = np.full(8, 60_000 / 125)
    found = {f.condition: f for f in find_all(bed_of(signs, rr_ms), lambda _: False)}
    finding = found[Condition.VENTRICULAR_TACHYCARDIA]
    assert finding.present
    assert finding.evidence["shockable"] == 0.0


def test_a_rapid_one_alarms_and_calls_for_a_shock() -> None:
    signs = decided([(0.05, 0.85, 0.0)] * MEMORY_HOPS)
    assert signs.vt
    assert signs.shockable is True


def test_an_alarm_stands_before_four_seconds_are_decided() -> None:
    signs = decided([(0.0, 0.01, 0.0)] * MEMORY_HOPS + [(0.85, 0.05, 0.0)] * SHORT_RULE[0])
    assert signs.vf
    assert signs.shockable is False


def test_without_a_rule_nothing_is_said_of_shocks() -> None:
    assert decided([(0.9, 0.0, 0.0)] * MEMORY_HOPS, rule=None).shockable is None


def test_what_a_regular_slow_curve_shows_reaches_the_memory() -> None:
    time_s = np.arange(WINDOW_SAMPLES) / 250
    leads = [np.sin(2 * np.pi * rate / 60 * time_s).astype(np.float32) for rate in (110, 220)]
    runtime = FakeRhythmRuntime(lambda _: "vt")
    assert told(runtime, leads).slow_and_regular == 0.0
    runtime.manifest = manifest(1, shockable_rule=RULE)
    assert told(runtime, leads[:1]).slow_and_regular > 0.99
    assert told(runtime, leads[1:]).slow_and_regular < 0.01
    assert told(runtime, leads).slow_and_regular == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("point", "weight"), [(float("nan"), 1.0), (0.5, -0.1), (0.5, float("inf"))]
)
def test_a_rule_that_cannot_be_is_refused(point: float, weight: float) -> None:
    with pytest.raises(OutOfRangeError, match=r"rule|slow_and_regular"):
        ShockableRule(point=point, slow_and_regular=weight)


@pytest.mark.parametrize(("slow", "alarms"), [(0.0, True), (1.0, False)])
def test_below_the_alarm_point_no_alert_stands(slow: float, alarms: bool) -> None:
    # Log odds of 0.9 are 2.2; 2.5 less where the curve repeats itself slowly.
    rule = ShockableRule(point=0.4, slow_and_regular=2.5, alarm_point=1.0)
    signs = decided([(0.9, 0.0, slow)] * LONG_RULE[0], rule=rule)
    assert (signs.vf, signs.vf_long, signs.shockable) == (alarms, alarms, alarms)


def test_a_sure_belief_alarms_however_slowly_the_curve_repeats_itself() -> None:
    rule = ShockableRule(point=0.4, slow_and_regular=2.5, alarm_point=1.0)
    assert decided([(0.0, 0.99, 1.0)] * MEMORY_HOPS, rule=rule).vt


def test_an_alarm_point_that_cannot_be_is_refused() -> None:
    with pytest.raises(OutOfRangeError, match="alarm_point"):
        ShockableRule(point=0.4, slow_and_regular=2.5, alarm_point=float("nan"))
