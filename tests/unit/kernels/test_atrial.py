"""Irregularity of intervals, against a naive twin and rhythms that are irregular otherwise."""

import itertools
import math

import numpy as np
import pytest

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.atrial import (
    AF_POINT,
    FEATURES,
    MIN_INTERVALS,
    af_probability,
    rr_features,
)


def naive_features(rr_ms: np.ndarray) -> list[float]:
    rr = [x for x in rr_ms.tolist() if 200 <= x <= 3000]
    n, mean = len(rr), sum(rr) / len(rr)
    pairs = [(i, j) for i in range(n - 1) for j in range(i + 1, n - 1)]
    alone = [(i, j) for i, j in pairs if abs(rr[i] - rr[j]) < 30]
    both = [(i, j) for i, j in alone if abs(rr[i + 1] - rr[j + 1]) < 30]
    entropy = math.log(max(len(alone), 1) / max(len(both), 1)) + math.log(60 / mean)
    near = 0.05 * float(np.median(rr))
    modal = max(sum(abs(a - b) < near for b in rr) for a in rr) / n
    steps = sorted(abs(b - a) / mean for a, b in itertools.pairwise(rr))
    turns = sum((c - b) * (b - a) < 0 for a, b, c in zip(rr, rr[1:], rr[2:], strict=False))
    ordered = sorted(rr)
    spread = (ordered[int(0.9 * (n - 1))] - ordered[int(0.1 * (n - 1))]) / mean
    kept = steps[: max(int(0.9 * len(steps)), 1)]
    correlation = float(np.corrcoef(rr[:-1], rr[1:])[0, 1]) if np.std(rr) > 1e-9 else 0.0
    return [
        entropy,
        modal,
        sum(kept) / len(kept),
        sum(step > 0.12 for step in steps) / len(steps),
        turns / (n - 2),
        spread,
        60_000 / mean,
        correlation,
    ]


def _fibrillating(generator: np.random.Generator, n: int = 45) -> np.ndarray:
    return generator.gamma(12.0, 620 / 12.0, n)


def _sinus(generator: np.random.Generator, n: int = 38) -> np.ndarray:
    return 800 + 25 * np.sin(np.arange(n) * 0.9) + generator.normal(0, 8, n)


@pytest.mark.parametrize("seed", range(20))
def test_the_features_are_the_naive_ones(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rr_ms = _fibrillating(generator) if seed % 2 else _sinus(generator)
    rr_ms[3] = 5000.0  # a lost stretch is left out
    np.testing.assert_allclose(rr_features(rr_ms), naive_features(rr_ms), rtol=1e-9, atol=1e-9)
    assert len(FEATURES) == len(rr_features(rr_ms))


def test_irregularly_irregular_is_fibrillation() -> None:
    generator = np.random.default_rng(1)
    found = [af_probability(_fibrillating(generator)) for _ in range(50)]
    assert np.mean(np.array(found) >= AF_POINT) > 0.95


@pytest.mark.parametrize("every", [2, 3, 5, 8])
def test_early_beats_on_a_regular_rhythm_are_not(every: int) -> None:
    rr_ms = _sinus(np.random.default_rng(2))
    rr_ms[every - 1 : -1 : every] *= 0.65
    rr_ms[every::every] *= 1.35  # the compensatory pause
    assert af_probability(rr_ms) < AF_POINT


def test_sinus_rhythm_is_not_and_neither_is_a_breathing_arrhythmia() -> None:
    generator = np.random.default_rng(3)
    assert af_probability(_sinus(generator)) < 0.1
    breathing = 900 + 120 * np.sin(2 * np.pi * np.arange(34) / 4.6) + generator.normal(0, 8, 34)
    assert af_probability(breathing) < AF_POINT


def test_too_few_intervals_give_no_answer() -> None:
    assert math.isnan(af_probability(np.full(MIN_INTERVALS - 1, 800.0)))
    assert math.isnan(af_probability(np.full(40, 5000.0)))
    assert math.isnan(af_probability(np.empty(0)))


def test_equal_intervals_have_no_correlation_and_are_not_fibrillation() -> None:
    assert rr_features(np.full(30, 800.0))[-1] == 0.0
    assert af_probability(np.full(30, 800.0)) < 0.05


def test_a_table_is_refused() -> None:
    with pytest.raises(OutOfRangeError):
        rr_features(np.ones((2, 20)))
