"""The journal in memory, and a clock that stands still."""

from cloud_api.core.errors import StoreAwayError
from cloud_api.core.feed import FeedEntry


class MemoryJournal:
    """A journal that can be away."""

    def __init__(self) -> None:
        self.entries: list[FeedEntry] = []
        self.away = False

    def extend(self, n_entries: int) -> list[int]:
        """Append entries; positions grow with holes, as a sequence's do."""
        start = self.entries[-1].position if self.entries else 0
        positions = [start + 2 * i + 1 for i in range(1, n_entries + 1)]
        self.entries += [FeedEntry(p, "alert", b'{"n": %d}' % p) for p in positions]
        return positions

    async def newest_position(self) -> int:
        if self.away:
            raise StoreAwayError("away")
        return self.entries[-1].position if self.entries else 0

    async def read(self, after: int, limit: int, *, up_to: int | None = None) -> list[FeedEntry]:
        if self.away:
            raise StoreAwayError("away")
        found = [e for e in self.entries if after < e.position <= (up_to or 2**63)]
        return found[:limit]
