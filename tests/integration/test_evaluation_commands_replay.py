"""`evaluate quiet` and `episodes` by the real agent, on recordings of their own, scored again."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.datasets.physionet import wfdb  # imported without its warnings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:The inplace keyword"),
]

RATE_HZ = 250


def _write(folder: Path, name: str, *, silent_from_s: float | None, length_s: float = 45.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    beats = np.arange(0.5, silent_from_s or length_s, 0.8)
    lead = np.random.default_rng(0).normal(0, 0.01, round(length_s * RATE_HZ))
    t = np.arange(-30, 31)
    for beat in beats:
        at = int(beat * RATE_HZ)
        if 30 <= at < lead.size - 30:
            lead[at - 30 : at + 31] += np.exp(-((t / 5.0) ** 2))
    wfdb.wrsamp(name, RATE_HZ, ["mV"], ["II"], lead[:, None], fmt=["16"], write_dir=str(folder))


def _annotate(folder: Path, name: str, marks: list[tuple[float, str, str]]) -> None:
    wfdb.wrann(
        name, "atr", np.array([round(t * RATE_HZ) for t, _, _ in marks]),
        symbol=[s for _, s, _ in marks], aux_note=[n for _, _, n in marks], fs=RATE_HZ,
        write_dir=str(folder),
    )  # fmt: skip


def _evaluate(protocol: str, data: Path, cache: Path) -> tuple[dict[str, Any], list[list[str]]]:
    table = data / f"{protocol}.csv"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "models", "evaluate", protocol, "--data", str(data)),
            *("--json", "--jobs", "2", "--predictions", str(table)),
            *("--report", str(data / f"{protocol}.html")),
        ],
        env={**os.environ, "WARDSTREAM_CACHE_DIR": str(cache)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    with table.open(newline="") as file:
        return json.loads(done.stdout), list(csv.reader(file))


def test_quiet_counts_what_no_beat_justifies(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    # Twice the same arrest; marked once, and once the marks say that the heart went on.
    for name, last_s in (("a", 30.0), ("b", 60.0)):
        _write(data / "mitdb", name, silent_from_s=30.0, length_s=60.0)
        beats = [(float(t), "N", "") for t in np.arange(0.5, last_s, 0.8)]
        after = [] if name == "b" else [(58.0, "N", "")]
        _annotate(data / "mitdb", name, [*beats, *after])
    report, rows = _evaluate("quiet", data, cache)
    assert rows[0] == ["record", "condition", "priority", "time_s"]
    alarms = [row for row in rows[1:] if row[1] == "asystole"]
    assert {row[0] for row in alarms} == {"a", "b"}
    assert all(row[2] == "high" and 33.0 <= float(row[3]) <= 36.0 for row in alarms)
    hours = 2 * 60 / 3600
    n_false = sum(row[0] == "b" for row in rows[1:])
    metrics = report["metrics"]
    assert metrics["false_high_priority_per_hour"] == pytest.approx(n_false / hours, rel=1e-3)
    assert len(list(cache.rglob("*.jsonl"))) == 2  # kept: a killed run goes on from there


def test_episodes_are_found_late_or_not(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    _write(data / "vfdb", "patient", silent_from_s=25.0)
    _annotate(data / "vfdb", "patient", [(0.1, "+", "(N"), (24.9, "+", "(ASYS")])
    _write(data / "vfdb", "nobody", silent_from_s=None)
    report, rows = _evaluate("episodes", data, cache)
    assert rows[0] == ["record", "condition", "priority", "time_s"]
    times_s = [float(row[3]) for row in rows[1:] if row[:2] == ["patient", "asystole"]]
    assert not [row for row in rows[1:] if row[0] == "nobody"]
    metrics = report["metrics"]
    assert metrics["n_episodes"] == 1
    assert metrics["sensitivity"] == 1.0
    assert metrics["delay_p50_s"] == pytest.approx(min(times_s) - 24.9, abs=0.02)
    assert metrics["delay_p95_s"] == metrics["delay_p50_s"]
    assert metrics["false_alarms_per_hour"] == 0.0
