"""The last samples of some channels, always readable as one contiguous array."""

import numpy as np
from numpy.typing import NDArray


class SampleRing:
    """Ring over several channels, written twice so that no read ever wraps.

    Parameters
    ----------
    n_channels, capacity : int
        Every read of up to `capacity` samples that ends at the newest is contiguous.
    """

    def __init__(self, n_channels: int, capacity: int) -> None:
        self._capacity = capacity
        self._data = np.full((n_channels, 2 * capacity), np.nan, dtype=np.float32)
        self.n_written = 0

    def clear(self) -> None:
        """Forget everything; the next sample has index 0."""
        self._data[:] = np.nan
        self.n_written = 0

    def push(self, samples: NDArray[np.float32]) -> None:
        """Append `samples`, shape (n_channels, n), n at most the capacity."""
        n = samples.shape[1]
        at = self.n_written % self._capacity
        first = min(n, self._capacity - at)
        for base in (0, self._capacity):
            self._data[:, base + at : base + at + first] = samples[:, :first]
            self._data[:, base : base + n - first] = samples[:, first:]
        self.n_written += n

    def last(self, n: int, end: int) -> NDArray[np.float32]:
        """View on the `n` samples before index `end`, shape (n_channels, n).

        Raises
        ------
        IndexError
            They are not in the ring any more, or not yet.
        """
        if not self.n_written - self._capacity <= end - n <= end <= self.n_written:
            raise IndexError(f"samples {end - n} to {end} of {self.n_written} are not in the ring")
        at = (end - n) % self._capacity
        return self._data[:, at : at + n]
