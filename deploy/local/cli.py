"""The command `wardstream`: the stack on this machine, and the tiers' own commands."""

import asyncio
import importlib.util
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from deploy.local.beds import find_data
from deploy.local.layout import (
    CHECKOUT,
    AlreadyRunningError,
    ProcessId,
    StackLock,
    StateFolder,
    lock_holder,
)
from deploy.local.run import run_stack
from deploy.local.stack import Stack, StackOptions, end_leftovers
from wardstream.contracts.errors import ConfigurationError, ExitCode, WardstreamError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A streaming monitor for intensive-care patients, on this machine.",
)

StateOption = Annotated[
    Path, typer.Option("--state-dir", help="Where the stack keeps what survives it.")
]
_STATE = Path(".wardstream")

# Command -> what it runs. Tiers are started by command and never imported here.
_HANDED_OVER: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "edge": (("edge_agent",), "The agent at the bed: run, replay a recording, look at the outbox."),
    "models": (("models",), "Train, evaluate, publish and roll back models."),
    "records": (("stream_processors", "records"), "Give beds their patients' records."),
    "streams": (("stream_processors",), "Bridge, worker, record gateway; what was quarantined."),
    "db": (("deploy.database",), "The short name of database."),
    "database": (("deploy.database",), "Migrate, dump, restore a store; plan its room."),
    "bench": (("deploy.bench",), "Measure speed and memory."),
    "chaos": (("deploy.chaos",), "Kill parts of a running stack; count what that costs."),
    "fuzz": (("stream_processors", "fuzz"), "Throw damaged messages; count what becomes of them."),
    "soak": (("deploy.chaos", "soak"), "Run a stack for long; see whether anything in it grows."),
}


@app.command()
def up(
    beds: Annotated[int, typer.Option(min=1, max=64, help="How many virtual beds.")] = 4,
    seconds: Annotated[
        float | None, typer.Option("--for", min=1, help="Run so long, then print a scorecard.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The scorecard as one line.")] = False,
    kafka: Annotated[str, typer.Option(help="tansu (quick, volatile) or apache.")] = "tansu",
    state_dir: StateOption = _STATE,
    data: Annotated[
        Path | None, typer.Option(help="Recordings (default: WARDSTREAM_DATA).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the dashboard.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget everything first.")] = False,
) -> None:
    """Start everything on loopback and watch it; Ctrl-C stops it all.

    WARDSTREAM_DATABASE_URL, WARDSTREAM_MQTT_URL and WARDSTREAM_KAFKA_URL point it at real
    servers instead of its own.
    """
    if kafka not in {"tansu", "apache"}:
        raise typer.BadParameter("must be tansu or apache", param_hint="--kafka")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("deploy").setLevel(logging.INFO)
    state = StateFolder(state_dir.absolute())
    options = StackOptions(
        n_beds=beds, kafka=kafka, state=state, data=find_data(data, os.environ), port=port
    )
    with StackLock(state):
        end_leftovers(state.read_stack(), _tell)
        if fresh:
            state.wipe()
        code = asyncio.run(_up(options, seconds, as_json=as_json))
    raise typer.Exit(code)


async def _up(options: StackOptions, seconds: float | None, *, as_json: bool) -> int:
    stack = Stack(options, os.environ, _tell)
    return await run_stack(stack, seconds=seconds, as_json=as_json, tell=_tell)


@app.command()
def down(state_dir: StateOption = _STATE) -> None:
    """Stop the stack that runs in this state folder."""
    state = StateFolder(state_dir.absolute())
    pid = lock_holder(state)
    if pid is None:
        _tell("nothing runs here")
        return
    process = ProcessId.of(pid)
    if process is not None:
        process.signal(signal.SIGTERM)
        if not process.wait(90):
            process.signal(signal.SIGKILL)
            process.wait(5)
    end_leftovers(state.read_stack(), _tell)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="All of stack.json.")] = False,
    state_dir: StateOption = _STATE,
) -> None:
    """Say what runs in this state folder, where, and how."""
    state = StateFolder(state_dir.absolute())
    stack = state.read_stack()
    if as_json:
        print(json.dumps(stack))
    if lock_holder(state) is None:
        _tell("nothing runs here; start it with `wardstream up`")
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if as_json:
        return
    print(f"{stack.get('store')} · {stack.get('kafka')} · {stack.get('recordings')}")
    print(f"dashboard {stack.get('api_url')}")
    for name, program in stack.get("programs", {}).items():
        found: dict[str, Any] = program.get("process") or {}
        print(
            f"  {name:<10} {program['health']:<9} pid {found.get('pid', '-')!s:<8}"
            f" restarts {program['restarts']}"
        )


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="Program, as `wardstream status` names it.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("-n", min=0, help="How many of the last lines.")] = 40,
    state_dir: StateOption = _STATE,
) -> None:
    """Print the log of one program."""
    folder = StateFolder(state_dir.absolute()).logs
    path = folder / f"{name}.log"
    if path.parent != folder or not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.log"))) or "none"
        _tell(f"no log of {name}; there are: {known}")
        raise typer.Exit(ExitCode.UNAVAILABLE)
    with path.open(errors="replace") as log:
        for line in log.readlines()[-lines:] if lines else []:
            sys.stdout.write(line)
        while follow:
            sys.stdout.write(log.read())
            sys.stdout.flush()
            time.sleep(0.3)


@app.command()
def kill(
    name: Annotated[str, typer.Argument(help="Program, as `wardstream status` names it.")],
    state_dir: StateOption = _STATE,
) -> None:
    """Kill -9 one program, to see that nothing is lost. The supervisor starts it again."""
    programs: dict[str, Any] = StateFolder(state_dir.absolute()).read_stack().get("programs", {})
    found = programs.get(name, {}).get("process")
    process = None if found is None else ProcessId(found["pid"], found["start_ticks"])
    if process is None or not process.lives:
        _tell(f"{name} does not run; there are: {', '.join(programs) or 'none'}")
        raise typer.Exit(ExitCode.UNAVAILABLE)
    process.signal(signal.SIGKILL)
    print(f"killed {name} (process {process.pid})")


def hand_over(command: str, arguments: list[str]) -> NoReturn:
    """Become the tier's own command line, with the addresses of the stack that runs here."""
    (module, *first), _ = _HANDED_OVER[command]
    if importlib.util.find_spec(module) is None:
        _tell(f"{module} is not part of this installation")
        raise SystemExit(ExitCode.UNAVAILABLE)
    # Only the environment goes over; `wardstream` is where the stack's state folder is known.
    state = StateFolder(Path(os.environ.get("WARDSTREAM_STATE_DIR", _STATE)).absolute())
    found: dict[str, str] = state.read_stack().get("environment", {})
    path = os.pathsep.join(part for part in (str(CHECKOUT), os.environ.get("PYTHONPATH")) if part)
    environment = {**found, **os.environ, "PYTHONPATH": path}
    os.execve(  # noqa: S606 - becoming the tier's command is the point
        sys.executable, [sys.executable, "-m", module, *first, *arguments], environment
    )


def _add_handed_over() -> None:
    settings = {
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
    for name, (_, help_text) in _HANDED_OVER.items():

        def command(context: typer.Context) -> None:
            hand_over(str(context.info_name), context.args)

        app.command(name, help=help_text, context_settings=settings, add_help_option=False)(command)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_add_handed_over()


def main() -> None:
    """Run the command line; errors become sentences and an exit code."""
    try:
        app()
    except ConfigurationError as error:
        for problem in error.problems:
            _tell(problem)
        raise SystemExit(ExitCode.CONFIGURATION) from error
    except AlreadyRunningError as error:
        _tell(str(error))
        raise SystemExit(ExitCode.UNAVAILABLE) from error
    except WardstreamError as error:
        _tell(str(error))
        raise SystemExit(ExitCode.UNAVAILABLE) from error


if __name__ == "__main__":
    main()
