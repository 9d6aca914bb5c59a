"""Whether a stack that runs for long grows: memory, file handles and threads of each program.

The stack is the one people run, with simulated crises, so alerts come, are stored and are freed
all the time. What a program holds is looked at every few seconds; after a quarter of the run,
which is for filling caches, it must not grow any more.
"""

import asyncio
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil

from deploy.local import environment
from deploy.local.beds import Performance
from deploy.local.layout import CHECKOUT, StateFolder
from deploy.local.scorecard import StoreReader, memory_mb, settled_lanes
from deploy.local.stack import Stack, StackOptions
from wardstream.contracts.identity import Lane

logger = logging.getLogger(__name__)

_SETTLE_S: Final = 60.0

ALLOWED: Final[Mapping[str, tuple[float, float]]] = {
    # Of what was there after the first quarter, and in absolute terms: allocators keep some of
    # what they were once given, and servers open a connection or a file now and then.
    "rss_mb": (0.10, 8.0),
    "handles": (0.10, 4.0),
    "threads": (0.0, 2.0),
}
"""Growth from the second quarter of a run to the last that still counts as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a program and its children hold at one moment."""

    at_s: float
    pid: int
    rss_mb: float
    handles: float
    threads: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What is run, for how long, and how often it is looked at."""

    minutes: float = 120.0
    beds: int = 2
    seed: int = 1
    every_s: float = 5.0


async def soak(
    plan: Soak, state: StateFolder, outer: dict[str, str], stop: asyncio.Event
) -> dict[str, Any]:
    """Run the stack and return the figures.

    Raises
    ------
    StartError
        The stack would not start.
    """
    options = StackOptions(n_beds=plan.beds, kafka="tansu", state=state, data=None, port=None)
    stack = Stack(options, outer, logger.info)
    stack.performances = [
        Performance(
            kind="simulator",
            what="simulated patient, unrest",
            script=CHECKOUT / "firmware_configs" / "scenarios" / "unrest.yaml",
            seed=plan.seed + number,
        )
        for number in range(plan.beds)
    ]
    try:
        await stack.start()
        n_restarts = stack.supervisor.n_restarts  # what a start took is no part of the run
        begun_s = time.monotonic()
        looked = await _look(stack, plan, stop)
        minutes = (time.monotonic() - begun_s) / 60
        return {
            "minutes": round(minutes, 2),
            "beds": plan.beds,
            **report(looked),
            "restarts": stack.supervisor.n_restarts - n_restarts,
            "alerts": await _alerts(stack, plan),
        }
    finally:
        await stack.stop()


async def _look(stack: Stack, plan: Soak, stop: asyncio.Event) -> dict[str, list[Held]]:
    found: dict[str, list[Held]] = {}
    begun_s = time.monotonic()
    while not stop.is_set() and time.monotonic() - begun_s < plan.minutes * 60:
        at_s = time.monotonic() - begun_s
        for name, child in stack.supervisor.children.items():
            held = None if child.pid is None else _held(child.pid, at_s)
            if held is not None:
                found.setdefault(name, []).append(held)
        try:
            await asyncio.wait_for(stop.wait(), plan.every_s)
        except TimeoutError:
            continue
    return found


def _held(pid: int, at_s: float) -> Held | None:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return Held(
            at_s=at_s,
            pid=pid,
            rss_mb=memory_mb({"": pid})[""],
            handles=float(sum(one.num_fds() for one in family)),
            threads=float(sum(one.num_threads() for one in family)),
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied, KeyError):
        return None  # it ended while it was looked at; the restart is counted


def report(looked: Mapping[str, Sequence[Held]]) -> dict[str, Any]:
    """For each program how much it held, early and late, and whether that is flat.

    Returns
    -------
    dict
        ``programs``: by name and quantity the medians of the second and the last quarter and the
        growth in an hour; ``flat``: whether none grew by more than `ALLOWED`.
    """
    programs = {name: _of_program(helds) for name, helds in looked.items() if len(helds) >= 8}
    return {
        "programs": programs,
        "flat": bool(programs) and all(one["flat"] for one in programs.values()),
    }


def _of_program(helds: Sequence[Held]) -> dict[str, Any]:
    quarter = len(helds) // 4
    early, late = helds[quarter : 2 * quarter], helds[-quarter:]
    hours = (_middle_s(late) - _middle_s(early)) / 3600
    found: dict[str, Any] = {"lives": len({held.pid for held in helds})}
    flat = True
    for quantity, (share, absolute) in ALLOWED.items():
        before, after = (
            statistics.median(getattr(held, quantity) for held in part) for part in (early, late)
        )
        flat = flat and after - before <= max(share * before, absolute)
        found[quantity] = {
            "early": round(before, 1),
            "late": round(after, 1),
            "an_hour": round((after - before) / hours, 2) if hours > 0 else 0.0,
        }
    return found | {"flat": flat}


def _middle_s(helds: Sequence[Held]) -> float:
    return (helds[0].at_s + helds[-1].at_s) / 2


async def _alerts(stack: Stack, plan: Soak) -> dict[str, int]:
    await stack.stop_beds()
    numbers = range(1, plan.beds + 1)
    url = "" if stack.addresses is None else stack.addresses.database_url
    store = StoreReader(url, [environment.device_id_of(number) for number in numbers])
    environments = [stack.bed_environment(number) for number in numbers]
    lane = (await settled_lanes(environments, store, _SETTLE_S))[Lane.ALERT]
    return {"events": lane.published, "lost": lane.lost, "duplicated": lane.duplicated}
