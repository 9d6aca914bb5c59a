"""The agent's command line. Heavy imports wait until a command needs them."""

import asyncio
import json
import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from wardstream.contracts.errors import ConfigurationError, ExitCode, WardstreamError

if TYPE_CHECKING:
    from edge_agent.adapters.playback import FrameReader
    from edge_agent.bootstrap.replay import ReplayedAlert

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_BUNDLE = Path(__file__).resolve().parents[1] / "models" / "artifacts" / "rhythm"


class CampaignKind(StrEnum):
    """What is done to recordings."""

    RESTARTS = "restarts"
    DELIVERIES = "deliveries"


AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
ModelDir = Annotated[
    Path,
    typer.Option(
        "--model",
        envvar="EDGE_MODEL__BUNDLE_DIR",
        help="Model bundle (manifest.json, .onnx, .npz).",
    ),
]
Every = Annotated[
    bool,
    typer.Option("--all-transitions", help="Also clearing, acknowledgement and end of each alert."),
]
PacketMs = Annotated[int, typer.Option(min=10, max=1000, help="Length of a packet in ms.")]
StartS = Annotated[float, typer.Option(min=0, help="Second of the recording to begin at.")]


@app.callback()
def about() -> None:
    """The agent at one bed: watches curves, raises alarms, keeps and sends what it saw.

    \b
    Try it without any set-up:
      python -m edge_agent replay ../shared/data/cudb/cu01
      python -m edge_agent simulate firmware_configs/scenarios/arrest.yaml

    \b
    Watch a bed, without a broker:
      export EDGE_SITE_ID=s1 EDGE_UNIT_ID=icu EDGE_BED_ID=bed-1 EDGE_DEVICE_ID=dev-1
      export EDGE_STATE_DIR=/tmp/dev-1 EDGE_GENERATION_MODE=demo
      EDGE_SOURCE__KIND=simulator python -m edge_agent run
    """


@app.command()
def run(
    profile: Annotated[
        Path | None,
        typer.Option(
            envvar="WARDSTREAM_EDGE_PROFILE",
            help="Device profile (YAML, see firmware_configs/profiles); the environment wins.",
        ),
    ] = None,
) -> None:
    """Watch one bed until SIGTERM or Ctrl-C.

    All settings come from EDGE_* variables (`python -m edge_agent settings` lists them).
    Alarms sound with or without a broker: each is one JSON line on standard error with
    "event": "alert", and a run of EDGE_HOOK_COMMAND. Everything said is kept in
    EDGE_STATE_DIR until the cloud has committed it. SIGHUP reads the profile again and puts
    its limits in force without missing a sample.

    Exit codes: 0 stopped, 1 crashed, 65 the source cannot be read, 69 the state folder cannot
    be used, 78 settings are wrong (all problems are listed).
    """
    from edge_agent.core.outbox_port import StorageError
    from edge_agent.core.ports import Measurements, UnreadableSourceError
    from edge_agent.settings import load_settings, read_profile

    try:
        settings = load_settings(read_profile(profile) if profile else None)
    except ConfigurationError as error:
        _end(ExitCode.CONFIGURATION, *error.problems)
    from edge_agent.adapters.log_queue import start_logging
    from edge_agent.bootstrap.quick_start import spare_scipy

    spare_scipy()  # before anything compiles a kernel
    from edge_agent.bootstrap.agent import run_agent

    measurements = Measurements()
    listener = start_logging(
        logging.getLevelNamesMapping()[settings.log_level.upper()], measurements
    )
    try:
        asyncio.run(
            run_agent(
                settings,
                measurements,
                lambda: load_settings(read_profile(profile) if profile else None),
            )
        )
    except UnreadableSourceError as error:
        listener.stop()
        _end(ExitCode.DATA_ERROR, str(error))
    except StorageError as error:
        listener.stop()
        _end(ExitCode.UNAVAILABLE, str(error))
    except Exception:  # the process ends here
        logging.getLogger(__name__).exception("the agent crashed")
        listener.stop()
        raise typer.Exit(ExitCode.CRASHED) from None
    listener.stop()


@app.command()
def replay(
    record: Annotated[Path, typer.Argument(help="WFDB record, path without extension.")],
    as_json: AsJson = False,
    every: Every = False,
    model: ModelDir = _BUNDLE,
    packet_ms: PacketMs = 40,
    start_s: StartS = 0.0,
) -> None:
    """Run one recording through the full pipeline, as fast as it can be judged.

    Prints one line per alert (also when it comes back before it was over). With --json:
    {"condition", "priority", "time_s": second of the recording, "decision_latency_ms",
    "transition", "alert_id", ...}. An unreadable record ends with 65 and a sentence.
    """
    from edge_agent.bootstrap.sources import recording
    from edge_agent.core.ports import UnreadableSourceError

    _quiet_log()
    try:
        reader = recording(record)
        for channel in reader.quarantined:
            print(f"channel {channel.channel} is not judged: {channel.reason}", file=sys.stderr)
        asyncio.run(_print_alerts(reader, model, as_json, every, packet_ms, start_s, None))
    except UnreadableSourceError as error:
        _end(ExitCode.DATA_ERROR, str(error))


@app.command()
def simulate(
    script: Annotated[Path, typer.Argument(help="Scenario (YAML, firmware_configs/scenarios).")],
    as_json: AsJson = False,
    every: Every = False,
    model: ModelDir = _BUNDLE,
    seconds: Annotated[float, typer.Option(min=1, help="How long the patient is watched.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Another patient of the same kind.")] = 0,
    packet_ms: PacketMs = 40,
) -> None:
    """Run a simulated patient through the full pipeline, as fast as it can be judged."""
    from edge_agent.bootstrap.sources import simulated_patient
    from edge_agent.core.ports import UnreadableSourceError

    _quiet_log()
    try:
        reader = simulated_patient(script, seed)
        asyncio.run(_print_alerts(reader, model, as_json, every, packet_ms, 0.0, seconds))
    except UnreadableSourceError as error:
        _end(ExitCode.DATA_ERROR, str(error))


@app.command()
def outbox(
    as_json: AsJson = False,
    state_dir: Annotated[
        Path | None, typer.Option(envvar="EDGE_STATE_DIR", help="State folder of the device.")
    ] = None,
) -> None:
    """Show what the device ever numbered, what waits for the cloud, and recorded losses.

    May be asked beside a running agent.
    """
    from edge_agent.adapters.outbox_file import read_boots, read_stats
    from edge_agent.core.outbox_port import StorageError

    if state_dir is None:
        _end(ExitCode.USAGE, "which device? give --state-dir or EDGE_STATE_DIR")
    try:
        stats, boots = read_stats(state_dir), read_boots(state_dir)
    except StorageError as error:
        _end(ExitCode.UNAVAILABLE, str(error))
    if as_json:
        found: dict[str, Any] = {
            "numbered": dict(stats.numbered),
            "waiting": dict(stats.rows),
            "waiting_bytes": dict(stats.n_bytes),
            "gaps": stats.gaps,
            "boots": boots,
        }
        print(json.dumps(found))
        return
    print(f"{'lane':8}{'numbered':>12}{'waiting':>12}{'bytes':>14}")
    for lane, numbered in stats.numbered.items():
        print(f"{lane:8}{numbered:12}{stats.rows[lane]:12}{stats.n_bytes[lane]:14}")
    print(f"{stats.gaps} recorded losses")


@app.command()
def doctor(
    profile: Annotated[
        Path | None,
        typer.Option(envvar="WARDSTREAM_EDGE_PROFILE", help="Device profile (YAML)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at everything a bed depends on, and say what to do about it.

    One line each: pass, warn or fail. Changes nothing and may be asked beside a running agent.

    Exit codes: 0 nothing failed, 1 something did, 78 settings are wrong (all are listed).
    """
    from edge_agent.bootstrap.doctor import examine
    from edge_agent.core.checkup import Verdict
    from edge_agent.settings import load_settings, read_profile

    _quiet_log()
    try:
        settings = load_settings(read_profile(profile) if profile else None)
    except ConfigurationError as error:
        _end(ExitCode.CONFIGURATION, *error.problems)
    checks = []
    for check in examine(settings):
        checks.append(check)
        if not as_json:
            print(f"{check.verdict.value:5} {check.name:20} {check.found}", flush=True)
            if check.advice:
                print(f"{'':26} → {check.advice}", flush=True)
    n_failed = sum(check.verdict is Verdict.FAIL for check in checks)
    if as_json:
        lines = [
            {"name": c.name, "verdict": c.verdict.value, "found": c.found, "advice": c.advice}
            for c in checks
        ]
        print(json.dumps({"failed": n_failed, "checks": lines}))
    raise typer.Exit(ExitCode.CRASHED if n_failed else ExitCode.OK)


@app.command()
def bench(as_json: AsJson = False, model: ModelDir = _BUNDLE) -> None:
    """Measure what one bed costs on this machine, beside other beat detectors."""
    from edge_agent.bootstrap.benchmark import measure

    _quiet_log()
    print(json.dumps(measure(model), indent=None if as_json else 2))


@app.command()
def campaign(
    kind: Annotated[CampaignKind, typer.Argument(help="What is done to the recordings.")],
    records: Annotated[list[Path], typer.Argument(help="WFDB records, without extension.")],
    n: Annotated[int, typer.Option(min=1, help="Restarts in all; deliveries of each.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides every draw.")] = 1,
    tolerance_s: Annotated[float, typer.Option(min=0, help="Between the same alerts.")] = 15.0,
    join: Annotated[bool, typer.Option("--join", help="Deliveries of all records as one.")] = False,
    model: ModelDir = _BUNDLE,
) -> None:
    """Judge recordings that arrive badly, beside the same undisturbed; one JSON line each.

    \b
    restarts    cold starts, gaps of 0.1 to 30 s, stalls with a backlog, at random times:
                high-priority alarms that the undisturbed run does not raise
    deliveries  loss, jitter, overtaking and clock steps over the whole recording:
                high-priority alerts missed and added, samples lost and recorded as missing
    """
    from edge_agent.bootstrap.campaign import run

    _quiet_log()
    for line in run(kind.value, records, model, n=n, seed=seed, tolerance_s=tolerance_s, join=join):
        print(json.dumps(line), flush=True)


@app.command()
def settings() -> None:
    """List every EDGE_* variable with its meaning and default."""
    from edge_agent.settings import describe

    for name, meaning in describe():
        print(f"{name:34} {meaning}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a device profile (firmware_configs/schema)."""
    from edge_agent.settings import profile_schema

    print(json.dumps(profile_schema(), indent=2))


async def _print_alerts(
    reader: "FrameReader",
    model: Path,
    as_json: bool,
    every: bool,
    packet_ms: int,
    start_s: float,
    seconds: float | None,
) -> None:
    from edge_agent.bootstrap.replay import replay as replay_reader
    from wardstream.contracts.alert import Transition

    begins = (Transition.ONSET, Transition.REACTIVATED)
    if not as_json:
        print(f"{'time_s':>9}  {'priority':8}  {'condition':26}{'transition':24}{'decided in':>10}")
    n_alerts = 0
    async for alert in replay_reader(
        reader, model, packet_ms=packet_ms, start_s=start_s, seconds=seconds
    ):
        if every or alert.event.transition in begins:
            n_alerts += 1
            print(_line(alert, as_json), flush=True)
    if not as_json:
        print(f"{n_alerts} lines from {reader.description}")


def _line(alert: "ReplayedAlert", as_json: bool) -> str:
    event = alert.event
    latency_ms = (event.decided_time_ns - event.received_time_ns) / 1e6
    if not as_json:
        return (
            f"{alert.time_s:9.2f}  {event.priority.value:8}  {event.condition.value:26}"
            f"{event.transition.value:24}{latency_ms:7.2f} ms"
        )
    return json.dumps(
        {
            "condition": event.condition.value,
            "priority": event.priority.value,
            "kind": event.kind.value,
            "time_s": round(alert.time_s, 3),
            "decision_latency_ms": round(latency_ms, 3),
            "transition": event.transition.value,
            "presence": event.presence.value,
            "alert_id": event.alert_id,
            "model_version": event.model_version,
            "rule_version": event.rule_version,
            "evidence": dict(event.evidence),
        }
    )


def _quiet_log() -> None:
    from wardstream.contracts.logs import log_to_stderr

    log_to_stderr(logging.WARNING)


def _end(code: ExitCode, *problems: str) -> NoReturn:
    for problem in problems:
        print(problem, file=sys.stderr)
    raise typer.Exit(int(code))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except WardstreamError as error:
        print(error, file=sys.stderr)
        sys.exit(int(ExitCode.CRASHED))
