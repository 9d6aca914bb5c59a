"""Waiting that a stop ends at once, and how long to wait for a server that is away."""

import asyncio
import random
from dataclasses import dataclass


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Whether `stop` was set within `seconds`."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


@dataclass(slots=True)
class Backoff:
    """Growing pauses with jitter, so that replicas do not come back in step.

    Attributes
    ----------
    first_s, longest_s : float
        Bounds of the pause in seconds.
    """

    first_s: float = 0.1
    longest_s: float = 2.0
    _pause_s: float = 0.0

    def next_s(self) -> float:
        """The next pause in seconds."""
        self._pause_s = min(self.longest_s, max(self.first_s, self._pause_s * 2))
        return self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, hides nothing

    def reset(self) -> None:
        """Begin anew after a success."""
        self._pause_s = 0.0
