"""Networks of the folds and of everybody: trained where no checkpoint holds them yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.datasets.cache import windows_of
from models.datasets.catalogue import recordings_of
from models.datasets.folds import patient_folds
from models.datasets.windows import WindowTable
from models.evaluation.harness import EvaluationRequest, FoldBundles, FoldTrainer
from models.evaluation.judgement import Judgement, judge_by_folds
from models.evaluation.operating_points import points_without
from models.evaluation.outcome import Outcome
from models.evaluation.shockable_judging import judged_records, points_of_folds
from models.evaluation.shockable_protocol import outcome_of
from models.evaluation.shockable_rule import rule_of, rules_of_folds
from models.registry.bundle import (
    BundleParts,
    golden_windows,
    runtime_of_graph,
    write_bundle,
    write_manifest,
)
from models.training.config import TrainingConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest, ShockableRule
from wardstream.inference.bundle import read_manifest
from wardstream.inference.port import ModelRefusedError, RhythmRuntime

if TYPE_CHECKING:
    from models.quantization.choice import QuantizedGraph
    from models.training.fit import FitTask


class BuildProgress(Protocol):
    """Where a run says how far it is."""

    def step(self, stage: str, done: int, total: int, detail: str) -> None:
        """`done` of `total` of `stage` are finished."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What to train, from what, and where its state is kept.

    Attributes
    ----------
    config : TrainingConfig
        What to train.
    data_dir, cache_dir : Path
        Recordings, and where windows and checkpoints are kept.
    progress : BuildProgress
        Told as the run goes on.
    """

    config: TrainingConfig
    data_dir: Path
    cache_dir: Path
    progress: BuildProgress

    @property
    def folder(self) -> Path:
        """Checkpoints of this configuration: a run that was interrupted goes on from them."""
        return self.cache_dir / "runs" / self.config.digest[:16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedFolds:
    """What the cross-validation leaves behind.

    Attributes
    ----------
    int8 : Judgement
        Answers of the quantized graphs, each on the patients it never saw.
    fp32 : ndarray of float32, shape (n_windows, n_classes)
        Answers of the networks they came from.
    graphs : tuple of QuantizedGraph
        Of each fold, with the FP32 graph it came from.
    fold_of : mapping of patient to int
        Fold that did not learn from the patient.
    best_epochs : tuple of int
        Epoch at which each was taken.
    """

    int8: Judgement
    fp32: NDArray[np.float32]
    graphs: tuple[QuantizedGraph, ...]
    fold_of: Mapping[str, int]
    best_epochs: tuple[int, ...]


def train_folds(table: WindowTable, run: TrainingRun) -> TrainedFolds:
    """Train and quantize a network for each fold, and judge the patients it never saw.

    Where the configuration has patience, the next fold is kept out of training and says when to
    stop.
    """
    # torch and the ONNX tools are needed here and nowhere on the way to a signature.
    from models.training.fit import fit, logits_of

    config = run.config
    fold_of = patient_folds(table.class_counts(), config.n_folds, config.seed)
    fp32 = np.zeros((len(table), len(RHYTHM_CLASSES)), dtype=np.float32)
    graphs: list[QuantizedGraph] = []
    best_epochs: list[int] = []
    of_window = _fold_of_window(table, config)
    for fold, task in enumerate(_fold_tasks(table, run)):
        stage = f"fold {fold + 1} of {config.n_folds}"
        result = fit(task, config, _augmenter(run), _teller(run.progress, stage))
        held_out = np.flatnonzero(of_window == fold)
        fp32[held_out] = logits_of(result.network, table, held_out).softmax(dim=1).numpy()
        graphs.append(_quantized(result.network, table, task.train, config))
        best_epochs.append(result.best_epoch)
    runtimes: list[RhythmRuntime] = [runtime_of_graph(graph.int8) for graph in graphs]
    int8 = judge_by_folds(runtimes, fold_of, table)
    # Kept beside the checkpoints: whose windows were judged how, for who looks into errors.
    np.savez_compressed(
        run.folder / "out-of-fold.npz", int8=int8.probability, fp32=fp32, fold=int8.fold
    )
    return TrainedFolds(
        int8=int8,
        fp32=fp32,
        graphs=tuple(graphs),
        fold_of=fold_of,
        best_epochs=tuple(best_epochs),
    )


def _fold_of_window(table: WindowTable, config: TrainingConfig) -> NDArray[np.intp]:
    fold_of = patient_folds(table.class_counts(), config.n_folds, config.seed)
    by_recording = np.array([fold_of[patient] for patient in table.patients])
    return np.asarray(by_recording[table.rows["recording"]])


def _fold_tasks(table: WindowTable, run: TrainingRun) -> Iterator[FitTask]:
    from models.training.fit import FitTask

    config, of_window = run.config, _fold_of_window(table, run.config)
    for fold in range(config.n_folds):
        watched = _watched(fold, config)
        yield FitTask(
            table=table,
            train=np.flatnonzero((of_window != fold) & (of_window != watched)),
            validation=np.flatnonzero(of_window == watched),
            n_epochs=config.fit.n_epochs,
            seed=config.seed + fold,
            checkpoint=run.folder / f"fold-{fold}.pt",
        )


def _task_of_all(table: WindowTable, n_epochs: int, run: TrainingRun) -> FitTask:
    from models.training.fit import FitTask

    return FitTask(
        table=table,
        train=np.arange(len(table)),
        validation=np.zeros(0, dtype=np.intp),
        n_epochs=n_epochs,
        seed=run.config.seed + run.config.n_folds,
        checkpoint=run.folder / "final.pt",
    )


def share_in_fits(table: WindowTable, everything: WindowTable, run: TrainingRun) -> None:
    """Every fit of a build, for a process that gives its GPU to them and does nothing else.

    Parameters
    ----------
    table, everything : WindowTable
        What the folds, and what the final network, learn from.
    run : TrainingRun
        The same as that of the first process.
    """
    from models.training.fit import fit

    epochs = [fit(task, run.config, _augmenter(run)).best_epoch for task in _fold_tasks(table, run)]
    fit(_task_of_all(everything, final_epochs(epochs), run), run.config, _augmenter(run))


def final_epochs(best_epochs: Sequence[int]) -> int:
    """How long the final network learns: as long as those of the folds did."""
    return max(round(float(np.median(best_epochs))), 1)


def _watched(fold: int, config: TrainingConfig) -> int:
    # With two folds nothing is left to watch.
    if config.fit.patience_epochs == 0 or config.n_folds == 2:
        return -1
    return (fold + 1) % config.n_folds


def train_on_all(table: WindowTable, n_epochs: int, run: TrainingRun) -> QuantizedGraph:
    """The quantized graph of a network that learned from every patient of `table`."""
    from models.training.fit import fit

    task = _task_of_all(table, n_epochs, run)
    result = fit(task, run.config, _augmenter(run), _teller(run.progress, "final model"))
    return _quantized(result.network, table, task.train, run.config)


def fold_trainer(config: TrainingConfig, progress: BuildProgress) -> FoldTrainer:
    """What gives a protocol a whole bundle for each fold of `config`.

    The operating points in the bundle of a fold are chosen on the other folds.
    """

    def train(data_dir: Path, cache_dir: Path) -> FoldBundles:
        run = TrainingRun(config=config, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
        table = cut(run)
        folds = train_folds(table, run)
        return _bundles_there(folds, run) or write_fold_bundles(folds, table, run)[0]

    return train


def write_fold_bundles(
    folds: TrainedFolds, table: WindowTable, run: TrainingRun
) -> tuple[FoldBundles, Outcome, ShockableRule | None]:
    """A bundle for each fold beside its checkpoint, and what they score under ``shockable``.

    With it the rule of all folds together, for a network of all patients. The point of that decision is chosen on whole records judged as at the bed, so the
    bundles are written without it first.
    """
    config = run.config
    golden = golden_windows(table, config.seed, config.network.n_leads)
    manifests: list[ModelManifest] = []
    bundles = _bundles_of(folds, run)
    for fold, (graph, folder) in enumerate(zip(folds.graphs, bundles.bundle_dirs, strict=True)):
        parts = BundleParts(
            name=config.name,
            version=1,
            graph=graph.int8,
            original=graph.fp32,
            golden_inputs=golden,
            operating_points=points_without(folds.int8, config.operating_points, fold),
            created_time_ns=0,
            training_data=dict(table.digests),
        )
        manifests.append(write_bundle(parts, folder))
    request = EvaluationRequest(
        data_dir=run.data_dir,
        cross_validate=True,
        cache_dir=run.cache_dir,
        progress=lambda done, total, what: run.progress.step("shockable", done, total, what),
        fold_bundles=lambda data_dir, cache_dir: bundles,
    )
    judged, models = judged_records(request)
    points = points_of_folds(judged, models.fold_of)
    rules = rules_of_folds(judged, models.fold_of)
    for fold, (manifest, folder) in enumerate(zip(manifests, bundles.bundle_dirs, strict=True)):
        decided = replace(
            manifest, shockable_operating_point=points.get(fold), shockable_rule=rules.get(fold)
        )
        write_manifest(decided, folder)
    return bundles, outcome_of(request, judged, models), rule_of(judged)


def _bundles_of(folds: TrainedFolds, run: TrainingRun) -> FoldBundles:
    folders = tuple(run.folder / f"fold-{fold}" for fold in range(len(folds.graphs)))
    return FoldBundles(name=run.config.name, fold_of=folds.fold_of, bundle_dirs=folders)


def _bundles_there(folds: TrainedFolds, run: TrainingRun) -> FoldBundles | None:
    # Judging every record anew takes minutes: bundles of the same graphs are taken as they are.
    bundles = _bundles_of(folds, run)
    for graph, folder in zip(folds.graphs, bundles.bundle_dirs, strict=True):
        try:
            manifest = read_manifest(folder)
        except ModelRefusedError:
            return None
        is_same = manifest.sha256 == sha256(graph.int8).hexdigest()
        if not is_same or manifest.shockable_operating_point is None:
            return None
    return bundles


def cut(run: TrainingRun) -> WindowTable:
    """Windows of the recordings of `run`.

    Raises
    ------
    ConfigurationError
        The recordings are not where they should be.
    """
    return windows_of(
        recordings_of(run.data_dir, run.config.datasets),
        run.cache_dir,
        progress=lambda done, total, what: run.progress.step("windows", done, total, what),
    )


def _quantized(
    network: Any, table: WindowTable, candidates: NDArray[np.intp], config: TrainingConfig
) -> QuantizedGraph:
    from models.quantization.choice import quantize_within_gate
    from models.quantization.export import to_onnx

    return quantize_within_gate(
        to_onnx(network),
        table,
        candidates,
        config.quantization,
        config.operating_points,
        config.seed,
    )


def _augmenter(run: TrainingRun) -> Any:
    from models.training.augmentation import Augmenter, load_noise_bank

    return Augmenter(run.config.augmentation, load_noise_bank(run.data_dir))


def _teller(progress: BuildProgress, stage: str) -> Callable[[int, int, float, float], None]:
    def tell(epoch: int, n_epochs: int, loss: float, validation: float) -> None:
        seen = "" if np.isnan(validation) else f", AUC {1 - validation:.4f}"
        progress.step(stage, epoch, n_epochs, f"loss {loss:.3f}{seen}")

    return tell
