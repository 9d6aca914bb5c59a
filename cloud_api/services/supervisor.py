"""Runs the parts of the process together: a part that ends uncalled ends them all."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol

from wardstream.contracts.errors import WardstreamError

logger = logging.getLogger(__name__)


class ServiceEndedError(WardstreamError):
    """A service returned although nobody asked it to: as bad as a crash."""


class Service(Protocol):
    """A part of the process with work of its own."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Returning earlier is a crash, raising is a crash."""
        ...


async def supervise(
    resources: Sequence[AbstractAsyncContextManager[Any]],
    services: Sequence[Service],
    stop: asyncio.Event,
    *,
    grace_s: float,
) -> None:
    """Acquire `resources` in order, run `services` until `stop` or a failure, release in reverse.

    Parameters
    ----------
    resources : sequence of async context managers
        What the services use.
    services : sequence of Service
        What runs.
    stop : asyncio.Event
        Set by a signal; set here too when a service fails.
    grace_s : float
        Seconds a service has to drain after `stop` before it is cancelled.

    Raises
    ------
    ExceptionGroup
        What failed services raised.
    """
    async with AsyncExitStack() as stack:
        for resource in resources:
            await stack.enter_async_context(resource)
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(_run_one(service, stop, grace_s), name=service.name)


async def _run_one(service: Service, stop: asyncio.Event, grace_s: float) -> None:
    running = asyncio.ensure_future(service.run(stop))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            await asyncio.wait({running}, timeout=grace_s)
        if not running.done():
            logger.warning("%s did not drain within %s s, cancelling it", service.name, grace_s)
            return
        running.result()  # raises what `run` raised
        if not stop.is_set():
            raise ServiceEndedError(f"{service.name} ended without being asked to")
    finally:
        running.cancel()
        stopping.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
