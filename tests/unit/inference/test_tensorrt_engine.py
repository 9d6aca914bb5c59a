"""Engines: kept by all they depend on, whole or not at all, and a reason where none can be built."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.tiny_model import tiny_bundle

from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import Bundle, read_bundle
from wardstream.inference.tensorrt_engine import (
    MAX_KEPT,
    EngineKey,
    cached_engine,
    checked,
    default_engine_dir,
    engine_key,
    tensorrt_module,
)

HAS_TENSORRT = importlib.util.find_spec("tensorrt") is not None
ORIN = EngineKey(
    artifact_sha256="ab" * 32,
    device="Orin (nvgpu)",
    compute_capability="8.7",
    tensorrt_version="10.3.0",
    fp16=True,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    tiny_bundle(tmp_path / "bundle", version=1)
    return read_bundle(tmp_path / "bundle")


class Builder:
    """Stands where TensorRT would; what is tested is what lies around it."""

    def __init__(self) -> None:
        self.built: list[str] = []

    def __call__(
        self, graph: bytes, manifest: ModelManifest, key: EngineKey, timings: Path
    ) -> bytes:
        self.built.append(key.file_name)
        assert timings.name == f"{key.hardware}.timings"
        return b"plan of " + graph[:8] + key.file_name.encode()


def test_an_engine_is_built_once_for_each_thing_it_depends_on(
    bundle: Bundle, tmp_path: Path
) -> None:
    build, folder = Builder(), tmp_path / "engines"
    keys = [
        ORIN,
        replace(ORIN, artifact_sha256="cd" * 32),
        replace(ORIN, device="Xavier"),
        replace(ORIN, compute_capability="7.2"),
        replace(ORIN, tensorrt_version="10.4.0"),
        replace(ORIN, fp16=False),
    ]
    for key in keys:
        assert not cached_engine(bundle.graph, bundle.manifest, folder, key, build).from_cache
    assert len(set(build.built)) == len(keys)
    again = cached_engine(bundle.graph, bundle.manifest, folder, ORIN, build)
    assert again.from_cache
    assert len(build.built) == len(keys)
    assert again.path.name == "abababababababab-orin-nvgpu-sm8.7-trt10.3.0-int8-fp16.plan"
    assert again.record.n_bytes == again.path.stat().st_size


@pytest.mark.parametrize("damage", ["plan", "record", "no record", "other record"])
def test_a_damaged_engine_is_built_anew(bundle: Bundle, tmp_path: Path, damage: str) -> None:
    build = Builder()
    first = cached_engine(bundle.graph, bundle.manifest, tmp_path, ORIN, build)
    record = first.path.with_suffix(".json")
    whole = first.path.read_bytes()
    if damage == "plan":
        first.path.write_bytes(whole[:-1])
    elif damage == "record":
        record.write_text("{")
    elif damage == "no record":  # the power went between the two
        record.unlink()
    else:
        found = json.loads(record.read_text()) | {"tensorrt_version": "8.6.0"}
        record.write_text(json.dumps(found))
    second = cached_engine(bundle.graph, bundle.manifest, tmp_path, ORIN, build)
    assert not second.from_cache
    assert second.path.read_bytes() == whole
    assert cached_engine(bundle.graph, bundle.manifest, tmp_path, ORIN, build).from_cache
    assert not list(tmp_path.glob("**/.*.part"))


def test_an_engine_that_cannot_be_kept_is_used_all_the_same(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file, not a folder")
    built = cached_engine(bundle.graph, bundle.manifest, tmp_path / "engines", ORIN, Builder())
    assert built.plan
    assert "cannot be written" in built.not_kept


def test_the_oldest_engines_are_forgotten(bundle: Bundle, tmp_path: Path) -> None:
    build = Builder()
    keys = [replace(ORIN, artifact_sha256=f"{i:02d}" * 32) for i in range(MAX_KEPT + 3)]
    for i, key in enumerate(keys):
        built = cached_engine(bundle.graph, bundle.manifest, tmp_path, key, build)
        os.utime(built.path, (i, i))
    assert len(list(tmp_path.glob("*.plan"))) == len(list(tmp_path.glob("*.json"))) == MAX_KEPT
    assert cached_engine(bundle.graph, bundle.manifest, tmp_path, keys[-1], build).from_cache
    assert not cached_engine(bundle.graph, bundle.manifest, tmp_path, keys[0], build).from_cache


def test_engines_lie_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARDSTREAM_CACHE_DIR", str(tmp_path))
    assert default_engine_dir() == tmp_path / "engines"


def test_a_cuda_error_is_raised() -> None:
    assert checked((0, "pointer")) == "pointer"
    assert checked((0,)) is None
    with pytest.raises(TransientError, match="CUDA: 2"):
        checked((2, None))


@pytest.mark.skipif(HAS_TENSORRT, reason="TensorRT is installed here")
def test_without_tensorrt_the_reason_is_given() -> None:
    with pytest.raises(ConfigurationError, match="TensorRT is not installed here"):
        tensorrt_module()
    with pytest.raises(ConfigurationError, match="JetPack"):
        engine_key("ab" * 32)


@pytest.mark.skipif(not HAS_TENSORRT, reason="TensorRT is not installed on this machine")
def test_a_real_engine_is_built_and_found_again(bundle: Bundle, tmp_path: Path) -> None:
    key = engine_key(bundle.manifest.sha256)
    first = cached_engine(bundle.graph, bundle.manifest, tmp_path, key)
    assert first.record.n_bytes > 0
    assert (tmp_path / f"{key.hardware}.timings").exists()
    assert cached_engine(bundle.graph, bundle.manifest, tmp_path, key).from_cache
