"""What the agent finds wrong with itself, told like anything else that is wrong at a bed.

A log line reaches nobody at night. So a disk that refuses and a link that is away are technical
conditions of the table: shown at the bed, numbered, sent when the link is back.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from edge_agent.services.bedside import Bedside
from wardstream.alerting.engine import Finding
from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import TimestampNs

PERIOD_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that can be wrong with the agent.

    Attributes
    ----------
    condition : Condition
        As which it is told.
    present : callable
        Whether it is wrong now; must not wait.
    """

    condition: Condition
    present: Callable[[], bool]


class SelfReport:
    """Asks every concern twice a second, on the event loop.

    Parameters
    ----------
    concerns : sequence of Concern
        Each condition at most once.
    bedside : Bedside
        Judges what is found, with the delays of the table.
    data_time_ns : callable
        Now, on the clock of the data.
    """

    name = "self report"

    def __init__(
        self,
        concerns: Sequence[Concern],
        bedside: Bedside,
        data_time_ns: Callable[[], TimestampNs],
    ) -> None:
        if len({concern.condition for concern in concerns}) != len(concerns):
            raise ValueError("two concerns tell of the same condition")
        self._concerns = tuple(concerns)
        self._bedside = bedside
        self._data_time_ns = data_time_ns

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    def ask(self) -> None:
        """Judge every concern as it is now."""
        now_ns = self._data_time_ns()
        for concern in self._concerns:
            self._bedside.report(
                Finding(condition=concern.condition, present=concern.present(), time_ns=now_ns)
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until `stop`."""
        while not stop.is_set():
            self.ask()
            await asyncio.sleep(PERIOD_S)
