"""Every part of the pipeline killed, stopped and restarted under load; the tables compared.

A trial is a known input: the frames and alerts of some devices, numbered, at fixed moments of
event time, published at a steady rate while one part suffers one fault. A run of the same input
without a fault stands beside it. Recovery is counted from the moment the fault ends (the kill,
the order to restart, SIGCONT) until everything said until then is committed.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deploy.chaos.tables import Contents, RunSlice, read_contents
from deploy.load.devices import LoadDevice, LoadWard, boot_id_of
from deploy.load.rig import PipelineRig, RigOptions, asked, restart_softly, stop_and_go
from deploy.local.patients import generate_bundle
from deploy.local.supervisor import Child, Health
from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import NS_PER_S

logger = logging.getLogger(__name__)

COMPONENTS: Final = ("mosquitto", "kafka", "bridge", "worker", "postgres", "api")
FAULTS: Final = ("kill", "stop", "restart")

_SPACING_NS: Final = 4 * 3600 * NS_PER_S
"""Event time between two trials: whole quarters of an hour, longer than a trial's input."""

_HURRY: Final = tuple(
    f"UPDATE {table} SET marked_time = marked_time - interval '1 hour' RETURNING 1"  # noqa: S608
    for table in ("rollup_due", "rollup_due_15m")
)

_WARM_UP_S: Final = 90.0
_COVERED_S: Final = 120.0
_ROLLED_UP_S: Final = 240.0
_BEFORE_S: Final = 3.0
_AFTER_S: Final = 4.0
_TICK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineChaos:
    """What is done.

    Attributes
    ----------
    components, faults : tuple of str
        Every one with every other.
    times : int
        Trials of each pair.
    stop_s : float
        How long SIGSTOP holds.
    kafka : str
        ``tansu``, or ``apache`` with three brokers, of which one suffers.
    bridges, workers : int
        How many of each run; a random one suffers.
    devices, frames_per_s : int
        The load: devices, and frames a second of each.
    seed : int
        Of who suffers, and of the moments.
    """

    components: tuple[str, ...] = COMPONENTS
    faults: tuple[str, ...] = FAULTS
    times: int = 1
    stop_s: float = 90.0
    kafka: str = "tansu"
    bridges: int = 1
    workers: int = 1
    devices: int = 8
    frames_per_s: int = 40
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    number: int
    component: str
    fault: str
    slice: RunSlice
    n_ticks: int
    recovery_s: float | None
    covered: bool


class PipelineCampaign:
    """One campaign on a rig of its own in `folder`."""

    def __init__(self, plan: PipelineChaos, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._device_ids = tuple(f"load-{number:02}" for number in range(1, plan.devices + 1))
        self._chance = random.Random(plan.seed)  # noqa: S311 - moments, not secrets
        begun = int(time.time()) // 3600 * 3600 * NS_PER_S
        n_runs = len(plan.components) * len(plan.faults) * plan.times + 4
        self._first_base_ns = begun - n_runs * _SPACING_NS
        self._n_runs = 0

    async def run(self, stop: asyncio.Event) -> list[dict[str, Any]]:
        """One line a trial; until `stop` is set, or all are done.

        Raises
        ------
        StartError, ConfigurationError
            The rig would not start.
        TransientError
            The run without a fault did not come through.
        """
        plan = self._plan
        options = RigOptions(
            folder=self._folder,
            device_ids=self._device_ids,
            kafka=plan.kafka,
            brokers=3 if plan.kafka == "apache" else 1,
            bridges=plan.bridges,
            workers=plan.workers,
            api=True,
            rollup_after_s=31,
        )
        async with PipelineRig(options) as rig:
            await self._admit(rig)
            references = {n: await self._reference(rig, n) for n in self._input_sizes()}
            trials: list[_Trial] = []
            for component, fault in self._pairs():
                if stop.is_set():
                    break
                trials.append(await self._trial(rig, component, fault))
            return await self._compare(rig, references, trials)

    def _pairs(self) -> list[tuple[str, str]]:
        plan = self._plan
        pairs = [(c, f) for c in plan.components for f in plan.faults] * plan.times
        self._chance.shuffle(pairs)
        return pairs

    def _n_ticks(self, fault: str) -> int:
        held_s = self._plan.stop_s if fault == "stop" else 0.0
        return round((_BEFORE_S + held_s + _AFTER_S) / _TICK_S)

    def _input_sizes(self) -> set[int]:
        return {self._n_ticks(fault) for fault in self._plan.faults}

    async def _admit(self, rig: PipelineRig) -> None:
        # Two beds hold patients, so that the join with the record is compared as well.
        first = datetime.fromtimestamp(self._first_base_ns / 1e9 - 86_400, UTC)
        for number, device_id in enumerate(self._device_ids[:2], start=1):
            bundle = self._folder / f"patient-{number}.json"
            bundle.write_text(json.dumps(generate_bundle(number, first)))
            effective = first.strftime("%Y-%m-%dT%H:%M:%S+0000")
            await rig.run_once(
                "records",
                *("stream_processors", "records", "load", str(bundle)),
                *("--bed", f"bed-{device_id}", "--effective", effective),
            )
        async with asyncio.timeout(_WARM_UP_S):
            held = "SELECT count(*) FROM bed_assignment"
            while await asked(rig.database_url, held) != [(2,)]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # rows have no event to wait for

    def _next_run(self, rig: PipelineRig, n_ticks: int) -> tuple[LoadWard, RunSlice]:
        base_ns = self._first_base_ns + self._n_runs * _SPACING_NS
        boots = [boot_id_of(self._plan.seed, self._n_runs, name) for name in self._device_ids]
        self._n_runs += 1
        ward = LoadWard(
            [
                LoadDevice(rig.mqtt_url(name), name, f"bed-{name}", boot, time.monotonic)
                for name, boot in zip(self._device_ids, boots, strict=True)
            ]
        )
        n_frames = n_ticks * max(1, round(self._plan.frames_per_s * _TICK_S))
        end_ns = base_ns + n_frames * NS_PER_S
        if end_ns > base_ns + _SPACING_NS:
            raise ValueError("a trial's input is longer than the time between two trials")
        return ward, RunSlice(boots, base_ns, end_ns)

    async def _reference(self, rig: PipelineRig, n_ticks: int) -> RunSlice:
        ward, run = self._next_run(rig, n_ticks)
        async with ward:
            await self._settle(ward, run)
            for tick in range(1, n_ticks):
                self._say(ward, run, tick)
                await asyncio.sleep(_TICK_S / 4)
            if not await ward.until_covered(_COVERED_S):
                raise TransientError("the run without a fault was not committed")
        return run

    async def _settle(self, ward: LoadWard, run: RunSlice) -> None:
        await ward.until_connected()
        for device in ward.devices:
            device.say_status(run.base_ns)
        self._say(ward, run, 0)
        if not await ward.until_covered(_WARM_UP_S):
            raise TransientError(f"the pipeline committed nothing within {_WARM_UP_S:.0f} s")

    def _say(self, ward: LoadWard, run: RunSlice, tick: int) -> None:
        n_frames = max(1, round(self._plan.frames_per_s * _TICK_S))
        for device in ward.devices:
            at_ns = run.base_ns + tick * n_frames * NS_PER_S
            device.say_frames(n_frames, at_ns, NS_PER_S, per_message=1 if tick % 2 else 16)
            if tick % 10 == 0:
                device.say_alert(at_ns)
            if tick == 5:
                device.say_nonsense()

    async def _trial(self, rig: PipelineRig, component: str, fault: str) -> _Trial:
        names = rig.names(component)
        victim = rig.child(self._chance.choice(names))
        n_ticks = self._n_ticks(fault)
        ward, run = self._next_run(rig, n_ticks)
        logger.info("trial %d: %s %s", self._n_runs, fault, victim.program.name)
        async with ward:
            await self._until_ready(rig)
            await self._settle(ward, run)
            ticks = asyncio.create_task(self._say_all(ward, run, n_ticks))
            await asyncio.sleep(_BEFORE_S * self._chance.uniform(0.5, 1.0))
            await self._inflict(fault, victim)
            ended_s, said = time.monotonic(), ward.positions()
            back = await ward.until_past(said, _COVERED_S)
            recovery_s = time.monotonic() - ended_s if back else None
            await ticks
            covered = await ward.until_covered(_COVERED_S)
        return _Trial(
            number=self._n_runs, component=component, fault=fault, slice=run, n_ticks=n_ticks,
            recovery_s=recovery_s, covered=covered,
        )  # fmt: skip

    async def _inflict(self, fault: str, victim: Child) -> None:
        if fault == "kill":
            victim.kill()
        elif fault == "restart":
            restart_softly(victim)
        else:
            stop_and_go(victim, stopped=True)
            try:
                await asyncio.sleep(self._plan.stop_s)
            finally:
                stop_and_go(victim, stopped=False)

    async def _say_all(self, ward: LoadWard, run: RunSlice, n_ticks: int) -> None:
        begun_s = time.monotonic()
        for tick in range(1, n_ticks):
            self._say(ward, run, tick)
            await asyncio.sleep(max(0.0, begun_s + tick * _TICK_S - time.monotonic()))

    async def _until_ready(self, rig: PipelineRig) -> None:
        children = rig.supervisor.children.values()
        async with asyncio.timeout(_WARM_UP_S):
            while any(child.health is not Health.READY for child in children):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _compare(
        self, rig: PipelineRig, references: dict[int, RunSlice], trials: Sequence[_Trial]
    ) -> list[dict[str, Any]]:
        await self._until_rolled_up(rig)
        expected = {
            n: await asyncio.to_thread(read_contents, rig.database_url, run)
            for n, run in references.items()
        }
        lines: list[dict[str, Any]] = []
        for trial in trials:
            found = await asyncio.to_thread(read_contents, rig.database_url, trial.slice)
            lines.append(self._line(trial, expected[trial.n_ticks], found))
        return lines

    def _line(self, trial: _Trial, expected: Contents, found: Contents) -> dict[str, Any]:
        n_frames = trial.n_ticks * max(1, round(self._plan.frames_per_s * _TICK_S))
        n_events = -(-trial.n_ticks // 10)
        said = self._plan.devices * (n_frames + n_events)
        differing = found.differing(expected)
        return {
            "trial": trial.number,
            "component": trial.component,
            "fault": trial.fault,
            "kafka": self._plan.kafka,
            "lost": said - found.n_distinct - found.n_distinct_events,
            "duplicated": found.n_frames + found.n_events
            - found.n_distinct - found.n_distinct_events,
            "tables_equal": not differing,
            "recovery_s": None if trial.recovery_s is None else round(trial.recovery_s, 2),
            **({"differing": differing} if differing else {}),
            **({} if trial.covered else {"covered": False}),
        }  # fmt: skip

    async def _until_rolled_up(self, rig: PipelineRig) -> None:
        # Roll-ups are compared as well. They are made some time after their last frame, which
        # is over: so they may be made now, those of minutes first, then those made of them.
        due = "SELECT (SELECT count(*) FROM rollup_due) + (SELECT count(*) FROM rollup_due_15m)"
        try:
            async with asyncio.timeout(_ROLLED_UP_S):
                while await asked(rig.database_url, due) != [(0,)]:
                    for hurry in _HURRY:
                        await asked(rig.database_url, hurry)
                    await asyncio.sleep(1.0)
        except TimeoutError:
            logger.warning("roll-ups are still due after %.0f s", _ROLLED_UP_S)
