"""What the gates ask of an artifact, measured on the artifact itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from models.datasets.cache import windows_of
from models.datasets.catalogue import recordings_of
from models.evaluation.class_windows import evaluate_class_windows
from models.evaluation.gates import Gates
from models.evaluation.harness import EvaluationRequest
from models.evaluation.judgement import judge
from models.evaluation.report import ProtocolReport, flat
from models.evaluation.shockable_protocol import evaluate_shockable_windows
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.registry import load_runtime


def _windows(bundle_dir: Path, data_dir: Path, cache_dir: Path) -> ProtocolReport:
    runtime = load_runtime(bundle_dir)
    manifest = runtime.manifest
    there = [name for name in _GATE_DATASETS if (data_dir / name).is_dir()]
    judgement = judge(runtime, windows_of(recordings_of(data_dir, there), cache_dir))
    points = {
        name: np.full(len(judgement.table), point)
        for name, point in manifest.operating_points.items()
    }
    model = f"{manifest.name}/{manifest.version} {manifest.sha256[:12]}"
    return evaluate_class_windows(judgement, points, model)


def _shockable(bundle_dir: Path, data_dir: Path, cache_dir: Path) -> ProtocolReport:
    request = EvaluationRequest(data_dir=data_dir, bundle_dir=bundle_dir, cache_dir=cache_dir)
    return evaluate_shockable_windows(request).report


PROTOCOLS: Final[Mapping[str, Callable[[Path, Path, Path], ProtocolReport]]] = {
    "windows": _windows,
    "shockable": _shockable,
}

# What the gates ask the artifact on: the data sets with rhythm labels.
_GATE_DATASETS: Final = ("vfdb", "cudb", "mitdb")


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
    if not protocols or not any((data_dir / name).is_dir() for name in _GATE_DATASETS):
        return None
    reports = [PROTOCOLS[name](bundle_dir, data_dir, cache_dir) for name in protocols]
    return {
        f"{report.protocol}.{name}": value
        for report in reports
        for name, value in flat(report.metrics).items()
        if f"{report.protocol}.{name}" in gates.artifact
    }
