"""How often a password may be tried: a bucket of attempts a key, refilled with time."""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from cloud_api.core.errors import TooManyAttemptsError

_MAX_KEYS = 10_000
"""Keys remembered; the longest untouched goes first, so a flood of names costs no memory."""


@dataclass(slots=True)
class AttemptThrottle:
    """At most `burst` failures at once and one more every `refill_s` seconds, per key.

    Attributes
    ----------
    burst : int
        Failures allowed at once, at least 1.
    refill_s : float
        Seconds until one failure is forgiven, greater than 0.
    """

    burst: int
    refill_s: float
    _debts: OrderedDict[str, tuple[float, int]] = field(
        default_factory=OrderedDict[str, tuple[float, int]]
    )

    def check(self, key: str, now_ns: int) -> None:
        """Return if `key` may try now.

        Raises
        ------
        TooManyAttemptsError
            It must wait; says how long.
        """
        excess = self._debt(key, now_ns) - (self.burst - 1)
        if excess > 0:
            wait_s = max(1, math.ceil(excess * self.refill_s))
            raise TooManyAttemptsError(f"try again in {wait_s} s", wait_s)

    def fail(self, key: str, now_ns: int) -> None:
        """Note a failed attempt of `key`."""
        self._debts[key] = (self._debt(key, now_ns) + 1, now_ns)
        self._debts.move_to_end(key)
        while len(self._debts) > _MAX_KEYS:
            self._debts.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Forget the failures of `key` after a success."""
        self._debts.pop(key, None)

    def _debt(self, key: str, now_ns: int) -> float:
        debt, since_ns = self._debts.get(key, (0.0, now_ns))
        return max(0.0, debt - max(0, now_ns - since_ns) / 1e9 / self.refill_s)
