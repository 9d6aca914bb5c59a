"""What the model's answers of the last hops come to: one belief in two names is one rhythm."""

import pytest
from fakes.rhythm_runtime import manifest

from edge_agent.core.rhythm import LONG_RULE, SHORT_RULE, RhythmMemory, RhythmVerdict
from wardstream.alerting.detection import RhythmSigns
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs

HOP_NS = 250_000_000


def believed(hops: list[tuple[float, float]], *, point: float | None) -> RhythmSigns:
    memory = RhythmMemory()
    model = manifest(1, shockable_operating_point=point)
    for i, (vf, vt) in enumerate(hops, start=1):
        verdict = RhythmVerdict(probabilities={"vf": vf, "vt": vt}, n_leads=1)
        memory.push(verdict, model, TimestampNs(i * HOP_NS))
    assert memory.signs is not None
    return memory.signs


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
