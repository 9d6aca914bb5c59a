"""The loop beside the agents that scores minutes, supports alerts and watches for drift.

What is due stands in the store, written in the transaction that made it due, so a killed worker
forgets nothing and any worker may do it. It is not in the way of frames: they are committed first.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import NS_PER_S

logger = logging.getLogger(__name__)

_TICK_S: Final = 2.0
_HOUR_IS_IN_AFTER: Final = timedelta(minutes=5)


class Scorer(Protocol):
    """What is scored, and where."""

    async def score_minutes(self) -> int:
        """Score what is due; returns how many minutes were."""
        ...

    async def support_alerts(self, now_ns: int) -> int:
        """Say of new alerts what frames and record add; returns of how many."""
        ...

    async def measure_drift(self, hour: datetime) -> int:
        """Compare the hour that begins at `hour` with the reference; returns the figures stored."""
        ...


@dataclass(slots=True)
class ScoringCounts:
    """Since start; for the metrics endpoint."""

    n_minutes: int = 0
    n_alerts: int = 0
    n_drift_figures: int = 0


class Scoring:
    """Works beside the stream; while the store is away, it waits."""

    name = "scoring"

    def __init__(self, scorer: Scorer, *, clock_ns: Callable[[], int]) -> None:
        self._scorer = scorer
        self._clock_ns = clock_ns
        self._measured: datetime | None = None
        self.counts = ScoringCounts()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                busy = await self.turn()
            except TransientError as error:
                logger.info("scoring waits: %s", error)
                busy = False
            except Exception as error:  # noqa: BLE001 - frames are never stopped by their scores
                # The error's own text may name a patient: its kind has to do.
                logger.error("scoring failed (%s); frames go on", type(error).__name__)
                busy = False
            if not busy:
                try:
                    await asyncio.wait_for(stop.wait(), _TICK_S)
                except TimeoutError:
                    continue

    async def turn(self) -> bool:
        """Do what is due; returns whether there is likely more."""
        n_minutes = await self._scorer.score_minutes()
        now_ns = self._clock_ns()
        n_alerts = await self._scorer.support_alerts(now_ns)
        self.counts.n_minutes += n_minutes
        self.counts.n_alerts += n_alerts
        now = datetime.fromtimestamp(now_ns / NS_PER_S, UTC) - _HOUR_IS_IN_AFTER
        hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        if self._measured is None or hour > self._measured:
            self.counts.n_drift_figures += await self._scorer.measure_drift(hour)
            self._measured = hour
        return n_minutes > 0 or n_alerts > 0
