import math

import numpy as np
import pytest

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.beats import AMPLITUDE, MAX_BEATS
from wardstream.kernels.derived_respiration import DerivedRespiration

NOW = 20_000


def series(
    breaths_per_min: float, depth: float, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, int]:
    """Beats at 75 a minute whose height breathes, and how many they are."""
    rng = np.random.default_rng(seed)
    n = 100
    at = NOW - 200 * np.arange(n)[::-1]
    features = np.zeros((MAX_BEATS, 3))
    height = 1 + depth * np.sin(2 * np.pi * breaths_per_min / 60 * at / 250)
    features[:n, AMPLITUDE] = height + noise * rng.standard_normal(n)
    index = np.zeros(MAX_BEATS, dtype=np.int64)
    index[:n] = at + np.round(2 * rng.standard_normal(n)).astype(np.int64)
    return index, features, n


def asked(index: np.ndarray, features: np.ndarray, n: int, now: int = NOW) -> float:
    respiration = DerivedRespiration()
    respiration.begin()
    respiration.take_beats(index, features, n, now)
    return respiration.rate_per_min()


@pytest.mark.parametrize("rate", [8.0, 13.0, 18.5, 25.0, 30.0])
def test_the_rate_at_which_beats_swell_is_found(rate: float) -> None:
    assert asked(*series(rate, 0.1, 0.02)) == pytest.approx(rate, abs=1.0)


def test_an_ectopic_beat_is_no_breath() -> None:
    index, features, n = series(15.0, 0.1, 0.02)
    features[n - 12, AMPLITUDE] = 5.0
    features[n - 25, AMPLITUDE] = -4.0
    assert asked(index, features, n) == pytest.approx(15.0, abs=1.0)


def test_a_missing_height_is_left_out() -> None:
    index, features, n = series(15.0, 0.1, 0.02)
    features[n - 30 : n - 26, AMPLITUDE] = math.nan
    assert asked(index, features, n) == pytest.approx(15.0, abs=1.0)


def test_few_beats_and_old_beats_say_nothing() -> None:
    index, features, _ = series(15.0, 0.1, 0.02)
    assert math.isnan(asked(index, features, 10, now=int(index[9])))
    assert math.isnan(asked(index, features, 100, now=NOW + 60 * 250))


def test_what_it_says_does_not_depend_on_what_it_said_before() -> None:
    first, second = series(12.0, 0.1, 0.02), series(22.0, 0.1, 0.02)
    respiration = DerivedRespiration()
    for _ in range(2):
        for one in (first, second):
            respiration.begin()
            respiration.take_beats(*one, NOW)
            assert respiration.rate_per_min() == asked(*one)


def test_pulses_and_beats_are_fused() -> None:
    index, features, n = series(15.0, 0.1, 0.3)
    pulses = np.zeros((64, 6))
    pulses[:, 0] = NOW - 200 * np.arange(64)[::-1]
    pulses[:, 2] = 60 + 2 * np.sin(2 * np.pi * 15 / 60 * pulses[:, 0] / 250)
    pulses[:, 3] = pulses[:, 2] + 40
    respiration = DerivedRespiration()
    respiration.begin()
    respiration.take_beats(index, features, n, NOW)
    respiration.take_pulses(pulses, 64, NOW)
    assert respiration.rate_per_min() == pytest.approx(15.0, abs=1.0)


def test_too_many_series_are_refused() -> None:
    respiration = DerivedRespiration()
    for _ in range(2):
        respiration.take_pulses(np.zeros((64, 6)), 0, NOW)
    with pytest.raises(OutOfRangeError, match="series"):
        respiration.take_pulses(np.zeros((64, 6)), 0, NOW)
