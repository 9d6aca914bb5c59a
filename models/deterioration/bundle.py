"""The bundle that ships: learned from every stay, with the evidence by folds beside it."""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.deterioration.protocol import (
    SEED,
    SHIPPED,
    evaluate_deterioration,
    read_question,
    training_digest,
)
from models.deterioration.training import fit_model
from models.evaluation.harness import EvaluationRequest
from models.evaluation.report import ProtocolReport
from wardstream.inference.deterioration.model import (
    ARTIFACT_FILE,
    MANIFEST_FILE,
    DeteriorationManifest,
    read_manifest,
    save_model,
)

CARD_FILE: Final = "MODEL_CARD.md"
EVIDENCE_FILE: Final = "evaluation-deterioration.json"
_HEADLINES: Final = (
    "auroc", "auprc", "brier", "calibration_error", "calibration_slope", "se", "ppv", "min_se_ppv",
)  # fmt: skip


def make_bundle(request: EvaluationRequest, folder: Path = SHIPPED) -> DeteriorationManifest:
    """Judge by folds, learn from all, and write artifact, manifest, evidence and card.

    Parameters
    ----------
    request : EvaluationRequest
        With ``cross_validate``: what a bundle claims is by folds.
    folder : Path
        Where; a bundle that is there gives way to the next version.
    """
    outcome = evaluate_deterioration(request)
    report = outcome.report
    question = read_question(request.folder("challenge2012"))
    rows, died = question.only(np.isfinite(question.stays.died))
    model = fit_model(
        rows, died, seed=SEED + 99, said=lambda text: request.progress(0, 1, f"final: {text}")
    )
    there = (folder / MANIFEST_FILE).exists()
    manifest = save_model(
        model,
        folder,
        {
            "name": "deterioration",
            "version": read_manifest(folder).version + 1 if there else 1,
            "created_time_ns": time.time_ns(),
            "training_data": {"challenge2012": training_digest(question)},
            "metrics": {name: report.metrics[name] for name in _HEADLINES},
        },
    )
    (folder / EVIDENCE_FILE).write_bytes(report.to_json() + b"\n")
    (folder / CARD_FILE).write_text(card(manifest, report, (folder / ARTIFACT_FILE).stat().st_size))
    return manifest


def card(manifest: DeteriorationManifest, report: ProtocolReport, n_bytes: int) -> str:
    """What it is, how good it is by folds, and what it must not be used for, as Markdown."""
    metrics, limits = report.metrics, report.confidence
    by_hour: dict[str, dict[str, float]] = metrics["by_hour"]
    hour_limits: dict[str, dict[str, list[float]]] = limits["by_hour"]
    bedside: dict[str, dict[str, list[float]]] = metrics["bedside_auroc"]
    without: dict[str, dict[str, Any]] = metrics["without"]
    last = max(by_hour, key=float)
    lines = [
        f"# Deterioration score, version {manifest.version}",
        "",
        (
            "Calibrated boosted trees over what a monitor, a chart and a laboratory said in the "
            "last two days: the probability that a stay in intensive care ends in death in this "
            f"hospital. {n_bytes / 1e3:.0f} kB, asked without the library that grew it; every "
            "answer is the sum of what each quantity adds."
        ),
        "",
        (
            f"Learned from {report.n_records} stays of the PhysioNet/CinC Challenge 2012, one a "
            "patient. All figures are by five folds of stays: no stay was judged by a model that "
            "learned from it. Intervals are 95 %, bootstrap of stays."
        ),
        "",
        "| hour of the stay | AUROC | AUPRC | Brier | calibration slope | min(Se, +P) |",
        "|---|---|---|---|---|---|",
    ]
    for hour, found in by_hour.items():
        low, high = hour_limits[hour]["auroc"]
        lines.append(
            f"| {hour} | {found['auroc']:.3f} [{low:.3f}, {high:.3f}] | {found['auprc']:.3f} | "
            f"{found['brier']:.4f} | {found['calibration_slope']:.2f} | {found['min_se_ppv']:.3f} |"
        )
    lines += ["", f"On the same stays at {last} h:", "", "| score | AUROC |", "|---|---|"]
    lines += [
        f"| {name} | {_with_limits(table[last])} |"
        for name, table in bedside.items()
        if last in table
    ]
    lines += [
        "",
        "Without whole modalities (at 48 h; an answer or an explicit abstention):",
        "",
        "| missing | AUROC | Brier | abstained |",
        "|---|---|---|---|",
    ]
    for gone, found in without.items():
        figure = _with_limits(found["auroc"]) if "auroc" in found else "abstains"
        brier = f"{found['brier']:.4f}" if "brier" in found else ""
        lines.append(
            f"| {gone} | {figure} | {brier} | {found['n_abstained']} of {report.n_records} |"
        )
    lines += [
        "",
        "## Limits",
        "",
        (
            "One hospital, 2001 to 2008, adults, first 48 hours: practice and patients elsewhere "
            "differ, so it is to be recalibrated on a site's own stays before anyone relies on it. "
            "It says who is in danger, not when something will happen, and no alarm waits for it "
            "or is lowered by it. Contributions are path contributions: they say what moved this "
            "answer, not what would help the patient. Bedside scores are handicapped here: "
            "respiration was charted in a quarter of the stays only."
        ),
        "",
        f"Artifact sha256 `{manifest.sha256}`.",
        "",
    ]
    return "\n".join(lines)


def _with_limits(triple: list[float]) -> str:
    value, low, high = triple
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
