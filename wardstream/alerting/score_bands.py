"""Points by bands, added up over many patients in compiled loops: what every score is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import kernel

Floats = NDArray[np.floating]
Points = NDArray[np.int16]

_HALF_UP: Final = 0.5 + 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class BandTable:
    """Bands of one quantity.

    Attributes
    ----------
    edges : ndarray of float64, shape (n_bands - 1,)
        Highest charted value of each band but the last, rising.
    points : ndarray of int16, shape (n_bands,)
        What each band gives.
    scale : float
        Charted values are multiples of one over this.
    """

    edges: NDArray[np.float64]
    points: Points
    scale: float

    def add(self, low: Points, high: Points, values: Floats) -> None:
        """Add the points of `values` to `low` and `high`; NaN may be worth anything there is."""
        _add(low, high, np.asarray(values, dtype=np.float64), self.edges, self.points, self.scale)

    def add_where(
        self, low: Points, high: Points, values: Floats, chosen: NDArray[np.bool_]
    ) -> None:
        """The same for the rows of `chosen` only."""
        _add_where(
            low, high, np.asarray(values, dtype=np.float64), self.edges, self.points, self.scale,
            np.asarray(chosen, dtype=np.bool_),
        )  # fmt: skip


def band_table(bands: Sequence[tuple[float, int]], *, decimals: int = 0) -> BandTable:
    """Bands given as (highest charted value, points), ascending; the last one is open."""
    return BandTable(
        np.array([highest for highest, _ in bands[:-1]], dtype=np.float64),
        np.array([points for _, points in bands], dtype=np.int16),
        10.0**decimals,
    )


def add_flags(low: Points, high: Points, flags: Floats, points: int) -> None:
    """Add `points` where `flags` is 1; where it is NaN, to `high` only."""
    _add_flags(low, high, np.asarray(flags, dtype=np.float64), points)


@kernel
def _points_at(
    value: float, edges: NDArray[np.float64], points: Points, scale: float
) -> tuple[int, int]:
    if math.isnan(value):
        return points.min(), points.max()
    # The chart has whole numbers (temperature tenths); halves go up, as people round.
    charted = math.floor(value * scale + _HALF_UP) / scale
    band = 0
    while band < len(edges) and charted > edges[band]:
        band += 1
    return points[band], points[band]


@kernel
def _add(
    low: Points, high: Points, values: NDArray[np.float64],
    edges: NDArray[np.float64], points: Points, scale: float,
) -> None:  # fmt: skip
    for i in range(len(values)):
        least, most = _points_at(values[i], edges, points, scale)
        low[i] += least
        high[i] += most


@kernel
def _add_where(
    low: Points, high: Points, values: NDArray[np.float64],
    edges: NDArray[np.float64], points: Points, scale: float, chosen: NDArray[np.bool_],
) -> None:  # fmt: skip
    for i in range(len(values)):
        if chosen[i]:
            least, most = _points_at(values[i], edges, points, scale)
            low[i] += least
            high[i] += most


@kernel
def _add_flags(low: Points, high: Points, flags: NDArray[np.float64], points: int) -> None:
    for i in range(len(flags)):
        if math.isnan(flags[i]):
            high[i] += points
        elif flags[i] == 1.0:
            low[i] += points
            high[i] += points
