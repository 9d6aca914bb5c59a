"""The learned shape of beats: against its definition, and whatever the packets."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.kernels.beat_memory import MASK, RING, leads_in, new_memory, state_in
from wardstream.kernels.beat_shape import learn_shape, likeness, width
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.derived_respiration import DerivedRespiration
from wardstream.kernels.filters import CascadeFilter
from wardstream.kernels.quality import LIMITS, QualityMeter
from wardstream.kernels.windows import ecg_sections

Known = tuple[NDArray[np.float64], list[float], list[tuple[int, float]], list[float]]


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def test_the_shape_is_the_running_mean_and_likeness_its_best_correlation() -> None:
    rng = np.random.default_rng(4)
    leads, state = leads_in(memory := new_memory(2)), state_in(memory)
    leads["band"][:] = rng.standard_normal((2, RING))
    leads["weight"], leads["level"] = [1.0, 0.4], [0.5, 2.0]
    naive = np.zeros((2, 40))
    assert likeness(100, leads, state[0]) == -1.0
    for n_learned, at in enumerate(
        (100, 300, 900, 1500, 1030)
    ):  # through the end of the ring as well
        found = likeness(at, leads, state[0])

        def window(end: int) -> NDArray[np.float64]:
            return leads["band"][:, (end - np.arange(40)) & MASK]

        lag = 0
        if n_learned:
            alike = {
                lag: sum(
                    weight * correlation(x, usual)
                    for weight, x, usual in zip((1.0, 0.4), window(at + lag), naive, strict=True)
                )
                / 1.4
                for lag in range(-8, 9)
            }
            lag = max(alike, key=lambda one: alike[one])
            assert found == pytest.approx(alike[lag], abs=1e-9)
            assert int(state["lag"][0]) == lag
        learn_shape(at, leads, state[0])
        x = window(at + lag) / np.array([[0.5], [2.0]])
        naive += max(0.05, 1 / (n_learned + 1)) * (x - naive)
        np.testing.assert_allclose(leads["shape"][:, :40], naive, atol=1e-12)


def test_width_is_how_long_the_best_lead_is_steep() -> None:
    leads = leads_in(new_memory(2))
    leads["weight"] = [0.1, 1.0]
    leads["slope"][1, 60:80] = 1.0
    leads["slope"][1, 80:85] = 0.19
    leads["slope"][0, 50:90] = 9.0
    assert width(90, leads) == 4.0 * 19


def pushed(leads: NDArray[np.float32], size: int) -> Known:
    """Beats with features, derived rate at each, of `leads` in packets of `size`."""
    detector, respiration = QrsDetector(leads.shape[0]), DerivedRespiration()
    found: list[tuple[int, float]] = []
    rates: list[float] = []
    for begin in range(0, leads.shape[1], size):
        n_new = detector.push(np.ascontiguousarray(leads[:, begin : begin + size]))
        slots = np.arange(detector.n_beats - n_new, detector.n_beats) % 128
        found.extend(zip(detector.beat_index[slots], detector.features[slots, 2], strict=True))
    now = leads.shape[1]
    respiration.begin()
    respiration.take_beats(detector.beat_index, detector.features, detector.n_beats, now)
    rates.append(respiration.rate_per_min())
    return detector.features.copy(), detector.known_index.tolist(), found, rates


@settings(max_examples=5, deadline=None)
@given(size=st.integers(2, 3000), gap=st.integers(1, 2600), seed=st.integers(0, 1000))
def test_shape_and_derived_breaths_do_not_depend_on_packets(size: int, gap: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(60 * 250) / 250
    lead = 0.08 * rng.standard_normal(times.size)
    for beat in np.arange(0.5, 59.5, 0.8):
        height = 1 + 0.2 * math.sin(2 * math.pi * 0.25 * beat)
        lead += height * np.exp(-(((times - beat) / 0.012) ** 2))
    leads = np.stack([lead, -0.5 * lead]).astype(np.float32)
    at = int(rng.integers(1000, 4000))
    leads[:, at : at + gap] = np.nan
    leads[1, 9000:9100] = np.nan
    single, packets = pushed(leads, 1), pushed(leads, size)
    assert len(single[2]) > 40
    np.testing.assert_array_equal(single[0], packets[0])
    assert single[1:3] == packets[1:3]
    np.testing.assert_array_equal(single[3], packets[3])
    assert single[3][0] == pytest.approx(15.0, abs=1.0)


def naive_rate(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Highest of the windowed Fourier sums of one series, by the half breath a minute."""
    values = values - np.median(values)
    limit = 3 * np.median(np.abs(values))
    values = np.clip(values, -limit, limit)
    values = values - np.polyval(np.polyfit(times_s, values, 1), times_s)
    first, last = times_s[0], times_s[-1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (times_s - first + 0.5) / (last - first + 1))
    rates = 5 + 0.5 * np.arange(81)
    power = np.abs(np.exp(2j * np.pi * np.outer(rates / 60, times_s)) @ (values * window)) ** 2
    return float(rates[np.argmax(power[: int((0.45 * 75 - 5) / 0.5)])])


@pytest.mark.parametrize("per_min", [9.0, 14.0, 22.0])
def test_derived_breaths_agree_with_the_naive_spectrum(per_min: float) -> None:
    at = np.arange(100) * 200
    features = np.zeros((128, 3))
    height = 1 + 0.1 * np.sin(2 * np.pi * per_min / 60 * at / 250)
    features[:100, 0] = height + 0.01 * np.random.default_rng(2).standard_normal(100)
    index = np.zeros(128, dtype=np.int64)
    index[:100] = at
    respiration = DerivedRespiration()
    respiration.begin()
    respiration.take_beats(index, features, 100, int(at[-1]))
    reach = (at >= at[-1] - 32 * 250) & (at > 0)
    expected = naive_rate((at[reach] - at[-1]) / 250, features[:100, 0][reach])
    assert respiration.rate_per_min() == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize(("tone_hz", "least", "most"), [
    (0.05, 0.0, 0.05), (10.0, 0.9, 1.1), (50.0, 0.0, 0.01), (60.0, 0.0, 0.01), (90.0, 0.0, 0.02),
])  # fmt: skip
def test_wander_mains_and_muscle_are_taken_out(tone_hz: float, least: float, most: float) -> None:
    tone = np.sin(2 * np.pi * tone_hz * np.arange(60 * 250) / 250).astype(np.float32)[None]
    out = np.empty_like(tone)
    CascadeFilter(1, ecg_sections(), 250.0).push(tone, out)
    assert least <= float(np.abs(out[0, 40 * 250 :]).max()) <= most


def test_kernels_do_not_grow() -> None:
    rng = np.random.default_rng(0)
    packets = [rng.standard_normal((2, 10)).astype(np.float32) for _ in range(50)]
    out = np.empty((2, 10), dtype=np.float32)
    detector, meter = QrsDetector(2), QualityMeter(2, LIMITS[Modality.ECG])
    cascade = CascadeFilter(2, ecg_sections(), 250.0)

    def push(times: int) -> None:
        for _ in range(times):
            for packet in packets:
                detector.push(packet)
                meter.push(packet)
                cascade.push(packet, out)

    push(100)
    tracemalloc.start()
    try:
        push(20)
        before = tracemalloc.get_traced_memory()[0]
        push(400)  # 800 s of two leads
        assert tracemalloc.get_traced_memory()[0] - before < 2_000
    finally:
        tracemalloc.stop()
