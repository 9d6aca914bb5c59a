"""Pulses, breaths, intervals, quality: each against a naive twin or a known curve."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.kernels.intervals import rr_statistics
from wardstream.kernels.pulse import DIASTOLIC, KNOWN, MEAN, ONSET, PEAK, SYSTOLIC, PulseDetector
from wardstream.kernels.quality import LIMITS, Flaw, QualityMeter
from wardstream.kernels.respiration import BreathDetector


def pressure_curve(rate_per_min: float = 75.0, duration_s: float = 30.0) -> NDArray[np.float32]:
    """Arterial pressure 80 to 120 mmHg with a dicrotic notch, 250 Hz, shape (1, n)."""
    phase = (np.arange(int(duration_s * 250)) / 250 * rate_per_min / 60) % 1.0
    upstroke = np.clip(phase / 0.15, 0, 1)
    decay = np.where(phase > 0.15, np.exp(-(phase - 0.15) * 3.0), 1.0)
    notch = -0.12 * np.exp(-(((phase - 0.42) / 0.03) ** 2))
    shape = np.where(phase < 0.15, 0.5 - 0.5 * np.cos(np.pi * upstroke), decay + notch)
    floor = math.exp(-0.85 * 3.0)
    shape = np.where(phase < 0.15, floor + (1 - floor) * shape, shape)
    return (80 + 40 * (shape - floor) / (1 - floor)).astype(np.float32)[None, :]


def feed(detector: PulseDetector | BreathDetector, samples: NDArray[np.float32], n: int) -> int:
    return sum(
        detector.push(np.ascontiguousarray(samples[:, i : i + n]))
        for i in range(0, samples.shape[1], n)
    )


@pytest.mark.parametrize("rate_per_min", [40.0, 75.0, 150.0])
def test_pulses_and_their_pressures_are_found(rate_per_min: float) -> None:
    detector = PulseDetector(min_amplitude=5.0)
    feed(detector, pressure_curve(rate_per_min), 10)
    last = detector.last_pulses(8)
    intervals = np.diff(last[:, ONSET]) / 250
    np.testing.assert_allclose(60 / intervals, rate_per_min, rtol=0.03)
    np.testing.assert_allclose(last[:, SYSTOLIC], 120, atol=3)
    np.testing.assert_allclose(last[:, DIASTOLIC], 80, atol=3)
    assert np.all(last[:, PEAK] > last[:, ONSET])
    assert np.all(last[:, KNOWN] - last[:, PEAK] < 50)
    expected = pressure_curve(rate_per_min).mean()
    np.testing.assert_allclose(last[:, MEAN], expected, atol=1.5)


def test_a_flat_pressure_has_no_pulse() -> None:
    flat = np.full((1, 7500), 60.0, dtype=np.float32)
    flat += 0.3 * np.random.default_rng(0).standard_normal(7500).astype(np.float32)
    assert feed(PulseDetector(min_amplitude=5.0), flat, 10) == 0


@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_any_packet_size_gives_the_same_pulses_and_breaths(size: int, seed: int) -> None:
    curve = pressure_curve(80.0, 15.0)
    rng = np.random.default_rng(seed)
    curve = (curve + rng.standard_normal(curve.shape)).astype(np.float32)
    curve[rng.random(curve.shape) < 0.02] = np.nan
    pulses, whole = PulseDetector(min_amplitude=5.0), PulseDetector(min_amplitude=5.0)
    assert feed(pulses, curve, size) == feed(whole, curve, 10**6)
    np.testing.assert_array_equal(pulses.pulses, whole.pulses)
    breaths, all_at_once = BreathDetector(), BreathDetector()
    feed(breaths, curve, size)
    feed(all_at_once, curve, 10**6)
    np.testing.assert_array_equal(breaths.breaths, all_at_once.breaths)


@pytest.mark.parametrize("rate_per_min", [8.0, 15.0, 30.0])
def test_the_rate_of_breaths_is_found(rate_per_min: float) -> None:
    times = np.arange(90 * 250) / 250
    rng = np.random.default_rng(0)
    curve = np.sin(2 * np.pi * rate_per_min / 60 * times) + 0.05 * rng.standard_normal(times.size)
    detector = BreathDetector()
    feed(detector, curve.astype(np.float32)[None, :], 10)
    assert detector.rate_per_min() == pytest.approx(rate_per_min, abs=0.7)


def test_breaths_that_stop_slow_the_rate_and_then_leave_none() -> None:
    times = np.arange(60 * 250) / 250
    curve = np.sin(2 * np.pi * 0.25 * times).astype(np.float32)[None, :]
    still = np.zeros((1, 60 * 250), dtype=np.float32)
    detector = BreathDetector()
    feed(detector, curve, 10)
    feed(detector, still[:, : 12 * 250], 10)
    assert detector.rate_per_min() < 12
    feed(detector, still, 10)
    assert math.isnan(detector.rate_per_min())


def naive_statistics(rr_ms: list[float]) -> tuple[float, float, float, float, float]:
    good = [200 <= rr <= 3000 for rr in rr_ms]
    kept = [rr for rr, ok in zip(rr_ms, good, strict=True) if ok]
    recent = [rr for rr, ok in zip(rr_ms[-8:], good[-8:], strict=True) if ok]
    steps = [
        abs(b - a)
        for a, b, both in zip(rr_ms, rr_ms[1:], pairwise(good), strict=False)
        if all(both)
    ]
    rate = 60_000 / (sum(recent) / len(recent)) if recent else math.nan
    mean = sum(kept) / len(kept) if kept else math.nan
    if len(steps) < 4:
        return rate, mean, math.nan, math.nan, math.nan
    sdnn = math.sqrt(sum((rr - mean) ** 2 for rr in kept) / (len(kept) - 1))
    rmssd = math.sqrt(sum(step**2 for step in steps) / len(steps))
    return rate, mean, sdnn, rmssd, float(np.median(steps)) / mean


@settings(deadline=None)  # compiled on the first call
@given(st.lists(st.floats(50, 5000), max_size=40))
def test_interval_statistics_are_their_definitions(rr_ms: list[float]) -> None:
    found = rr_statistics(np.array(rr_ms, dtype=np.float64))
    np.testing.assert_allclose(
        (found.rate_per_min, found.mean_ms, found.sdnn_ms, found.rmssd_ms, found.irregularity),
        naive_statistics(rr_ms),
        rtol=1e-9,
    )


def flaw_of(samples: NDArray[np.float64], modality: Modality = Modality.ECG) -> tuple[Flaw, float]:
    meter = QualityMeter(1, LIMITS[modality])
    meter.push(samples.astype(np.float32)[None, :])
    return Flaw(int(meter.flaw[0])), float(meter.score[0])


def test_a_clean_lead_is_good(ecg: NDArray[np.float32]) -> None:
    flaw, score = flaw_of(ecg[0])
    assert flaw is Flaw.NONE
    assert score > 0.8


@pytest.mark.parametrize(
    ("samples", "modality", "expected"),
    [
        pytest.param(np.full(500, 0.3), Modality.ECG, Flaw.FLAT, id="flat lead"),
        pytest.param(np.full(500, np.nan), Modality.ECG, Flaw.MISSING, id="nothing but NaN"),
        pytest.param(
            np.where(np.arange(500) % 250 < 200, 5.0, -3.0), Modality.ECG, Flaw.SATURATED, id="rail"
        ),
        pytest.param(np.arange(500) * 0.1, Modality.ECG, Flaw.ARTEFACT, id="12 mV in a second"),
        pytest.param(np.full(500, 400.0), Modality.ARTERIAL_PRESSURE, Flaw.MISSING, id="400 mmHg"),
        pytest.param(np.full(500, 90.0), Modality.ARTERIAL_PRESSURE, Flaw.FLAT, id="flat pressure"),
        pytest.param(
            0.5 * np.random.default_rng(0).standard_normal(500),
            Modality.ECG,
            Flaw.NOISY,
            id="noise",
        ),
    ],
)
def test_what_is_wrong_is_named(
    samples: NDArray[np.float64], modality: Modality, expected: Flaw
) -> None:
    flaw, score = flaw_of(samples, modality)
    assert flaw is expected
    assert score < 0.5


def test_how_long_a_sensor_is_off_is_counted() -> None:
    meter = QualityMeter(1, LIMITS[Modality.ECG])
    meter.push(np.full((1, 250 * 4), np.nan, dtype=np.float32))
    assert meter.flawed_bins[0] == 16  # every fifth of a second from the end of the first
    meter.push(np.random.default_rng(0).standard_normal((1, 400)).astype(np.float32))
    assert meter.flawed_bins[0] == 0


@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 300))
def test_any_packet_size_gives_the_same_quality(size: int) -> None:
    samples = np.random.default_rng(9).standard_normal((2, 2000)).astype(np.float32)
    whole, packets = QualityMeter(2, LIMITS[Modality.ECG]), QualityMeter(2, LIMITS[Modality.ECG])
    whole.push(samples)
    for i in range(0, 2000, size):
        packets.push(np.ascontiguousarray(samples[:, i : i + size]))
    np.testing.assert_array_equal(packets.score, whole.score)
    np.testing.assert_array_equal(packets.flaw, whole.flaw)
