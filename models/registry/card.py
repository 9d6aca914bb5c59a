"""The model card: what the evaluation says, in words; nothing else is claimed.

Every figure is read from a `ProtocolReport` that was written with the bundle. A figure that no
report holds does not appear, and a report that is not cross-validated is refused.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from models.evaluation.report import ProtocolReport
from wardstream.contracts.errors import RefusedError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest

CARD_FILE: Final = "MODEL_CARD.md"

_FEW_PATIENTS: Final = 10

_SOURCES: Final = {
    "vfdb": "MIT-BIH Malignant Ventricular Ectopy Database (Greenwald 1986)",
    "cudb": "Creighton University Ventricular Tachyarrhythmia Database (Nolle et al. 1986)",
    "mitdb": "MIT-BIH Arrhythmia Database (Moody and Mark 2001)",
    "cinc2015": "PhysioNet/CinC Challenge 2015 training set (Clifford et al. 2015)",
    "verdicts": "alerts that staff judged",
}


def model_card(manifest: ModelManifest, reports: Mapping[str, ProtocolReport]) -> str:
    """The card of the model of `manifest`, Markdown.

    Raises
    ------
    RefusedError
        A report's figures are of patients the model learned from.
    """
    unproven = [name for name, report in reports.items() if not report.cross_validated]
    if unproven:
        raise RefusedError(f"reports {unproven} are not cross-validated: no card without evidence")
    created = datetime.fromtimestamp(manifest.created_time_ns / 1e9, UTC)
    lines = [
        f"# {manifest.name}, version {manifest.version}",
        "",
        (f"Made {created:%Y-%m-%d}; `{manifest.artifact}`, {manifest.n_bytes} bytes, sha256 "
        f"`{manifest.sha256}`. Written by `python -m models train`; do not edit."),
        "",
        ("**Intended use.** Advises the alert engine of a bedside agent which rhythm the last 4 s of "
        "its ECG leads show. It never silences an alarm, and rules on beats alarm without it. "
        "Not a medical device; not for use on patients."),
        "",
        f"**Input.** {manifest.inputs[0].shape} at {manifest.inputs[0].sampling_rate_hz:g} Hz, "
        f"preprocessing `{manifest.preprocessing}`, a window every {manifest.hop_s:g} s. "
        + _channels(manifest)
        + "**Output.** Probabilities of " + ", ".join(manifest.classes)
        + "".join(f"; `{spec.name}` {spec.shape}" for spec in manifest.outputs[1:]) + ".",
        "",
        "## Learned from",
        "",
        *(f"* {_SOURCES.get(name, name)}; labels `{digest[:16]}`"
          for name, digest in sorted(manifest.training_data.items())),
        "",
        "The recordings are under ODC-BY 1.0 (PhysioNet); `golden.npz` holds windows of them.",
    ]  # fmt: skip
    if "windows" in reports:
        lines += _class_table(manifest, reports["windows"])
    if "shockable" in reports:
        lines += _shockable_table(reports["shockable"])
    if "quantization" in reports:
        lines += _quantization(reports["quantization"])
    return "\n".join([*lines, *_limits(manifest, reports), ""])


def _channels(manifest: ModelManifest) -> str:
    channels = manifest.inputs[0].channels
    if len(channels) < 2:
        return ""
    return (
        f"Channels {', '.join(channels)}: any leads in any order; a missing one is all zeros, which "
        "the network sees and leaves out. "
    )


def _class_table(manifest: ModelManifest, report: ProtocolReport) -> list[str]:
    lines = [
        "",
        f"## Each class against the rest ({len(report.folds)} folds by patient, INT8)",
        "",
        "Operating points are chosen on the other folds. Intervals: 90 %, bootstrap by patient.",
        "",
        "| class | point | Se | Sp | AUC | windows (patients) |",
        "|---|---|---|---|---|---|",
    ]
    for name in RHYTHM_CLASSES:
        if f"{name}.se" not in report.metrics:
            continue
        support = report.support[f"{name}.se"]
        lines.append(
            f"| {name} | {manifest.operating_points[name]:.3f} | {_figure(report, f'{name}.se')} | "
            f"{_figure(report, f'{name}.sp')} | {report.metrics.get(f'{name}.auc', float('nan')):.3f} | "
            f"{support[0]} ({support[1]}) |"
        )
    return lines


def _shockable_table(report: ProtocolReport) -> list[str]:
    lines = [
        "",
        "## Shockable or not (VF, flutter, VT above 150/min; vfdb, cudb, mitdb)",
        "",
        (
            "Share decided right of 4 s windows at 1 s steps, by the decision of the bed at their "
            "end; noise and 4 s around changes of rhythm left out."
        ),
        "",
        "| | right | windows (patients) |",
        "|---|---|---|",
    ]
    for name, label in (("se", "**all shockable (Se)**"), ("sp", "**all others (Sp)**")):
        if name in report.metrics:
            n_windows, n_patients = report.support[name]
            lines.append(f"| {label} | {_figure(report, name)} | {n_windows} ({n_patients}) |")
    for group, found in report.metrics.get("per_rhythm", {}).items():
        right, interval = 100 * found["share_right"], found.get("interval")
        shown = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
        lines.append(
            f"| {group} | {right:.1f}{shown} | {found['n_windows']} ({found['n_patients']}) |"
        )
    return lines


def _quantization(report: ProtocolReport) -> list[str]:
    metrics = report.metrics
    return [
        "",
        "## INT8 against FP32, held-out patients",
        "",
        (
            f"Decisions of the worst class agree in {100 * metrics['decision_agreement']:.2f} % of windows; "
            f"the largest loss of sensitivity at a fixed specificity is "
            f"{metrics['max_se_loss_points']:.2f} points."
        ),
    ]


def _limits(manifest: ModelManifest, reports: Mapping[str, ProtocolReport]) -> list[str]:
    lines = ["", "## Limits", ""]
    support = reports["windows"].support if "windows" in reports else {}
    few = [
        f"{name} ({support[f'{name}.se'][1]})"
        for name in RHYTHM_CLASSES
        if f"{name}.se" in support and support[f"{name}.se"][1] <= _FEW_PATIENTS
    ]
    if few:
        lines.append(f"* Few patients: {', '.join(few)}. Their figures say little of others.")
    n_verdicts = int(manifest.metrics.get("training.n_verdicts", 0))
    lines += [
        (
            "* The shipped graph learned from every patient; the figures are those of the networks of "
            "the folds, which did not."
        ),
        (
            "* vfdb marks the onset of a tachycardia, not when it turns into fibrillation: vt and vf "
            "cannot be told apart better than its marks do."
        ),
        "* Adults, ambulatory and intensive care, old recordings; no children, no 12-lead ECG.",
        f"* Verdicts of staff learned from: {n_verdicts}; no figure is computed on them.",
    ]
    return lines


def _figure(report: ProtocolReport, name: str) -> str:
    low, high = report.confidence.get(name, (None, None))
    value = f"{100 * report.metrics[name]:.1f}"
    return value if low is None else f"{value} [{100 * low:.1f}, {100 * high:.1f}]"
