"""``models engine`` and ``models bench``: what they say here, with TensorRT or without."""

import importlib.util
import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx
import pytest
from fakes.small_network import network, sines

pytest.importorskip("torch")
pytestmark = pytest.mark.train

from models.benchmark import BATCHES, measure_model  # noqa: E402
from models.evaluation.originals import FP32_DIGEST  # noqa: E402
from models.quantization.static_int8 import quantize  # noqa: E402
from models.quantization.tensorrt import build_engine  # noqa: E402
from models.registry.bundle import BundleParts, write_bundle  # noqa: E402
from wardstream.contracts.errors import ConfigurationError, ExitCode  # noqa: E402
from wardstream.inference.port import ModelRefusedError  # noqa: E402

HAS_TENSORRT = importlib.util.find_spec("tensorrt") is not None


def write(folder: Path, graph: bytes, original: bytes | None = None) -> Path:
    parts = BundleParts(
        name="rhythm",
        version=1,
        graph=graph,
        original=original,
        golden_inputs=sines(4),
        operating_points={"vf": 0.5},
        created_time_ns=0,
    )
    write_bundle(parts, folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fp32 = network().SerializeToString()
    int8 = onnx.load_model_from_string(quantize(network(), sines(64)))
    onnx.helper.set_model_props(int8, {FP32_DIGEST: sha256(fp32).hexdigest()})
    return write(tmp_path_factory.mktemp("bundle"), int8.SerializeToString(), fp32)


def test_a_graph_that_tensorrt_refuses_is_refused_anywhere(tmp_path: Path) -> None:
    model = network()
    model.graph.node[-1].op_type = "LogSoftmax"
    with pytest.raises(ModelRefusedError, match="TensorRT imports no LogSoftmax"):
        build_engine(_unchecked(tmp_path, model), tmp_path / "engines")


def _unchecked(folder: Path, model: onnx.ModelProto) -> Path:
    # Its answers are no probabilities, so no bundle is written of it: one is made over.
    write(folder, network().SerializeToString())
    payload = model.SerializeToString()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"sha256": sha256(payload).hexdigest(), "n_bytes": len(payload)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / manifest["artifact"]).write_bytes(payload)
    return folder


@pytest.mark.skipif(HAS_TENSORRT, reason="TensorRT is installed here")
def test_without_tensorrt_the_command_says_what_to_do(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="JetPack"):
        build_engine(bundle, tmp_path)
    command = ["-m", "models", "engine", str(bundle), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.CONFIGURATION
    assert "pip install tensorrt" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not HAS_TENSORRT, reason="TensorRT is not installed on this machine")
def test_an_engine_is_built_and_found_again(bundle: Path, tmp_path: Path) -> None:
    first, second = build_engine(bundle, tmp_path), build_engine(bundle, tmp_path)
    assert not first["from_cache"]
    assert second["from_cache"]
    assert second["engine"] == first["engine"]


def test_the_bench_measures_the_model_beside_its_peers(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.benchmark._WINDOWS_TIMED", 60)
    monkeypatch.setattr("models.benchmark._FEWEST_RUNS", 3)
    found: dict[str, Any] = measure_model(bundle)
    assert found["n_bytes"] == (bundle / "rhythm.onnx").stat().st_size
    assert set(found["batches"]) == set(BATCHES)
    for n, batch in found["batches"].items():
        assert batch["windows_per_s"] == pytest.approx(1000 / batch["ms_per_window"])
        assert batch["p50_ms"] == pytest.approx(n * batch["ms_per_window"])
    assert set(found["peers"]) == {"onnxruntime_fp32", "torch_fp32"}
    for peer in found["peers"].values():
        assert peer["ratio"] == pytest.approx(1000 * peer["seconds"] / found["p50_ms"])
    alone = shutil.copytree(bundle, tmp_path / "alone")
    (alone / "rhythm.fp32.onnx").unlink()
    without = measure_model(alone)
    assert without["peers"] == {}
    assert set(without["peers_missing"]) == {"onnxruntime_fp32", "torch_fp32"}
