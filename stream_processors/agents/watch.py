"""Loops beside the agents: housekeeping, and the watchdog that ends the process."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.core.context import ContextTable
from stream_processors.core.ports import Housekeeper
from stream_processors.core.stall import Partition, Progress, StallDetector
from wardstream.contracts.errors import TransientError

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_MAINTAIN_EVERY_S = 3600.0


class WorkerStalledError(Exception):
    """The worker stands still or follows a log that is gone; only a new process helps."""


class ProgressSource(Protocol):
    """Where the log ends and where the group is."""

    async def ask(self) -> dict[Partition, Progress]:
        """Progress of every partition; raises `TransientError` while Kafka is away."""
        ...


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class Housekeeping:
    """Roll-ups, restatements, retention, and watermarks of devices that came late."""

    name = "housekeeping"

    def __init__(
        self,
        housekeeper: Housekeeper,
        writer: FrameWriter,
        table: ContextTable,
        *,
        clock_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._housekeeper = housekeeper
        self._writer = writer
        self._table = table
        self._clock_ns = clock_ns
        self._monotonic_s = monotonic_s
        self._maintained_s: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; while the store is away, wait."""
        while not stop.is_set():
            try:
                await self._turn()
            except TransientError as error:
                logger.info("housekeeping waits: %s", error)
            await _pause(stop, _TICK_S)

    async def _turn(self) -> None:
        while (n_changed := await self._housekeeper.restate(self._table)) is not None:
            if n_changed:
                logger.info("joined %d stored frames again after a change of context", n_changed)
        await self._housekeeper.roll_up()
        self._writer.publish_unplaced()
        now_s = self._monotonic_s()
        if self._maintained_s is None or now_s - self._maintained_s > _MAINTAIN_EVERY_S:
            await self._housekeeper.maintain(self._clock_ns())
            self._maintained_s = now_s


class Watchdog:
    """Asks from outside whether the group moves, and raises when it does not.

    Parameters
    ----------
    source : ProgressSource
        Asks the brokers.
    assignment : callable
        Partitions this process works on now.
    may_stand : callable
        Whether standing still is right, for the store is away.
    patience_s, away_s : float
        How long a partition may stand, and how long Kafka may be away, before only a new
        process is trusted.
    """

    name = "watchdog"

    def __init__(
        self,
        source: ProgressSource,
        *,
        assignment: Callable[[], frozenset[Partition]],
        may_stand: Callable[[], bool],
        monotonic_s: Callable[[], float],
        patience_s: float = 15.0,
        away_s: float = 4.0,
    ) -> None:
        self._source = source
        self._assignment = assignment
        self._may_stand = may_stand
        self._monotonic_s = monotonic_s
        self._detector = StallDetector(patience_s)
        self._patience_s = patience_s
        self._away_s = away_s
        self._answered_s: float | None = None
        self._assigned_s: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises
        ------
        WorkerStalledError
            This process is to end.
        """
        self._assigned_s = self._monotonic_s()
        while not stop.is_set():
            try:
                progress = await self._source.ask()
            except TransientError as error:
                logger.info("watchdog: %s", error)
            else:
                self._judge(progress)
            await _pause(stop, _TICK_S)

    def _judge(self, progress: dict[Partition, Progress]) -> None:
        now_s = self._monotonic_s()
        if self._answered_s is not None and now_s - self._answered_s > self._away_s:
            away_s = now_s - self._answered_s
            raise WorkerStalledError(f"Kafka was away for {away_s:.0f} s; beginning anew")
        self._answered_s = now_s
        ours = self._assignment()
        reason = self._detector.judge(progress, ours, now_s, may_stand=self._may_stand())
        if reason is not None:
            raise WorkerStalledError(reason)
