"""How a bundle is put through the protocols on labelled windows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from models.datasets.cache import windows_of
from models.datasets.catalogue import READERS, recordings_of
from models.evaluation.class_windows import evaluate_class_windows
from models.evaluation.gates import Gates
from models.evaluation.judgement import Judgement, judge
from models.evaluation.report import ProtocolReport
from models.evaluation.shockable import evaluate_shockable
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.registry import load_runtime


def _windows(judgement: Judgement, manifest: ModelManifest, model: str) -> ProtocolReport:
    points = {
        name: np.full(len(judgement.table), point)
        for name, point in manifest.operating_points.items()
    }
    return evaluate_class_windows(judgement, points, model)


def _shockable(judgement: Judgement, manifest: ModelManifest, model: str) -> ProtocolReport:
    return evaluate_shockable(judgement, model, manifest.shockable_operating_point)


PROTOCOLS: Final[Mapping[str, Callable[[Judgement, ModelManifest, str], ProtocolReport]]] = {
    "windows": _windows,
    "shockable": _shockable,
}

# What the gates ask the artifact on: the data sets with rhythm labels.
_GATE_DATASETS: Final = ("vfdb", "cudb", "mitdb")


def evaluate_bundle(
    bundle_dir: Path,
    protocols: Sequence[str],
    data_dir: Path,
    cache_dir: Path,
    datasets: Sequence[str] = tuple(READERS),
) -> list[ProtocolReport]:
    """What the bundle in `bundle_dir` scores under `protocols`.

    Raises
    ------
    ConfigurationError
        None of `datasets` is under `data_dir`.
    ModelRefusedError
        The bundle breaks its manifest.
    """
    there = [name for name in datasets if (data_dir / name).is_dir()]
    if not there:
        raise ConfigurationError([f"none of {', '.join(datasets)} is in {data_dir}"])
    runtime = load_runtime(bundle_dir)
    manifest = runtime.manifest
    judgement = judge(runtime, windows_of(recordings_of(data_dir, there), cache_dir))
    model = f"{manifest.name}/{manifest.version} {manifest.sha256[:12]}"
    return [PROTOCOLS[name](judgement, manifest, model) for name in protocols]


def stated_reports(bundle_dir: Path, protocols: Sequence[str]) -> list[ProtocolReport]:
    """The cross-validated reports that were written with the bundle.

    Raises
    ------
    ConfigurationError
        The bundle has none for a protocol.
    """
    reports: list[ProtocolReport] = []
    for name in protocols:
        path = bundle_dir / f"evaluation-{name}.json"
        if not path.exists():
            raise ConfigurationError([f"{path} is not there"])
        reports.append(msgspec.json.decode(path.read_bytes(), type=ProtocolReport))
    return reports


def measure_for_gates(
    bundle_dir: Path, gates: Gates, data_dir: Path, cache_dir: Path
) -> dict[str, float] | None:
    """Figures of the artifact itself that `gates` ask for; None where no recordings are."""
    protocols = sorted({name.split(".")[0] for name in gates.artifact})
    there = [name for name in _GATE_DATASETS if (data_dir / name).is_dir()]
    if not there or not protocols:
        return None
    return {
        f"{report.protocol}.{name}": float(value)
        for report in evaluate_bundle(bundle_dir, protocols, data_dir, cache_dir, there)
        for name, value in report.metrics.items()
        if f"{report.protocol}.{name}" in gates.artifact
    }
