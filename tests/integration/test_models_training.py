"""The learning path from recordings and verdicts to a signed bundle, in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest

from models.datasets.recording import read_leads
from models.datasets.verdicts import load_verdicts, verdict_recordings
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.codec import encode
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import AlertStrip, WaveformChunk
from wardstream.inference.bundle import qualify, read_manifest
from wardstream.inference.registry import load_runtime

pytestmark = [pytest.mark.integration, pytest.mark.train, pytest.mark.data]

ONSET = 1_700_000_000 * NS_PER_S


def strip_of(record: Path, start_s: float, alert_id: str) -> bytes:
    """Fifteen seconds of a real recording as the strip of an alert."""
    signal = read_leads(record)
    first = round(start_s * signal.sampling_rate_hz)
    samples = signal.samples_mv[:1, first : first + round(15 * signal.sampling_rate_hz)]
    boot = str(uuid4())
    chunk = WaveformChunk(
        device_id="bed-01",
        boot_id=boot,
        sequence_number=0,
        codes=("MDC_ECG_ELEC_POTL_II",),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=signal.sampling_rate_hz,
        start_time_ns=TimestampNs(ONSET - 8 * NS_PER_S),
        samples=np.ascontiguousarray(samples),
    )
    strip = AlertStrip(
        device_id="bed-01", boot_id=boot, sequence_number=0, alert_id=alert_id, chunks=(chunk,)
    )
    return encode(strip)


def store_verdict(url: str, verdicts: list[str], strip: bytes, alert_id: str) -> None:
    """An alert, its strip and what staff said of it, as the API tier stores them."""
    event = {
        "device_id": "bed-01", "boot_id": str(uuid4()), "sequence_number": 0, "alert_id": alert_id,
        "condition": "ventricular_fibrillation", "kind": "physiological", "priority": "high",
        "transition": "onset", "presence": "on", "audible": "on", "visible": "on",
        "onset_time_ns": ONSET, "event_time_ns": ONSET, "received_time_ns": ONSET,
        "decided_time_ns": ONSET, "stored_time_ns": ONSET, "model_version": "rhythm/1",
        "rule_version": "1", "generation_mode": "real", "evidence": "{}",
    }  # fmt: skip
    columns, places = ", ".join(event), ", ".join(["%s"] * len(event))
    with psycopg.connect(url) as link:
        row = link.execute(
            f"INSERT INTO alert_event ({columns}) VALUES ({places}) RETURNING event_id".encode(),
            list(event.values()),
        ).fetchone()
        assert row is not None
        link.execute(
            "INSERT INTO alert (alert_id, device_id, boot_id, site_id, unit_id, bed_id, condition,"
            " kind, priority, presence, onset_time_ns, model_version, generation_mode,"
            " last_event_id) SELECT alert_id, device_id, boot_id, 's', 'u', 'b', condition, kind,"
            " priority, presence, onset_time_ns, model_version, generation_mode, event_id"
            " FROM alert_event WHERE event_id = %s",
            row,
        )
        link.execute(
            "INSERT INTO alert_strip (alert_id, device_id, boot_id, sequence_number, payload,"
            " stored_time_ns) VALUES (%s, 'bed-01', %s, 0, %s, %s)",
            (alert_id, event["boot_id"], strip, ONSET),
        )
        for i, verdict in enumerate(verdicts):
            link.execute(
                "INSERT INTO verdict (verdict_id, alert_id, verdict, author, given_time_ns)"
                " VALUES (%s, %s, %s, 'nurse', %s)",
                (str(uuid4()), alert_id, verdict, ONSET + i),
            )


def test_the_last_verdict_on_an_alert_counts_and_unsure_says_nothing(
    recordings: Path, database_url: str
) -> None:
    for verdicts in (["true", "false"], ["false", "unsure"], ["true"]):
        alert_id = str(uuid4())
        store_verdict(
            database_url, verdicts, strip_of(recordings / "mitdb/101", 60, alert_id), alert_id
        )
    judged = load_verdicts(database_url)
    assert sorted(alert.is_true for alert in judged) == [False, True]
    assert len(verdict_recordings(judged)) == 2


@pytest.mark.timeout(580)
@pytest.mark.parametrize("postgres", ["timescale"], indirect=True)
def test_a_model_learns_from_verdicts_and_comes_out_signed(
    recordings: Path, database_url: str, tmp_path: Path
) -> None:
    alert_id = str(uuid4())
    store_verdict(
        database_url, ["false"], strip_of(recordings / "mitdb/101", 60, alert_id), alert_id
    )
    environment = {
        **os.environ,
        "WARDSTREAM_DATA": str(recordings),
        "WARDSTREAM_CACHE_DIR": str(tmp_path / "cache"),
        "WARDSTREAM_DATABASE_URL": database_url,
        "WARDSTREAM_MODEL_REPOSITORY_DIR": str(tmp_path / "repository"),
        "WARDSTREAM_MODEL_KEYS_DIR": str(tmp_path / "keys"),
    }
    environment.pop("WARDSTREAM_MQTT_URL", None)

    def models(*arguments: str) -> dict[str, Any]:
        finished = subprocess.run(
            [sys.executable, "-m", "models", *arguments, "--json"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    models("init-repository")
    trained = models("train", "smoke", "--out", str(tmp_path / "bundle"))
    assert trained["n_verdicts"] == 1
    version = read_manifest(SHIPPED_BUNDLE).version + 1
    assert trained["version"] == version
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.n_bytes < 300_000
    assert "verdicts" in manifest.training_data
    assert manifest.metrics["training.n_verdicts"] == 1
    assert manifest.metrics["shockable.se"] > 0.5
    assert qualify(load_runtime(tmp_path / "bundle"), tmp_path / "bundle") == 0
    assert "Few patients" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    published = models("publish", str(tmp_path / "bundle"), "--gates", "smoke")
    assert published["published"] == version
    assert models("status")["published"] == [version]
    again = subprocess.run(
        [sys.executable, "-m", "models", "publish", str(tmp_path / "bundle"), "--gates", "smoke"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert again.returncode != 0
    assert "not above the newest" in again.stderr
