"""``wardstream chaos pipeline``."""

import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.chaos.pipeline import COMPONENTS, FAULTS, PipelineCampaign, PipelineChaos
from wardstream.contracts.errors import ExitCode, WardstreamError

RECOVERS_WITHIN_S = 15.0


def pipeline(
    component: Annotated[
        list[str] | None, typer.Option(help=f"Who suffers, repeatable: {', '.join(COMPONENTS)}.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="What, repeatable: kill (-9), stop (SIGSTOP), restart.")
    ] = None,
    times: Annotated[int, typer.Option(min=1, max=1000, help="Trials of each pair.")] = 1,
    kafka: Annotated[str, typer.Option(help="tansu, or apache: three brokers.")] = "tansu",
    stop_s: Annotated[float, typer.Option(min=1, max=300, help="How long SIGSTOP holds.")] = 90.0,
    bridges: Annotated[int, typer.Option(min=1, max=4)] = 1,
    workers: Annotated[int, typer.Option(min=1, max=4)] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of order and moments.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="A line a trial, as JSON.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for state and logs, kept; default: a temporary one.")
    ] = None,
) -> None:
    """Kill, stop and restart every part between MQTT and the database, under load.

    After each campaign the tables of every trial are compared with those of a run of the same
    input without a fault. Exit code 1 if anything was lost, is there twice or differs, or took
    longer than 15 s to recover.
    """
    plan = PipelineChaos(
        components=_chosen(component, COMPONENTS, "--component"),
        faults=_chosen(fault, FAULTS, "--fault"),
        times=times,
        stop_s=stop_s,
        kafka=_chosen([kafka], ("tansu", "apache"), "--kafka")[0],
        bridges=bridges,
        workers=workers,
        seed=seed,
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("deploy.chaos").setLevel(logging.INFO)
    folder = Path(tempfile.mkdtemp(prefix="wardstream-chaos-")) if keep is None else keep.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # the servers' unprivileged account must pass
    try:
        lines = asyncio.run(_run(plan, folder))
    except* WardstreamError as group:
        for error in group.exceptions:
            print(error, file=sys.stderr)
        raise typer.Exit(ExitCode.UNAVAILABLE) from None
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    for line in lines:
        print(json.dumps(line) if as_json else _as_text(line))
    if not all(is_sound(line) for line in lines):
        raise typer.Exit(ExitCode.CRASHED)


def is_sound(line: dict[str, Any]) -> bool:
    """Whether a trial lost and doubled nothing, left the same tables, and recovered in time."""
    in_time = line["recovery_s"] is not None and line["recovery_s"] <= RECOVERS_WITHIN_S
    return not line["lost"] and not line["duplicated"] and line["tables_equal"] and in_time


def _chosen(given: list[str] | None, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    unknown = set(given or ()) - set(known)
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(sorted(unknown))}: must be of {', '.join(known)}", param_hint=option
        )
    return tuple(given) if given else known


def _as_text(line: dict[str, Any]) -> str:
    return (
        f"{line['component']:<10} {line['fault']:<8} lost {line['lost']}, "
        f"duplicated {line['duplicated']}, tables "
        f"{'equal' if line['tables_equal'] else 'differ: ' + ', '.join(line['differing'])}, "
        f"back after {line['recovery_s']} s"
    )


async def _run(plan: PipelineChaos, folder: Path) -> list[dict[str, Any]]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await PipelineCampaign(plan, folder).run(stop)
