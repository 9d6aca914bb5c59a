"""Rate and regularity of whatever repeats itself."""

import math
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from wardstream.kernels.repetition import RepetitionMeter, repetition, repetition_per_min

N = 1000
TIME_S = np.arange(N) / 250


def wave(per_min: float) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * per_min / 60 * TIME_S).astype(np.float32)


@pytest.mark.parametrize("per_min", [60, 114, 150, 210, 300])
def test_rate_of_a_wave_to_one_lag(per_min: float) -> None:
    rate, strength = repetition(wave(per_min))
    lag = 60 * 62.5 / per_min
    assert abs(60 * 62.5 / rate - lag) <= 1
    assert strength > 0.9


def test_nothing_repeats_in_nothing() -> None:
    rate, strength = repetition(np.zeros(N, dtype=np.float32))
    assert math.isnan(rate)
    assert strength == 0
    assert RepetitionMeter(N).slow_and_regular(np.full(N, np.nan, dtype=np.float32)) == 0


def test_missing_samples_count_as_zero() -> None:
    window = wave(120)
    holed = window.copy()
    holed[300:330] = np.nan
    assert repetition(holed) == repetition(np.nan_to_num(holed))


@pytest.mark.parametrize(
    ("per_min", "low", "high"),
    [(100, 0.99, 1.0), (125, 0.95, 1.0), (165, 0.0, 0.02), (220, 0, 0.01)],
)
def test_slow_and_regular_ends_before_150_a_minute(per_min: float, low: float, high: float) -> None:
    assert low <= RepetitionMeter(N).slow_and_regular(wave(per_min)) <= high


def test_what_is_slow_but_irregular_is_not_held_against_it() -> None:
    noise = np.random.default_rng(0).standard_normal(N).astype(np.float32)
    assert RepetitionMeter(N).slow_and_regular(noise) < 0.01


def test_a_window_leaves_nothing_behind_for_the_next() -> None:
    meter, windows = RepetitionMeter(N), np.stack([wave(114), wave(220), wave(70)])
    again = [meter.of(window)[0] for window in windows]
    np.testing.assert_array_equal(again, [repetition(window)[0] for window in windows])
    np.testing.assert_array_equal(again, repetition_per_min(windows))


def test_no_allocation_per_window() -> None:
    meter, window = RepetitionMeter(N), wave(114)
    meter.slow_and_regular(window)
    tracemalloc.start()
    try:
        for _ in range(50):
            meter.slow_and_regular(window)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2000  # one array of working space is 2000 bytes
