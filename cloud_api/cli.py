"""Command line of the API: serve it, and look after its users."""

import asyncio
import getpass
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cloud_api.adapters.audit import first_broken_entry
from cloud_api.adapters.database import KeptConnection, StorePool
from cloud_api.adapters.signatures import OrderSigner
from cloud_api.bootstrap import build, new_id, sign_in_desk
from cloud_api.core.staff import Role
from cloud_api.services.supervisor import supervise
from cloud_api.settings import CloudSettings, StoreSettings, read_settings
from wardstream.alerting.conditions import rule_version
from wardstream.alerting.site_alarms import SiteAlarms, site_limits, site_rules
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.errors import (
    ConfigurationError,
    ContractError,
    ExitCode,
    TransientError,
)
from wardstream.contracts.logs import log_to_stderr

logger = logging.getLogger(__name__)

T = TypeVar("T")

app = typer.Typer(help="The Wardstream API: alert intake, REST, live stream, dashboard.")
user_app = typer.Typer(help="Local users.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log.", no_args_is_help=True)
app.add_typer(user_app, name="user")
app.add_typer(audit_app, name="audit")

GRACE_S = 6.0


@app.callback(invoke_without_command=True)
def serve_by_default(context: typer.Context) -> None:
    """Without a command, serve."""
    if context.invoked_subcommand is None:
        serve()


@app.command()
def serve() -> None:
    """Run the API until SIGTERM or Ctrl-C; settings are CLOUD_* variables."""
    settings = read_settings(CloudSettings, os.environ)
    log_to_stderr(logging.getLevelNamesMapping()[settings.log_level])
    asyncio.run(_serve(settings))


async def _serve(settings: CloudSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = build(settings)
    await supervise(api.resources, api.services, stop, grace_s=GRACE_S)
    logger.info("stopped")


@app.command("sign-site-alarms")
def sign_site_alarms(
    profile: Annotated[Path, typer.Argument(help="JSON as in docs/alert-conditions.md.")],
    key: Annotated[Path, typer.Option(help="Private key, that of CLOUD_ORDERS_KEY.")],
    out: Annotated[Path, typer.Option(help="Where the signed profile goes.")],
) -> None:
    """Check a site's alarm profile against its bounds and sign it for the beds."""
    try:
        site = decode(profile.read_bytes(), SiteAlarms)
        rules = site_rules(site)
        site_limits(site)
        signed = dataclass_replace(site, signature=OrderSigner(key).signature_of(site))
    except (OSError, ContractError) as error:
        raise ConfigurationError([f"{profile}: {error}"]) from error
    out.write_bytes(encode(signed))
    typer.echo(f"{out}: table version {rule_version(rules)}, signed for site {site.site_id}")


@user_app.command("add")
def add_user(
    username: str,
    role: Annotated[list[Role], typer.Option(help="Repeat for several.")],
    replace: Annotated[bool, typer.Option(help="Change password and roles if it exists.")] = False,
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input instead of asking.")
    ] = False,
) -> None:
    """Create a user in the database of CLOUD_DATABASE_URL."""
    settings = read_settings(StoreSettings, os.environ)
    password = sys.stdin.readline().rstrip("\n") if password_stdin else getpass.getpass()
    if len(password) < 8:
        raise ConfigurationError(["a password has at least 8 characters"])
    created = _run(_put_user(settings, username, password, frozenset(role), replace))
    if not created:
        typer.echo(f"user {username} exists; --replace changes it", err=True)
        raise typer.Exit(ExitCode.USAGE)
    typer.echo(f"user {username}: {', '.join(sorted(role))}")


@audit_app.command("verify")
def verify_audit() -> None:
    """Check the seal of every entry of the audit log."""
    broken = _run(_first_broken(read_settings(StoreSettings, os.environ)))
    if broken is not None:
        typer.echo(f"audit log: entry {broken} is missing or was changed", err=True)
        raise typer.Exit(ExitCode.DATA_ERROR)
    typer.echo("audit log: every seal holds")


async def _put_user(
    settings: StoreSettings, username: str, password: str, roles: frozenset[Role], replace: bool
) -> bool:
    async with StorePool(settings.database_url.get_secret_value()) as pool:
        desk = sign_in_desk(pool, new_id())
        return await desk.put_user(username, password, roles, replace=replace)


async def _first_broken(settings: StoreSettings) -> int | None:
    kept = KeptConnection(settings.database_url.get_secret_value(), "audit")
    async with kept, kept.use() as connection:
        return await first_broken_entry(connection)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except TransientError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(ExitCode.UNAVAILABLE) from error


def main() -> None:
    """Run the command line; wrong settings exit with 78 and a list of all problems."""
    try:
        app()
    except ConfigurationError as error:
        for found in error.problems:
            typer.echo(found, err=True)
        sys.exit(ExitCode.CONFIGURATION)
