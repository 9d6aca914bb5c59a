"""`kill -9` of bedside agents at random moments while the broker comes and goes.

The stack is the one people run; the ledger is what the agents numbered before they were killed
and what they sounded, checked against the rows of the database.
"""

import asyncio
import logging
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

from deploy.chaos.bed_log import BedLog, Sounded
from deploy.local import environment
from deploy.local.beds import Performance
from deploy.local.layout import CHECKOUT, StateFolder
from deploy.local.scorecard import LaneCounts, StoreReader, settled_lanes
from deploy.local.servers.program import StartError
from deploy.local.stack import Stack, StackOptions
from deploy.local.supervisor import Backoff
from wardstream.contracts.identity import Lane
from wardstream.contracts.storage import Table

logger = logging.getLogger(__name__)

_BACKOFF: Final = Backoff(first_s=0.1, longest_s=0.5)
"""Of the supervisor: these ends are not the agents' fault, so they need not wait longer."""

_JUDGES_WITHIN_S: Final = 60.0
_SETTLE_S: Final = 90.0
_ANY_MOMENT: Final = 0.15
"""Share of the kills that do not wait until the bed judges again, so that starts are hit too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeChaos:
    """What is done.

    Attributes
    ----------
    kills : int
        Of agents, over all beds.
    beds : int
        Simulated patients, each with a crisis every few seconds.
    seed : int
        Of the moments.
    longest_pause_s : float
        Between two kills at most.
    broker_every_s : float
        About how often the broker is killed, or stopped for some seconds, in turn.
    """

    kills: int = 100
    beds: int = 2
    seed: int = 1
    longest_pause_s: float = 5.0
    broker_every_s: float = 20.0


@dataclass(slots=True)
class _Tally:
    kills: int = 0
    broker_outages: int = 0
    blind_s: list[float] = field(default_factory=list[float])
    killed_at_s: dict[str, float] = field(default_factory=dict[str, float])


class EdgeCampaign:
    """One campaign on a stack of its own in `state`."""

    def __init__(self, plan: EdgeChaos, state: StateFolder, outer: dict[str, str]) -> None:
        self._plan = plan
        options = StackOptions(
            n_beds=plan.beds, kafka="tansu", state=state, data=None, port=None, backoff=_BACKOFF
        )
        self._stack = Stack(options, outer, logger.info)
        self._stack.performances = [
            Performance(
                kind="simulator",
                what="simulated patient, unrest",
                script=CHECKOUT / "firmware_configs" / "scenarios" / "unrest.yaml",
                seed=plan.seed + number,
            )
            for number in range(plan.beds)
        ]
        self._chance = random.Random(plan.seed)  # noqa: S311 - moments, not secrets
        self._names = [environment.bed_id_of(number + 1) for number in range(plan.beds)]
        self._logs = {name: BedLog(state.part("logs") / f"{name}.log") for name in self._names}
        self._tally = _Tally()

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        """Kill, count, and return the figures.

        Raises
        ------
        StartError
            The stack would not start, or a bed did not come back.
        """
        started_s = time.monotonic()
        try:
            await self._stack.start()
            async with asyncio.TaskGroup() as group:
                disturbing = group.create_task(self._disturb_broker())
                await self._kill_all(stop)
                disturbing.cancel()
            for name in self._names:
                await self._until_it_judges(name)
            return await self._count(time.monotonic() - started_s)
        finally:
            await self._stack.stop()

    async def _kill_all(self, stop: asyncio.Event) -> None:
        while self._tally.kills < self._plan.kills:
            name = self._chance.choice(self._names)
            if self._chance.random() >= _ANY_MOMENT:
                await self._until_it_judges(name)
            await asyncio.sleep(self._chance.uniform(0.05, self._plan.longest_pause_s))
            if stop.is_set():
                return
            self._kill(name)

    def _kill(self, name: str) -> None:
        child = self._stack.supervisor.children[name]
        if child.pid is None:
            return  # between two lives
        self._note_judged(name)
        child.kill()
        self._tally.kills += 1
        # Blind until it judges again, however often it is killed before.
        self._tally.killed_at_s.setdefault(name, time.time())
        logger.info("kill %d: %s", self._tally.kills, name)

    async def _until_it_judges(self, name: str) -> None:
        end_s = time.monotonic() + _JUDGES_WITHIN_S
        while not self._note_judged(name):
            if time.monotonic() > end_s:
                raise StartError(f"{name} did not judge again within {_JUDGES_WITHIN_S:.0f} s")
            await asyncio.sleep(0.05)

    def _note_judged(self, name: str) -> bool:
        """Whether the bed has judged since it was last killed."""
        log = self._logs[name]
        log.read_on()
        killed_s = self._tally.killed_at_s.get(name)
        if killed_s is None:
            return bool(log.first_judged)
        again = next((f for f in log.first_judged if f.time_s > killed_s), None)
        if again is None:
            return False
        self._tally.blind_s.append(again.time_s - killed_s)
        del self._tally.killed_at_s[name]
        return True

    async def _disturb_broker(self) -> None:
        broker = self._stack.supervisor.children["mosquitto"]
        while True:
            every_s = self._plan.broker_every_s
            await asyncio.sleep(self._chance.uniform(0.5 * every_s, 1.5 * every_s))
            self._tally.broker_outages += 1
            if self._tally.broker_outages % 2:
                logger.info("the broker is killed")
                broker.kill()
                continue
            away_s = self._chance.uniform(2.0, 8.0)
            logger.info("the broker is stopped for %.1f s", away_s)
            broker.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(away_s)
            finally:
                broker.signal(signal.SIGCONT)

    async def _count(self, seconds: float) -> dict[str, Any]:
        stack, plan, tally = self._stack, self._plan, self._tally
        await stack.stop_beds()
        numbers = range(1, plan.beds + 1)
        url = "" if stack.addresses is None else stack.addresses.database_url
        devices = [environment.device_id_of(number) for number in numbers]
        store = StoreReader(url, devices)
        environments = [stack.bed_environment(number) for number in numbers]
        lanes = await settled_lanes(environments, store, _SETTLE_S)
        for log in self._logs.values():
            log.read_on()
        sounded = {event for log in self._logs.values() for event in log.sounded}
        stored = await asyncio.to_thread(_stored_events, url, devices)
        # The first life of each bed is a start, and may have compiled; the others are restarts.
        restarts = [f.since_start_s for log in self._logs.values() for f in log.first_judged[1:]]
        alerts, frames = lanes[Lane.ALERT], lanes[Lane.FRAME]
        return {
            "kills": tally.kills,
            "seconds": round(seconds, 1),
            "seed": plan.seed,
            "beds": plan.beds,
            "broker_outages": tally.broker_outages,
            "alerts": {
                "raised": len({event.alert_id for event in stored}),
                "events": alerts.published,
                "lost": alerts.lost,
                "duplicated": alerts.duplicated,
                "sounded_but_killed_before_stored": len(sounded - stored),
            },
            "frames": _frames(frames),
            "restart_to_first_judged_s": _spread(restarts),
            "blind_s": round(sum(tally.blind_s), 3),
            "blind_s_a_kill": _spread(tally.blind_s),
        }


def _frames(frames: LaneCounts) -> dict[str, int]:
    return {
        "published": frames.published,
        "lost": frames.lost,
        "duplicated": frames.duplicated,
        "gaps": frames.gaps,
    }


def _spread(values: list[float]) -> dict[str, float | int | None]:
    if not values:
        return {"n": 0, "median": None, "max": None}
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median": round(ordered[len(ordered) // 2], 3),
        "max": round(ordered[-1], 3),
    }


def _stored_events(url: str, devices: list[str]) -> set[Sounded]:
    query = sql.SQL(
        "SELECT alert_id::text, transition, event_time_ns FROM {} WHERE device_id = ANY(%s) "
        "AND condition <> 'device_silent'"
    ).format(sql.Identifier(Table.ALERT_EVENT.value))
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as link:
        rows = link.execute(query, (devices,)).fetchall()
    return {Sounded(str(row[0]), str(row[1]), int(row[2])) for row in rows}
