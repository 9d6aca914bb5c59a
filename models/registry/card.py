"""The model card: what the evaluation says, in words; nothing else is claimed.

Every figure is read from a `ProtocolReport` that was written with the bundle. A figure that no
report holds does not appear, and a report that is not cross-validated is refused.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from models.evaluation.report import ProtocolReport
from models.registry.card_sections import SECTIONS, figure
from wardstream.contracts.errors import RefusedError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest
from wardstream.inference.bundle import read_manifest

CARD_FILE: Final = "MODEL_CARD.md"

_FEW_PATIENTS: Final = 10

_SOURCES: Final = {
    "vfdb": "MIT-BIH Malignant Ventricular Ectopy Database (Greenwald 1986)",
    "cudb": "Creighton University Ventricular Tachyarrhythmia Database (Nolle et al. 1986)",
    "mitdb": "MIT-BIH Arrhythmia Database (Moody and Mark 2001)",
    "cinc2015": "PhysioNet/CinC Challenge 2015 training set (Clifford et al. 2015)",
    "verdicts": "alerts that staff judged",
}


def write_card(bundle_dir: Path) -> str:
    """Write the card of the bundle in `bundle_dir` from what lies in it, and return it.

    Raises
    ------
    RefusedError
        A report is not of held-out patients, or shows a strip that is not there.
    ContractError
        The manifest cannot be read.
    """
    reports: dict[str, ProtocolReport] = {}
    for path in sorted(bundle_dir.glob("evaluation-*.json")):
        report = msgspec.json.decode(path.read_bytes(), type=ProtocolReport)
        reports[report.protocol] = report
        missing = [f.image for f in report.failures if not (bundle_dir / f.image).exists()]
        if missing:
            raise RefusedError(f"{path.name} shows {missing}, which the bundle does not hold")
    text = model_card(read_manifest(bundle_dir), reports)
    (bundle_dir / CARD_FILE).write_text(text)
    return text


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
        f"`{manifest.sha256}`. Written by `python -m models`; do not edit."),
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
    for name, section in SECTIONS.items():
        if name in reports:
            lines += ["", *section(reports[name])]
    lines += _failures(reports)
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
            f"| {name} | {manifest.operating_points[name]:.3f} | {figure(report, f'{name}.se')} | "
            f"{figure(report, f'{name}.sp')} | {report.metrics.get(f'{name}.auc', float('nan')):.3f} | "
            f"{support[0]} ({support[1]}) |"
        )
    return lines


def _failures(reports: Mapping[str, ProtocolReport]) -> list[str]:
    lines: list[str] = []
    for name, report in reports.items():
        for failure in report.failures:
            lines += ["", f"**{name}.** {failure.caption}", "", f"![{name}]({failure.image})"]
    return ["", "## Known failures", "", "The worst cases of the folds.", *lines] if lines else []


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
