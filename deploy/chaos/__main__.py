"""``python -m deploy.chaos``, which is ``wardstream chaos``."""

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.chaos.edge import EdgeCampaign, EdgeChaos
from deploy.chaos.pipeline_command import pipeline
from deploy.chaos.soak import Soak
from deploy.chaos.soak import soak as run_soak
from deploy.local.layout import StateFolder
from wardstream.contracts.errors import ExitCode, WardstreamError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """Kill parts of a running stack and count what that costs."""


@app.command()
def edge(
    kills: Annotated[int, typer.Option(min=1, max=10_000, help="Agents to kill -9.")] = 100,
    beds: Annotated[int, typer.Option(min=1, max=16, help="Simulated patients.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the moments.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as one line.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for state and logs, kept; default: a temporary one.")
    ] = None,
) -> None:
    """Kill bedside agents at random moments while the broker comes and goes.

    A whole stack with simulated crises runs for about six seconds a kill. Exit code 1 if an
    alert was lost or is twice in the database, or a restart took longer than 3 s to its first
    judged sample.
    """
    plan = EdgeChaos(kills=kills, beds=beds, seed=seed)
    found = _run(
        lambda state, outer, stop: EdgeCampaign(plan, state, outer).run(stop), keep, as_json=as_json
    )
    alerts, slowest_s = found["alerts"], found["restart_to_first_judged_s"]["max"]
    if alerts["lost"] or alerts["duplicated"] or (slowest_s or 0.0) > 3.0:
        raise typer.Exit(ExitCode.CRASHED)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long.")] = 120.0,
    beds: Annotated[int, typer.Option(min=1, max=16, help="Simulated patients.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the patients.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as one line.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for state and logs, kept; default: a temporary one.")
    ] = None,
) -> None:
    """Run a whole stack for long and see whether anything in it grows.

    Memory, file handles and threads of every program are looked at all the time. Exit code 1 if
    one grew after the first quarter of the run, restarted, or an alert was lost or doubled.
    """
    plan = Soak(minutes=minutes, beds=beds, seed=seed)
    found = _run(
        lambda state, outer, stop: run_soak(plan, state, outer, stop), keep, as_json=as_json
    )
    alerts = found["alerts"]
    if not found["flat"] or found["restarts"] or alerts["lost"] or alerts["duplicated"]:
        raise typer.Exit(ExitCode.CRASHED)


Campaign = Callable[[StateFolder, dict[str, str], asyncio.Event], Awaitable[dict[str, Any]]]


def _run(campaign: Campaign, keep: Path | None, *, as_json: bool) -> dict[str, Any]:
    """Run `campaign` in a folder of its own, print its figures and return them."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("deploy.chaos").setLevel(logging.INFO)
    folder = Path(tempfile.mkdtemp(prefix="wardstream-chaos-")) if keep is None else keep.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # the servers' unprivileged account must pass
    try:
        found = asyncio.run(_until_stopped(campaign, folder))
    except* WardstreamError as group:
        for error in group.exceptions:
            print(error, file=sys.stderr)
        raise typer.Exit(ExitCode.UNAVAILABLE) from None
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=None if as_json else 2))
    return found


async def _until_stopped(campaign: Campaign, folder: Path) -> dict[str, Any]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WARDSTREAM_")}
    return await campaign(StateFolder(folder / "state"), environment, stop)


app.command("pipeline")(pipeline)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
