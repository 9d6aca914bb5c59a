import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.resample import TARGET_RATE_HZ, Resampler


def naive_resample(samples: NDArray[np.float32], rate_hz: float) -> list[float]:
    """Each output from its formula alone, over the whole record."""
    ratio = rate_hz / TARGET_RATE_HZ
    width = max(1.0, ratio)
    half = math.ceil(4 * width)
    outputs: list[float] = []
    for n in range(10**9):
        position = n * ratio
        left = math.floor(position)
        if left + half > samples.size - 1:
            return outputs
        nearest = left if position - left < 0.5 else left + 1
        centre = float(samples[nearest])
        if math.isnan(centre):
            outputs.append(math.nan)
            continue
        total, weights = 0.0, 0.0
        for k in range(left - half + 1, left + half + 1):
            offset = k - position
            taper = np.i0(5.0 * math.sqrt(max(0.0, 1 - (offset / half) ** 2)))
            weight = float(np.sinc(0.9 * offset / width) * taper)
            x = float(samples[k]) if k >= 0 else centre
            total += weight * (centre if math.isnan(x) else x)
            weights += weight
        outputs.append(total / weights)
    raise AssertionError


@pytest.mark.parametrize("rate_hz", [125.0, 128.0, 257.3, 360.0, 500.0, 1000.0])
def test_it_agrees_with_the_formula(rate_hz: float) -> None:
    rng = np.random.default_rng(3)
    samples = np.cumsum(rng.standard_normal(600)).astype(np.float32)
    samples[100:110] = np.nan
    expected = naive_resample(samples, rate_hz)
    resampled = Resampler(1, rate_hz).push(samples[None, :])[0]
    # The table of phases is interpolated: far below the step of any converter.
    np.testing.assert_allclose(resampled, expected, atol=2e-4, rtol=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    rate_hz=st.sampled_from([62.5, 125.0, 250.0, 257.3, 360.0, 1000.0]),
    sizes=st.lists(st.integers(1, 97), min_size=1, max_size=5),
    seed=st.integers(0, 2**31),
)
def test_any_packet_size_gives_the_same_bits(rate_hz: float, sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((2, 700)).astype(np.float32)
    samples[rng.random((2, 700)) < 0.05] = np.nan
    whole = Resampler(2, rate_hz).push(samples).copy()
    streaming, parts = Resampler(2, rate_hz), []
    begin = 0
    while begin < 700:
        size = sizes[len(parts) % len(sizes)]
        parts.append(streaming.push(samples[:, begin : begin + size]).copy())
        begin += size
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("rate_hz", [250.0, 360.0, 500.0, 1000.0])
@pytest.mark.parametrize("frequency_hz", [1.0, 10.0, 40.0])
def test_a_sine_stays_where_and_what_it_was(rate_hz: float, frequency_hz: float) -> None:
    times = np.arange(int(10 * rate_hz)) / rate_hz
    sine = np.sin(2 * np.pi * frequency_hz * times).astype(np.float32)
    resampled = Resampler(1, rate_hz).push(sine[None, :])[0]
    expected = np.sin(2 * np.pi * frequency_hz * np.arange(resampled.size) / TARGET_RATE_HZ)
    assert np.abs(resampled - expected)[20:].max() < 0.01


@pytest.mark.parametrize(("rate_hz", "frequency_hz"), [(500.0, 230.0), (1000.0, 480.0)])
def test_what_would_fold_into_the_band_is_kept_out(rate_hz: float, frequency_hz: float) -> None:
    times = np.arange(int(10 * rate_hz)) / rate_hz
    sine = np.sin(2 * np.pi * frequency_hz * times).astype(np.float32)
    resampled = Resampler(1, rate_hz).push(sine[None, :])[0]
    assert np.abs(resampled[20:]).max() < 10 ** (-50 / 20)


def test_time_does_not_drift_over_hours() -> None:
    # Four hours at 360 Hz of a slow ramp: output n is the ramp at exactly n / 250.
    resampler = Resampler(1, 360.0)
    n_per_push, worst, n_seen = 36_000, 0.0, 0
    for k in range(144):
        index = np.arange(k * n_per_push, (k + 1) * n_per_push)
        ramp = ((index / 360.0) % 10.0).astype(np.float32)
        resampled = resampler.push(ramp[None, :])[0]
        times = (n_seen + np.arange(resampled.size)) / TARGET_RATE_HZ
        inside = np.abs(times % 10.0 - 5.0) < 4.0
        worst = max(worst, float(np.abs(resampled - times % 10.0)[inside].max()))
        n_seen += resampled.size
    assert worst < 1e-3


def test_at_the_target_rate_nothing_is_touched() -> None:
    samples = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    np.testing.assert_array_equal(Resampler(3, 250.0).push(samples), samples)


def test_a_rate_that_is_none_is_refused() -> None:
    for rate_hz in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(OutOfRangeError, match="sampling_rate_hz"):
            Resampler(1, rate_hz)
