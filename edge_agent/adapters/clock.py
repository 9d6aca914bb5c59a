"""A wall clock that runs evenly and is corrected in the open."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wardstream.contracts.timebase import NS_PER_S

STEP_NS: Final = NS_PER_S
"""A correction from here on is a step, and told; below it the clock is slewed."""

SLEW: Final = 500e-6
"""Fastest correction without a step, in seconds a second (what NTP daemons use)."""


class SteadyClock:
    """UTC in nanoseconds, carried by the monotonic clock between corrections.

    Between two calls of `correct` it never runs backwards and never jumps, so a decision is
    never dated before its sample even while the system clock is being set.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._offset_ns = wall_ns() - monotonic_ns()
        self._corrected_ns = monotonic_ns()

    def now_ns(self) -> int:
        """UTC now."""
        return self._monotonic_ns() + self._offset_ns

    def correct(self) -> int:
        """Follow the system clock; return by how much it was stepped, 0 if it was slewed."""
        now_ns = self._monotonic_ns()
        error_ns = self._wall_ns() - now_ns - self._offset_ns
        passed_ns, self._corrected_ns = now_ns - self._corrected_ns, now_ns
        if abs(error_ns) >= STEP_NS:
            self._offset_ns += error_ns
            return error_ns
        most_ns = int(passed_ns * SLEW)
        self._offset_ns += max(-most_ns, min(most_ns, error_ns))
        return 0


def process_age_s() -> float:
    """Seconds since the kernel started this process; NaN where there is no Linux ``/proc``."""
    try:
        # The name of the program comes second and may hold anything; what follows may not.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, ValueError, IndexError, AttributeError):
        return float("nan")
