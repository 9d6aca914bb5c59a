"""From recordings to a bundle: cross-validate, choose operating points, train on all, quantize.

Everything that is claimed comes from the folds: INT8 graphs, on patients they never saw, at
operating points chosen without them. The shipped graph learns from everybody, with the points
of the folds, and claims no figure of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.cross_validation import (
    TrainedFolds,
    TrainingRun,
    cut,
    final_epochs,
    share_in_fits,
    train_folds,
    train_on_all,
    write_fold_bundles,
)
from models.datasets.cache import windows_of
from models.datasets.catalogue import recordings_of
from models.datasets.recording import Recording
from models.datasets.windows import WindowTable, describe
from models.evaluation.agreement import evaluate_agreement
from models.evaluation.class_windows import evaluate_class_windows
from models.evaluation.operating_points import choose_points, points_for_windows
from models.evaluation.report import ProtocolReport, flat
from models.registry.bundle import BundleParts, golden_windows, write_bundle
from models.registry.card import CARD_FILE, model_card
from models.training.config import TrainingConfig
from wardstream.contracts.model_manifest import ModelManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A bundle to make.

    Attributes
    ----------
    run : TrainingRun
        What to train, from what.
    bundle_dir : Path
        Where the bundle goes.
    version : int
        Of the new model.
    created_time_ns : int
        Now.
    verdicts : sequence of Recording
        Windows that staff judged; they are learned from, and no figure is computed on them.
    """

    run: TrainingRun
    bundle_dir: Path
    version: int
    created_time_ns: int
    verdicts: Sequence[Recording] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel:
    """A written bundle and the reports its figures come from."""

    manifest: ModelManifest
    reports: dict[str, ProtocolReport]


def build(request: BuildRequest) -> BuiltModel:
    """Train, evaluate and write the bundle of `request`.

    Raises
    ------
    ConfigurationError
        The recordings are not where they should be.
    """
    run, config = request.run, request.run.config
    table = cut(run)
    folds = train_folds(table, run)
    _, shockable, rule = write_fold_bundles(folds, table, run)
    reports = _reports(folds, shockable.report, config, f"{config.name}/{request.version}")
    everything = _everything(request)
    final = train_on_all(everything, final_epochs(folds.best_epochs), run)
    manifest = write_bundle(
        BundleParts(
            name=config.name,
            version=request.version,
            graph=final.int8,
            original=final.fp32,
            golden_inputs=golden_windows(everything, config.seed, config.network.n_leads),
            operating_points=choose_points(folds.int8, config.operating_points),
            created_time_ns=request.created_time_ns,
            training_data=dict(everything.digests),
            metrics=_metrics(reports, everything, len(request.verdicts)),
            shockable_operating_point=reports["shockable"].metrics["point"],
            shockable_rule=rule,
        ),
        request.bundle_dir,
    )
    for name, report in reports.items():
        (request.bundle_dir / f"evaluation-{name}.json").write_bytes(report.to_json() + b"\n")
    (request.bundle_dir / CARD_FILE).write_text(model_card(manifest, reports))
    return BuiltModel(manifest=manifest, reports=reports)


def share_in_build(request: BuildRequest) -> None:
    """The fits of `build`, for the processes that ``torchrun`` started besides the first."""
    share_in_fits(cut(request.run), _everything(request), request.run)


def _everything(request: BuildRequest) -> WindowTable:
    recordings = recordings_of(request.run.data_dir, request.run.config.datasets)
    return windows_of([*recordings, *request.verdicts], request.run.cache_dir)


def _reports(
    folds: TrainedFolds, shockable: ProtocolReport, config: TrainingConfig, model: str
) -> dict[str, ProtocolReport]:
    points = points_for_windows(folds.int8, config.operating_points)
    return {
        "windows": evaluate_class_windows(folds.int8, points, model),
        "shockable": replace(shockable, model=model),
        "quantization": evaluate_agreement(
            folds.int8,
            folds.fp32,
            points,
            config.operating_points,
            model,
            choices=[graph.to_report() for graph in folds.graphs],
        ),
    }


def _metrics(
    reports: dict[str, ProtocolReport], table: WindowTable, n_verdicts: int
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for protocol, report in reports.items():
        for name, value in flat(report.metrics).items():
            metrics[f"{protocol}.{name}"] = value
        for name, (low, high) in report.confidence.items():
            metrics[f"{protocol}.{name}.low"] = float(low)
            metrics[f"{protocol}.{name}.high"] = float(high)
    for name, counts in describe(table).items():
        for what, count in counts.items():
            metrics[f"training.{name}.{what}"] = float(count)
    metrics["training.n_verdicts"] = float(n_verdicts)
    return metrics
