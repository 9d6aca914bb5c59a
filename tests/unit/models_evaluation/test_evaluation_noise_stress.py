"""Noise is added where and as loud as `nst` adds it."""

import numpy as np
import pytest

from models.evaluation.noise_stress import Noise, add_noise, noise_amplitude, noisy, qrs_amplitude

RATE_HZ = 100.0


def _ecg(n_s: int) -> tuple[np.ndarray, np.ndarray]:
    clean = np.zeros((2, int(n_s * RATE_HZ)))
    beats = np.arange(100, clean.shape[1] - 100, 100)
    clean[0, beats], clean[1, beats] = 1.0, 2.0
    return clean, beats


def test_noise_begins_after_five_minutes_in_alternating_segments_of_two() -> None:
    mask = noisy(int(800 * RATE_HZ), RATE_HZ)
    assert not mask[: int(300 * RATE_HZ)].any()
    assert mask[int(300 * RATE_HZ) : int(420 * RATE_HZ)].all()
    assert not mask[int(420 * RATE_HZ) : int(540 * RATE_HZ)].any()
    assert mask[int(540 * RATE_HZ) : int(660 * RATE_HZ)].all()


@pytest.mark.parametrize("snr_db", [24.0, 0.0, -6.0])
def test_each_lead_gets_the_noise_its_own_complexes_ask_for(snr_db: float) -> None:
    clean, beats = _ecg(800)
    noise = Noise("em", np.random.default_rng(0).normal(0, 0.2, (2, 40_000)), RATE_HZ)
    added = add_noise(clean, beats, noise, snr_db, RATE_HZ) - clean
    mask = noisy(clean.shape[1], RATE_HZ)
    assert not added[:, ~mask].any()
    for lead, height in ((0, 1.0), (1, 2.0)):
        ratio = (height**2 / 8) / np.mean(added[lead, mask] ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.3)


def test_sizes_are_means_without_the_extremes() -> None:
    clean, beats = _ecg(60)
    clean[0, beats[3]] = 50.0  # one spike of sixty does not move the mean
    assert qrs_amplitude(clean[0], beats, RATE_HZ) == pytest.approx(1.0)
    curve = np.tile([1.0, -1.0], 5000)
    curve[:100] *= 40
    assert noise_amplitude(curve, RATE_HZ) == pytest.approx(1.0)


def test_a_missing_sample_stays_missing() -> None:
    clean, beats = _ecg(400)
    clean[0, 30_050] = np.nan
    noise = Noise("ma", np.ones((1, 100)) * np.tile([1.0, -1.0], 50), RATE_HZ)
    mixed = add_noise(clean, beats, noise, 6.0, RATE_HZ)
    assert np.isnan(mixed[0, 30_050])
    assert np.isnan(mixed).sum() == 1
