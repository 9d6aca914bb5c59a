"""``python -m stream_processors bridge | worker | gateway | records | quarantine``."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_processors.bootstrap import measure_faust, run_bridge, run_gateway, run_worker
from stream_processors.cli import fuzz, letters, read_settings_or_exit, records
from stream_processors.harmonise.commands import quarantine
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
app.add_typer(letters)
app.add_typer(fuzz)
app.add_typer(quarantine)


@app.command()
def bridge() -> None:
    """Carry what devices say from MQTT to Kafka; acknowledge it once Kafka has it."""
    _serve(run_bridge)


@app.command()
def worker() -> None:
    """Join frames with the record, store them, and tell the devices that they are stored."""
    _serve(run_worker)


@app.command()
def gateway() -> None:
    """Take what record systems say: HL7 v2 over MLLP, FHIR R4 by push and by polling.

    HL7 v2: ADT A01 A02 A03 A08 A11 A12 A13 A40, ORU R01 (IHE PCD-01) and R40 (PCD-04), on
    STREAM_GATEWAY__HL7_HOST and __HL7_PORT (127.0.0.1:2575; TLS with __HL7_CERTIFICATE, __HL7_KEY,
    __HL7_AUTHORITY). AA: it is stored and Kafka has it. AE or AR: it is kept for a person, with
    the reason. No answer: send it again.

    Beds: PV1-3 becomes a bed id by STREAM_GATEWAY__BED_TEMPLATE, which is
    {point_of_care}-{room}-{bed}, or by __BED_NAMES (JSON).

    Times without an offset are in STREAM_GATEWAY__HL7_TIME_ZONE; if that is not set they are
    refused.

    Patients are one in HL7 and FHIR if __AUTHORITIES (JSON) says which assigning authority is
    which identifier system: {"HOSP": "urn:oid:1.2.3"}. They become pseudonyms here (HMAC with
    STREAM_SITE_SECRET); no identifier leaves.

    FHIR R4: POST /fhir with a bearer token (__FHIR_PORT, __FHIR_TOKEN); a server is polled with
    __FHIR_POLL_URL, __FHIR_POLL_TOKEN and __FHIR_POLL_S.
    """
    _serve(run_gateway)


@app.command(hidden=True)
def measure(
    frames: Annotated[int, typer.Option(min=1)], devices: Annotated[Path, typer.Option()]
) -> None:
    """Measure the Faust tier on frames that stand in Kafka: for ``wardstream bench faust``."""
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)
    known = [(str(device), str(boot)) for device, boot in json.loads(devices.read_text())]
    print(json.dumps(asyncio.run(measure_faust(read_settings_or_exit(), known, frames))))
    sys.stdout.flush()
    os._exit(ExitCode.OK)  # threads of the client libraries may hang at interpreter exit


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
