"""Ventricular beats by time and shape: a naive twin, and what makes a beat one."""

from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray

from wardstream.kernels.beats import MAX_BEATS
from wardstream.kernels.ectopic_beats import EctopicBeats

NORMAL = (1.0, 80.0, 0.98)
WIDE = (1.1, 140.0, 0.5)


def told(beats: list[tuple[int, tuple[float, float, float]]], *, packet: int = 1000) -> list[bool]:
    index, features = np.zeros(MAX_BEATS, dtype=np.int64), np.zeros((MAX_BEATS, 3))
    judge, answers, first = EctopicBeats(), list[bool](), 0
    for n, (at, values) in enumerate(beats, start=1):
        index[(n - 1) % MAX_BEATS], features[(n - 1) % MAX_BEATS] = at, values
        if n - first >= min(packet, MAX_BEATS) or n == len(beats):
            answers += judge.push(index, features, first, n).tolist()
            first = n
    return answers


def naive(beats: list[tuple[int, tuple[float, float, float]]]) -> list[bool]:
    answers = list[bool]()
    for k, (at, (height, _, alike)) in enumerate(beats):
        past = range(max(1, k - 31), k)
        if k <= 9:
            answers.append(False)
            continue
        usual_rr = median(beats[i][0] - beats[i - 1][0] for i in past)
        usual_height = median(beats[i][1][0] for i in past)
        usual_alike = median(beats[i][1][2] for i in past)
        early = at - beats[k - 1][0] < 0.85 * usual_rr
        other = abs(height - usual_height) > 0.5 * abs(usual_height)
        answers.append(early and (alike < 0.9 * usual_alike or other))
    return answers


def train(
    n: int, *odd: tuple[int, int, tuple[float, float, float]]
) -> list[tuple[int, tuple[float, float, float]]]:
    """`n` normal beats 200 samples apart; of `odd` (number, samples early, features)."""
    beats = [(200 * k, NORMAL) for k in range(n)]
    for number, early, features in odd:
        beats[number] = (200 * number - early, features)
    return beats


def test_an_early_beat_of_another_shape_is_ventricular() -> None:
    assert told(train(40, (30, 70, WIDE))).index(True) == 30
    assert sum(told(train(40, (30, 70, WIDE)))) == 1


def test_an_early_beat_of_the_usual_shape_is_not() -> None:
    assert not any(told(train(40, (30, 70, NORMAL))))


def test_another_shape_in_time_is_not() -> None:
    assert not any(told(train(40, (30, 0, WIDE))))


def test_nothing_is_said_of_the_first_beats() -> None:
    assert not any(told(train(9, (5, 70, WIDE))))


@pytest.mark.parametrize("packet", [1, 7, MAX_BEATS])
@pytest.mark.parametrize("seed", range(4))
def test_beat_by_beat_it_is_the_naive_answer(seed: int, packet: int) -> None:
    random = np.random.default_rng(seed)
    at: NDArray[np.int64] = np.cumsum(random.integers(90, 260, 400))
    heights, alike = random.normal(1.0, 0.4, 400), random.uniform(0.6, 1.0, 400)
    beats = [
        (int(t), (float(h), 90.0, float(a))) for t, h, a in zip(at, heights, alike, strict=True)
    ]
    answers = naive(beats)
    assert told(beats, packet=packet) == answers
    assert 20 < sum(answers) < 200
