"""Reading stays, and the figures their answers are judged by."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.datasets.challenge2012 import read_stays
from models.deterioration.bedside import bedside_scores
from models.deterioration.figures import (
    area,
    area_difference,
    area_interval,
    calibration_error,
    figures_of,
)
from models.deterioration.protocol import fold_of
from models.deterioration.training import subsets
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.deterioration.features import FEATURES, feature_rows

DRAW = np.random.default_rng(5)


def stays_folder(folder: Path, *, outcomes: bool = True) -> Path:
    (folder / "set-a.csv").write_text(
        "RecordID,Time,Parameter,Value\n"
        "2,00:00,Age,70\n2,00:00,Gender,1\n2,00:00,Height,-1\n2,01:30,HR,120\n2,02:10,HR,9999\n"
        "2,03:00,NISysABP,85\n2,03:00,Mg,2\n2,05:00,GCS,9\n"
        "1,00:00,Age,40\n1,06:30,HR,70\n"
    )
    if outcomes:
        (folder / "Outcomes-a.txt").write_text(
            "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n2,16,-1,5,3,1\n"
        )
    return folder


def test_stays_are_read_with_what_cannot_be_left_out(tmp_path: Path) -> None:
    stays = read_stays(stays_folder(tmp_path))
    assert stays.record.tolist() == ["1", "2"]
    assert np.isnan(stays.died[0])
    assert stays.died[1] == 1
    assert stays.classical["SAPS-I"][1] == 16
    assert np.isnan(stays.classical["SOFA"][1])
    rows = feature_rows(stays.histories, np.array([0, 1]), np.array([6.0, 6.0]))
    of = {name: rows[:, i] for i, name in enumerate(FEATURES)}
    assert of["heart_rate_per_min_highest"][1] == 120
    assert np.isnan(of["heart_rate_per_min_last"][0])  # measured half an hour later
    assert of["systolic_mmhg_last"][1] == 85
    assert np.isnan(of["height_cm"][1])
    scores = bedside_scores(rows)
    assert scores["news2"][1] == 3 + 2 + 3  # systolic, pulse, coma; the rest counts nothing
    assert scores["qsofa"][1] == 2


def test_stays_without_outcomes_can_be_asked_about_and_no_stays_are_refused(tmp_path: Path) -> None:
    assert np.isnan(read_stays(stays_folder(tmp_path, outcomes=False)).died).all()
    with pytest.raises(ConfigurationError, match="set-a"):
        read_stays(tmp_path / "nowhere")
    (tmp_path / "set-a.csv").write_text("id,value\n1,2\n")
    with pytest.raises(ConfigurationError, match="RecordID"):
        read_stays(tmp_path)


def test_the_area_counts_ties_half_and_its_interval_holds_it() -> None:
    truth = DRAW.random(400) < 0.3
    score = np.round(truth + DRAW.normal(size=400), 1)
    assert area(score, truth) == pytest.approx(roc_auc_score(truth, score))
    interval = area_interval(score, truth)
    assert interval.low < area(score, truth) < interval.high
    # Hanley and McNeil 1982: the standard error of such an area is about 0.025.
    assert 0.06 < interval.high - interval.low < 0.14
    same = area_difference(score, score * 2 + 1, truth)
    assert (same.low, same.high) == (0.0, 0.0)


def test_calibration_is_told_from_overstatement() -> None:
    chance = DRAW.uniform(0.02, 0.6, size=20_000)
    truth = DRAW.random(20_000) < chance
    right = figures_of(chance, truth, chance > 0.5)
    assert right["calibration_slope"] == pytest.approx(1.0, abs=0.08)
    assert calibration_error(chance, truth) < 0.015
    assert calibration_error(np.clip(chance * 1.5, 0, 1), truth) > 0.1


def test_every_set_of_missing_modalities_is_listed_once() -> None:
    found = subsets()
    assert found[0] == ()
    assert len(set(found)) == len(found) == 16


def test_folds_are_the_same_everywhere() -> None:
    assert [fold_of(str(n)) for n in (132539, 132540, 142675)] == [4, 1, 0]
    share = np.bincount([fold_of(str(n)) for n in range(5000)], minlength=5) / 5000
    assert (abs(share - 0.2) < 0.03).all()
