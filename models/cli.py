"""The commands of the learning path. Every one says what it did, on standard output."""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import uuid4

import msgspec
import typer

from models.evaluation.cli import evaluate_command
from models.evaluation.harness import FoldTrainer
from models.settings import SHIPPED_BUNDLE, ModelsSettings, load_settings
from wardstream.contracts.device import ModelAction, ModelCommand
from wardstream.contracts.errors import (
    ConfigurationError,
    ContractError,
    ExitCode,
    RefusedError,
    TransientError,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.inference.bundle import read_manifest

app = typer.Typer(
    name="models",
    help="Train rhythm models, prove them, sign them and send them to the beds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def main() -> NoReturn:
    """Run the command line; errors become one line and an exit code."""
    try:
        app(standalone_mode=False)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except typer.TyperException as error:
        typer.echo(str(error), err=True)
        sys.exit(ExitCode.USAGE)
    except typer.Abort:
        sys.exit(130)
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(f"configuration: {problem}", err=True)
        sys.exit(ExitCode.CONFIGURATION)
    except RefusedError as error:
        typer.echo(f"refused: {error}", err=True)
        sys.exit(ExitCode.CRASHED)
    except ContractError as error:
        typer.echo(f"bad data: {error}", err=True)
        sys.exit(ExitCode.DATA_ERROR)
    except TransientError as error:
        typer.echo(f"unavailable: {error}", err=True)
        sys.exit(ExitCode.UNAVAILABLE)
    sys.exit(ExitCode.OK)


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="YAML file, or the name of one of models/training/configs.")
    ] = "default",
    smoke: Annotated[bool, typer.Option(help="Short for the configuration `smoke`.")] = False,
    verdicts: Annotated[
        str | None, typer.Option(help="Database whose verdicts are learned from as well.")
    ] = None,
    no_verdicts: Annotated[
        bool, typer.Option(help="Leave the running stack's verdicts out.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle.")] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Default: newest published + 1.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Recordings, laid out like ../shared/data.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Cross-validate, train on everything, quantize, and write a bundle that can be published."""
    from models.build import BuildRequest, build, share_in_build
    from models.console import ConsoleProgress
    from models.cross_validation import TrainingRun
    from models.datasets.verdicts import load_verdicts, verdict_recordings
    from models.training.config import load_config, named_config
    from models.training.devices import process_group

    settings = _settings()
    chosen = load_config(named_config("smoke" if smoke else config))
    url = None if no_verdicts else verdicts or settings.database_url
    judged = verdict_recordings(load_verdicts(url)) if url else []
    number = version or _next_version(settings)
    bundle_dir = out or Path("out") / "models" / chosen.name / str(number)
    with process_group() as placement, ConsoleProgress() as progress:
        request = BuildRequest(
            run=TrainingRun(
                config=chosen,
                data_dir=data or settings.data_dir,
                cache_dir=settings.cache_dir,
                progress=progress,
            ),
            bundle_dir=bundle_dir,
            version=number,
            created_time_ns=time.time_ns(),
            verdicts=judged,
        )
        if not placement.is_first:
            share_in_build(request)
            return
        built = build(request)
    shockable = built.reports["shockable"]
    _say(
        {
            "bundle": str(bundle_dir),
            "version": built.manifest.version,
            "sha256": built.manifest.sha256,
            "n_bytes": built.manifest.n_bytes,
            "n_verdicts": len(judged),
            "shockable": {k: shockable.metrics.get(k) for k in ("se", "sp")},
            "next": f"python -m models publish {bundle_dir}",
        },
        as_json=json,
    )


def _fold_trainer() -> FoldTrainer:
    from models.console import ConsoleProgress
    from models.cross_validation import fold_trainer
    from models.training.config import load_config, named_config

    return fold_trainer(load_config(named_config("default")), ConsoleProgress())


app.command()(evaluate_command(_fold_trainer))


@app.command("train-verifier")
def train_verifier(
    data: Annotated[
        Path | None, typer.Option(help="Recordings, laid out like ../shared/data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; the shipped one.")] = None,
    json: JsonFlag = False,
) -> None:
    """Learn which of a monitor's alarms are true; rhythm models of the folds are trained first."""
    from models.evaluation.alarm_protocol import SHIPPED_VERIFIER, train_verifier
    from models.evaluation.harness import EvaluationRequest

    settings = _settings()
    path = out or SHIPPED_VERIFIER
    request = EvaluationRequest(
        data_dir=data or settings.data_dir,
        cache_dir=settings.cache_dir,
        fold_bundles=_fold_trainer(),
    )
    verifier = train_verifier(request, path)
    _say({"verifier": str(path), "points": dict(verifier.points)}, as_json=json)


@app.command("train-deterioration")
def train_deterioration(
    data: Annotated[
        Path | None, typer.Option(help="Folder with challenge2012, as in ../shared/data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle to write; the shipped one.")] = None,
    json: JsonFlag = False,
) -> None:
    """Learn who is in danger from stays in intensive care: by folds for the evidence, then of all."""
    from models.console import ConsoleProgress
    from models.deterioration.bundle import make_bundle
    from models.deterioration.protocol import SHIPPED
    from models.evaluation.harness import EvaluationRequest

    settings = _settings()
    folder = out or SHIPPED
    with ConsoleProgress() as progress:
        manifest = make_bundle(
            EvaluationRequest(
                data_dir=data or settings.data_dir,
                cache_dir=settings.cache_dir,
                cross_validate=True,
                progress=lambda done, total, what: progress.step("folds", done, total, what),
            ),
            folder,
        )
    _say(
        {"bundle": str(folder), "version": manifest.version, "by_folds": manifest.metrics},
        as_json=json,
    )


@app.command()
def engine(
    bundle: Annotated[Path, typer.Argument(help="Folder with manifest.json.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for engines; where the agent looks for them.")
    ] = None,
    fp16: Annotated[bool, typer.Option(help="Layers that are not INT8 may be FP16.")] = True,
    json: JsonFlag = False,
) -> None:
    """Build the TensorRT engine of a bundle for the GPU of this machine, or find it built."""
    from models.quantization.tensorrt import build_engine

    _say(build_engine(bundle, out, fp16=fp16), as_json=json)


@app.command()
def bench(
    bundle: Annotated[
        Path, typer.Argument(help="Folder with manifest.json; the shipped one.")
    ] = SHIPPED_BUNDLE,
    json: JsonFlag = False,
) -> None:
    """Time and size of a model on one thread, beside FP32 and torch."""
    from models.benchmark import measure_model

    _say(measure_model(bundle), as_json=json)


@app.command()
def card(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; the shipped one.")] = None,
    json: JsonFlag = False,
) -> None:
    """Write a bundle's card from the evaluations kept in it (evaluate --keep), and from nothing else."""
    from models.registry.card import CARD_FILE, write_card

    folder = bundle or SHIPPED_BUNDLE
    text = write_card(folder)
    _say({"card": str(folder / CARD_FILE), "n_lines": text.count("\n")}, as_json=json)


@app.command("init-repository")
def init_repository(json: JsonFlag = False) -> None:
    """Create the signed repository and its keys; where it stands already, refresh it."""
    from models.delivery.repository import SignedRepository

    settings = _settings()
    repository = SignedRepository(settings.repository_dir, settings.keys_dir)
    now = datetime.now(UTC)
    created = not repository.exists
    if created:
        repository.initialise(now)
    else:
        repository.refresh(now)
    _say(
        {
            "created": created,
            "repository": str(settings.repository_dir),
            "keys": str(settings.keys_dir),
            "trusted_root": str(repository.trusted_root),
        },
        as_json=json,
    )


@app.command("refresh-repository")
def refresh_repository(json: JsonFlag = False) -> None:
    """Sign snapshot and timestamp anew before they expire."""
    from models.delivery.repository import SignedRepository

    settings = _settings()
    repository = SignedRepository(settings.repository_dir, settings.keys_dir)
    now = datetime.now(UTC)
    repository.refresh(now)
    _say({"expires": repository.status(now).expires}, as_json=json)


@app.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="Folder with manifest.json.")],
    gates: Annotated[
        str, typer.Option(help="YAML file, or the name of one of models/evaluation/gate_files.")
    ] = "default",
    data: Annotated[Path | None, typer.Option(help="Recordings to ask the artifact on.")] = None,
    announce: Annotated[bool, typer.Option(help="Tell the fleet over MQTT.")] = True,
    json: JsonFlag = False,
) -> None:
    """Check a bundle, sign it, lay it out, and tell the fleet. Refuses with every reason."""
    from models.delivery.publishing import check_bundle, sign_and_lay_out
    from models.delivery.repository import SignedRepository
    from models.evaluation.bundles import measure_for_gates
    from models.evaluation.gates import load_gates, named_gates

    settings = _settings()
    repository = SignedRepository(settings.repository_dir, settings.keys_dir)
    limits = load_gates(named_gates(gates))
    newest = repository.newest()
    # First what is cheap: a bundle that may not be signed whatever it answers is not asked.
    check_bundle(bundle, limits, newest, None)
    measured = measure_for_gates(bundle, limits, data or settings.data_dir, settings.cache_dir)
    publication = check_bundle(bundle, limits, newest, measured)
    sign_and_lay_out(publication, bundle, repository, datetime.now(UTC))
    version = publication.manifest.version
    topic = (
        _announce(settings, ModelAction.INSTALL, version, None)
        if announce and settings.mqtt_url
        else None
    )
    _say(
        {
            "published": version,
            "sha256": publication.manifest.sha256,
            "golden_max_abs_error": publication.golden_error,
            "measured": measured if measured is not None else "recordings not at hand",
            "announced": topic or "not announced: WARDSTREAM_MQTT_URL is not set",
        },
        as_json=json,
    )


@app.command()
def rollback(
    device: Annotated[str, typer.Argument(help="Device id.")],
    site: Annotated[str | None, typer.Option(help="Default: WARDSTREAM_SITE_ID.")] = None,
    json: JsonFlag = False,
) -> None:
    """Tell one device to return to the last good model it keeps."""
    settings = _settings()
    if not settings.mqtt_url:
        raise ConfigurationError(["WARDSTREAM_MQTT_URL is not set and no stack runs here"])
    topic = _announce(settings, ModelAction.ROLLBACK, 0, device, site)
    _say({"rollback": device, "announced": topic}, as_json=json)


@app.command()
def status(json: JsonFlag = False) -> None:
    """What is published, until when the signatures hold, and what ships with this checkout."""
    from models.delivery.repository import SignedRepository

    settings = _settings()
    repository = SignedRepository(settings.repository_dir, settings.keys_dir)
    found = repository.status(datetime.now(UTC)) if repository.exists else None
    _say(
        {
            "repository": str(settings.repository_dir),
            "published": found.versions if found else [],
            "expires": found.expires if found else {},
            "expired": found.expired if found else [],
            "shipped": _shipped_version(),
        },
        as_json=json,
    )


def _settings() -> ModelsSettings:
    return load_settings(os.environ)


def _next_version(settings: ModelsSettings) -> int:
    from models.delivery.repository import SignedRepository

    repository = SignedRepository(settings.repository_dir, settings.keys_dir)
    newest = repository.newest() if repository.exists else None
    return max(newest.version if newest else 0, _shipped_version()) + 1


def _shipped_version() -> int:
    if not (SHIPPED_BUNDLE / "manifest.json").exists():
        return 0
    return read_manifest(SHIPPED_BUNDLE).version


def _announce(
    settings: ModelsSettings,
    action: ModelAction,
    version: int,
    device_id: str | None,
    site_id: str | None = None,
) -> str:
    from models.delivery.announcement import announce

    command = ModelCommand(
        command_id=str(uuid4()),
        action=action,
        version=version,
        issued_time_ns=TimestampNs(time.time_ns()),
        author=settings.author,
        device_id=device_id,
    )
    return announce(command, site_id or settings.site_id, settings.mqtt_url or "")


def _say(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value}")
