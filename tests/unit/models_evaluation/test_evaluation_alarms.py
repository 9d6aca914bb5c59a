"""True or false alarm: nothing after 5:00 is seen, forests answer as trained, points are blind."""

from pathlib import Path

import numpy as np
import pytest
import wfdb
from sklearn.ensemble import ExtraTreesClassifier

from models.datasets.alarms import alarm_records, read_alarm_curves
from models.training.forest import fit_forest
from models.training.verifier import (
    AlarmTable,
    choose_point,
    decide,
    fit_calibration,
    fit_verifier,
    save_verifier,
    score_of,
    table_of,
)
from wardstream.contracts.alert import Condition
from wardstream.contracts.errors import ContractError
from wardstream.inference.alarms.curves import AlarmCurves
from wardstream.inference.alarms.features import alarm_features
from wardstream.inference.alarms.forest import MISSING
from wardstream.inference.alarms.rules import rule_decision
from wardstream.inference.alarms.verifier import Verifier, load_verifier
from wardstream.inference.alarms.waveform import lead_features, similarity_features

# wfdb 4.3 writes headers through a call that pandas 3.1 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

RATE_HZ = 250


def _write_alarm(folder: Path, name: str, n_s: int, after: float) -> None:
    time_s = np.arange(n_s * RATE_HZ) / RATE_HZ
    samples = np.stack([np.sin(2 * np.pi * 1.2 * time_s), np.cos(2 * np.pi * 1.2 * time_s)], axis=1)
    samples[300 * RATE_HZ :] = after
    wfdb.wrsamp(
        name, RATE_HZ, ["mV", "NU"], ["II", "PLETH"], samples, fmt=["16"] * 2, write_dir=str(folder)
    )


def test_nothing_after_five_minutes_is_read(tmp_path: Path) -> None:
    _write_alarm(tmp_path, "v101l", 330, 0.9)
    _write_alarm(tmp_path, "v102s", 300, 0.0)
    long, short = (read_alarm_curves(tmp_path / name, 20.0) for name in ("v101l", "v102s"))
    assert long.ecg.shape == (1, 20 * RATE_HZ)
    np.testing.assert_allclose(long.ecg, short.ecg, atol=2e-3)
    np.testing.assert_allclose(long.ppg, short.ppg, atol=2e-3)
    assert long.abp.shape[0] == 0


def test_folds_are_runs_of_numbers_and_the_label_is_the_tables(tmp_path: Path) -> None:
    rows = [f"v{100 + 10 * i}s,Ventricular_Tachycardia,{i % 2},300,II" for i in range(60)]
    (tmp_path / "ALARMS.csv").write_text(
        "\n".join(["record,alarm_type,label,seconds,channels", *rows])
    )
    for i in range(60):
        (tmp_path / f"v{100 + 10 * i}s.hea").write_text(
            f"v{100 + 10 * i}s 1 250 75000\n#True alarm\n"
        )
    records = alarm_records(tmp_path)
    assert [record.is_true for record in records[:3]] == [False, True, False]
    folds = [record.fold for record in records]
    assert folds == sorted(folds)
    assert set(folds) == {0, 1, 2, 3, 4}
    blocks = {record.block: record.fold for record in records}
    assert all(blocks[record.block] == record.fold for record in records)


def test_a_forest_answers_as_scikit_learn_does() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 6))
    rows[generator.random((200, 6)) < 0.1] = np.nan
    truth = np.nan_to_num(rows[:, 0]) + generator.normal(0, 0.5, 200) > 0
    forest = fit_forest(rows, truth, seed=3)
    model = ExtraTreesClassifier(
        n_estimators=400,
        min_samples_leaf=2,
        max_features=0.3,
        class_weight={False: 1.0, True: 3.0},
        random_state=3,
    ).fit(np.where(np.isfinite(rows), rows, MISSING), truth)
    fresh = generator.normal(size=(50, 6))
    np.testing.assert_allclose(forest.score(fresh), model.predict_proba(fresh)[:, 1], atol=1e-5)


def _table(n: int, seed: int) -> AlarmTable:
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.4
    rows = [
        {"a": float(t) + generator.normal(0, 0.4), "b": generator.normal()} for t in truth.tolist()
    ]
    types = ["Asystole" if i % 2 else "Bradycardia" for i in range(n)]
    return table_of(rows, types, truth.tolist(), [i % 4 for i in range(n)])


def test_a_verifier_finds_what_can_be_found_and_can_be_kept(tmp_path: Path) -> None:
    table = _table(160, 1)
    verifier = fit_verifier(table, seed=5)
    fresh = _table(80, 2)
    score = score_of(verifier, fresh)
    right = (decide(verifier, fresh, score) == fresh.truth).mean()
    assert right > 0.75
    save_verifier(verifier, tmp_path / "verifier.npz")
    again = load_verifier(tmp_path / "verifier.npz")
    np.testing.assert_array_equal(score_of(again, fresh), score)
    np.testing.assert_array_equal(again.probability(score), verifier.probability(score))
    assert again.points == {name: verifier.points[name] for name in again.forests}


def test_an_alarm_nobody_learned_of_is_held_to_be_true() -> None:
    table = _table(80, 1)
    verifier = fit_verifier(table, seed=5)
    unknown = table_of([{"a": 0.0, "b": 0.0}], ["Tachycardia"], [False], [0])
    assert decide(verifier, unknown, score_of(verifier, unknown)).all()
    assert verifier.judge("Tachycardia", {"a": 0.0}).holds


def test_something_else_is_no_verifier(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(ContractError):
        load_verifier(tmp_path / "x.npz")


def test_the_point_leans_towards_the_alarm() -> None:
    generator = np.random.default_rng(4)
    truth = generator.random(400) < 0.5
    score = np.clip(0.5 + 0.25 * (truth - 0.5) + generator.normal(0, 0.15, 400), 0, 1)
    point = choose_point(score, truth, seed=0)
    assert (score[truth] >= point).mean() > 0.9


def test_a_calibrated_score_is_as_often_true_as_it_says() -> None:
    generator = np.random.default_rng(2)
    chance = generator.random(4000)
    truth = generator.random(4000) < chance
    odds = 3 * chance / (1 - chance)  # positives weighed three times in training
    slope, intercept = fit_calibration(odds / (1 + odds), truth)
    verifier = Verifier(names=(), forests={}, points={}, calibration=(slope, intercept))
    found = verifier.probability(odds / (1 + odds))
    middle = (chance > 0.05) & (chance < 0.95)  # scores at the ends are moved in
    np.testing.assert_allclose(found[middle], chance[middle], atol=0.05)
    assert fit_calibration(np.array([0.5, 0.6]), np.array([True, True])) == (1.0, 0.0)


def _beating(n_s: float, rate_hz: float = 1.2, silent_s: float = 0.0) -> np.ndarray:
    n = int(n_s * RATE_HZ)
    lead = np.random.default_rng(0).normal(0, 0.01, n)
    t = np.arange(-30, 31)
    for beat in np.arange(0.5, n_s - silent_s - 0.3, 1 / rate_hz):
        at = int(beat * RATE_HZ)
        lead[at - 30 : at + 31] += np.exp(-((t / 5.0) ** 2))
    return lead.astype(np.float32)


def _curves(lead: np.ndarray, ppg: np.ndarray | None = None) -> AlarmCurves:
    none = np.zeros((0, lead.size), dtype=np.float32)
    return AlarmCurves(
        ecg=lead[None, :],
        ppg=none if ppg is None else ppg[None, :],
        abp=none,
        resp=none,
        sampling_rate_hz=250.0,
    )


def test_silence_is_an_asystole_and_a_beating_heart_is_not() -> None:
    silent = alarm_features(_curves(_beating(120, silent_s=7.0)), None)
    beating = alarm_features(_curves(_beating(120)), None)
    assert silent["ecg_longest_gap_s"] == pytest.approx(7.0, abs=1.2)
    assert rule_decision("Asystole", silent)
    assert not rule_decision("Asystole", beating)
    assert beating["ecg_usual_rate"] == pytest.approx(72, rel=0.02)
    assert not rule_decision("Bradycardia", beating)
    assert rule_decision("Bradycardia", alarm_features(_curves(_beating(120, rate_hz=0.6)), None))
    assert rule_decision("Tachycardia", alarm_features(_curves(_beating(120, rate_hz=2.5)), None))
    assert not rule_decision("Tachycardia", beating)


def test_a_pulse_that_goes_on_contradicts_a_silent_lead() -> None:
    time_s = np.arange(120 * RATE_HZ) / RATE_HZ
    pulse = np.maximum(np.sin(2 * np.pi * 1.2 * time_s), 0).astype(np.float32) ** 2
    row = alarm_features(_curves(_beating(120, silent_s=7.0), pulse), None)
    assert row["pulse_least_longest_gap_s"] < 1.5
    assert not rule_decision("Asystole", row)


def test_a_sine_is_concentrated_and_full_and_narrow_beats_are_neither() -> None:
    time_s = np.arange(60 * RATE_HZ) / RATE_HZ
    wave = lead_features(np.sin(2 * np.pi * 4 * time_s).astype(np.float32))
    beats = lead_features(_beating(60))
    assert wave["peak_hz"] == pytest.approx(4.0, abs=0.2)
    assert wave["highest_concentration"] > 0.9 > 2 * beats["highest_concentration"]
    assert wave["mean_fullness"] > 2 * beats["mean_fullness"]


def test_a_run_of_other_beats_is_counted_with_its_rate() -> None:
    lead = _beating(60, rate_hz=1.0)
    beats = [int((0.5 + i) * RATE_HZ) for i in range(52)]
    shape = np.sin(np.linspace(0, 2 * np.pi, 61)).astype(np.float32)
    lead[52 * RATE_HZ :] = 0
    for k in range(6):
        at = int((53 + 0.4 * k) * RATE_HZ)
        lead[at - 30 : at + 31] += 1.5 * shape
        beats.append(at)
    row = similarity_features(lead, np.array(beats, dtype=np.float64))
    assert row["longest_unlike_run"] == 6
    assert row["unlike_rate"] == pytest.approx(150)


def test_a_type_without_a_rule_is_held_to_be_true() -> None:
    assert rule_decision("Something_Else", {})


def _pulsing(n_s: float, silent_s: float = 0.0, rate_hz: float = 1.2) -> np.ndarray:
    # An arterial line: an upstroke and a slow fall, running down once the heart stands still.
    time_s = np.arange(round(n_s * RATE_HZ)) / RATE_HZ
    since = time_s % (1 / rate_hz)
    beating = 75 + 45 * np.minimum(since / 0.12, 1) * np.exp(-np.maximum(since - 0.12, 0) / 0.25)
    stop_s = n_s - silent_s
    falling = 75 - 35 * (1 - np.exp(-(time_s - stop_s) / 2.0))
    return np.where(time_s < stop_s, beating, falling).astype(np.float32)


def test_a_pressure_that_runs_down_outweighs_spikes_that_look_like_beats() -> None:
    # A pacemaker's spikes go on, the heart does not.
    none = np.zeros((0, 120 * RATE_HZ), dtype=np.float32)
    lead, line = _beating(120)[None, :], _pulsing(120, silent_s=6.0)[None, :]
    stopped = AlarmCurves(ecg=lead, ppg=none, abp=line, resp=none, sampling_rate_hz=250.0)
    row = alarm_features(stopped, None)
    assert row["standstill"] == 1.0
    assert row["pulse_goes_on"] == 0.0
    assert rule_decision("Asystole", row)
    line = _pulsing(120)[None, :]
    going = AlarmCurves(ecg=lead, ppg=none, abp=line, resp=none, sampling_rate_hz=250.0)
    row = alarm_features(going, None)
    assert row["standstill"] == 0.0
    assert row["pulse_goes_on"] == 1.0
    assert not rule_decision("Asystole", row)


def test_a_flushed_line_is_no_standstill() -> None:
    line = _pulsing(120)
    line[-6 * RATE_HZ :] = 280.0
    none = np.zeros((0, line.size), dtype=np.float32)
    curves = AlarmCurves(
        ecg=_beating(120)[None, :], ppg=none, abp=line[None, :], resp=none, sampling_rate_hz=250.0
    )
    row = alarm_features(curves, None)
    assert row["standstill"] == 0.0
    assert row["pulse_goes_on"] == 0.0


def test_the_verifier_supports_or_contradicts_an_alert_of_the_bed() -> None:
    rows, truth = [], []
    for k in range(24):
        silent_s = 6.0 if k % 2 else 0.0
        row = alarm_features(_curves(_beating(60, 1.0 + 0.02 * k, silent_s)), None)
        rows.append(row | {"rule": float(rule_decision("Asystole", row))})
        truth.append(bool(k % 2))
    table = table_of(rows, ["Asystole"] * 24, truth, [k % 4 for k in range(24)])
    verifier = fit_verifier(table, seed=1)
    silent, beating = _curves(_beating(60, 1.3, 6.5)), _curves(_beating(60, 1.3))
    supported = verifier.support(Condition.ASYSTOLE, silent, None)
    contradicted = verifier.support(Condition.ASYSTOLE, beating, None)
    assert supported is not None
    assert contradicted is not None
    assert supported.holds
    assert supported.probability > 0.8
    assert not contradicted.holds
    assert contradicted.probability < 0.2
    assert verifier.support(Condition.ATRIAL_FIBRILLATION, silent, None) is None
