import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.filters import butterworth_highpass, butterworth_lowpass


def all_beats(leads: NDArray[np.float32], sizes: list[int]) -> tuple[list[int], list[int]]:
    """Every R peak and when it was known, fed in packets of `sizes`."""
    detector = QrsDetector(leads.shape[0])
    peaks: list[int] = []
    known: list[int] = []
    begin, k = 0, 0
    while begin < leads.shape[1]:
        end = begin + sizes[k % len(sizes)]
        for i in range(detector.push(np.ascontiguousarray(leads[:, begin:end])), 0, -1):
            slot = (detector.n_beats - i) % detector.beat_index.size
            peaks.append(int(detector.beat_index[slot]))
            known.append(int(detector.known_index[slot]))
        begin, k = end, k + 1
    return peaks, known


def naive_beats(lead: NDArray[np.float32]) -> list[int]:
    """The same detector for one clean lead, written over whole arrays: no streaming, no rings,
    no search-back, no T waves; enough to check the arithmetic of the feature and threshold."""
    sections = np.concatenate(
        [butterworth_highpass(7.0, 250.0), butterworth_lowpass(20.0, 250.0, 2)]
    )
    band = lead.astype(float) - float(lead[0])
    for b0, b1, b2, a1, a2 in sections:
        out = np.zeros_like(band)
        x, y = np.concatenate([[0, 0], band]), np.concatenate([[0, 0], out])
        for n in range(2, x.size):
            y[n] = b0 * x[n] + b1 * x[n - 1] + b2 * x[n - 2] - a1 * y[n - 1] - a2 * y[n - 2]
        band = y[2:]
    padded = np.concatenate([np.zeros(4), band])
    slope = np.abs(2 * padded[4:] + padded[3:-1] - padded[1:-3] - 2 * padded[:-4]) / 8
    mean = np.convolve(slope, np.full(28, 1 / 28))[: slope.size]
    level, signal, noise = float(mean[:500].max()), 1.0, 0.1
    beats: list[int] = []
    last, peak, peak_at = -2000, 0.0, 0
    for n in range(500, mean.size):
        feature = mean[n] / level
        if feature > peak:
            peak, peak_at = feature, n
            continue
        if n - peak_at < 10 or feature >= 0.9 * peak:
            continue
        gap, span = peak_at - last, signal - noise
        if gap > 50:
            threshold = noise + 0.37 * span + 0.5 * span * math.exp((50 - gap) / 50)
            if peak > threshold:
                signal += 0.125 * (peak - signal)
                level += 0.1 * (mean[peak_at] - level)
                last = peak_at
                around = slice(max(peak_at - 72, 0), peak_at + 29)
                baseline = float(np.mean(lead[around][: n + 1 - around.start]))
                search = np.arange(peak_at - 52, min(peak_at - 4, n) + 1)
                beats.append(int(search[np.argmax(np.abs(lead[search] - baseline))]))
            else:
                noise += 0.125 * (min(peak, signal) - noise)
        peak, peak_at = feature, n
    return beats


def test_it_agrees_with_the_naive_detector(ecg: NDArray[np.float32]) -> None:
    found, _ = all_beats(ecg[:1], [4096])
    # The beat under way as learning ends is found by search-back, which the naive one lacks.
    assert [beat for beat in found if beat >= 500] == naive_beats(ecg[0])
    assert len(found) >= 34


def test_every_beat_is_found_where_it_is(ecg: NDArray[np.float32]) -> None:
    found, known = all_beats(ecg, [10])
    expected = [round((0.24 + 0.8 * k) * 250) for k in range(3, 37)]
    np.testing.assert_allclose([at for at in found if 650 < at < 7400], expected, atol=2)
    delays = (np.array(known) - np.array(found)) / 250
    assert delays.min() > 0
    assert delays.max() <= 0.2


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 130), min_size=1, max_size=5), seed=st.integers(0, 2**31))
def test_any_packet_size_gives_the_same_beats(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    leads = rng.standard_normal((2, 6000)).astype(np.float32)
    leads[:, ::200] += 8.0
    leads[rng.random((2, 6000)) < 0.02] = np.nan
    assert all_beats(leads, sizes) == all_beats(leads, [6000])


def test_a_dead_lead_does_not_disturb_the_other(ecg: NDArray[np.float32]) -> None:
    with_dead = ecg.copy()
    with_dead[1] = np.nan
    assert all_beats(with_dead, [10])[0] == all_beats(ecg[:1], [10])[0]


def test_a_lead_of_weight_zero_has_no_say(ecg: NDArray[np.float32]) -> None:
    noisy = ecg.copy()
    noisy[1] += 5 * np.random.default_rng(0).standard_normal(ecg.shape[1]).astype(np.float32)
    detector, alone = QrsDetector(2), QrsDetector(1)
    detector.weights[1] = 0.0
    detector.push(noisy)
    alone.push(ecg[:1])
    np.testing.assert_array_equal(detector.last_beats(30), alone.last_beats(30))


def test_a_still_line_has_no_beats() -> None:
    rng = np.random.default_rng(0)
    still = (0.004 * rng.standard_normal((1, 250 * 60))).astype(np.float32)
    assert all_beats(still, [10])[0] == []


def test_nothing_but_missing_samples_has_no_beats() -> None:
    assert all_beats(np.full((2, 5000), np.nan, dtype=np.float32), [10])[0] == []


def test_after_a_reset_it_starts_from_nothing(ecg: NDArray[np.float32]) -> None:
    used, fresh = QrsDetector(2), QrsDetector(2)
    used.push(ecg)
    used.reset()
    assert used.push(ecg) == fresh.push(ecg)
    np.testing.assert_array_equal(used.last_beats(99), fresh.last_beats(99))


def test_another_number_of_leads_is_refused(ecg: NDArray[np.float32]) -> None:
    with pytest.raises(OutOfRangeError, match="shape"):
        QrsDetector(1).push(ecg)


@pytest.mark.parametrize("gap_s", [0.5, 3.0, 6.8, 9.7])
def test_after_a_gap_beats_are_found_again_at_once(gap_s: float) -> None:
    # The curve goes on at another level, as after a lead was put back.
    n, gap, at = 40 * 250, round(gap_s * 250), 15 * 250
    times = np.arange(n) / 250
    lead = 0.01 * np.random.default_rng(0).standard_normal(n)
    for beat in np.arange(0.5, 40, 0.8):
        lead += np.exp(-(((times - beat) / 0.012) ** 2))
    lead[at + gap :] += 4.0
    lead[at : at + gap] = np.nan
    peaks, known = all_beats(lead[None].astype(np.float32), [10])
    first_known = min(k for p, k in zip(peaks, known, strict=True) if p >= at + gap)
    # After more than 8 s it learns anew, for 2 s.
    assert first_known - (at + gap) <= (1.3 if gap_s < 8 else 3.2) * 250
    assert all(p < at or p >= at + gap - 1 for p in peaks)


def test_what_is_missing_at_the_start_is_not_learned_from() -> None:
    times = np.arange(20 * 250) / 250
    lead = 0.01 * np.random.default_rng(0).standard_normal(times.size)
    for beat in np.arange(0.5, 20, 0.8):
        lead += np.exp(-(((times - beat) / 0.012) ** 2))
    lead[250 : 8 * 250] = np.nan
    lead[8 * 250 :] -= 3.0
    peaks, _ = all_beats(lead[None].astype(np.float32), [10])
    assert [p for p in peaks if 10 * 250 <= p < 12 * 250]


def test_in_muscle_noise_what_looks_like_no_beat_is_none() -> None:
    rng = np.random.default_rng(3)
    times = np.arange(120 * 250) / 250
    beats = np.arange(0.5, 119.5, 0.8)
    lead = 0.01 * rng.standard_normal(times.size)
    for beat in beats:
        lead += np.exp(-(((times - beat) / 0.012) ** 2))
        lead -= 0.3 * np.exp(-(((times - beat - 0.035) / 0.012) ** 2))
    noisy = times > 30
    lead[noisy] += 0.22 * rng.standard_normal(int(noisy.sum()))
    found = np.array(all_beats(lead[None].astype(np.float32), [10])[0]) / 250
    expected = beats[beats > 30]
    found = found[found > 29.7]
    hits = sum(np.abs(found - beat).min() <= 0.05 for beat in expected)
    assert hits >= 0.97 * len(expected)
    assert len(found) - hits <= 0.03 * len(expected)


def test_features_tell_a_wide_beat_from_a_narrow_one() -> None:
    times = np.arange(40 * 250) / 250
    lead = 0.005 * np.random.default_rng(0).standard_normal(times.size)
    wide_at = 30.1
    for beat in np.arange(0.5, 39.5, 0.8):
        if abs(beat - 30.1) < 0.1:
            wide_at = float(beat)
            lead -= 1.6 * np.exp(-(((times - beat) / 0.03) ** 2))
        else:
            lead += np.exp(-(((times - beat) / 0.012) ** 2))
    detector = QrsDetector(1)
    detector.push(lead[None].astype(np.float32))
    amplitude, width, alike = detector.features[: detector.n_beats].T
    at = detector.beat_index[: detector.n_beats] / 250
    odd = int(np.argmin(np.abs(at - wide_at)))
    usual = (at > 12) & (at < 29)
    np.testing.assert_allclose(amplitude[usual], 0.93, atol=0.08)
    assert amplitude[odd] < -1.2
    assert alike[usual].min() > 0.9 > 0.5 > alike[odd]
    assert width[odd] > width[usual].max()
