"""Which beats are ventricular by their shape and their time; beat by beat, causal."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.beat_memory import AMPLITUDE, LIKENESS, MAX_BEATS
from wardstream.kernels.compile import kernel

_USUAL_BEATS: Final = 31
_FEWEST_BEATS: Final = 8
_EARLY: Final = 0.85  # of the usual interval
_UNLIKE: Final = 0.9  # of the likeness usual in this patient
_OTHER_HEIGHT: Final = 0.5  # of the usual height, more or less

# What is kept of each beat, by row.
_RR, _LIKENESS, _AMPLITUDE = range(3)


class EctopicBeats:
    """Tells ventricular beats from the others, in their order.

    A beat is ventricular where it comes early (below 0.85 of the median interval of the 31 beats
    before it) and does not look like the others: its likeness to the learned shape is below 0.9
    of the usual, or its height half as much again or half as little.

    Notes
    -----
    mitdb, 32 recordings, beats as detected on both leads, figures chosen in view of them: of
    ventricular beats 71 % are told, and 93 % of those told are. Ectopy that is not early
    (bigeminy that has become the rule) is not told.
    """

    def __init__(self) -> None:
        self._kept = np.zeros((3, _USUAL_BEATS))
        self._n = 0
        self._last = -1.0

    def reset(self) -> None:
        """Forget all beats: the next one follows none."""
        self._n, self._last = 0, -1.0

    def push(
        self,
        beat_index: NDArray[np.int64],
        features: NDArray[np.float64],
        first: int,
        n_beats: int,
    ) -> NDArray[np.bool_]:
        """Whether each of the beats number `first` up to `n_beats` is ventricular.

        Parameters
        ----------
        beat_index, features : ndarray, shape (MAX_BEATS,) and (MAX_BEATS, 3)
            Of a `QrsDetector`.
        """
        ventricular = np.zeros(max(n_beats - first, 0), dtype=np.bool_)
        for k in range(ventricular.size):
            row = (first + k) % MAX_BEATS
            at = float(beat_index[row])
            ventricular[k] = self._n > _FEWEST_BEATS and _is_ventricular(
                self._kept, min(self._n, _USUAL_BEATS), at - self._last, features[row]
            )
            if self._last >= 0:
                kept = self._kept[:, self._n % _USUAL_BEATS]
                kept[_RR] = at - self._last
                kept[_LIKENESS] = features[row, LIKENESS]
                kept[_AMPLITUDE] = features[row, AMPLITUDE]
                self._n += 1
            self._last = at
        return ventricular


@kernel
def _is_ventricular(kept: Any, n: int, rr: float, features: Any) -> bool:
    if rr >= _EARLY * np.median(kept[_RR, :n]):
        return False
    if features[LIKENESS] < _UNLIKE * np.median(kept[_LIKENESS, :n]):
        return True
    usual = np.median(kept[_AMPLITUDE, :n])
    return abs(features[AMPLITUDE] - usual) > _OTHER_HEIGHT * abs(usual)
