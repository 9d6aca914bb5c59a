"""What the card says of each protocol: figures of its report, and what they rest on."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from models.evaluation.report import ProtocolReport


def figure(report: ProtocolReport, name: str) -> str:
    """A share of `report` in percent, with its interval where there is one."""
    return _percent(report.metrics[name], report.confidence.get(name))


def _percent(value: float, limits: Any = None) -> str:
    return f"{100 * value:.1f}" + _interval(limits, 100.0, 1)


def _number(value: float, limits: Any = None) -> str:
    return f"{value:.2f}" + _interval(limits, 1.0, 2)


def _interval(limits: Any, scale: float, digits: int) -> str:
    if not isinstance(limits, list):
        return ""
    ends: list[float] = limits
    return f" [{scale * ends[0]:.{digits}f}, {scale * ends[1]:.{digits}f}]"


def _shockable(report: ProtocolReport) -> list[str]:
    lines = [
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
            lines.append(f"| {label} | {figure(report, name)} | {n_windows} ({n_patients}) |")
    if "alarm.se" in report.metrics:
        for name, label in (("se", "Se"), ("sp", "Sp")):
            right = _percent(report.metrics[f"alarm.{name}"])
            lines.append(f"| {label} of six of eight hops, on which an alarm rests | {right} | |")
    for group, found in report.metrics.get("per_rhythm", {}).items():
        right = _percent(found["share_right"], found.get("interval"))
        lines.append(f"| {group} | {right} | {found['n_windows']} ({found['n_patients']}) |")
    return lines


def _quantization(report: ProtocolReport) -> list[str]:
    metrics = report.metrics
    return [
        "## INT8 against FP32, held-out patients",
        "",
        (
            "Decisions of the worst class agree in "
            f"{100 * metrics['decision_agreement']:.2f} % of windows; the largest loss of "
            f"sensitivity at a fixed specificity is {metrics['max_se_loss_points']:.2f} points."
        ),
    ]


def _alarms(report: ProtocolReport) -> list[str]:
    lines = [
        "## Is a monitor's alarm true? (cinc2015, real time, with the verifier)",
        "",
        (
            f"{report.n_records} alarms by blocks of record numbers; a missed true alarm weighs "
            "five. Not comparable with the hidden test of that challenge."
        ),
        "",
        "| | score | true kept (TPR) | false told (TNR) | TP / FN / FP / TN |",
        "|---|---|---|---|---|",
    ]
    rows: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "**all**": (report.metrics, report.confidence)
    }
    limits: Mapping[str, Any] = report.confidence.get("per_type", {})
    for name, found in report.metrics.get("per_type", {}).items():
        rows[name] = (found, limits.get(name, {}))
    for name, (found, ends) in rows.items():
        cells = [
            _percent(found[what], ends.get(what)) if what in found else ""
            for what in ("score", "tpr", "tnr")
        ]
        counts = " / ".join(str(found[what]) for what in ("tp", "fn", "fp", "tn"))
        lines.append(f"| {name} | {' | '.join(cells)} | {counts} |")
    return lines


def _episodes(report: ProtocolReport) -> list[str]:
    metrics, limits = report.metrics, report.confidence
    lines = [
        "## Episodes called within 10 s by the whole agent (vfdb, cudb)",
        "",
        "| | within 10 s | median delay, s |",
        "|---|---|---|",
        (
            f"| **all ({metrics['n_episodes']})** | {figure(report, 'sensitivity')} | "
            f"{metrics['delay_p50_s']:.1f} |"
        ),
    ]
    for name, found in metrics.get("per_kind", {}).items():
        delay = f"{found['delay_p50_s']:.1f}" if "delay_p50_s" in found else ""
        called = _percent(found["sensitivity"], found.get("wilson_95"))
        lines.append(f"| {name} ({found['n']}) | {called} | {delay} |")
    false = _number(metrics["false_alarms_per_hour"], limits.get("false_alarms_per_hour"))
    return [*lines, "", f"High-priority alarms outside any episode: {false} an hour."]


def _quiet(report: ProtocolReport) -> list[str]:
    lines = [
        "## False high-priority alarms of the whole agent",
        "",
        (
            "On mitdb what the marked beats justify is true; elsewhere nobody marked beats and "
            "every alarm counts as false."
        ),
        "",
        "| | hours | false | an hour |",
        "|---|---|---|---|",
    ]
    for name in ("mitdb", "bidmc", "cinc2015"):
        if name in report.metrics:
            found = report.metrics[name]
            limits = report.confidence.get(name, {}).get("false_per_hour")
            rate = _number(found["false_per_hour"], limits)
            lines.append(f"| {name} | {found['hours']:.1f} | {found['n_false']} | {rate} |")
    return lines


def _fibrillation(report: ProtocolReport) -> list[str]:
    return [
        "## Atrial fibrillation from intervals, 30 s (mitdb, detected beats)",
        "",
        f"Se {figure(report, 'se')}, Sp {figure(report, 'sp')}. No part of the network; by folds.",
    ]


SECTIONS: Final[Mapping[str, Callable[[ProtocolReport], list[str]]]] = {
    "shockable": _shockable,
    "quantization": _quantization,
    "cinc2015": _alarms,
    "episodes": _episodes,
    "quiet": _quiet,
    "af": _fibrillation,
}
"""Lines of the card for each protocol it knows to tell of."""
