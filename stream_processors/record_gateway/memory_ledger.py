"""A ledger that forgets at the end of the process: for campaigns in memory."""

from collections.abc import Sequence

from stream_processors.core.ledger import Answer, MessageKey, OutboxRow
from stream_processors.core.registry import Changes, Registry


class MemoryLedger:
    """See `ledger.RecordLedger`. `changes` is what the last message did."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.changes = Changes()
        self.rows: list[OutboxRow] = []
        self._answers: dict[MessageKey, Answer] = {}
        self._cursors: dict[tuple[str, str], str] = {}

    async def load(self) -> Registry:
        """The one registry there is."""
        return self.registry

    async def answered(self, key: MessageKey) -> Answer | None:
        """What that message was answered before, None if it is new."""
        return self._answers.get(key)

    async def keep(
        self, key: MessageKey, answer: Answer, changes: Changes, rows: Sequence[OutboxRow]
    ) -> None:
        """Remember the answer, and what the message did until the next one."""
        self._answers[key] = answer
        self.changes, self.rows = changes, list(rows)

    async def keep_rows(self, changes: Changes, rows: Sequence[OutboxRow]) -> None:
        """Remember what is said besides."""
        self.rows += rows

    async def unconfirmed(self, limit: int) -> Sequence[OutboxRow]:
        """What the last message said: whatever was before it has been heard."""
        return self.rows[:limit]

    async def cursor(self, server: str, resource_type: str) -> str | None:
        """How far that server was read."""
        return self._cursors.get((server, resource_type))

    async def move_cursor(self, server: str, resource_type: str, last_updated: str) -> None:
        """Note how far it was read."""
        self._cursors[server, resource_type] = last_updated
