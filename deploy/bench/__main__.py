"""`wardstream bench`: what this machine does, as JSON. Tiers measure themselves, by command."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from deploy.bench import codec
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


_BENCHES: Final[dict[str, tuple[Callable[[], dict[str, Any]], str]]] = {
    "edge": (
        _by_command("edge_agent", "bench", "--json"),
        "One bed-second, decision latency, beds a core, memory; peers on the same beats.",
    ),
    "model": (
        _by_command("models", "bench", "--json"),
        "The model on one thread: a window, batches of 16 and 256, size; FP32 and torch beside it.",
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


for _name, (_measure, _help) in _BENCHES.items():
    _add(_name, _measure, _help)

if __name__ == "__main__":
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.CRASHED)
