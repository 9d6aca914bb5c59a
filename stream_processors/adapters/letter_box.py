"""Dead letters in the store: listed, handed out to be replayed, and taken away once they were."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from stream_processors.adapters.store import Store
from stream_processors.core.replay import KeptLetter

_SELECT = (
    "SELECT letter_id::text, origin, device_id, reason, payload, received_time_ns FROM dead_letter"
)


class LetterBox:
    """The letters of `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def letters(
        self, *, letter_ids: Sequence[str] | None, device_id: str | None, limit: int
    ) -> list[KeptLetter]:
        """The oldest letters first: these, or those of a device, or all; at most `limit`.

        Raises
        ------
        TransientError
            The database is away.
        """
        async with self._store.connection() as connection:
            cursor = await connection.execute(
                f"{_SELECT} WHERE (%s::uuid[] IS NULL OR letter_id = ANY(%s::uuid[]))"
                " AND (%s::text IS NULL OR device_id = %s)"
                " ORDER BY received_time_ns, letter_id LIMIT %s",
                (
                    *(None if letter_ids is None else list(letter_ids),) * 2,
                    *(device_id, device_id, limit),
                ),
            )
            rows = await cursor.fetchall()
        return [
            KeptLetter(
                letter_id=row[0],
                origin=row[1],
                device_id=row[2],
                reason=row[3],
                payload=bytes(row[4]),
                received_time_ns=row[5],
            )
            for row in rows
        ]

    @asynccontextmanager
    async def taking(self, letter_id: str) -> AsyncGenerator[None]:
        """Forget a letter on leaving; keep it if the block raises.

        Who writes the same letter again meanwhile, because its message is still wrong, waits for
        that: so it is there again afterwards.

        Raises
        ------
        TransientError
            The database is away.
        """
        async with self._store.connection() as connection:
            await connection.execute("DELETE FROM dead_letter WHERE letter_id = %s", (letter_id,))
            yield
