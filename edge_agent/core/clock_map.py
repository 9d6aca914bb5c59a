"""Where a moment of a device's clock lies on the host's clock: offset and drift, by regression."""

from collections import deque
from typing import Final

from wardstream.contracts.timebase import NS_PER_S

WINDOW_S: Final = 120
"""How far back the regression looks, in buckets of one second."""

MIN_BUCKETS_FOR_DRIFT: Final = 15
"""Before that the drift is taken as 0: a slope over a few seconds is noise."""

FIT_EVERY_S: Final = 4
"""How often the line is drawn anew; at 250 ppm the clocks part by 1 ms meanwhile."""

MAX_DRIFT: Final = 1e-3
"""Steeper is no crystal (a bad one drifts 200 ppm) but an error of the numbering."""

_TRIM: Final = 3.0  # median absolute deviations beyond which a bucket is left out


class ClockMap:
    """Host time of a device time, learned from arrivals.

    A block never arrives before its last sample was taken, only later, so of each second the
    least delayed arrival speaks. A line through these minima, least squares after one pass of
    trimming (a second in which everything was late is no evidence), gives offset and drift.
    """

    def __init__(self) -> None:
        self._least: deque[tuple[int, int]] = deque(maxlen=WINDOW_S)
        """(device time, arrival - device time) of the least delayed arrival of each second."""
        self._bucket = -1
        self._origin_ns = 0
        self._offset_ns = 0.0
        self._drift = 0.0

    @property
    def drift_ppm(self) -> float:
        """By how much a second of the device is longer than one of the host; 0 until known."""
        return self._drift * 1e6

    @property
    def n_seconds(self) -> int:
        """Seconds of evidence held."""
        return len(self._least)

    def note(self, device_ns: int, arrived_ns: int) -> None:
        """Learn that what the device had done by `device_ns` was here at `arrived_ns`."""
        delay = arrived_ns - device_ns
        bucket = device_ns // NS_PER_S
        if bucket != self._bucket or not self._least:
            if len(self._least) >= MIN_BUCKETS_FOR_DRIFT and bucket % FIT_EVERY_S == 0:
                self._fit()  # on seconds that are complete
            self._bucket = bucket
            self._least.append((device_ns, delay))
        elif delay < self._least[-1][1]:
            self._least[-1] = (device_ns, delay)
        else:
            return
        if self._drift == 0.0 and len(self._least) <= MIN_BUCKETS_FOR_DRIFT:
            self._offset_ns = float(min(least for _, least in self._least))

    def host_ns(self, device_ns: int) -> int:
        """Host time of `device_ns`."""
        since_ns = device_ns - self._origin_ns
        return device_ns + round(self._offset_ns + self._drift * since_ns)

    def move_host(self, by_ns: int) -> None:
        """The host's clock was set by `by_ns`."""
        self._least = deque(
            ((device_ns, delay + by_ns) for device_ns, delay in self._least), maxlen=WINDOW_S
        )
        self._offset_ns += by_ns

    def reset(self) -> None:
        """Forget everything: the device began anew."""
        self._least.clear()
        self._bucket = -1
        self._origin_ns, self._offset_ns, self._drift = 0, 0.0, 0.0

    def _fit(self) -> None:
        # Relative to the newest, so that nothing large is squared.
        self._origin_ns, base = self._least[-1]
        points = [
            ((device_ns - self._origin_ns) / NS_PER_S, (delay - base) / NS_PER_S)
            for device_ns, delay in self._least
        ]
        slope, level = _line(points)
        kept = _near(points, slope, level)
        if len(kept) >= MIN_BUCKETS_FOR_DRIFT // 2:
            slope, level = _line(kept)
        slope = max(-MAX_DRIFT, min(MAX_DRIFT, slope))
        self._drift = slope
        self._offset_ns = base + level * NS_PER_S


def _line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """(slope, value at 0) of the least-squares line through `points`."""
    n = len(points)
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return 0.0, mean_y
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope, mean_y - slope * mean_x


def _near(
    points: list[tuple[float, float]], slope: float, level: float
) -> list[tuple[float, float]]:
    residuals = [y - level - slope * x for x, y in points]
    ordered = sorted(residuals)
    median = ordered[len(ordered) // 2]
    deviation = sorted(abs(r - median) for r in residuals)[len(residuals) // 2]
    limit = median + _TRIM * max(deviation, 1e-6)
    return [point for point, r in zip(points, residuals, strict=True) if r <= limit]
