"""A bed whose model hangs: told within a second, watched by rules, judged by the model again."""

import threading
import time

import numpy as np
from fakes.bedside import LEAD_II, START_NS, chunks, ecg, regular
from fakes.rhythm_runtime import FakeRhythmRuntime
from numpy.typing import NDArray

from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import NS_PER_S
from wardstream.inference.guard import GuardedRuntime, GuardLimits

LIMITS = GuardLimits(stall_s=0.3, first_pause_s=0.05)


class Hanging(FakeRhythmRuntime):
    """Hangs for ever at its fifth call."""

    def __init__(self, for_ever: threading.Event) -> None:
        super().__init__()
        self._for_ever, self._n_calls = for_ever, 0

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        self._n_calls += 1
        if self._n_calls == 5:
            self._for_ever.wait()
        return super().infer(windows)


def test_a_model_that_hangs_is_a_technical_alert_until_it_judges_again(make_bed) -> None:
    for_ever = threading.Event()
    runtime = GuardedRuntime(Hanging(for_ever), FakeRhythmRuntime, LIMITS)
    bed = make_bed(runtime)
    waited_s = np.inf
    for chunk in chunks({LEAD_II: ecg(regular(75, 0.3, 40), 40)}):
        begun_s = time.monotonic()
        n_stalled = runtime.report.n_stalled
        bed.push([chunk])
        if runtime.report.n_stalled > n_stalled:
            waited_s = time.monotonic() - begun_s
        second = (chunk.start_time_ns - START_NS) / NS_PER_S
        if 10 < second < 30:
            time.sleep(0.001)  # the copy is loaded meanwhile
    story = bed.story(Condition.MODEL_UNAVAILABLE)
    assert [what for _, what in story] == ["onset", "ended"]
    assert 4.0 <= story[0][0] <= 6.5  # the fifth hop after the first 4 s
    assert LIMITS.stall_s <= waited_s < 1.0
    assert runtime.report.n_stalled == 1
    assert runtime.report.n_recovered == 1
    report = bed.pipeline.report
    assert report.n_windows_unjudged >= 1
    assert report.n_windows_judged > 4
    assert bed.onsets == {Condition.MODEL_UNAVAILABLE}  # nothing else was made up or missed
    for_ever.set()
    runtime.close()
