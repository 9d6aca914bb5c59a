"""What is wrong with a channel, each flaw by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.kernels.quality import LIMITS, QualityFlag, QualityMeter

Samples = NDArray[np.float32]
TIME_S = np.arange(1000) / 250


def flags_of(samples: NDArray[np.floating], modality: Modality = Modality.ECG) -> QualityFlag:
    meter = QualityMeter(1, LIMITS[modality])
    meter.push(samples.astype(np.float32)[None, :])
    return QualityFlag(int(meter.flags[0]))


def test_a_clean_lead_has_no_flags(ecg: Samples) -> None:
    assert flags_of(ecg[0]) == QualityFlag(0)


def test_a_flat_lead_is_flat_and_off() -> None:
    assert flags_of(np.full(500, 0.3)) == QualityFlag.FLAT | QualityFlag.LEAD_OFF


def test_a_lead_at_its_rails_is_saturated_and_off() -> None:
    rails = np.where(np.arange(500) % 250 < 200, 5.0, -3.0)
    flags = flags_of(rails)
    assert QualityFlag.SATURATED | QualityFlag.LEAD_OFF in flags
    assert QualityFlag.FLAT not in flags


def test_cut_tops_are_clipped_and_the_lead_is_on(ecg: Samples) -> None:
    wandering = ecg[0] + np.sin(2 * np.pi * 1.3 * np.arange(ecg.shape[1]) / 250)
    assert QualityFlag.CLIPPED not in flags_of(wandering)
    assert flags_of(np.minimum(wandering, 0.8)) == QualityFlag.CLIPPED
    assert flags_of(np.maximum(wandering, -0.8)) == QualityFlag.CLIPPED


def test_nothing_is_off_and_not_flat() -> None:
    assert flags_of(np.full(500, np.nan)) == QualityFlag.LEAD_OFF
    meter = QualityMeter(2, LIMITS[Modality.ECG])
    assert list(meter.flags) == [QualityFlag.LEAD_OFF] * 2
    meter.push(np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32))
    meter.reset()
    assert list(meter.flags) == [QualityFlag.LEAD_OFF] * 2


def test_muscle_noise_is_noisy_and_no_mains(ecg: Samples) -> None:
    noise = 0.3 * np.random.default_rng(0).standard_normal(ecg.shape[1])
    assert flags_of(ecg[0] + noise) == QualityFlag.NOISY


@pytest.mark.parametrize("mains_hz", [49.8, 50.0, 60.0, 60.2])
@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_mains_is_found_under_beats(ecg: Samples, mains_hz: float, phase: float) -> None:
    hum = 0.08 * np.cos(2 * np.pi * mains_hz * np.arange(ecg.shape[1]) / 250 + phase)
    assert QualityFlag.MAINS in flags_of(ecg[0] + hum)


@pytest.mark.parametrize("other_hz", [5.0, 20.0, 40.0, 55.0, 75.0])
def test_another_tone_is_not_mains(ecg: Samples, other_hz: float) -> None:
    tone = 0.3 * np.cos(2 * np.pi * other_hz * np.arange(ecg.shape[1]) / 250)
    assert QualityFlag.MAINS not in flags_of(ecg[0] + tone)


def test_mains_on_a_pressure_is_found() -> None:
    pressure = 90 + 20 * np.sin(2 * np.pi * 1.2 * TIME_S)
    hum = 4 * np.sin(2 * np.pi * 50 * TIME_S)
    assert flags_of(pressure, Modality.ARTERIAL_PRESSURE) == QualityFlag(0)
    assert QualityFlag.MAINS in flags_of(pressure + hum, Modality.ARTERIAL_PRESSURE)


def naive_mains(second: NDArray[np.float64]) -> bool:
    """Of the last 250 samples, with two more before: by the discrete Fourier transform."""
    bend = np.diff(second, 2).reshape(5, 50)
    spectrum = np.fft.fft(bend, axis=1)
    found = False
    for k, mains_hz in ((10, 50.0), (12, 60.0)):
        square = np.abs(spectrum[:, k]) ** 2
        share = 2 * square / (50 * (bend**2).sum(axis=1))
        gain = 2 - 2 * np.cos(2 * np.pi * mains_hz / 250)
        amplitude = 2 * np.sqrt(square) / 50 / gain
        found = found or int(((share > 0.5) & (amplitude > 0.024)).sum()) >= 3
    return bool(found)


@settings(max_examples=40, deadline=None)
@given(hum=st.floats(0.0, 0.1), noise=st.floats(0.001, 0.1), seed=st.integers(0, 1000))
def test_mains_agrees_with_the_naive_twin(hum: float, noise: float, seed: int) -> None:
    curve = hum * np.sin(2 * np.pi * 50 * TIME_S[:500])
    curve = (curve + noise * np.random.default_rng(seed).standard_normal(500)).astype(np.float32)
    expected = naive_mains(curve[-252:].astype(np.float64))
    assert (QualityFlag.MAINS in flags_of(curve)) == expected


@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 1000))
def test_any_packet_size_gives_the_same_flags(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((2, 2000)).astype(np.float32)
    samples[0] = np.clip(samples[0], -1, 1)
    samples[:, 700:1100] = np.nan
    whole, packets = QualityMeter(2, LIMITS[Modality.ECG]), QualityMeter(2, LIMITS[Modality.ECG])
    for begin in range(0, 2000, 250):
        whole.push(samples[:, begin : begin + 250])
        for i in range(begin, begin + 250, size):
            packets.push(np.ascontiguousarray(samples[:, i : min(i + size, begin + 250)]))
        np.testing.assert_array_equal(packets.flags, whole.flags)
