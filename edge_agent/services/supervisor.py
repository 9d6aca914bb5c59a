"""One supervisor for the process: what ends without being asked to has crashed."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol

from wardstream.contracts.errors import WardstreamError

logger = logging.getLogger(__name__)


class ServiceEndedError(WardstreamError):
    """A service returned although nobody had asked it to stop."""


class Service(AbstractAsyncContextManager[Any], Protocol):
    """A part of the agent with a life of its own.

    Entering acquires what the service needs and returns once it is ready; `run` does the
    work until `stop` is set, then drains and returns; leaving releases.
    """

    @property
    def name(self) -> str:
        """For logs."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Returning earlier is a crash, raising is a crash."""
        ...


async def supervise(services: Sequence[Service], stop: asyncio.Event, *, grace_s: float) -> None:
    """Run `services` until `stop` is set or one of them fails.

    Later services may depend on earlier ones: they are entered in order and left in
    reverse. After `stop`, `run` has `grace_s` seconds to drain before it is cancelled.

    Raises
    ------
    ExceptionGroup
        What the failed services raised, after all others were stopped and released.
    """
    async with AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service)
            logger.debug("%s ready", service.name)
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
