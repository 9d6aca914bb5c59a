"""``python -m stream_processors bridge | worker | records``."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import typer

from stream_processors.bootstrap import run_bridge, run_worker
from stream_processors.cli import read_settings_or_exit, records
from stream_processors.settings import StreamSettings
from wardstream.contracts.errors import ConfigurationError, ExitCode
from wardstream.contracts.logs import log_to_stderr

logger = logging.getLogger(__name__)

_QUIETER = {
    "aiokafka": logging.CRITICAL,  # says every failed attempt; we say when it is away and back
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "mode.timers": logging.ERROR,
    "stream_processors.agents.quick_fetch": logging.WARNING,  # a mode service, as talkative
}

app = typer.Typer(
    name="stream_processors",
    help="Between the beds and the store: settings come from STREAM_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(records)


@app.command()
def bridge() -> None:
    """Carry what devices say from MQTT to Kafka; acknowledge it once Kafka has it."""
    _serve(run_bridge)


@app.command()
def worker() -> None:
    """Join frames with the record, store them, and tell the devices that they are stored."""
    _serve(run_worker)


def main() -> None:
    """Run the command line."""
    app()


def _serve(run: Callable[[StreamSettings], Coroutine[Any, Any, None]]) -> None:
    log_to_stderr()
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)
    settings = read_settings_or_exit()
    code = ExitCode.OK
    try:
        asyncio.run(run(settings))
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        code = ExitCode.CONFIGURATION
    except Exception:
        logger.exception("ends; the supervisor starts it again")
        code = ExitCode.CRASHED
    logging.shutdown()
    os._exit(code)  # threads of the client libraries may hang at interpreter exit


if __name__ == "__main__":
    main()
