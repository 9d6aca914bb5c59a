"""What the record gateway says becomes rows: mapped or quarantined, each statement once."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from psycopg import AsyncConnection

from stream_processors.core.ledger import StatedObservation
from stream_processors.harmonise.harmoniser import Harmoniser
from stream_processors.harmonise.store import read_local_mappings, write_harmonised

_MAPPINGS_STAND_S: Final = 10.0


class ObservationKeeper:
    """Harmonises one statement at a time and stores it.

    Parameters
    ----------
    connect : callable
        A connection in a transaction that is committed on leaving.
    harmoniser : Harmoniser
        Learns here what people mapped.
    clock_ns : callable
        Wall clock.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]],
        harmoniser: Harmoniser,
        clock_ns: Callable[[], int],
    ) -> None:
        self._connect = connect
        self._harmoniser = harmoniser
        self._clock_ns = clock_ns
        self._learned_s = float("-inf")

    async def keep(self, stated: StatedObservation) -> None:
        """Store it, mapped or held back; a repeat changes nothing.

        Raises
        ------
        TransientError
            The store is away.
        """
        async with self._connect() as connection:
            cursor = await connection.execute(
                "INSERT INTO record_observed (message_id) VALUES (%s) ON CONFLICT DO NOTHING",
                (stated.observation.message_id,),
            )
            if cursor.rowcount == 0:
                return
            if time.monotonic() - self._learned_s > _MAPPINGS_STAND_S:
                self._harmoniser.learn(await read_local_mappings(connection))
                self._learned_s = time.monotonic()
            result = self._harmoniser(stated.observation, stated.facts)
            await write_harmonised(connection, [result], self._clock_ns())
