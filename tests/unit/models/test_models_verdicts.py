"""Verdicts of staff as windows to learn from, and the settings that find them."""

import json
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from models.datasets.cache import windows_of
from models.datasets.verdicts import JudgedAlert, verdict_recordings
from models.settings import load_settings
from wardstream.contracts.alert import Condition
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import AlertStrip, WaveformChunk

START = 1_700_000_000 * NS_PER_S


def judged(
    condition: Condition, *, is_true: bool, code: str = "MDC_ECG_ELEC_POTL_II", seconds: int = 15
) -> JudgedAlert:
    time_s = np.arange(360 * seconds) / 360
    samples = np.sin(2 * np.pi * 5 * time_s)[None].astype(np.float32)
    boot = str(uuid4())
    ecg = code.startswith("MDC_ECG")
    chunk = WaveformChunk(
        device_id="bed-1",
        boot_id=boot,
        sequence_number=0,
        codes=(code,),
        unit=Unit.MILLIVOLT if ecg else Unit.ARBITRARY,
        sampling_rate_hz=360.0,
        start_time_ns=TimestampNs(START),
        samples=samples,
    )
    alert_id = str(uuid4())
    strip = AlertStrip(
        device_id="bed-1", boot_id=boot, sequence_number=0, alert_id=alert_id, chunks=(chunk,)
    )
    return JudgedAlert(
        alert_id=alert_id,
        device_id="bed-1",
        condition=condition,
        is_true=is_true,
        onset_time_ns=START + 6 * NS_PER_S,
        strip=encode(strip),
    )


def names(bits_row: np.ndarray) -> set[str]:
    return {name for name, bit in zip(RHYTHM_CLASSES, bits_row, strict=True) if bit}


def test_a_true_alert_is_of_its_class_from_its_onset_on(tmp_path: Path) -> None:
    recordings = verdict_recordings([judged(Condition.VENTRICULAR_FIBRILLATION, is_true=True)])
    table = windows_of(recordings, tmp_path)
    assert {frozenset(names(row)) for row in table.admissible} == {frozenset({"vf"})}
    assert table.rows["end_sample"].min() == 10 * 250
    assert set(table.patients) == {"verdicts/bed-1"}


def test_a_false_alert_denies_its_class_along_the_whole_strip(tmp_path: Path) -> None:
    recordings = verdict_recordings([judged(Condition.VENTRICULAR_TACHYCARDIA, is_true=False)])
    table = windows_of(recordings, tmp_path)
    assert all(
        names(row).isdisjoint({"vt", "vf"}) and len(names(row)) == 5 for row in table.admissible
    )
    assert table.rows["end_sample"].min() == 4 * 250
    assert len(table) > 15


@pytest.mark.parametrize(
    "alert",
    [
        judged(Condition.EXTREME_TACHYCARDIA, is_true=True),
        judged(Condition.ASYSTOLE, is_true=True, code="MDC_PULS_OXIM_PLETH"),
        judged(Condition.ASYSTOLE, is_true=True, seconds=3),
    ],
    ids=["not about rhythm", "no ECG", "too short"],
)
def test_a_verdict_that_says_nothing_of_a_rhythm_is_left_out(alert: JudgedAlert) -> None:
    assert verdict_recordings([alert]) == []


def test_the_environment_wins_over_the_running_stack(tmp_path: Path) -> None:
    stack = {
        "mqtt_url": "mqtt://stack:1",
        "environment": {
            "WARDSTREAM_DATABASE_URL": "postgresql://stack",
            "WARDSTREAM_SITE_ID": "s1",
        },
        "processes": [{"pid": 1}],
    }
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    settings = load_settings({"WARDSTREAM_SITE_ID": "s2"}, tmp_path)
    assert settings.site_id == "s2"
    assert settings.mqtt_url == "mqtt://stack:1"
    assert settings.database_url == "postgresql://stack"
    assert settings.repository_dir == tmp_path / "models" / "repository"


def test_a_broken_account_of_the_stack_is_said(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"stack\.json"):
        load_settings({}, tmp_path)
