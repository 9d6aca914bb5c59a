"""The command ``models evaluate``: one protocol, its figures, its decisions, its report."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from models.evaluation.harness import (
    PROTOCOLS,
    EvaluationRequest,
    FoldTrainer,
    load_protocol,
)
from models.evaluation.outcome import Outcome
from models.settings import SHIPPED_BUNDLE, load_settings
from wardstream.contracts.errors import ConfigurationError

FoldTrainerOf = Callable[[], FoldTrainer]
"""Makes what trains the models of the folds; called when folds are asked for."""


def evaluate_command(fold_trainer: FoldTrainerOf) -> Callable[..., None]:
    """The command, given how folds are trained: this package knows no training."""

    def evaluate(
        protocol: Annotated[str, typer.Argument(help=f"One of: {', '.join(PROTOCOLS)}.")],
        data: Annotated[
            Path | None,
            typer.Option(
                help="Recordings, laid out like ../shared/data (default: WARDSTREAM_DATA)."
            ),
        ] = None,
        model: Annotated[
            Path | None, typer.Option(help="Model bundle; the shipped one by default.")
        ] = None,
        predictions: Annotated[
            Path | None, typer.Option(help="Write what was decided to this CSV file.")
        ] = None,
        report: Annotated[
            Path | None, typer.Option(help="Write a self-contained HTML report to this file.")
        ] = None,
        peers: Annotated[
            bool, typer.Option("--peers", help="Run open detectors in the same run (qrs).")
        ] = False,
        cross_validate: Annotated[
            bool,
            typer.Option(
                "--cross-validate", help="Train and score by folds, not the shipped artifact."
            ),
        ] = False,
        stated: Annotated[
            bool,
            typer.Option(help="Print the cross-validated report kept in the bundle instead."),
        ] = False,
        keep: Annotated[
            Path | None,
            typer.Option(
                help="Keep report and worst strips in this bundle, for its card (by folds only)."
            ),
        ] = None,
        jobs: Annotated[
            int,
            typer.Option(min=1, help="Agents side by side (quiet, episodes); one a free core."),
        ] = 1,
        json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    ) -> None:
        """Judge recordings exactly as a protocol says, with the code that runs at the bed.

        --data is a folder with one folder a data set (DIR/cinc2015, DIR/vfdb, …); a protocol takes
        those of its data sets that are there. A record without annotation is decided and
        written to --predictions, but not scored.

        \b
        protocol     data sets                what --predictions holds
        cinc2015     cinc2015 (ALARMS.csv)    record,alarm_type,decision,score
        shockable    vfdb cudb mitdb          record,start_s,decision,score
        episodes     vfdb cudb                record,condition,priority,time_s
        quiet        mitdb bidmc cinc2015     record,condition,priority,time_s
        qrs          mitdb (nstdb: noise)     record,sample
        respiration  bidmc                    record,time_s,rate_per_min
        af           mitdb, RR-only sets      record,start_s,decision
        quantization vfdb cudb mitdb cinc2015 record,start_s,…
        deterioration challenge2012           record,hour,decision,score
        fusion       challenge2012 cinc2015   dataset,record,level,score

        By default the shipped artifact is scored, which may have learned from these recordings;
        --cross-validate trains by folds (half an hour the first time, then kept) and scores
        every patient by a model that never saw it. Replays of the whole agent (quiet,
        episodes) are kept a record at a time: a run that was killed goes on where it was.

        \b
        Examples:
          models evaluate cinc2015 --cross-validate --report cinc2015.html
          models evaluate quiet --data /recordings --jobs 2 --predictions alarms.csv
          models evaluate qrs --peers --json
        """
        if stated:
            from models.evaluation.bundles import stated_reports

            kept = stated_reports(model or SHIPPED_BUNDLE, [protocol])[0]
            typer.echo(kept.to_json().decode() if json else kept.to_text())
            return
        settings = load_settings(os.environ)
        entry, run = PROTOCOLS.get(protocol), load_protocol(protocol)
        for path in (predictions, report, keep and keep / "evaluation"):
            if path is not None and not path.resolve().parent.is_dir():
                raise ConfigurationError([f"{path.parent} is not there"])
        outcome = run(
            EvaluationRequest(
                data_dir=data or settings.data_dir,
                bundle_dir=model,
                cross_validate=cross_validate,
                peers=peers,
                cache_dir=settings.cache_dir,
                progress=_progress,
                jobs=jobs,
                fold_bundles=fold_trainer() if cross_validate else None,
            )
        )
        if predictions is not None:
            outcome.predictions.write(predictions)
        if report is not None:
            from models.evaluation.html_report import html_report

            command = f"python -m models {' '.join(sys.argv[1:])}"
            report.write_text(html_report(outcome, entry.title if entry else protocol, command))
        if keep is not None:
            from models.evaluation.keeping import keep as keep_in

            keep_in(outcome, keep)
        typer.echo(outcome.report.to_json().decode() if json else summary(outcome))

    return evaluate


def summary(outcome: Outcome) -> str:
    """The figures that are one number each, one a line, with their intervals."""
    found = outcome.report
    lines = [
        f"{found.protocol}: {found.n_records} records, model {found.model}"
        + ("" if found.cross_validated else " (not held out: it may have learned from these)")
    ]
    for name, value in found.metrics.items():
        if isinstance(value, dict):
            text = msgspec.json.encode(value).decode()
            lines.append(f"  {name}: {text if len(text) < 400 else text[:400] + ' …'}")
        else:
            lines.append(f"  {name}: {value}{_limits(found.confidence.get(name))}")
    return "\n".join(lines)


def _limits(limits: Any) -> str:
    if not isinstance(limits, list):
        return ""
    numbers: list[float] = limits
    return f"  [{numbers[0]:.4f}, {numbers[1]:.4f}]"


def _progress(done: int, total: int, what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total} {what:<60}", end="\n" if done == total else "", file=sys.stderr)
    elif done == total or done % max(total // 10, 1) == 0:
        print(f"{done}/{total} {what}", file=sys.stderr)
