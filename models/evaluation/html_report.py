"""An outcome as one HTML file with everything in it: no script, no link, no second file."""

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from models.evaluation.outcome import Confusion, Outcome
from models.evaluation.plots import reliability_svg, scores_svg, strip_svg

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #1c1f23 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #d9dde2 }
td.number { text-align: right } figure { margin: 1.2rem 0 } figcaption { color: #50565e }
svg { max-width: 100%; height: auto } .fold { word-break: break-word }
details { margin: .4rem 0 } code { background: #f0f2f5; padding: 0 .3rem }
"""


def html_report(outcome: Outcome, title: str, command: str) -> str:
    """The whole page.

    Parameters
    ----------
    outcome : Outcome
        What was found.
    title : str
        The question the protocol asks.
    command : str
        The command that made it, so that it can be made again.
    """
    report = outcome.report
    held_out = (
        "No record was judged by a model that learned from its patient."
        if report.cross_validated
        else "Judged by the shipped artifact, which may have learned from these very records: "
        "figures say how it fits, not how good it is on patients it never saw."
    )
    parts = [
        f"<h1>{escape(report.protocol)}: {escape(title)}</h1>",
        (
            f"<p>Model <code>{escape(report.model)}</code>, {report.n_records} records. "
            f"{escape(held_out)}</p>"
        ),
        f"<p>Made by <code>{escape(command)}</code></p>",
        *(f"<p>{escape(note)}</p>" for note in outcome.notes),
        "<h2>Figures</h2>",
        _metrics(report.metrics, report.confidence),
    ]
    for name, confusion in outcome.confusions.items():
        parts += [f"<h2>Counts: {escape(name)}</h2>", _confusion(confusion)]
    for name, scored in outcome.scored.items():
        svg = scores_svg(scored)
        parts += [f"<h2>Scores: {escape(name)}</h2>", f"<figure>{svg}</figure>"]
    for name, scored in outcome.reliability.items():
        svg = reliability_svg(scored)
        parts += [f"<h2>Reliability: {escape(name)}</h2>", f"<figure>{svg}</figure>"]
    if outcome.worst:
        parts.append("<h2>Worst cases</h2>")
        parts += [
            f"<figure>{strip_svg(strip)}<figcaption>{escape(strip.caption)}</figcaption></figure>"
            for strip in outcome.worst
        ]
    if report.folds:
        parts += ["<h2>Folds</h2>", _folds(report.folds)]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(report.protocol)}"
        f"</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _metrics(metrics: Mapping[str, Any], confidence: Mapping[str, Any]) -> str:
    limits = dict(_flat(confidence))
    rows = [
        f"<tr><td>{escape(name)}</td><td class=number>{escape(_text(value))}</td>"
        f"<td>{escape(_interval(limits.get(name)))}</td></tr>"
        for name, value in _flat(metrics)
    ]
    long = len(rows) > 60
    head, tail = (rows[:30], rows[30:]) if long else (rows, [])
    header = "<tr><th>figure</th><th>value</th><th>95 % interval</th></tr>"
    table = f"<table>{header}{''.join(head)}</table>"
    if tail:
        more = f"<table>{header}{''.join(tail)}</table>"
        table += f"<details><summary>{len(tail)} more</summary>{more}</details>"
    return table


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            inner: dict[str, Any] = value
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}" if abs(value) >= 100 else f"{value:.4f}"
    if isinstance(value, list):
        items: list[Any] = value
        return ", ".join(str(item) for item in items)
    return str(value)


def _interval(limits: Any) -> str:
    if not isinstance(limits, list):
        return ""
    numbers: list[float] = limits
    return " to ".join(f"{number:.4f}" for number in numbers)


def _confusion(confusion: Confusion) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in ("", *confusion.decisions))
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td class=number>{n}</td>' for n in counts)}</tr>"
        for name, counts in zip(confusion.truths, confusion.counts, strict=True)
    )
    return f"<table><tr>{header}</tr>{rows}</table>"


def _folds(folds: list[list[str]]) -> str:
    return "".join(
        f"<details><summary>fold {number}: {len(names)}</summary>"
        f"<p class=fold>{escape(', '.join(names))}</p></details>"
        for number, names in enumerate(folds)
    )
