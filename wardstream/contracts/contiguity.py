"""Up to which number everything of a stream is there: the heart of end-to-end acknowledgement.

Both writers of the store (the stream tier for frames, the API for alerts and strips) keep one
`Contiguity` per stream, feed it what they committed, and publish its `watermark`. It is a
value: what the database says at start plus what was committed since gives the same answer
after any crash, and whatever was forgotten in between is sent again by the edge.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from wardstream.contracts.errors import OutOfRangeError

NOTHING: Final = -1
"""Watermark of a stream of which nothing is committed yet."""


@dataclass(slots=True)
class Contiguity:
    """Which sequence numbers of one stream are committed.

    Attributes
    ----------
    watermark : int
        Everything from 0 up to and including it is committed or given up; `NOTHING` at first.
    _beyond : list of (first, last)
        Committed ranges above the watermark, apart from each other and in order. Bounded by
        the number of gaps, not of messages.
    """

    watermark: int = NOTHING
    _beyond: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def commit(self, first: int, last: int | None = None) -> bool:
        """Note that `first` to `last` (both included) are committed, or given up by a gap notice.

        Returns
        -------
        bool
            Whether the watermark moved.

        Raises
        ------
        OutOfRangeError
            The range runs backwards or begins below zero.
        """
        last = first if last is None else last
        if not 0 <= first <= last:
            raise OutOfRangeError(f"committed range {first}..{last} is no range")
        before = self.watermark
        if last > self.watermark:
            self._insert(max(first, self.watermark + 1), last)
            self._advance()
        return self.watermark != before

    def has(self, sequence_number: int) -> bool:
        """Whether `sequence_number` is committed already."""
        if sequence_number <= self.watermark:
            return True
        at = bisect_right(self._beyond, (sequence_number, sequence_number))
        near = self._beyond[max(0, at - 1) : at + 1]
        return any(first <= sequence_number <= last for first, last in near)

    def missing(self) -> list[tuple[int, int]]:
        """The holes between the watermark and the highest number seen, as (first, last)."""
        holes: list[tuple[int, int]] = []
        expected = self.watermark + 1
        for first, last in self._beyond:
            holes.append((expected, first - 1))
            expected = last + 1
        return holes

    def _insert(self, first: int, last: int) -> None:
        joined: list[tuple[int, int]] = []
        for other_first, other_last in self._beyond:
            if other_last < first - 1 or other_first > last + 1:
                joined.append((other_first, other_last))
            else:
                first, last = min(first, other_first), max(last, other_last)
        joined.append((first, last))
        joined.sort()
        self._beyond = joined

    def _advance(self) -> None:
        while self._beyond and self._beyond[0][0] <= self.watermark + 1:
            self.watermark = max(self.watermark, self._beyond.pop(0)[1])
