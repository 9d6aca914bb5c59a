"""Medians of repeated runs. These machines are shared: trust ratios and medians, not one number."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def median_s(work: Callable[[], object], *, runs: int = 7, warm_ups: int = 1) -> float:
    """Median processor time of `work` in seconds, over `runs` runs after `warm_ups`.

    Processor time of this process, not wall time: a neighbour's load does not count.
    """
    for _ in range(warm_ups):
        work()
    taken: list[float] = []
    for _ in range(runs):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def with_ratios(ours: float, peers: Mapping[str, float]) -> dict[str, Any]:
    """Peers' times as multiples of ours: above 1, the peer is slower."""
    return {name: {"seconds": value, "ratio": value / ours} for name, value in peers.items()}
