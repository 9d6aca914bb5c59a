"""The deterioration score: features against a naive twin, trees taken apart, refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.inference.deterioration.boosted import BoostedTrees
from wardstream.inference.deterioration.features import FEATURE_MODALITIES, FEATURES, feature_rows
from wardstream.inference.deterioration.history import Histories, histories_of
from wardstream.inference.deterioration.model import (
    ARTIFACT_FILE,
    DeteriorationModel,
    load_model,
    save_model,
    without,
)
from wardstream.inference.deterioration.parameters import PARAMETERS, Modality, column

HEART, URINE, AGE, VENTILATED = (
    column(name) for name in ("heart_rate_per_min", "urine_ml", "age_years", "ventilated")
)


def history(*observations: tuple[int, float, float], n: int = 1) -> Histories:
    parameter, times, values = zip(*observations, strict=True) if observations else ((), (), ())
    return histories_of(
        n,
        np.zeros(len(parameter), dtype=np.int64),
        np.array(parameter, dtype=np.int64),
        np.array(times, dtype=np.float64),
        np.array(values, dtype=np.float64),
    )


def row_of(histories: Histories, now_h: float) -> dict[str, float]:
    rows = feature_rows(histories, np.array([0]), np.array([now_h]))
    return dict(zip(FEATURES, rows[0].tolist(), strict=True))


def test_many_values_of_one_hour_count_once() -> None:
    every_second = [(HEART, 10 + i / 3600, 120.0) for i in range(1, 3600)] + [(HEART, 9.5, 60.0)]
    row = row_of(history(*every_second), 11.0)
    assert row["heart_rate_per_min_mean"] == pytest.approx(90.0)
    assert row["heart_rate_per_min_last"] == pytest.approx(120.0)


def test_nothing_later_than_now_is_looked_at() -> None:
    known = history((HEART, 1.0, 70.0))
    more = history((HEART, 1.0, 70.0), (HEART, 6.01, 200.0), (AGE, 0.0, 50.0))
    first, second = row_of(known, 6.0), row_of(more, 6.0)
    second["age_years"] = math.nan
    np.testing.assert_equal(first, second)


def test_what_cannot_be_is_left_out() -> None:
    row = row_of(history((HEART, 1.0, 0.0), (column("ph"), 1.0, 73.5)), 2.0)
    assert math.isnan(row["heart_rate_per_min_last"])
    assert math.isnan(row["ph_last"])


def test_amounts_are_an_hour_that_passed() -> None:
    row = row_of(history((URINE, 1.1, 100.0), (URINE, 1.2, 50.0), (URINE, 9.0, 90.0)), 10.0)
    assert row["urine_ml_mean"] == pytest.approx(24.0)
    assert row["urine_ml_highest"] == pytest.approx(150.0)


def test_beyond_two_days_is_forgotten() -> None:
    row = row_of(history((HEART, 1.0, 50.0), (HEART, 60.0, 90.0), (AGE, 0.0, 70.0)), 61.0)
    assert row["heart_rate_per_min_first"] == 90.0
    assert row["age_years"] == 70.0
    assert row["hours_known"] == 48.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 60), st.floats(10, 300)), min_size=1, max_size=40),
    st.floats(0, 60),
)
def test_the_compiled_loop_is_the_naive_one(
    observations: list[tuple[float, float]], now_h: float
) -> None:
    row = row_of(history(*((HEART, t, v) for t, v in observations)), now_h)
    hours: dict[int, list[tuple[float, float]]] = {}
    for t, v in sorted(observations, key=lambda o: o[0]):
        if max(0.0, now_h - 48) <= t <= now_h:
            hours.setdefault(math.floor(now_h - t), []).append((t, v))
    if not hours:
        assert all(math.isnan(row[f"heart_rate_per_min_{s}"]) for s in ("last", "mean", "age_h"))
        return
    # By time, and within one hour by the order they came in: means do not depend on it.
    buckets = [hours[k] for k in sorted(hours, reverse=True)]
    means = [sum(v for _, v in b) / len(b) for b in buckets]
    times = [b[0][0] for b in buckets]
    assert row["heart_rate_per_min_last"] == pytest.approx(means[-1])
    assert row["heart_rate_per_min_first"] == pytest.approx(means[0])
    assert row["heart_rate_per_min_lowest"] == pytest.approx(min(means))
    assert row["heart_rate_per_min_highest"] == pytest.approx(max(means))
    assert row["heart_rate_per_min_mean"] == pytest.approx(sum(means) / len(means))
    assert row["heart_rate_per_min_age_h"] == pytest.approx(now_h - buckets[-1][-1][0])
    spread = row["heart_rate_per_min_spread"]
    assert (
        math.isnan(spread) if len(means) < 2 else spread == pytest.approx(np.std(means), abs=1e-9)
    )
    if len(means) > 1 and np.var(times) * len(times) > 1.001:
        slope = np.polyfit(times, means, 1)[0]
        assert row["heart_rate_per_min_slope_per_h"] == pytest.approx(slope, abs=1e-6)


def trees() -> BoostedTrees:
    """``age > 65`` first, then the heart rate or whether a lactate was measured."""
    age, heart, lactate = (
        FEATURES.index(n)
        for n in ("age_years", "heart_rate_per_min_last", "lactate_mmol_per_l_last")
    )
    return BoostedTrees(
        roots=np.array([0, 5], dtype=np.int32),
        feature=np.array([age, heart, -1, -1, -1, lactate, -1, -1], dtype=np.int16),
        threshold=np.array([65.0, 100.0, 0, 0, 0, 2.0, 0, 0]),
        left=np.array([1, 2, -1, -1, -1, 6, -1, -1], dtype=np.int32),
        right=np.array([4, 3, -1, -1, -1, 7, -1, -1], dtype=np.int32),
        missing_left=np.array([True, True, False, False, False, False, False, False]),
        value=np.array([0.1, -0.2, -0.5, 0.7, 0.9, 0.05, -0.1, 0.4]),
        intercept=-1.5,
    )


def patient(**known: float) -> np.ndarray:
    row = np.full(len(FEATURES), math.nan)
    for name, value in known.items():
        row[FEATURES.index(name)] = value
    return row[None, :]


@pytest.mark.parametrize(
    ("known", "log_odds"),
    [
        ({"age_years": 50.0, "heart_rate_per_min_last": 90.0, "lactate_mmol_per_l_last": 1.0},
         -1.5 - 0.5 - 0.1),
        ({"age_years": 50.0, "heart_rate_per_min_last": 101.0, "lactate_mmol_per_l_last": 1.0},
         -1.5 + 0.7 - 0.1),
        ({"age_years": 65.5, "lactate_mmol_per_l_last": 2.0}, -1.5 + 0.9 - 0.1),
        ({}, -1.5 - 0.5 + 0.4),
    ],
)  # fmt: skip
def test_a_tree_is_walked_by_hand(known: dict[str, float], log_odds: float) -> None:
    assert trees().log_odds(patient(**known))[0] == pytest.approx(log_odds)


def test_contributions_credit_who_was_asked_and_add_up() -> None:
    row = patient(age_years=50.0, heart_rate_per_min_last=101.0, lactate_mmol_per_l_last=1.0)
    found = trees().contributions(row)[0]
    assert found[FEATURES.index("age_years")] == pytest.approx(-0.2 - 0.1)
    assert found[FEATURES.index("heart_rate_per_min_last")] == pytest.approx(0.7 + 0.2)
    assert found[FEATURES.index("lactate_mmol_per_l_last")] == pytest.approx(-0.1 - 0.05)
    assert np.count_nonzero(found) == 3
    assert found.sum() + trees().expected == pytest.approx(trees().log_odds(row)[0])


def model() -> DeteriorationModel:
    n = len(FEATURES) + 1
    return DeteriorationModel(
        trees=trees(),
        point=0.4,
        reference_edges=np.zeros((n, 9)),
        reference_shares=np.full((n, 11), 1 / 11),
    )


def test_the_quantities_behind_an_answer_add_up_to_it() -> None:
    found = model().judge(patient(age_years=80.0, heart_rate_per_min_last=70.0))
    assert found.by_subject.sum() + found.expected == pytest.approx(found.log_odds[0])
    assert found.probability[0] == pytest.approx(1 / (1 + math.exp(-found.log_odds[0])))
    assert [c.subject for c in found.top(0)] == ["age_years", "lactate_mmol_per_l"]


@pytest.mark.parametrize("number", range(1 << len(Modality)))
def test_every_subset_of_modalities_gives_an_answer_or_abstains(number: int) -> None:
    everything = np.ones((1, len(FEATURES)))
    gone = [m for i, m in enumerate(Modality) if number >> i & 1]
    found = model().judge(without(everything, gone)).probability[0]
    observed = {Modality.VITALS, Modality.CHARTED, Modality.LABS} - set(gone)
    assert math.isnan(found) == (not observed)
    kept = without(everything, gone)[0]
    for name, modality, value in zip(FEATURES, FEATURE_MODALITIES, kept, strict=True):
        assert math.isnan(value) == (modality in gone and name != "hours_known")


def test_a_bundle_comes_back_as_it_was(tmp_path: Path) -> None:
    facts = {"name": "deterioration", "version": 3, "created_time_ns": 1, "training_data": {},
             "metrics": {"auroc": 0.8}}  # fmt: skip
    written = save_model(model(), tmp_path, facts)
    found, manifest = load_model(tmp_path)
    assert manifest == written
    assert manifest.version == 3
    row = patient(age_years=80.0, heart_rate_per_min_last=70.0)
    assert found.judge(row).log_odds[0] == model().judge(row).log_odds[0]
    assert found.point == 0.4


def test_a_changed_artifact_is_refused(tmp_path: Path) -> None:
    facts = {"name": "d", "version": 1, "created_time_ns": 1, "training_data": {}, "metrics": {}}
    save_model(model(), tmp_path, facts)
    artifact = tmp_path / ARTIFACT_FILE
    artifact.write_bytes(artifact.read_bytes() + b"\x00")
    with pytest.raises(ContractError, match="not the artifact"):
        load_model(tmp_path)
    with pytest.raises(ContractError, match="no deterioration bundle"):
        load_model(tmp_path / "nowhere")


def test_trees_that_would_never_end_are_refused() -> None:
    with pytest.raises(OutOfRangeError, match="after its parent"):
        BoostedTrees(
            roots=np.array([0], dtype=np.int32),
            feature=np.array([0, -1], dtype=np.int16),
            threshold=np.zeros(2),
            left=np.array([0, -1], dtype=np.int32),
            right=np.array([1, -1], dtype=np.int32),
            missing_left=np.zeros(2, dtype=bool),
            value=np.zeros(2),
            intercept=0.0,
        )


def test_questions_about_nobody_are_refused() -> None:
    with pytest.raises(OutOfRangeError, match="patient"):
        feature_rows(history(), np.array([1]), np.array([1.0]))
    with pytest.raises(OutOfRangeError, match="hour"):
        feature_rows(history(), np.array([0]), np.array([-1.0]))
    with pytest.raises(OutOfRangeError, match="parameter"):
        history((len(PARAMETERS), 0.0, 1.0))
    with pytest.raises(OutOfRangeError, match="column"):
        trees().log_odds(np.zeros((1, 3)))
