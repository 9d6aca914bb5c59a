"""Protocols on labelled windows, as the harness asks for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.cache import windows_of
from models.datasets.catalogue import READERS, recordings_of
from models.datasets.windows import WindowTable
from models.evaluation.agreement import evaluate_agreement, specificities_at
from models.evaluation.class_windows import evaluate_class_windows
from models.evaluation.harness import EvaluationRequest
from models.evaluation.judgement import Judgement, judge, judge_by_folds
from models.evaluation.originals import read_original
from models.evaluation.outcome import Cell, Outcome, PredictionTable, rounded
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest
from wardstream.inference.bundle import read_bundle
from wardstream.inference.onnxruntime_backend import OnnxRuntime
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import WINDOW_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """Windows judged by one bundle, or by the bundle of the fold that did not see them."""

    model: str
    judgement: Judgement
    bundle_dirs: Sequence[Path]
    manifests: Sequence[ModelManifest]
    fold_of: Mapping[str, int] | None

    def points(self) -> dict[str, NDArray[np.float64]]:
        """Operating point of every class in force for each window, of shape (n_windows,)."""
        points: dict[str, NDArray[np.float64]] = {}
        for number, manifest in enumerate(self.manifests):
            for name, point in manifest.operating_points.items():
                limits = points.setdefault(name, np.full(len(self.judgement.table), np.inf))
                limits[self.judged_by(number)] = point
        return points

    def shockable_points(self) -> NDArray[np.float64] | None:
        """Point of vf + vt for each window; None where the manifests state none."""
        limits = np.full(len(self.judgement.table), np.inf)
        for number, manifest in enumerate(self.manifests):
            if manifest.shockable_operating_point is None:
                return None
            limits[self.judged_by(number)] = manifest.shockable_operating_point
        return limits

    def judged_by(self, number: int) -> NDArray[np.bool_]:
        """Which windows the bundle `number` judged."""
        return np.equal(self.judgement.fold, -1 if self.fold_of is None else number)

    def again(self, runtimes: Sequence[RhythmRuntime]) -> NDArray[np.float32]:
        """What others say of the same windows, each of those its bundle judged."""
        return _judge(runtimes, self.fold_of, self.judgement.table).probability


def evaluate_windows(request: EvaluationRequest) -> Outcome:
    """Se and Sp of every class: the artifact, or with ``--cross-validate`` the folds."""
    judged = _judged(request)
    points = judged.points()
    columns = ("record", "lead", "start_s", "label", "decision")
    scores = tuple(f"score_{name}" for name in RHYTHM_CLASSES)
    answers = judged.judgement.probability
    rows = [
        (*who, label, decision, *map(rounded, given))
        for who, label, decision, given in zip(
            _windows(judged.judgement.table),
            _labels(judged.judgement.table),
            _decisions(answers, points),
            answers,
            strict=True,
        )
    ]
    return Outcome(
        report=evaluate_class_windows(judged.judgement, points, judged.model),
        predictions=PredictionTable((*columns, *scores), rows),
        notes=("A label names every class that may be true; a decision, every class found.",),
    )


def evaluate_quantization(request: EvaluationRequest) -> Outcome:
    """The same windows through the INT8 graph and through the FP32 graph it came from.

    Raises
    ------
    ModelRefusedError
        The FP32 graph is not beside the INT8 one, or is not the one it came from.
    """
    judged = _judged(request)
    originals = [_fp32_runtime(folder) for folder in judged.bundle_dirs]
    fp32 = judged.again(originals)
    points = judged.points()
    report = evaluate_agreement(
        judged.judgement,
        fp32,
        points,
        specificities_at(judged.judgement, fp32, points),
        judged.model,
        shockable_points=judged.shockable_points(),
    )
    int8 = judged.judgement.probability
    columns = ("record", "lead", "start_s", "decision", "decision_fp32")
    scores = tuple(f"{what}_{name}" for what in ("score", "fp32") for name in RHYTHM_CLASSES)
    rows = [
        (*who, decision, wanted, *map(rounded, given), *map(rounded, original))
        for who, decision, wanted, given, original in zip(
            _windows(judged.judgement.table),
            _decisions(int8, points),
            _decisions(fp32, points),
            int8,
            fp32,
            strict=True,
        )
    ]
    return Outcome(
        report=report,
        predictions=PredictionTable((*columns, *scores), rows),
        notes=(
            "Sensitivities are compared at the specificity that FP32 has at the point in force.",
        ),
    )


def _judged(request: EvaluationRequest) -> _Judged:
    there = [name for name in READERS if (request.data_dir / name).is_dir()]
    if not there:
        raise ConfigurationError([f"none of {', '.join(READERS)} is in {request.data_dir}"])
    recordings = recordings_of(request.data_dir, there)
    fold_of: Mapping[str, int] | None = None
    if request.cross_validate:
        if request.fold_bundles is None:
            raise ConfigurationError(["nothing here can train the models of the folds"])
        folds = request.fold_bundles(request.data_dir, request.cache_dir)
        bundle_dirs, fold_of = folds.bundle_dirs, folds.fold_of
        recordings = [r for r in recordings if r.patient_id in folds.fold_of]
        model = f"{folds.name}, by folds"
    else:
        bundle_dirs = (request.bundle_dir or SHIPPED_BUNDLE,)
        model = ""
    table = windows_of(recordings, request.cache_dir, progress=request.progress)
    runtimes = [load_runtime(folder) for folder in bundle_dirs]
    manifests = [runtime.manifest for runtime in runtimes]
    first = manifests[0]
    return _Judged(
        model=model or f"{first.name}/{first.version} {first.sha256[:12]}",
        judgement=_judge(runtimes, fold_of, table),
        bundle_dirs=bundle_dirs,
        manifests=manifests,
        fold_of=fold_of,
    )


def _fp32_runtime(bundle_dir: Path) -> RhythmRuntime:
    bundle = read_bundle(bundle_dir)
    return OnnxRuntime(replace(bundle, graph=read_original(bundle, bundle_dir)))


def _judge(
    runtimes: Sequence[RhythmRuntime], fold_of: Mapping[str, int] | None, table: WindowTable
) -> Judgement:
    if fold_of is None:
        return judge(runtimes[0], table)
    return judge_by_folds(runtimes, fold_of, table)


def _windows(table: WindowTable) -> Iterator[tuple[Cell, ...]]:
    for row in table.rows:
        recording = int(row["recording"])
        yield (
            f"{table.datasets[recording]}/{table.records[recording]}",
            int(row["lead"]),
            rounded((int(row["end_sample"]) - WINDOW_SAMPLES) / TARGET_RATE_HZ),
        )


def _labels(table: WindowTable) -> list[str]:
    return ["+".join(np.asarray(RHYTHM_CLASSES)[row]) for row in table.admissible]


def _decisions(
    answers: NDArray[np.float32], points: Mapping[str, NDArray[np.float64]]
) -> list[str]:
    names = list(points)
    found = np.stack(
        [answers[:, RHYTHM_CLASSES.index(name)] >= points[name] for name in names], axis=1
    )
    return ["+".join(np.asarray(names)[row]) for row in found]
