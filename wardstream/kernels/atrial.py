"""Atrial fibrillation from intervals alone: how irregular, and irregular in which way.

Ectopic beats on a regular rhythm are irregular too; what tells them apart is whether most
intervals still agree (modal share) and whether patterns repeat (sample entropy).
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.compile import kernel

MIN_RR_MS: Final = 200.0
MAX_RR_MS: Final = 3000.0
MIN_INTERVALS: Final = 8
AF_WINDOW_S: Final = 30.0
"""Reach of the intervals to ask about; a quarter more or less does not matter."""

FEATURES: Final = (
    "entropy",
    "modal_share",
    "mean_step",
    "share_of_large_steps",
    "turning_points",
    "spread",
    "rate_per_min",
    "correlation",
)
_MATCH_MS: Final = 30.0  # two intervals this near match (Lake and Moorman)
_NEAR: Final = 0.05  # of the median: intervals that agree
_LARGE_STEP: Final = 0.12  # of the mean

# Logistic regression on the features, fitted by ``models.training.atrial`` on mitdb (detected
# beats), afdb_rr, nsrdb, vitaldb_rhythm_labels and made breathing arrhythmia; intercept first.
AF_WEIGHTS: Final = np.array(
    [-4.22213744, 4.58270736, -4.8223991, -23.29162293, 10.61575019, 10.71777443, -0.16902094,
     0.0410541, 1.92588062]
)  # fmt: skip

AF_POINT: Final = 0.5
"""From this fused probability on it is held to be atrial fibrillation."""

MEMORY_WEIGHTS: Final = (1.0, 0.5, 0.25)
"""What the window that has just ended, the one before it, and the one before that, weigh."""

_LOGIT_LIMIT: Final = 4.0  # one window, however sure, does not outvote two others for long

AF_HOP_S: Final = 10.0
"""The stream is judged this often."""

_LAG_S: Final = 3.0  # search-back and late packets: by then the beats of a window are all known
_LEAVE_POINT: Final = 0.35
_HITS_TO_ENTER: Final = 2
_HITS_TO_LEAVE: Final = 3
_MAX_BEATS: Final = 256  # 30 s and the lag at the highest rate, with room
_HOPS_A_WINDOW: Final = round(AF_WINDOW_S / AF_HOP_S)


def rr_features(rr_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the intervals of about 30 s say of atrial fibrillation, in the order of `FEATURES`.

    Parameters
    ----------
    rr_ms : ndarray of float64, shape (n_intervals,)
        In ms, oldest first. Those outside 200 to 3000 ms (a lost or doubled beat) are left out.

    Returns
    -------
    ndarray of float64, shape (8,)
        All NaN with fewer than `MIN_INTERVALS` intervals.

    Raises
    ------
    OutOfRangeError
        `rr_ms` is not one-dimensional.

    Notes
    -----
    Entropy is the coefficient of sample entropy, m = 1, r = 30 ms: Lake and Moorman, Am. J.
    Physiol. Heart Circ. Physiol. 300:H319-H325 (2011). O(n^2) of at most some 100 intervals.
    """
    if rr_ms.ndim != 1:
        raise OutOfRangeError(f"rr_ms has shape {rr_ms.shape}, expected (n_intervals,)")
    out = np.empty(len(FEATURES))
    _features(rr_ms, out)
    return out


def af_probability(rr_ms: NDArray[np.float64], weights: NDArray[np.float64] = AF_WEIGHTS) -> float:
    """Probability, 0 to 1, that the intervals of about 30 s are of atrial fibrillation.

    NaN with fewer than `MIN_INTERVALS` usable intervals.

    Raises
    ------
    OutOfRangeError
        `rr_ms` is not one-dimensional.
    """
    return _logistic(_logit(rr_features(rr_ms), weights))


def fused_probability(logits: Sequence[float]) -> float:
    """Probability that it fibrillates now, from the windows that led up to now.

    Parameters
    ----------
    logits : sequence of float
        Of windows of `AF_WINDOW_S` end to end, the newest first; NaN where a window said nothing.
        More than ``len(MEMORY_WEIGHTS)`` of them are not looked at.

    Returns
    -------
    float
        NaN where the newest window said nothing.

    Notes
    -----
    Fibrillation lasts, runs of ectopic beats do not: what came before is evidence, and it is
    causal. Each logit is limited to plus or minus 4.
    """
    if not logits or math.isnan(logits[0]):
        return math.nan
    total = weight = 0.0
    for logit, share in zip(logits, MEMORY_WEIGHTS, strict=False):
        if not math.isnan(logit):
            total += share * min(max(logit, -_LOGIT_LIMIT), _LOGIT_LIMIT)
            weight += share
    return _logistic(total / weight)


class AfDetector:
    """Atrial fibrillation on the stream of beats of one bed.

    Beats in, state out: every `AF_HOP_S` of the stream the window of 30 s that ended 3 s ago is
    judged, with the two windows before it. It is there after two judgements in a row that say
    so, gone after three that deny it; a window with too few beats changes nothing. The answer
    depends on the beats, not on how packets were cut.

    Attributes
    ----------
    probability : float
        Of the newest judgement, NaN before the first or where there were too few beats.
    present : bool or None
        Whether it fibrillates; None until a window could be judged.
    since_s : float
        Begin of the window that first said so; NaN where it does not fibrillate.
    """

    def __init__(self, weights: NDArray[np.float64] = AF_WEIGHTS) -> None:
        self._weights = weights
        self._beats_s = np.empty(_MAX_BEATS)
        self._n_logits = _HOPS_A_WINDOW * (len(MEMORY_WEIGHTS) - 1) + 1
        self.restart(0.0)

    def restart(self, start_s: float) -> None:
        """Forget everything: the stream begins anew at `start_s`; no interval spans the break."""
        self._n_beats = 0
        self._next_s = start_s + AF_WINDOW_S + _LAG_S
        self._logits: deque[float] = deque(maxlen=self._n_logits)
        self._streak = 0
        self.probability = math.nan
        self.present: bool | None = None
        self.since_s = math.nan

    def push(self, beats_s: NDArray[np.float64], now_s: float) -> bool:
        """Take in beats that became known, and judge what is due.

        Parameters
        ----------
        beats_s : ndarray of float64, shape (n_beats,)
            R peaks in seconds of the stream, in any order.
        now_s : float
            End of the newest sample.

        Returns
        -------
        bool
            Whether there was a new judgement.
        """
        if beats_s.size:
            self._keep(beats_s)
        judged = False
        while now_s >= self._next_s:
            self._judge(self._next_s - _LAG_S)
            self._next_s += AF_HOP_S
            judged = True
        return judged

    def _keep(self, beats_s: NDArray[np.float64]) -> None:
        old = self._beats_s[: self._n_beats]
        # Only what a later window reaches back to.
        kept = np.concatenate((old[old >= self._next_s - _LAG_S - AF_WINDOW_S], beats_s))
        kept.sort()
        self._n_beats = min(kept.size, _MAX_BEATS)
        self._beats_s[: self._n_beats] = kept[kept.size - self._n_beats :]

    def _judge(self, end_s: float) -> None:
        beats = self._beats_s[: self._n_beats]
        inside = beats[(beats >= end_s - AF_WINDOW_S) & (beats < end_s)]
        self._logits.appendleft(_logit(rr_features(np.diff(inside) * 1000.0), self._weights))
        self.probability = fused_probability(list(self._logits)[::_HOPS_A_WINDOW])
        if math.isnan(self.probability):
            return
        if self.present:
            self._count(says_so=self.probability < _LEAVE_POINT, needed=_HITS_TO_LEAVE)
        else:
            self._count(says_so=self.probability >= AF_POINT, needed=_HITS_TO_ENTER)
            if self.present:
                self.since_s = end_s - AF_WINDOW_S - (_HITS_TO_ENTER - 1) * AF_HOP_S
                return
        if not self.present:
            self.since_s = math.nan

    def _count(self, *, says_so: bool, needed: int) -> None:
        self.present = bool(self.present)
        self._streak = self._streak + 1 if says_so else 0
        if self._streak >= needed:
            self.present, self._streak = not self.present, 0


def _logit(features: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(weights[0] + weights[1:] @ features)


def _logistic(logit: float) -> float:
    return math.nan if math.isnan(logit) else 1.0 / (1.0 + math.exp(-min(max(logit, -50.0), 50.0)))


@kernel
def _features(rr_ms: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    rr = rr_ms[(rr_ms >= MIN_RR_MS) & (rr_ms <= MAX_RR_MS)]
    n = rr.size
    if n < MIN_INTERVALS:
        out[:] = math.nan
        return
    mean = rr.mean()
    step = np.abs(np.diff(rr)) / mean
    turns = 0
    for i in range(1, n - 1):
        if (rr[i + 1] - rr[i]) * (rr[i] - rr[i - 1]) < 0:
            turns += 1
    ordered = np.sort(rr)
    out[0] = _sample_entropy(rr) + math.log(2 * _MATCH_MS / mean)
    out[1] = _modal_share(rr, _NEAR * np.median(rr))
    out[2] = np.sort(step)[: max(int(0.9 * step.size), 1)].mean()
    out[3] = (step > _LARGE_STEP).mean()
    out[4] = turns / (n - 2)
    out[5] = (ordered[int(0.9 * (n - 1))] - ordered[int(0.1 * (n - 1))]) / mean
    out[6] = 60_000.0 / mean
    out[7] = _correlation(rr)


@kernel
def _sample_entropy(rr: NDArray[np.float64]) -> float:
    alone, paired = 0, 0
    for i in range(rr.size - 1):
        for j in range(i + 1, rr.size - 1):
            if abs(rr[i] - rr[j]) < _MATCH_MS:
                alone += 1
                if abs(rr[i + 1] - rr[j + 1]) < _MATCH_MS:
                    paired += 1
    return math.log(max(alone, 1) / max(paired, 1))


@kernel
def _modal_share(rr: NDArray[np.float64], near: float) -> float:
    best = 0
    for i in range(rr.size):
        agree = 0
        for j in range(rr.size):
            if abs(rr[i] - rr[j]) < near:
                agree += 1
        best = max(best, agree)
    return best / rr.size


@kernel
def _correlation(rr: NDArray[np.float64]) -> float:
    # Of each interval with the next; 0 where all are alike.
    earlier, later = rr[:-1] - rr[:-1].mean(), rr[1:] - rr[1:].mean()
    scale = math.sqrt((earlier * earlier).sum() * (later * later).sum())
    return (earlier * later).sum() / scale if scale > 1e-9 else 0.0
