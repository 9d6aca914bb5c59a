"""From recordings to a bundle: cross-validate, choose operating points, train on all, quantize.

Everything that is claimed comes from the folds: INT8 graphs, on patients they never saw, at
operating points chosen without them. The shipped graph learns from everybody, with the points
of the folds, and claims no figure of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.datasets.cache import windows_of
from models.datasets.catalogue import recordings_of
from models.datasets.folds import patient_folds
from models.datasets.recording import Recording
from models.datasets.windows import WindowTable, describe
from models.evaluation.agreement import evaluate_agreement
from models.evaluation.class_windows import evaluate_class_windows
from models.evaluation.judgement import Judgement, judge_by_folds
from models.evaluation.operating_points import choose_points, points_for_windows
from models.evaluation.report import ProtocolReport
from models.evaluation.shockable import evaluate_shockable
from models.registry.bundle import BundleParts, runtime_of_graph, write_bundle
from models.registry.card import CARD_FILE, model_card
from models.training.config import TrainingConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest
from wardstream.inference.port import RhythmRuntime

N_GOLDEN = 32


class BuildProgress(Protocol):
    """Where a build says how far it is."""

    def step(self, stage: str, done: int, total: int, detail: str) -> None:
        """`done` of `total` of `stage` are finished."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One run of the factory.

    Attributes
    ----------
    config : TrainingConfig
        What to train.
    data_dir, cache_dir : Path
        Recordings, and where windows and checkpoints are kept.
    bundle_dir : Path
        Where the bundle goes.
    version : int
        Of the new model.
    created_time_ns : int
        Now.
    verdicts : sequence of Recording
        Windows that staff judged; they are learned from, and no figure is computed on them.
    """

    config: TrainingConfig
    data_dir: Path
    cache_dir: Path
    bundle_dir: Path
    version: int
    created_time_ns: int
    verdicts: Sequence[Recording] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedFolds:
    """What the cross-validation leaves behind."""

    int8: Judgement
    fp32: NDArray[np.float32]
    best_epochs: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel:
    """A written bundle and the reports its figures come from."""

    manifest: ModelManifest
    reports: dict[str, ProtocolReport]


def build(request: BuildRequest, progress: BuildProgress) -> BuiltModel:
    """Train, evaluate and write the bundle of `request`.

    Raises
    ------
    ConfigurationError
        The recordings are not where they should be.
    """
    config = request.config
    base = recordings_of(request.data_dir, config.datasets)
    table = _cut(base, request, progress, "windows")
    folds = _cross_validate(table, request, progress)
    points = choose_points(folds.int8, config.operating_points)
    reports = _reports(folds, config, f"{config.name}/{request.version}")
    everything = _cut([*base, *request.verdicts], request, progress, "windows and verdicts")
    n_epochs = max(round(float(np.median(folds.best_epochs))), 1)
    graph = _train_final(everything, n_epochs, request, progress)
    manifest = write_bundle(
        BundleParts(
            name=config.name,
            version=request.version,
            graph=graph,
            golden_inputs=golden_windows(everything, config.seed),
            operating_points=points,
            created_time_ns=request.created_time_ns,
            training_data=dict(everything.digests),
            metrics=_metrics(reports, everything, request),
        ),
        request.bundle_dir,
    )
    for name, report in reports.items():
        (request.bundle_dir / f"evaluation-{name}.json").write_bytes(report.to_json() + b"\n")
    (request.bundle_dir / CARD_FILE).write_text(model_card(manifest, reports))
    return BuiltModel(manifest=manifest, reports=reports)


def golden_windows(table: WindowTable, seed: int) -> NDArray[np.float32]:
    """`N_GOLDEN` windows of all classes and as many patients as can be, as the model sees them."""
    generator = np.random.default_rng(seed)
    certain, patients = table.certain_class, table.patient_of
    chosen: list[int] = []
    for turn in range(N_GOLDEN):
        members = np.flatnonzero(certain == turn % len(RHYTHM_CLASSES))
        members = members[~np.isin(members, chosen)]
        fresh = members[~np.isin(patients[members], patients[np.array(chosen, dtype=np.intp)])]
        pool = fresh if len(fresh) else members
        if len(pool):
            chosen.append(int(generator.choice(pool)))
    return table.normalised(np.array(chosen, dtype=np.intp))


def _cut(
    recordings: Sequence[Recording], request: BuildRequest, progress: BuildProgress, stage: str
) -> WindowTable:
    def tell(done: int, total: int, what: str) -> None:
        progress.step(stage, done, total, what)

    return windows_of(recordings, request.cache_dir, progress=tell)


def _cross_validate(
    table: WindowTable, request: BuildRequest, progress: BuildProgress
) -> TrainedFolds:
    # torch and the ONNX tools are needed here and nowhere on the way to a signature.
    from models.training.fit import FitTask, fit, logits_of

    config = request.config
    fold_of = patient_folds(table.class_counts(), config.n_folds, config.seed)
    of_window = np.array([fold_of[patient] for patient in table.patients])[table.rows["recording"]]
    fp32 = np.zeros((len(table), len(RHYTHM_CLASSES)), dtype=np.float32)
    runtimes: list[RhythmRuntime] = []
    best_epochs: list[int] = []
    for fold in range(config.n_folds):
        watched = (fold + 1) % config.n_folds
        learning = of_window != fold
        if config.n_folds > 2:
            learning &= of_window != watched
        task = FitTask(
            table=table,
            train=np.flatnonzero(learning),
            validation=np.flatnonzero(of_window == watched)
            if config.n_folds > 2
            else np.zeros(0, np.intp),
            n_epochs=config.fit.n_epochs,
            seed=config.seed + fold,
            checkpoint=_run_dir(request) / f"fold-{fold}.pt",
        )
        stage = f"fold {fold + 1} of {config.n_folds}"
        result = fit(task, config, _augmenter(request), _teller(progress, stage))
        held_out = np.flatnonzero(of_window == fold)
        fp32[held_out] = logits_of(result.network, table, held_out).softmax(dim=1).numpy()
        graph = _quantized(result.network, table, task.train, config)
        runtimes.append(runtime_of_graph(graph))
        best_epochs.append(result.best_epoch)
    int8 = judge_by_folds(runtimes, fold_of, table)
    # Kept beside the checkpoints: whose windows were judged how, for who looks into errors.
    np.savez_compressed(
        _run_dir(request) / "out-of-fold.npz", int8=int8.probability, fp32=fp32, fold=int8.fold
    )
    return TrainedFolds(int8=int8, fp32=fp32, best_epochs=best_epochs)


def _train_final(
    table: WindowTable, n_epochs: int, request: BuildRequest, progress: BuildProgress
) -> bytes:
    from models.training.fit import FitTask, fit

    everyone = np.arange(len(table))
    task = FitTask(
        table=table,
        train=everyone,
        validation=np.zeros(0, dtype=np.intp),
        n_epochs=n_epochs,
        seed=request.config.seed + 1000,
        checkpoint=_run_dir(request) / "final.pt",
    )
    result = fit(task, request.config, _augmenter(request), _teller(progress, "final model"))
    return _quantized(result.network, table, everyone, request.config)


def _quantized(
    network: Any, table: WindowTable, candidates: NDArray[np.intp], config: TrainingConfig
) -> bytes:
    from models.quantization.export import to_onnx
    from models.quantization.static_int8 import calibration_indices, quantize

    chosen = calibration_indices(table, candidates, config.quantization, config.seed)
    return quantize(to_onnx(network), table.normalised(chosen))


def _augmenter(request: BuildRequest) -> Any:
    from models.training.augmentation import Augmenter, load_noise_bank

    return Augmenter(request.config.augmentation, load_noise_bank(request.data_dir))


def _teller(progress: BuildProgress, stage: str) -> Callable[[int, int, float, float], None]:
    def tell(epoch: int, n_epochs: int, loss: float, validation: float) -> None:
        seen = "" if np.isnan(validation) else f", AUC {1 - validation:.4f}"
        progress.step(stage, epoch, n_epochs, f"loss {loss:.3f}{seen}")

    return tell


def _run_dir(request: BuildRequest) -> Path:
    return request.cache_dir / "runs" / request.config.digest[:16]


def _reports(folds: TrainedFolds, config: TrainingConfig, model: str) -> dict[str, ProtocolReport]:
    points = points_for_windows(folds.int8, config.operating_points)
    return {
        "windows": evaluate_class_windows(folds.int8, points, model),
        "shockable": evaluate_shockable(folds.int8, model),
        "quantization": evaluate_agreement(
            folds.int8, folds.fp32, points, config.operating_points, model
        ),
    }


def _metrics(
    reports: dict[str, ProtocolReport], table: WindowTable, request: BuildRequest
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for protocol, report in reports.items():
        for name, value in report.metrics.items():
            metrics[f"{protocol}.{name}"] = float(value)
        for name, (low, high) in report.confidence.items():
            metrics[f"{protocol}.{name}.low"] = float(low)
            metrics[f"{protocol}.{name}.high"] = float(high)
    for name, counts in describe(table).items():
        for what, count in counts.items():
            metrics[f"training.{name}.{what}"] = float(count)
    metrics["training.n_verdicts"] = float(len(request.verdicts))
    return metrics
