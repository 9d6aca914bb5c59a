import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.windows import (
    WINDOW_SAMPLES,
    filtered_record,
    normalise_window,
    record_windows,
    window_end_index,
)


def naive_normalise(filtered_mv: NDArray[np.float32]) -> NDArray[np.float64]:
    present = np.sort(filtered_mv[~np.isnan(filtered_mv)].astype(float))
    if present.size == 0:
        return np.zeros(filtered_mv.size)
    median, low, high = (present[math.ceil(q * present.size / 20) - 1] for q in (10, 1, 19))
    scale = max((high - low) / 2, 0.15)
    return np.nan_to_num(np.clip((filtered_mv - median) / scale, -8, 8), nan=0.0)


def normalised(filtered_mv: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    out = np.empty_like(filtered_mv)
    share = normalise_window(filtered_mv, out, np.empty_like(filtered_mv))
    return out, share


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 300),
    seed=st.integers(0, 2**31),
    share_missing=st.sampled_from([0.0, 0.3, 1.0]),
    decimals=st.sampled_from([0, 1, 6]),
)
def test_a_window_is_what_sorting_gives(
    n: int, seed: int, share_missing: float, decimals: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = np.round(rng.standard_normal(n), decimals).astype(np.float32)
    samples[rng.random(n) < share_missing] = np.nan
    window, share = normalised(samples)
    np.testing.assert_allclose(window, naive_normalise(samples), atol=1e-5)
    assert share == pytest.approx(np.mean(~np.isnan(samples)))


def test_stillness_is_not_blown_up() -> None:
    rng = np.random.default_rng(0)
    window, _ = normalised((0.005 * rng.standard_normal(1000)).astype(np.float32))
    assert np.abs(window).max() < 1.0


def test_the_input_is_left_alone() -> None:
    samples = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    before = samples.copy()
    normalised(samples)
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("packet_samples", [1, 7, 14, 4096])
@pytest.mark.parametrize("rate_hz", [250.0, 360.0])
def test_training_and_bed_see_the_same_windows(rate_hz: float, packet_samples: int) -> None:
    record = np.random.default_rng(2).standard_normal(int(8 * rate_hz)).astype(np.float32)
    whole = record_windows(record, rate_hz, packet_samples=10**6)
    packets = record_windows(record, rate_hz, packet_samples=packet_samples)
    assert len(whole.windows) >= 15
    np.testing.assert_array_equal(packets.windows, whole.windows)


def test_a_window_is_the_last_four_seconds_before_its_end() -> None:
    record = np.random.default_rng(4).standard_normal(3000).astype(np.float32)
    made = record_windows(record, 250.0, hop_s=1.0)
    filtered = filtered_record(record, 250.0)
    for window, end_s in zip(made.windows, made.end_time_s, strict=True):
        end = round(end_s * 250)
        expected, _ = normalised(filtered[end - WINDOW_SAMPLES : end].copy())
        np.testing.assert_array_equal(window[0], expected)


def test_hops_never_drift() -> None:
    assert window_end_index(0) == 1000
    assert window_end_index(1) == 1062
    assert window_end_index(2) == 1125
    assert window_end_index(4 * 3600) == 1000 + 3600 * 250


def test_a_record_shorter_than_a_window_has_none() -> None:
    made = record_windows(np.zeros(999, dtype=np.float32), 250.0)
    assert made.windows.shape == (0, 1, 1000)
    assert record_windows(np.zeros(0, dtype=np.float32), 360.0).end_time_s.size == 0


def test_a_record_of_two_leads_is_refused() -> None:
    with pytest.raises(OutOfRangeError, match="shape"):
        record_windows(np.zeros((2, 5000), dtype=np.float32), 250.0)
