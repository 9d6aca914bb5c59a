"""Scores of a minute and support of alerts, without a store."""

import math
from pathlib import Path

import numpy as np
import pytest
from rdflib import Graph, URIRef

from stream_processors.core.alert_support import (
    JUDGED,
    MOST_MOVED,
    VERIFIER_EVIDENCE,
    AlertSupport,
    Verdict,
    support_of,
)
from stream_processors.core.context import JoinedContext
from stream_processors.core.patient_scores import N_HOURS, VITALS, score_minutes, usual_of
from stream_processors.core.record_inputs import RECORD_INPUTS, stated
from wardstream.contracts.alert import Condition
from wardstream.contracts.record import Consciousness

KNOWLEDGE = Path(__file__).resolve().parents[3] / "stream_processors" / "knowledge"
NOBODY_ELSE = JoinedContext(bed_id="bed-1", pseudonym="p")


def support(condition: Condition, said: float | None = None, *problems: str, **frame: float) -> (
    AlertSupport
):  # fmt: skip
    context = JoinedContext(bed_id="bed-1", pseudonym="p", problems=problems)
    evidence = {} if said is None else {VERIFIER_EVIDENCE: said}
    return support_of(condition, evidence, frame, context)


def test_the_record_stands_in_where_curves_have_nothing() -> None:
    vitals = np.array([[80.0, 16.0, 97.0, math.nan, math.nan, math.nan, math.nan]])
    charted = JoinedContext(
        bed_id="bed-1", pseudonym="p", consciousness=Consciousness.ALERT, supplemental_oxygen=False,
        temperature_celsius=37.0, systolic_noninvasive_mmhg=95.0,
    )  # fmt: skip
    known, unknown = (score_minutes(vitals, [c]) for c in (charted, NOBODY_ELSE))
    assert (known.news2_low[0], known.news2_high[0]) == (2, 2)
    assert (known.others.mews_low[0], known.others.mews_high[0]) == (2, 2)
    assert (known.others.qsofa_low[0], known.others.qsofa_high[0]) == (1, 1)
    assert unknown.news2_low[0] < unknown.news2_high[0]
    assert (unknown.others.qsofa_low[0], unknown.others.qsofa_high[0]) == (0, 2)


def test_usual_is_the_median_and_a_trend_needs_three_hours() -> None:
    hours = np.full((2, N_HOURS, len(VITALS)), math.nan)
    hours[0, :10, 0] = [90, 70, 72, 71, 70, 69, 70, 71, 70, 72]
    hours[1, :2, 0] = [90, 70]
    found = usual_of(hours)
    assert found.centre[0, 0] == pytest.approx(70.5)
    assert found.high[0, 0] == pytest.approx(80.5)
    naive = np.polyfit(-np.arange(6), hours[0, :6, 0], 1)[0]
    assert found.trend_per_h[0, 0] == pytest.approx(naive)
    assert np.isnan(found.centre[1]).all()
    assert np.isnan(found.trend_per_h[1]).all()
    assert np.isnan(found.centre[0, 1:]).all()


def test_what_the_bed_said_stands_where_context_knows_nothing() -> None:
    found = support(Condition.VENTRICULAR_TACHYCARDIA, 0.9)
    assert found.probability == pytest.approx(0.9)
    assert (found.verdict, found.reasons) == (Verdict.SUPPORTS, ())
    assert support(Condition.VENTRICULAR_TACHYCARDIA, 0.1).verdict is Verdict.CONTRADICTS
    assert support(Condition.VENTRICULAR_TACHYCARDIA, 0.5).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("condition", "problems", "frame", "raises"),
    [
        (Condition.VENTRICULAR_TACHYCARDIA, ("Cardiac pacemaker in situ",), {}, False),
        (Condition.VENTRICULAR_TACHYCARDIA, ("起搏器植入",), {}, False),
        (Condition.VENTRICULAR_TACHYCARDIA, (), {"probability_paced": 0.9}, False),
        (Condition.EXTREME_BRADYCARDIA, ("Paced rhythm",), {}, False),
        (Condition.EXTREME_TACHYCARDIA, ("Atrial fibrillation",), {}, True),
        (Condition.VENTRICULAR_TACHYCARDIA, ("心房颤动",), {}, False),
        (
            Condition.ASYSTOLE,
            (),
            {"abp_systolic_mmhg": 80.0, "abp_diastolic_mmhg": 72.0, "quality_ppg": 0.9},
            False,
        ),
        (Condition.ASYSTOLE, (), {"quality_ecg1": 0.2, "quality_ppg": 0.1}, False),
    ],
)
def test_each_context_moves_it_the_right_way_and_says_why(
    condition: Condition, problems: tuple[str, ...], frame: dict[str, float], raises: bool
) -> None:
    found = support(condition, 0.5, *problems, **frame)
    assert (found.probability > 0.5) == raises
    assert len(found.reasons) == 1


def test_context_alone_never_turns_a_clear_answer_round() -> None:
    everything = {"probability_paced": 1.0, "quality_ecg1": 0.1, "quality_ppg": 0.1}
    found = support(
        Condition.VENTRICULAR_TACHYCARDIA, 0.95, "paced", "atrial fibrillation", **everything
    )
    assert found.probability == pytest.approx(
        1 / (1 + math.exp(-(math.log(0.95 / 0.05) - MOST_MOVED)))
    )
    assert found.verdict is Verdict.SUPPORTS


def test_without_the_beds_word_the_pulse_decides_about_a_standstill() -> None:
    assert support(Condition.ASYSTOLE, time_since_pulse_s=0.5).verdict is Verdict.CONTRADICTS
    assert support(Condition.ASYSTOLE, time_since_pulse_s=6.0).verdict is Verdict.SUPPORTS
    assert support(Condition.ASYSTOLE).verdict is Verdict.UNDECIDED
    damped = {"abp_systolic_mmhg": 80.0, "abp_diastolic_mmhg": 75.0, "quality_ppg": 0.9}
    assert support(Condition.ASYSTOLE, time_since_pulse_s=6.0, **damped).verdict is (
        Verdict.UNDECIDED
    )


def test_other_conditions_are_left_undecided() -> None:
    for condition in set(Condition) - JUDGED:
        assert support(condition, 0.99).verdict is Verdict.UNDECIDED


def test_every_input_of_the_record_is_a_concept_in_the_unit_it_is_stored_in() -> None:
    graph = Graph().parse(KNOWLEDGE / "observations.ttl")
    ws = dict(graph.namespaces())["ws"]
    units = {
        name: str(graph.value(URIRef(f"{ws}{name}"), URIRef(f"{ws}unit"))) for name in RECORD_INPUTS
    }
    assert units == {name: found.unit for name, found in RECORD_INPUTS.items()}


def test_units_of_the_record_become_those_of_the_score() -> None:
    found = stated(0, "creatinine", "umol/L", 2.0, 88.4)
    assert found is not None
    assert found.value == pytest.approx(1.0, rel=1e-3)
    urea = stated(0, "urea", "mmol/L", 2.0, 10.0)
    assert urea is not None
    assert urea.value == pytest.approx(28.0, rel=1e-3)
    assert stated(0, "creatinine", "mg/dL", 2.0, 1.0) is None
    assert stated(0, "shoe-size", "cm", 2.0, 42.0) is None
