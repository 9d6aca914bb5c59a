"""`wardstream bench`: what this machine does, as JSON. Tiers measure themselves, by command."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from deploy.bench import codec, faust, pipeline
from wardstream.contracts.errors import ExitCode

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

AsJson = Annotated[bool, typer.Option("--json", help="One line, for machines.")]


def _by_command(*command: str) -> Callable[[], dict[str, Any]]:
    def measure() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise typer.Exit(done.returncode)
        return json.loads(done.stdout)

    return measure


def _store() -> dict[str, Any]:
    # It joins the writer's code with the reader's, which nothing in here may: it lies with the tests.
    script = Path(__file__).resolve().parents[2] / "tests" / "measure_store.py"
    if not script.is_file():
        print(f"the store is measured from a checkout: there is no {script}", file=sys.stderr)
        raise typer.Exit(ExitCode.UNAVAILABLE)
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
    return json.loads(done.stdout)


_BENCHES: Final[dict[str, tuple[Callable[[], dict[str, Any]], str]]] = {
    "edge": (
        _by_command("edge_agent", "bench", "--json"),
        "One bed-second, decision latency, beds a core, memory; peers on the same beats.",
    ),
    "model": (
        _by_command("models", "bench", "--json"),
        "The model on one thread: a window, batches of 16 and 256, size; FP32 and torch beside it.",
    ),
    "store": (_store, "Rows a second into the store, its answers to the API, bytes a row."),
    "pipeline": (
        lambda: pipeline.measure(pipeline.PipelineLoad()),
        "Frames over MQTT to committed rows, through every tier.",
    ),
    "faust": (
        faust.measure,
        "The Faust tier alone, frames a second and core; peers at the same join and score.",
    ),
    "codec": (codec.measure, "Encoding and decoding frames; peers on the same content."),
}


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    print(json.dumps({"machine": machine, **result}, indent=None if as_json else 2))


@app.command("all")
def run_all(as_json: AsJson = False) -> None:
    """Every benchmark, one after the other."""
    results: dict[str, Any] = {}
    for name, (measure, _) in _BENCHES.items():
        print(f"measuring {name} ...", file=sys.stderr)
        results[name] = measure()
    _print(results, as_json=as_json)


def _add(name: str, measure: Callable[[], dict[str, Any]], help_text: str) -> None:
    @app.command(name, help=help_text)
    def run_one(as_json: AsJson = False) -> None:  # pyright: ignore[reportUnusedFunction]
        _print(measure(), as_json=as_json)


@app.command("pipeline")
def run_pipeline(
    seconds: Annotated[float, typer.Option(min=3, max=3600, help="Of both phases.")] = 60.0,
    frames_per_message: Annotated[int, typer.Option(help="1, or 16 as a backlog is sent.")] = 1,
    kafka: Annotated[str, typer.Option(help="tansu, or apache.")] = "tansu",
    devices: Annotated[int, typer.Option(min=1, max=1000, help="That publish.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Frames over MQTT to committed rows, through every tier: as many as go, then half the target."""
    if frames_per_message not in pipeline.TARGET_FRAMES_PER_S or kafka not in {"tansu", "apache"}:
        raise typer.BadParameter("--frames-per-message is 1 or 16, --kafka is tansu or apache")
    load = pipeline.PipelineLoad(
        seconds=seconds, frames_per_message=frames_per_message, kafka=kafka, devices=devices
    )
    _print(pipeline.measure(load), as_json=as_json)


for _name, (_measure, _help) in _BENCHES.items():
    if _name != "pipeline":  # has options of its own
        _add(_name, _measure, _help)

if __name__ == "__main__":
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.CRASHED)
