"""A model that hangs, crawls or fails: given up in time, tried again, never waited for twice."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fakes.rhythm_runtime import FakeRhythmRuntime
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError, TransientError
from wardstream.inference.guard import MAX_HUNG, GuardedRuntime, GuardLimits
from wardstream.inference.port import RhythmRuntime

LIMITS = GuardLimits(stall_s=0.2, slow_s=0.03, first_pause_s=0.05, longest_pause_s=0.4)
WINDOWS = np.random.default_rng(0).standard_normal((3, 1, 1000)).astype(np.float32)


class Tired(FakeRhythmRuntime):
    """Does what it is told before it answers."""

    def __init__(self, before: Callable[[], object]) -> None:
        super().__init__()
        self._before = before

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        self._before()
        return super().infer(windows)


@pytest.fixture
def guarded() -> Iterator[Callable[..., GuardedRuntime]]:
    made: list[GuardedRuntime] = []

    def make(
        runtime: RhythmRuntime, reload: Callable[[], RhythmRuntime] = FakeRhythmRuntime
    ) -> GuardedRuntime:
        made.append(GuardedRuntime(runtime, reload, LIMITS))
        return made[-1]

    yield make
    for runtime in made:
        runtime.close()


def until_it_judges(runtime: GuardedRuntime, timeout_s: float = 5.0) -> float:
    """Ask as a bed does until there is an answer; the longest that one question took."""
    longest_s, ends_s = 0.0, time.monotonic() + timeout_s
    while time.monotonic() < ends_s:
        begun_s = time.monotonic()
        try:
            runtime.infer(WINDOWS)
        except TransientError:
            longest_s = max(longest_s, time.monotonic() - begun_s)
            time.sleep(0.01)
        else:
            return longest_s
    raise AssertionError("the model did not come back")


def test_a_guarded_model_answers_as_the_model(guarded) -> None:
    bare = FakeRhythmRuntime(lambda window: "vf" if window.max() > 3 else "noise")
    runtime = guarded(bare)
    np.testing.assert_array_equal(runtime.infer(WINDOWS), bare.infer(WINDOWS))
    np.testing.assert_array_equal(
        runtime.describe(WINDOWS).probability, bare.describe(WINDOWS).probability
    )
    assert runtime.manifest == bare.manifest
    assert runtime.report.available


def test_a_call_that_never_returns_is_noticed_within_a_second_and_a_copy_takes_over(
    guarded,
) -> None:
    for_ever = threading.Event()
    runtime = guarded(Tired(for_ever.wait))
    begun_s = time.monotonic()
    with pytest.raises(TransientError, match="does not answer"):
        runtime.infer(WINDOWS)
    assert LIMITS.stall_s <= time.monotonic() - begun_s < 1.0
    assert not runtime.report.available
    begun_s = time.monotonic()
    with pytest.raises(TransientError, match="tried again"):
        runtime.infer(WINDOWS)
    assert time.monotonic() - begun_s < 0.1  # nobody waits for it twice
    assert until_it_judges(runtime) < 0.1
    report = runtime.report
    assert (report.n_stalled, report.n_recovered, report.n_hung) == (1, 1, 1)
    for_ever.set()
    ends_s = time.monotonic() + 5
    while runtime.report.n_hung and time.monotonic() < ends_s:
        time.sleep(0.01)
    assert runtime.report.n_hung == 0  # its thread has ended


def test_one_slow_call_is_borne_and_three_in_a_row_are_not(guarded) -> None:
    pauses_s = iter([0.05, 0.05, 0, 0.05, 0.05, 0.05])
    runtime = guarded(Tired(lambda: time.sleep(next(pauses_s))))
    for _ in range(6):
        assert runtime.infer(WINDOWS).shape == (3, 7)  # late, but an answer
    assert not runtime.report.available
    assert runtime.report.n_slow == 1
    with pytest.raises(TransientError):
        runtime.infer(WINDOWS)
    until_it_judges(runtime)


def test_more_windows_may_take_longer() -> None:
    runtime = GuardedRuntime(
        Tired(lambda: time.sleep(0.05)),
        FakeRhythmRuntime,
        GuardLimits(slow_s=0.03, slow_window_s=0.01, n_slow=1),
    )
    runtime.infer(np.repeat(WINDOWS, 10, axis=0))
    assert runtime.report.available
    runtime.infer(WINDOWS[:1])
    assert not runtime.report.available
    runtime.close()


def test_a_failure_is_a_lost_model_and_wrong_windows_are_not(guarded) -> None:
    def fail() -> None:
        raise RuntimeError("the accelerator is gone")

    runtime = guarded(Tired(fail))
    with pytest.raises(TransientError, match="the accelerator is gone"):
        runtime.infer(WINDOWS)
    assert runtime.report.n_failed == 1
    until_it_judges(runtime)
    with pytest.raises(OutOfRangeError):
        runtime.infer(WINDOWS.astype(np.float64))
    assert runtime.report.available


def test_pauses_grow_while_no_copy_can_be_loaded(guarded) -> None:
    tried_s: list[float] = []

    def reload() -> RhythmRuntime:
        tried_s.append(time.monotonic())
        if len(tried_s) < 4:
            raise TransientError("still no accelerator")
        return FakeRhythmRuntime()

    def fail() -> None:
        raise RuntimeError("gone")

    runtime = guarded(Tired(fail), reload)
    with pytest.raises(TransientError):
        runtime.infer(WINDOWS)
    until_it_judges(runtime)
    pauses_s = np.diff(tried_s)
    assert len(tried_s) == 4
    assert pauses_s[1] > pauses_s[0] > LIMITS.first_pause_s
    assert runtime.report.n_recovered == 1


def test_a_copy_of_another_model_does_not_slip_in(guarded) -> None:
    def fail() -> None:
        raise RuntimeError("gone")

    loaded = threading.Event()

    def reload() -> RhythmRuntime:
        loaded.set()
        return FakeRhythmRuntime(version=2)

    runtime = guarded(Tired(fail), reload)
    ends_s = time.monotonic() + 0.5
    while time.monotonic() < ends_s:
        with pytest.raises(TransientError):
            runtime.infer(WINDOWS)
        time.sleep(0.01)
    assert loaded.is_set()
    assert not runtime.report.available


def test_a_model_that_hangs_again_and_again_does_not_fill_the_memory() -> None:
    for_ever = threading.Event()
    n_loaded = 0

    def reload() -> RhythmRuntime:
        nonlocal n_loaded
        n_loaded += 1
        return Tired(for_ever.wait)

    limits = GuardLimits(stall_s=0.02, first_pause_s=0.01, longest_pause_s=0.02)
    runtime = GuardedRuntime(Tired(for_ever.wait), reload, limits)
    ends_s = time.monotonic() + 1.0
    while time.monotonic() < ends_s:
        with pytest.raises(TransientError):
            runtime.infer(WINDOWS)
        time.sleep(0.005)
    assert n_loaded == MAX_HUNG - 1
    assert runtime.report.n_hung == MAX_HUNG
    for_ever.set()
    runtime.close()


def test_the_hand_over_costs_little(guarded) -> None:
    bare, windows = FakeRhythmRuntime(), WINDOWS[:1]
    runtime = guarded(bare)

    def p50_ms(infer: Callable[[NDArray[np.float32]], object]) -> float:
        taken: list[float] = []
        for _ in range(400):
            begun_s = time.perf_counter()
            infer(windows)
            taken.append(time.perf_counter() - begun_s)
        return 1000 * float(np.median(taken))

    cost_ms = min(p50_ms(runtime.infer) - p50_ms(bare.infer) for _ in range(5))
    assert cost_ms < 0.2, cost_ms  # 0.05 on a quiet machine
