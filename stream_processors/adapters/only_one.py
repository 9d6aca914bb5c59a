"""One record gateway a database: the ledger in memory is right only if nobody else writes it."""

import asyncio
import contextlib
import logging
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

logger = logging.getLogger(__name__)

_LOCK_KEY: Final = 0x57_47_41_54  # "WGAT"
_EVERY_S: Final = 2.0


class OnlyOne:
    """A lock of the database held by one connection; who loses it, ends."""

    name = "only one"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AsyncConnection[Any] | None = None

    async def obtain(self, stop: asyncio.Event) -> bool:
        """Wait for the lock; False if `stop` was set before."""
        said = False
        while not stop.is_set():
            try:
                if self._connection is None:
                    self._connection = await AsyncConnection.connect(
                        self._url, autocommit=True, application_name="wardstream-gateway-lock"
                    )
                cursor = await self._connection.execute(
                    "SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)
                )
                row = await cursor.fetchone()
                if row is not None and row[0]:
                    return True
            except psycopg.Error as error:
                logger.warning("the database is away: %s", type(error).__name__)
                self._connection = None
            else:
                if not said:
                    logger.info("another gateway is at work; this one waits")
                said = True
            await _pause(stop)
        return False

    async def run(self, stop: asyncio.Event) -> None:
        """Hold the lock until `stop` is set.

        Raises
        ------
        psycopg.Error
            The connection broke, and with it the lock: another gateway may be at work now.
        """
        if self._connection is None:
            raise RuntimeError("the lock was not obtained")
        while not stop.is_set():
            await _pause(stop)
            await self._connection.execute("SELECT 1")
        await self._connection.close()


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EVERY_S):
            await stop.wait()
