"""One judgement of all leads of a moment, and what the moments of the last 2 and 4 s come to."""

import math
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ShockableRule

SHORT_RULE: Final = (6, 8)
"""Hits of hops for an alert: 2 s."""

MEMORY_HOPS: Final = 16
"""Of `ShockableOdds`: 4 s, so that a window 4 s from a change of rhythm is decided on one rhythm."""

_LEAST_PROBABILITY: Final = 1e-3
"""And 1 less it the greatest: one hop can add or take 6.9 log odds, not everything."""

MIN_SHARE_PRESENT: Final = 0.5
"""A window with fewer of its samples is not judged: zeros would look like asystole."""


def question_of(
    windows: NDArray[np.float32], weights: NDArray[np.float64], n_channels: int
) -> NDArray[np.float32]:
    """What a model of `n_channels` is asked about the leads of n moments.

    Parameters
    ----------
    windows : ndarray of float32, shape (n, n_leads, n_samples)
        The leads that can be used, as the model sees them.
    weights : ndarray of float64, shape (n_leads,)
        What each lead is worth, above 0.
    n_channels : int
        Of the model.

    Returns
    -------
    ndarray of float32, shape (n * n_questions, n_channels, n_samples)
        A model of several channels weighs the leads itself, so it is asked once a moment; of more
        leads than it takes, about those worth most. One of a single channel is asked of each lead.
    """
    n, n_leads, n_samples = windows.shape
    if n_channels == 1:
        return np.ascontiguousarray(windows).reshape(n * n_leads, 1, n_samples)
    kept = np.sort(np.argsort(-weights, kind="stable")[:n_channels])
    question = np.zeros((n, n_channels, n_samples), dtype=np.float32)
    question[:, : len(kept)] = windows[:, kept]
    return question


def answer_to(
    answers: NDArray[np.float32], weights: NDArray[np.float64], n_channels: int
) -> NDArray[np.float32]:
    """Probabilities of the n moments, shape (n, n_classes), from those of `question_of`."""
    if n_channels > 1:
        return answers
    by_lead = answers.reshape(-1, len(weights), answers.shape[1])
    fused = np.einsum("nlc,l->nc", by_lead, weights / weights.sum())
    return np.asarray(fused, dtype=np.float32)


def shockable_score(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of vt or vf, shape (n,), of those of `RHYTHM_CLASSES`, shape (n, 7)."""
    vt, vf = RHYTHM_CLASSES.index("vt"), RHYTHM_CLASSES.index("vf")
    return probability[:, vt] + probability[:, vf]


class ShockableBelief:
    """The highest point at which the last hops would confirm a shockable rhythm.

    An alert asks for `SHORT_RULE`, six of eight hops at or above the operating point. That is so
    exactly where the sixth highest of their scores is: this is that score, and the operating
    point of a model is chosen on it. With fewer than eight hops known, the same share of them.
    """

    def __init__(self) -> None:
        self._scores: deque[float] = deque(maxlen=SHORT_RULE[1])

    def clear(self) -> None:
        """Forget all hops: the signal was interrupted."""
        self._scores.clear()

    def push(self, score: float) -> float:
        """Take note of the score of the next hop (0 where it was not judged); the belief now."""
        self._scores.append(score)
        n_needed = -(-SHORT_RULE[0] * len(self._scores) // SHORT_RULE[1])
        return sorted(self._scores, reverse=True)[n_needed - 1]


class ShockableOdds:
    """Log odds of a shockable rhythm over the last 4 s, as `ShockableRule` weighs them.

    Means over the hops known, at most `MEMORY_HOPS`. A tachycardia is shockable above 150 a minute
    only, so whatever repeats itself more slowly is held against it, however wide its beats.
    """

    def __init__(self) -> None:
        self._hops: deque[tuple[float, float]] = deque(maxlen=MEMORY_HOPS)

    def clear(self) -> None:
        """Forget all hops: the signal was interrupted."""
        self._hops.clear()

    def push(self, score: float, slow_and_regular: float) -> tuple[float, float]:
        """Take note of the next hop; the means of log odds and slowness now.

        Parameters
        ----------
        score : float
            Probability of vt or vf; 0 where the hop was not judged.
        slow_and_regular : float
            Of `wardstream.kernels.repetition`, averaged over the leads as their answers are; 0
            where the hop was not judged.
        """
        bounded = min(max(score, _LEAST_PROBABILITY), 1 - _LEAST_PROBABILITY)
        self._hops.append((math.log(bounded / (1 - bounded)), slow_and_regular))
        n = len(self._hops)
        return sum(hop[0] for hop in self._hops) / n, sum(hop[1] for hop in self._hops) / n


def decided_odds(means: tuple[float, float], rule: ShockableRule) -> float:
    """Log odds by `rule` of the `means` of `ShockableOdds.push`; shockable from its point on."""
    log_odds, slow_and_regular = means
    return log_odds - rule.slow_and_regular * slow_and_regular
