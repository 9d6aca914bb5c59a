"""Atrial fibrillation on a stream of beats: told in time, taken back, and the same for any packets."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wardstream.kernels.atrial import (
    AF_HOP_S,
    AF_POINT,
    AF_WINDOW_S,
    MEMORY_WEIGHTS,
    AfDetector,
    af_probability,
    fused_probability,
)

LAG_S = 3.0


def sinus(n_s: float, seed: int, start_s: float = 0.0) -> np.ndarray:
    rr = 0.8 + np.random.default_rng(seed).normal(0, 0.015, round(n_s / 0.7))
    beats = start_s + np.cumsum(rr)
    return beats[beats < start_s + n_s]


def fibrillating(n_s: float, seed: int, start_s: float = 0.0) -> np.ndarray:
    rr = np.random.default_rng(seed).gamma(12.0, 0.62 / 12.0, round(n_s / 0.4))
    beats = start_s + np.cumsum(np.maximum(rr, 0.3))
    return beats[beats < start_s + n_s]


def run(beats_s: np.ndarray, end_s: float, packet_s: float) -> list[tuple[float, bool | None]]:
    """Every judgement: its probability, and what was held after it."""
    detector = AfDetector()
    found: list[tuple[float, bool | None]] = []
    for now_s in np.arange(packet_s, end_s + 1e-9, packet_s):
        # A beat is known 0.2 s after its peak.
        new = beats_s[(beats_s >= now_s - packet_s - 0.2) & (beats_s < now_s - 0.2)]
        if detector.push(new, float(now_s)):
            found.append((detector.probability, detector.present))
    return found


def naive(beats_s: np.ndarray, end_s: float) -> list[float]:
    """The probability of every judgement from all beats at once."""

    def logit(end: float) -> float:
        inside = beats_s[(beats_s >= end - AF_WINDOW_S) & (beats_s < end)]
        p = af_probability(np.diff(inside) * 1000)
        return math.nan if math.isnan(p) else math.log(p / (1 - p))

    ends = np.arange(AF_WINDOW_S, end_s - LAG_S + 1e-9, AF_HOP_S)
    found: list[float] = []
    for end in ends:
        windows = [end - k * AF_WINDOW_S for k in range(len(MEMORY_WEIGHTS))]
        found.append(fused_probability([logit(w) for w in windows if w >= AF_WINDOW_S]))
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), packet_s=st.sampled_from([0.04, 0.5, 1.0, 2.0]))
def test_the_stream_says_what_all_beats_at_once_say(seed: int, packet_s: float) -> None:
    beats = np.concatenate([sinus(70, seed), fibrillating(80, seed, 70.0)])
    found = [probability for probability, _ in run(beats, 150.0, packet_s)]
    np.testing.assert_allclose(found, naive(beats, 150.0), rtol=1e-6)


def test_a_fibrillation_is_told_within_a_minute_and_its_end_too() -> None:
    beats = np.concatenate([sinus(120, 1), fibrillating(180, 2, 120.0), sinus(200, 3, 300.0)])
    detector = AfDetector()
    held: list[tuple[float, bool | None, float]] = []
    for now_s in np.arange(1.0, 500.0):
        new = beats[(beats >= now_s - 1) & (beats < now_s)]
        if detector.push(new, float(now_s)):
            held.append((float(now_s), detector.present, detector.since_s))
    on = [now_s for now_s, present, _ in held if present]
    since = next(since_s for _, present, since_s in held if present)
    assert 140 <= on[0] <= 185
    assert 100 <= since <= 140
    assert 310 <= on[-1] <= 375
    assert np.all(np.diff(on) == AF_HOP_S)  # once, not on and off
    assert held[0][1] is False
    assert math.isnan(detector.since_s)


def test_too_few_beats_and_a_restart_say_nothing() -> None:
    detector = AfDetector()
    assert detector.push(np.zeros(0), 60.0)
    assert math.isnan(detector.probability)
    assert detector.present is None
    beats = fibrillating(200, 4)
    detector.push(beats, 200.0)
    assert detector.present
    detector.restart(200.0)
    assert detector.present is None
    # Nothing from before the break takes part: the next judgement has a window of its own.
    assert not detector.push(sinus(20, 5, 200.0), 220.0)
    detector.push(sinus(20, 6, 220.0), 240.0)
    assert detector.present is False


def test_one_sure_window_is_held_down_by_what_came_before() -> None:
    assert fused_probability([9.0]) > 0.9
    assert fused_probability([2.0, -9.0, -9.0]) < AF_POINT < fused_probability([2.0, 2.0, -9.0])
    assert fused_probability([2.0, math.nan, -9.0]) == fused_probability([2.0, math.nan, -4.0])
    assert math.isnan(fused_probability([math.nan, 4.0]))
    assert math.isnan(fused_probability([]))
