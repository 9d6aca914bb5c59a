"""Tells systemd that the agent is ready and alive; a hung event loop is killed and restarted."""

import asyncio
import logging
import socket
from collections.abc import Mapping
from typing import Final, Self

logger = logging.getLogger(__name__)

SHARE: Final = 3
"""A third of what the unit allows between two signs of life."""


class ServiceWatchdog:
    """``sd_notify`` (man sd_notify): READY once, WATCHDOG while the event loop turns.

    Parameters
    ----------
    environment : mapping
        Where systemd says how: NOTIFY_SOCKET, WATCHDOG_USEC. Without them it does nothing.
    """

    name = "watchdog of the service"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._period_s = int(microseconds) / 1e6 / SHARE if microseconds.isdigit() else 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._say("STOPPING=1")

    async def run(self, stop: asyncio.Event) -> None:
        """Say so until `stop`. Entered last: every service before it is ready."""
        self._say("READY=1")
        while not stop.is_set():
            self._say("WATCHDOG=1")
            try:
                await asyncio.wait_for(stop.wait(), self._period_s or None)
            except TimeoutError:
                continue

    def _say(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.setblocking(False)
                link.sendto(state.encode(), address)
        except OSError as error:
            logger.debug("systemd was not told %s: %s", state, error)
