"""k of the last n hops: one odd window is no alarm, and one miss ends none."""

from collections import deque

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs


class Confirmation:
    """Counts hits over the last `n` hops.

    Raises
    ------
    OutOfRangeError
        Not 1 <= k <= n.
    """

    def __init__(self, k: int, n: int) -> None:
        if not 1 <= k <= n:
            raise OutOfRangeError(f"{k} of {n} hops cannot be")
        self._k = k
        self._hops: deque[tuple[bool, TimestampNs]] = deque(maxlen=n)
        self._n_hits = 0

    def push(self, hit: bool, time_ns: TimestampNs) -> None:
        """Take note of the hop that ended at `time_ns`."""
        if len(self._hops) == self._hops.maxlen:
            self._n_hits -= self._hops[0][0]
        self._hops.append((hit, time_ns))
        self._n_hits += hit

    @property
    def confirmed(self) -> bool:
        """Whether at least k of the last n hops were hits."""
        return self._n_hits >= self._k

    @property
    def n_hits(self) -> int:
        """Hits among the last n hops."""
        return self._n_hits

    @property
    def first_hit_ns(self) -> TimestampNs | None:
        """End of the oldest hop that counts as a hit."""
        return next((time_ns for hit, time_ns in self._hops if hit), None)

    def move(self, by_ns: int) -> None:
        """The clock was set by `by_ns`: every time kept moves with it."""
        moved = [(hit, TimestampNs(time_ns + by_ns)) for hit, time_ns in self._hops]
        self._hops.clear()
        self._hops.extend(moved)

    def clear(self) -> None:
        """Forget all hops."""
        self._hops.clear()
        self._n_hits = 0
