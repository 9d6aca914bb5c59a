"""`wardstream up`: a stack from its start to its end, watched or scored."""

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from deploy.local import environment
from deploy.local.scorecard import (
    DashboardEar,
    Measurements,
    StoreReader,
    memory_mb,
    settled_lanes,
)
from deploy.local.servers.program import StartError
from deploy.local.stack import Stack
from deploy.local.supervisor import Health
from wardstream.contracts.errors import ConfigurationError, ExitCode, WardstreamError
from wardstream.contracts.identity import Lane
from wardstream.contracts.storage import Table

logger = logging.getLogger(__name__)

_SETTLE_DEADLINE_S = 45.0
_TOLD_EVERY_S = 30.0
"""Between two status lines where there is no terminal to write one over the other."""


async def run_stack(
    stack: Stack, *, seconds: float | None, as_json: bool, tell: Callable[[str], None]
) -> int:
    """Run `stack` until a signal, or for `seconds`; the result is the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        if stop.is_set():  # asked twice: now
            stack.supervisor.kill_all()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask_to_stop)
    code = ExitCode.OK
    try:
        scorer = None if seconds is None else Scorer(stack)
        begin = (lambda: None) if scorer is None else scorer.begin
        if await _unless_stopped(stack.start(begin), stop):
            _greet(stack, tell)
            if scorer is None or seconds is None:
                await _watch(stack, stop, tell)
            else:
                code = _report(await scorer.score(stop, seconds), as_json=as_json, tell=tell)
    except* WardstreamError as group:
        code = ExitCode.UNAVAILABLE
        for error in _leaves(group):
            tell(str(error))
            if isinstance(error, ConfigurationError):
                code = ExitCode.CONFIGURATION
    finally:
        tell("stopping ...")
        await stack.stop()
    return code


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return False
    working.result()
    return True


def _leaves(group: BaseExceptionGroup[WardstreamError]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _greet(stack: Stack, tell: Callable[[str], None]) -> None:
    addresses = stack.addresses
    if addresses is None:
        raise StartError("the stack has no addresses")
    tell(
        f"\nWardstream runs: {stack.store} · {stack.kafka_kind} · {stack.what_plays}\n"
        f"  dashboard  {addresses.api_url}\n"
        f"  nurse      {stack.secrets.nurse_password}\n"
        f"  admin      {stack.secrets.admin_password}\n"
        f"  logs       {stack.options.state.logs}\n"
    )
    for number, performance in enumerate(stack.performances, start=1):
        tell(f"  {environment.bed_id_of(number)}  {performance.what}")
    tell("")


# ---- watched --------------------------------------------------------------------------------


async def _watch(stack: Stack, stop: asyncio.Event, tell: Callable[[str], None]) -> None:
    status = StatusLine(stack)
    told_at = 0.0
    while not stop.is_set():
        line = await asyncio.to_thread(status.line)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        elif time.monotonic() - told_at >= _TOLD_EVERY_S:
            tell(line)
            told_at = time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
    status.close()
    if sys.stderr.isatty():
        sys.stderr.write("\n")


class StatusLine:
    """One line on how the stack does."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._link: psycopg.Connection[tuple[Any, ...]] | None = None

    def line(self) -> str:
        """Now; the database is asked with a short patience."""
        children = self._stack.supervisor.children
        beds = [child for name, child in children.items() if name.startswith("bed-")]
        n_up = sum(child.health is Health.READY for child in beds)
        away = [name for name, child in children.items() if child.health is not Health.READY]
        parts = [f"{time.strftime('%H:%M:%S')}  beds {n_up}/{len(beds)}", *self._store_parts()]
        parts.append(f"restarts {self._stack.supervisor.n_restarts}")
        if away:
            parts.append(f"starting: {', '.join(away)}")
        return " · ".join(parts)

    def _store_parts(self) -> list[str]:
        try:
            if self._link is None or self._link.closed:
                url = "" if self._stack.addresses is None else self._stack.addresses.database_url
                self._link = psycopg.connect(url, autocommit=True, connect_timeout=2)
            frames = sql.SQL(
                "SELECT count(*) / 5.0 FROM {} WHERE time > now() - interval '60 s' "
                "AND stored_time > now() - interval '5 s'"
            ).format(sql.Identifier(Table.FEATURE_FRAME.value))
            alerts = sql.SQL("SELECT count(*) FROM {} WHERE presence <> 'off'").format(
                sql.Identifier(Table.ALERT.value)
            )
            rate, active = (
                self._link.execute(frames).fetchone(),
                self._link.execute(alerts).fetchone(),
            )
        except psycopg.Error:
            if self._link is not None:
                self._link.close()
            self._link = None
            return ["database away"]
        return [
            f"{float(rate[0]) if rate else 0.0:.1f} frames/s committed",
            f"alerts active {active[0] if active else 0}",
        ]

    def close(self) -> None:
        """Let go of the database."""
        if self._link is not None:
            self._link.close()


# ---- scored ---------------------------------------------------------------------------------


class Scorer:
    """Listens and counts while a stack runs, and ends its beds to count what is left."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._numbers = range(1, stack.options.n_beds + 1)
        self._beds_began_ns = 0
        self._ear: DashboardEar | None = None

    def begin(self) -> None:
        """Listen from now on: the beds are about to start."""
        addresses = self._stack.addresses
        if addresses is None:
            raise StartError("the stack has no addresses")
        self._beds_began_ns = time.time_ns()
        self._ear = DashboardEar(addresses.api_url, "nurse", self._stack.secrets.nurse_password)
        self._ear.start()

    async def score(self, stop: asyncio.Event, seconds: float) -> dict[str, Any]:
        """The scorecard of the next `seconds`, in which nothing starts any more.

        Alerts and what a dashboard heard count from the first bed's start on, the beds'
        latencies from now, frames from the first to the last.
        """
        stack, measured = self._stack, Measurements()
        since_ns, started = time.time_ns(), time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        measured.seconds = time.monotonic() - started
        children = stack.supervisor.children
        measured.rss_mb = memory_mb({name: child.pid for name, child in children.items()})
        restarts = {name: child.n_restarts for name, child in children.items() if child.n_restarts}
        await stack.stop_beds()
        await self._read_store(measured, since_ns)
        if self._ear is not None:
            self._ear.end()
            measured.dashboard_ms = self._ear.latencies_ms
        return {
            "beds": stack.options.n_beds,
            "recordings": stack.what_plays,
            "store": stack.store,
            "kafka": stack.kafka_kind,
            "restarts": sum(restarts.values()),
            "restarts_by_program": restarts,
            **measured.as_dict(),
        }

    async def _read_store(self, measured: Measurements, since_ns: int) -> None:
        stack = self._stack
        devices = [environment.device_id_of(number) for number in self._numbers]
        url = "" if stack.addresses is None else stack.addresses.database_url
        store = StoreReader(url, devices)
        environments = [stack.bed_environment(number) for number in self._numbers]
        lanes = await settled_lanes(environments, store, _SETTLE_DEADLINE_S)
        measured.frames, measured.alert_events = lanes[Lane.FRAME], lanes[Lane.ALERT]
        measured.edge_decision_ms = await asyncio.to_thread(store.decision_latencies_ms, since_ns)
        measured.alert_conditions = await asyncio.to_thread(
            store.alerts_raised, self._beds_began_ns
        )
        measured.alerts_raised = sum(measured.alert_conditions.values())


def _report(card: dict[str, Any], *, as_json: bool, tell: Callable[[str], None]) -> ExitCode:
    print(json.dumps(card) if as_json else json.dumps(card, indent=2), flush=True)
    failed = False
    for kind in ("frames", "alerts"):
        lost, duplicated = card[kind]["lost"], card[kind]["duplicated"]
        if lost or duplicated:
            tell(f"{kind}: {lost} lost, {duplicated} duplicated")
            failed = True
    return ExitCode.CRASHED if failed else ExitCode.OK
