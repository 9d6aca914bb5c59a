"""Hears when another replica has extended the journal."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from cloud_api.services.pacing import Backoff, stopped_within
from wardstream.contracts.errors import TransientError

_WAIT_S = 1.0


class Bell(Protocol):
    """What any replica rings when it commits."""

    async def wait(self, timeout_s: float) -> bool:
        """Whether it rang within `timeout_s` seconds."""
        ...


class BellListener:
    """Passes the store's bell on to this replica's fan-out."""

    name = "journal bell"

    def __init__(self, bell: Bell, ring: Callable[[], None]) -> None:
        self._bell = bell
        self._ring = ring

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop`."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                if await self._bell.wait(_WAIT_S):
                    self._ring()
                backoff.reset()
            except TransientError:
                await stopped_within(stop, backoff.next_s())
