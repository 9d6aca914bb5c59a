import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.filters import (
    CascadeFilter,
    Sections,
    butterworth_highpass,
    butterworth_lowpass,
    notch,
)


def as_sos(sections: Sections) -> NDArray[np.float64]:
    return np.insert(sections, 3, 1.0, axis=1)


def naive_filter(sections: Sections, samples: NDArray[np.float32], limit: int) -> list[float]:
    """Direct form I from the difference equation, one section after another."""
    held, missing, outputs = math.nan, limit, []
    past = [[0.0] * 4 for _ in sections]  # x1 x2 y1 y2 of each section
    for x in samples.astype(float):
        present = not math.isnan(x)
        if present and missing >= limit:
            level = x
            for k, (b0, b1, b2, a1, a2) in enumerate(sections):
                settled = level * (b0 + b1 + b2) / (1 + a1 + a2)
                past[k] = [level, level, settled, settled]
                level = settled
        missing = 0 if present else min(missing + 1, limit)
        held = x if present else held
        if missing >= limit:
            outputs.append(math.nan)
            continue
        value = held
        for k, (b0, b1, b2, a1, a2) in enumerate(sections):
            x1, x2, y1, y2 = past[k]
            y = b0 * value + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
            past[k] = [value, x1, y, y1]
            value = y
        outputs.append(value if present else math.nan)
    return outputs


@pytest.mark.parametrize("order", [2, 4, 6])
def test_the_low_pass_is_scipys(order: int) -> None:
    ours = as_sos(butterworth_lowpass(40.0, 250.0, order))
    theirs = signal.butter(order, 40.0, fs=250.0, output="sos")
    frequencies = np.linspace(0.1, 124, 200)
    for a, b in zip(
        signal.sosfreqz(ours, frequencies, fs=250.0),
        signal.sosfreqz(theirs, frequencies, fs=250.0),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_the_high_pass_is_scipys() -> None:
    theirs = signal.butter(2, 0.5, "highpass", fs=250.0, output="sos")
    np.testing.assert_allclose(as_sos(butterworth_highpass(0.5, 250.0)), theirs, atol=1e-12)


def test_the_notch_is_the_bilinear_transform_of_its_prototype() -> None:
    # In units of the centre, warped so that the centre stays where it is.
    warped_rate = 1 / (2 * math.tan(math.pi * 50.0 / 250.0))
    b, a = signal.bilinear([1.0, 0.0, 1.0], [1.0, 1.0 / 6.0, 1.0], fs=warped_rate)
    np.testing.assert_allclose(notch(50.0, 250.0, 6.0)[0], [*b, *a[1:]], atol=1e-12)


def test_it_agrees_with_the_difference_equation() -> None:
    rng = np.random.default_rng(5)
    samples = (3 + rng.standard_normal(800)).astype(np.float32)
    samples[100:120] = np.nan  # held
    samples[300:420] = np.nan  # restarted
    sections = np.concatenate(
        [butterworth_highpass(0.5, 250.0), butterworth_lowpass(40.0, 250.0), notch(50.0, 250.0, 6)]
    )
    filtered = np.empty((1, 800), dtype=np.float32)
    CascadeFilter(1, sections, 250.0).push(samples[None, :], filtered)
    np.testing.assert_allclose(filtered[0], naive_filter(sections, samples, 50), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 2**31))
def test_any_packet_size_gives_the_same_bits(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((2, 400)).astype(np.float32)
    samples[rng.random((2, 400)) < 0.1] = np.nan
    sections = butterworth_lowpass(20.0, 250.0)
    whole = np.empty_like(samples)
    CascadeFilter(2, sections, 250.0).push(samples, whole)
    cascade, begin, k = CascadeFilter(2, sections, 250.0), 0, 0
    parts = np.empty_like(samples)
    while begin < 400:
        end = begin + sizes[k % len(sizes)]
        cascade.push(samples[:, begin:end], parts[:, begin:end])
        begin, k = end, k + 1
    np.testing.assert_array_equal(parts, whole)


def test_a_constant_starts_without_a_step() -> None:
    samples = np.full((1, 100), 5.0, dtype=np.float32)
    out = np.empty_like(samples)
    CascadeFilter(1, butterworth_highpass(0.5, 250.0), 250.0).push(samples, out)
    assert np.abs(out).max() < 1e-6


def test_missing_in_is_missing_out_and_no_more() -> None:
    samples = np.ones((1, 100), dtype=np.float32)
    samples[0, 40:45] = np.nan
    out = np.empty_like(samples)
    CascadeFilter(1, butterworth_lowpass(40.0, 250.0), 250.0).push(samples, out)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(samples))


@pytest.mark.parametrize("cutoff_hz", [0.0, 125.0, -1.0, math.nan])
def test_a_cutoff_outside_the_band_is_refused(cutoff_hz: float) -> None:
    with pytest.raises(OutOfRangeError, match="half of"):
        butterworth_lowpass(cutoff_hz, 250.0)
