import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.rhythm_runtime import FakeRhythmRuntime
from fakes.tiny_model import tiny_bundle

from wardstream.contracts.errors import ConfigurationError, ContractError
from wardstream.inference.bundle import qualify, read_bundle
from wardstream.inference.onnxruntime_backend import session_options
from wardstream.inference.port import ModelRefusedError
from wardstream.inference.registry import load_runtime


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path, version=3)
    return tmp_path


def edit(bundle_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle_dir / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_sound_bundle_is_read_and_qualifies(bundle_dir: Path) -> None:
    runtime = load_runtime(bundle_dir)
    assert runtime.manifest.version == 3
    assert qualify(runtime, bundle_dir) <= runtime.manifest.golden.max_abs_error


@pytest.mark.parametrize("name", ["artifact", "golden"])
def test_one_flipped_bit_is_refused(bundle_dir: Path, name: str) -> None:
    manifest = read_bundle(bundle_dir).manifest
    path = bundle_dir / (manifest.artifact if name == "artifact" else manifest.golden.file)
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    with pytest.raises(ModelRefusedError, match="sha256"):
        load_runtime(bundle_dir)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(preprocessing="ecg360-v9"), "preprocessing"),
        (lambda m: m["inputs"][0].update(shape=[1, 500], channels=["ecg_1"]), "input shapes"),
        (lambda m: m["inputs"][0].update(sampling_rate_hz=500.0), "input rates"),
        (lambda m: m.update(window_s=10.0), "window of 10.0 s"),
        (lambda m: m.update(hop_s=30.0), "hop of 30.0 s"),
        (lambda m: m["outputs"][0].update(shape=[3]), "output shapes"),
        (lambda m: m.update(min_agent_version="99.0.0"), "needs agent 99.0.0"),
        (lambda m: m.update(min_agent_version="new"), "not of the form"),
        (lambda m: m.update(n_bytes=7), "bytes, the manifest says 7"),
        (lambda m: m.update(artifact="../rhythm.onnx"), "no plain file name"),
        (lambda m: m.update(artifact="gone.onnx"), "cannot be read"),
        (lambda m: m["golden"].update(n_vectors=99), "golden inputs"),
        (lambda m: m.update(surprise=1), "malformed manifest"),
        (lambda m: m.update(version=0), "malformed manifest"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    bundle_dir: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(bundle_dir, change)
    with pytest.raises(ModelRefusedError, match=reason):
        load_runtime(bundle_dir)


def test_a_missing_manifest_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="no manifest"):
        load_runtime(tmp_path)


def test_a_graph_that_is_none_is_refused(bundle_dir: Path) -> None:
    import hashlib

    payload = b"this is no graph"
    (bundle_dir / read_bundle(bundle_dir).manifest.artifact).write_bytes(payload)
    digest = hashlib.sha256(payload).hexdigest()
    edit(bundle_dir, lambda m: m.update(sha256=digest, n_bytes=len(payload)))
    with pytest.raises(ModelRefusedError, match="cannot load"):
        load_runtime(bundle_dir)


def test_a_runtime_that_answers_otherwise_does_not_qualify(bundle_dir: Path) -> None:
    liar = FakeRhythmRuntime(lambda _: "noise")
    liar.manifest = read_bundle(bundle_dir).manifest
    with pytest.raises(ModelRefusedError, match="golden vectors are off"):
        qualify(liar, bundle_dir)


def test_a_runtime_that_answers_nonsense_does_not_qualify(bundle_dir: Path) -> None:
    class Nonsense(FakeRhythmRuntime):
        def infer(self, windows: np.ndarray) -> np.ndarray:
            return np.full((len(windows), 7), np.nan, dtype=np.float32)

    nonsense = Nonsense()
    nonsense.manifest = read_bundle(bundle_dir).manifest
    with pytest.raises(ModelRefusedError, match="no probability"):
        qualify(nonsense, bundle_dir)


def test_a_runtime_of_another_version_does_not_qualify(bundle_dir: Path) -> None:
    with pytest.raises(ModelRefusedError, match="version 9"):
        qualify(FakeRhythmRuntime(version=9), bundle_dir)


def test_a_refused_model_is_a_broken_contract() -> None:
    assert issubclass(ModelRefusedError, ContractError)


def test_an_unknown_back_end_is_a_wrong_setting(bundle_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="none of"):
        load_runtime(bundle_dir, "abacus")


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here"
)
def test_a_back_end_that_is_not_installed_says_so(bundle_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="'tensorrt' is not installed"):
        load_runtime(bundle_dir, "tensorrt")


def test_a_session_uses_one_thread() -> None:
    options = session_options()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1
