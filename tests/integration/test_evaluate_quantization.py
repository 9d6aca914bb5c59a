"""``evaluate quantization`` and ``windows``: run anew, on other recordings, and scored again here."""

import csv
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fakes.small_network import network, sines
from numpy.typing import NDArray

from models.evaluation.bundle_protocols import evaluate_quantization, evaluate_windows
from models.evaluation.harness import EvaluationRequest, FoldBundles
from models.evaluation.originals import FP32_DIGEST
from models.evaluation.outcome import Outcome
from models.quantization.static_int8 import quantize
from models.registry.bundle import BundleParts, write_bundle
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.inference.port import ModelRefusedError

pytestmark = pytest.mark.data

RECORDS = ("cu01", "cu09", "cu10")
POINTS = {"sinus_like": 0.2, "vf": 0.15}


def write(folder: Path, seed: int = 0) -> Path:
    fp32 = network().SerializeToString()
    int8 = onnx.load_model_from_string(quantize(network(), sines(64, seed)))
    onnx.helper.set_model_props(int8, {FP32_DIGEST: sha256(fp32).hexdigest()})
    parts = BundleParts(
        name="rhythm",
        version=1,
        graph=int8.SerializeToString(),
        original=fp32,
        golden_inputs=sines(4),
        operating_points=POINTS,
        shockable_operating_point=0.3,
        created_time_ns=0,
    )
    write_bundle(parts, folder)
    return folder


@pytest.fixture(scope="module")
def request_of(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationRequest:
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "data" / "cudb").mkdir(parents=True)
    for record in RECORDS:
        for file in (recordings / "cudb").glob(f"{record}.*"):
            shutil.copy(file, folder / "data" / "cudb")
    return EvaluationRequest(
        data_dir=folder / "data",
        bundle_dir=write(folder / "bundle"),
        cache_dir=folder / "cache",
    )


def rows_of(outcome: Outcome, folder: Path) -> list[dict[str, str]]:
    outcome.predictions.write(folder / "decided.csv")
    with (folder / "decided.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> NDArray[np.float64]:
    return np.array([float(row[name]) for row in rows])


def test_agreement_can_be_scored_again_from_the_decisions(
    request_of: EvaluationRequest, tmp_path: Path
) -> None:
    outcome = evaluate_quantization(request_of)
    metrics: dict[str, Any] = outcome.report.metrics
    rows = rows_of(outcome, tmp_path)
    assert {row["record"] for row in rows} == {f"cudb/{record}" for record in RECORDS}
    assert outcome.report.n_records == len(RECORDS)
    assert not outcome.report.cross_validated
    agreements = []
    for name in POINTS:
        same = [
            (name in row["decision"].split("+")) == (name in row["decision_fp32"].split("+"))
            for row in rows
        ]
        agreements.append(np.mean(same))
        assert metrics[f"{name}.agreement"] == pytest.approx(agreements[-1], abs=1e-4)
    shockable = [
        (column(rows, f"{what}_vf") + column(rows, f"{what}_vt") >= 0.3)
        for what in ("score", "fp32")
    ]
    agreements.append(np.mean(shockable[0] == shockable[1]))
    assert metrics["decision_agreement"] == pytest.approx(min(agreements), abs=1e-3)
    score, fp32 = (
        np.stack([column(rows, f"{what}_{name}") for name in RHYTHM_CLASSES], axis=1)
        for what in ("score", "fp32")
    )
    assert metrics["mean_abs_difference"] == pytest.approx(np.abs(score - fp32).mean(), abs=1e-5)
    assert np.abs(score - fp32).max() > 0  # two graphs, not one asked twice
    assert {"max_se_loss_points", "vf.se_loss_points", "sinus_like.se_loss_points"} <= set(metrics)


def test_sensitivity_can_be_scored_again_from_the_decisions(
    request_of: EvaluationRequest, tmp_path: Path
) -> None:
    outcome = evaluate_windows(request_of)
    rows = rows_of(outcome, tmp_path)
    for name in POINTS:
        certain = [row for row in rows if row["label"] == name]
        found = np.mean([name in row["decision"].split("+") for row in certain])
        assert outcome.report.metrics[f"{name}.se"] == pytest.approx(found, abs=1e-4)
    assert {row["lead"] for row in rows} == {"0"}
    assert min(float(row["start_s"]) for row in rows) >= 0


def test_by_folds_every_record_is_judged_by_the_bundle_of_its_fold(
    request_of: EvaluationRequest, tmp_path: Path
) -> None:
    folders = [write(tmp_path / "a", seed=1), write(tmp_path / "b", seed=2)]
    alone = [
        evaluate_quantization(
            EvaluationRequest(
                data_dir=request_of.data_dir, bundle_dir=folder, cache_dir=request_of.cache_dir
            )
        )
        for folder in folders
    ]
    a, b = (rows_of(outcome, tmp_path) for outcome in alone)

    def train(data_dir: Path, cache_dir: Path) -> FoldBundles:
        from models.datasets.catalogue import recordings_of

        patients = sorted(r.patient_id for r in recordings_of(data_dir, ["cudb"]))
        fold_of = {patient: i % 2 for i, patient in enumerate(patients)}
        return FoldBundles(name="rhythm", fold_of=fold_of, bundle_dirs=tuple(folders))

    outcome = evaluate_quantization(
        EvaluationRequest(
            data_dir=request_of.data_dir,
            cache_dir=request_of.cache_dir,
            cross_validate=True,
            fold_bundles=train,
        )
    )
    assert outcome.report.cross_validated
    assert len(outcome.report.folds) == 2
    rows = rows_of(outcome, tmp_path)
    for row, by_a, by_b in zip(rows, a, b, strict=True):
        expected = by_b if row["record"] == f"cudb/{RECORDS[1]}" else by_a
        assert row["score_vf"] == expected["score_vf"]
    assert [row["score_vf"] for row in a] != [row["score_vf"] for row in b]


@pytest.mark.parametrize("damage", ["missing", "another"])
def test_without_the_graph_it_came_from_nothing_is_claimed(
    request_of: EvaluationRequest, tmp_path: Path, damage: str
) -> None:
    bundle = write(tmp_path / "bundle")
    original = next(bundle.glob("*.fp32.onnx"))
    if damage == "missing":
        original.unlink()
    else:
        original.write_bytes(network(scaled_by=2.0).SerializeToString())
    with pytest.raises(ModelRefusedError, match=r"FP32 graph|is not the graph"):
        evaluate_quantization(
            EvaluationRequest(
                data_dir=request_of.data_dir, bundle_dir=bundle, cache_dir=request_of.cache_dir
            )
        )


def test_a_folder_without_recordings_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none of vfdb"):
        evaluate_windows(EvaluationRequest(data_dir=tmp_path, cache_dir=tmp_path))
