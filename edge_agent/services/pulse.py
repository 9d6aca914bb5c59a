"""Whether the agent is alive and the bed is watched, for whoever asks from outside."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from edge_agent.core.ports import Measurements

PERIOD_S: Final = 0.5
STUCK_AFTER_S: Final = 5.0
"""An event loop that has not turned for this long judges nothing and says nothing."""

UNWATCHED_AFTER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the agent says of itself.

    Attributes
    ----------
    alive : bool
        Its event loop turns; if not, only a restart helps.
    watched : bool
        Samples were judged within the last seconds.
    details : mapping of str to bool, float or None
        Why, in figures, free of patients.
    """

    alive: bool
    watched: bool
    details: Mapping[str, bool | float | None]


class Pulse:
    """Notes twice a second that the event loop turns and whether packets are judged.

    Parameters
    ----------
    measurements : Measurements
        Counts packets.
    facts : mapping of str to callable
        What else is worth saying, for example whether the broker answers.
    monotonic_s : callable
        Clock that no one sets.
    """

    name = "pulse"

    def __init__(
        self,
        measurements: Measurements,
        facts: Mapping[str, Callable[[], bool]],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._measurements = measurements
        self._facts = dict(facts)
        self._monotonic_s = monotonic_s
        self._turned_s = monotonic_s()
        self._judged_s: float | None = None
        self._n_packets = 0

    def vitals(self) -> Vitals:
        """How it stands now; may be asked from any thread."""
        now_s = self._monotonic_s()
        stuck_s = now_s - self._turned_s
        silent_s = None if self._judged_s is None else now_s - self._judged_s
        alive = stuck_s < STUCK_AFTER_S
        return Vitals(
            alive=alive,
            watched=alive and silent_s is not None and silent_s < UNWATCHED_AFTER_S,
            details={
                "loop_turned_before_s": round(stuck_s, 3),
                "judged_before_s": None if silent_s is None else round(silent_s, 3),
                **{name: fact() for name, fact in self._facts.items()},
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    def beat(self) -> None:
        """Note that the loop turns."""
        self._turned_s = self._monotonic_s()
        if self._measurements.n_packets != self._n_packets:
            self._n_packets = self._measurements.n_packets
            self._judged_s = self._turned_s

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop`."""
        while not stop.is_set():
            self.beat()
            await asyncio.sleep(PERIOD_S)
