"""Doing something until it works, because what it waits for comes back."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from wardstream.contracts.errors import TransientError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


class Patience:
    """Retries with jitter for ever; says once when it begins to wait and once when it ends.

    Attributes
    ----------
    waiting : bool
        Whether the last attempt failed: then standing still is right.
    n_retries : int
        Failed attempts since start.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.waiting = False
        self.n_retries = 0

    async def until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first `attempt` that does not raise `TransientError`."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                result = await attempt()
            except TransientError as error:
                if not self.waiting:
                    logger.warning("%s is away, waiting: %s", self._what, error)
                self.waiting = True
                self.n_retries += 1
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                if self.waiting:
                    logger.warning("%s is back", self._what)
                self.waiting = False
                return result
