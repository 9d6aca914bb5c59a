"""Each command on recordings of its own: columns, keys, and the figures anyone gets from the CSV."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from models.cli import app
from models.datasets.physionet import wfdb  # imported without its warnings

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

KEYS = {"protocol", "model", "n_records", "metrics", "confidence", "folds"}


def beating(n_s: float, rate_hz: int, beats_s: np.ndarray, seed: int = 0) -> np.ndarray:
    lead = np.random.default_rng(seed).normal(0, 0.01, round(n_s * rate_hz))
    half = round(0.12 * rate_hz)
    t = np.arange(-half, half + 1) / rate_hz
    for beat in beats_s:
        at = round(beat * rate_hz)
        if half <= at < lead.size - half:
            lead[at - half : at + half + 1] += np.exp(-((t / 0.02) ** 2))
    return lead


def fibrillating(n_s: float, rate_hz: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    turns = np.cumsum(5 + 1.2 * np.sin(np.arange(round(n_s * rate_hz)) / rate_hz * 1.7)) / rate_hz
    size = 0.5 + 0.2 * np.sin(turns * 0.7)
    return size * np.sin(2 * np.pi * turns) + generator.normal(0, 0.01, turns.size)


def write(folder: Path, name: str, rate_hz: int, channels: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name, rate_hz, ["mV"] * len(channels), list(channels), np.stack(list(channels.values()), 1),
        fmt=["16"] * len(channels), write_dir=str(folder),
    )  # fmt: skip


def mark(folder: Path, name: str, rate_hz: int, marks: list[tuple[float, str, str]]) -> None:
    marks = sorted(marks)
    wfdb.wrann(
        name, "atr", np.array([round(t * rate_hz) for t, _, _ in marks]),
        symbol=[symbol for _, symbol, _ in marks], aux_note=[note for _, _, note in marks],
        fs=rate_hz, write_dir=str(folder),
    )  # fmt: skip


def evaluate(
    protocol: str, data: Path, out: Path
) -> tuple[dict[str, Any], list[str], list[dict[str, str]]]:
    """The command's JSON, and header and rows of its CSV."""
    table, page = out / f"{protocol}.csv", out / f"{protocol}.html"
    arguments = ["evaluate", protocol, "--data", str(data), "--json"]
    done = CliRunner().invoke(app, [*arguments, "--predictions", str(table), "--report", str(page)])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert set(report) >= KEYS
    assert report["protocol"] == protocol
    assert "<svg" in page.read_text() or protocol in {"qrs", "respiration"}
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return report, list(reader.fieldnames or ()), rows


def test_cinc2015(tmp_path: Path) -> None:
    folder = tmp_path / "cinc2015"
    lines = ["record,alarm_type,label"]
    for i, (kind, label, silent) in enumerate(
        [
            ("Asystole", "1", True),
            ("Asystole", "0", False),
            ("Bradycardia", "0", False),
            ("Ventricular_Tachycardia", "0", False),
            ("Asystole", "", False),  # nobody judged it: decided, not scored
        ]
    ):
        beats = np.arange(0.5, 294.0 if silent else 300.0, 0.8)
        write(folder, f"bed{'abcde'[i]}", 250, {"II": beating(300, 250, beats, i)})
        lines.append(f"bed{'abcde'[i]},{kind},{label}")
    (folder / "ALARMS.csv").write_text("\n".join(lines) + "\n")
    report, header, rows = evaluate("cinc2015", tmp_path, tmp_path)
    assert header == ["record", "alarm_type", "decision", "score"]
    assert len(rows) == 5
    truth = {line.split(",")[0]: line.split(",")[2] for line in lines[1:]}
    judged = [(row["decision"] == "1", truth[row["record"]] == "1") for row in rows
              if truth[row["record"]]]  # fmt: skip
    tp, fp = sum(d and t for d, t in judged), sum(d and not t for d, t in judged)
    tn, fn = sum(not d and not t for d, t in judged), sum(not d and t for d, t in judged)
    metrics = report["metrics"]
    assert metrics["score"] == pytest.approx((tp + tn) / (tp + tn + fp + 5 * fn), abs=1e-4)
    assert metrics["tpr"] == pytest.approx(tp / (tp + fn), abs=1e-4)
    assert metrics["tnr"] == pytest.approx(tn / (tn + fp), abs=1e-4)
    assert set(metrics["per_type"]) == {"Asystole", "Bradycardia", "Ventricular_Tachycardia"}
    assert all(0 <= float(row["score"]) <= 1 for row in rows)


def test_shockable(tmp_path: Path) -> None:
    rate_hz = 250
    quiet = beating(60, rate_hz, np.arange(0.5, 60, 0.8))
    write(tmp_path / "vfdb", "anyone", rate_hz,
          {"ECG": np.concatenate([quiet, fibrillating(60, rate_hz)])})  # fmt: skip
    mark(tmp_path / "vfdb", "anyone", rate_hz, [(0.1, "+", "(N"), (60.0, "+", "(VF")])
    write(tmp_path / "vfdb", "unmarked", rate_hz, {"ECG": quiet})
    report, header, rows = evaluate("shockable", tmp_path, tmp_path)
    assert header == ["record", "start_s", "decision", "score"]
    assert {row["record"] for row in rows} == {"anyone", "unmarked"}
    starts = [float(row["start_s"]) for row in rows if row["record"] == "anyone"]
    assert np.diff(starts) == pytest.approx(1.0)

    def share(first_s: float, last_s: float, decision: str) -> float:
        inside = [row["decision"] == decision for row in rows
                  if row["record"] == "anyone" and first_s <= float(row["start_s"]) <= last_s]  # fmt: skip
        return float(np.mean(inside))

    # 4 s windows, 4 s away from the change at 60 s.
    assert report["metrics"]["se"] == pytest.approx(share(64.0, 116.0, "1"), abs=0.02)
    assert report["metrics"]["sp"] == pytest.approx(share(0.1, 52.0, "0"), abs=0.02)
    assert report["metrics"]["sp"] > 0.9
    assert {"vf", "sinus"} <= set(report["metrics"]["per_rhythm"])


def test_af(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    regular = np.arange(0.5, 120, 0.8)
    irregular = 120 + np.cumsum(np.maximum(generator.gamma(12.0, 0.62 / 12, 400), 0.3))
    beats = np.concatenate([regular, irregular[irregular < 239]])
    write(tmp_path / "mitdb", "9x", 360, {"MLII": beating(240, 360, beats)})
    mark(tmp_path / "mitdb", "9x", 360, [(0.1, "+", "(N"), (120.0, "+", "(AFIB")])
    report, header, rows = evaluate("af", tmp_path, tmp_path)
    assert header == ["record", "start_s", "decision"]
    assert [float(row["start_s"]) for row in rows] == [30.0 * k for k in range(8)]
    decisions = [row["decision"] == "1" for row in rows]
    assert report["metrics"]["se"] == pytest.approx(np.mean(decisions[4:]), abs=1e-4)
    assert report["metrics"]["sp"] == pytest.approx(1 - np.mean(decisions[:4]), abs=1e-4)
    assert report["metrics"]["sp"] == 1.0
    assert report["metrics"]["se"] >= 0.75


def test_qrs(tmp_path: Path) -> None:
    beats = np.arange(0.7, 60, 0.85)
    write(tmp_path / "mitdb", "p7", 360, {"MLII": beating(60, 360, beats)})
    extra = (31.0, "V", "")  # marked, but nothing is there: a miss
    mark(tmp_path / "mitdb", "p7", 360, [*((float(b), "N", "") for b in beats), extra])
    report, header, rows = evaluate("qrs", tmp_path, tmp_path)
    assert header == ["record", "sample"]
    found = np.array([int(row["sample"]) for row in rows]) / 360
    marked = np.sort(np.append(beats, 31.0))
    marked, found = marked[marked >= 5], found[found >= 5]
    for tolerance_s, name in ((0.15, "f1_150ms"), (0.05, "f1_50ms")):
        hits = sum(bool((np.abs(found - b) <= tolerance_s).any()) for b in marked)
        assert report["metrics"][name] == pytest.approx(
            2 * hits / (len(marked) + len(found)), abs=0.02
        )
        assert report["metrics"][name] < 1.0
    assert report["metrics"]["realtime_factor"] > 100


def test_respiration(tmp_path: Path) -> None:
    folder = tmp_path / "bidmc"
    time_s = np.arange(120 * 125) / 125
    write(folder, "someone", 125, {"RESP": np.sin(2 * np.pi * 0.3 * time_s)})
    breaths = [f"{round(b * 125)},{round(b * 125)}" for b in np.arange(0, 120, 1 / 0.3)]
    (folder / "someone_breaths.csv").write_text("\n".join(["a,b", *breaths]) + "\n")
    numerics = [f"{s},80,80,18,97" for s in range(121)]
    (folder / "someone_numerics.csv").write_text(
        "\n".join(["Time [s], HR, PULSE, RESP, SpO2", *numerics]) + "\n"
    )
    report, header, rows = evaluate("respiration", tmp_path, tmp_path)
    assert header == ["record", "time_s", "rate_per_min"]
    errors = [abs(float(row["rate_per_min"]) - 18.0) for row in rows
              if float(row["time_s"]) >= 40 and row["rate_per_min"] not in {"", "nan"}]  # fmt: skip
    assert errors
    assert report["metrics"]["mae_per_min"] == pytest.approx(np.mean(errors), abs=0.1)


@pytest.mark.parametrize(
    ("protocol", "says"),
    [
        ("cinc2015", "cinc2015 is not there"),
        ("quiet", "mitdb, bidmc or cinc2015"),
        ("episodes", "vfdb or cudb"),
        ("af", "holds no mitdb"),
        ("respiration", "bidmc is not there"),
        ("qrs", "mitdb is not there"),
    ],
)
def test_a_folder_without_the_recordings_is_said_in_a_sentence(
    tmp_path: Path, protocol: str, says: str
) -> None:
    done = CliRunner().invoke(app, ["evaluate", protocol, "--data", str(tmp_path)])
    assert done.exit_code != 0
    assert says in str(done.exception)


def test_alarms_without_their_table_are_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cinc2015").mkdir()
    done = CliRunner().invoke(app, ["evaluate", "cinc2015", "--data", str(tmp_path)])
    assert "ALARMS.csv is not there" in str(done.exception)


def test_the_command_teaches() -> None:
    told = CliRunner().invoke(app, ["evaluate", "--help"]).output
    for word in ("record,alarm_type,decision,score", "--cross-validate", "Examples"):
        assert word in told
