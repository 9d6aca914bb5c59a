"""Which back end runs a model here: measured, by agreement first and latency second."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import Bundle, golden_error
from wardstream.inference.guard import GuardedRuntime, GuardLimits, GuardReport
from wardstream.inference.port import ModelRefusedError, RhythmAnswers, RhythmRuntime
from wardstream.inference.registry import BACKENDS, make_runtime

logger = logging.getLogger(__name__)

AUTOMATIC: Final = "auto"

N_TIMED: Final = 50
_BATCH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendMeasurement:
    """How one back end did.

    Attributes
    ----------
    backend : str
        Its name.
    latency_p50_ms, latency_p90_ms : float or None
        Of single windows, wall time; None where it may not judge.
    batch_ms_per_window : float or None
        Median of batches of 16, divided by 16.
    golden_error : float or None
        Largest difference from the golden answers.
    refused : str
        Why it may not judge here; empty where it may.
    """

    backend: str
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    batch_ms_per_window: float | None = None
    golden_error: float | None = None
    refused: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"{self.backend}: {self.refused}"
        return (
            f"{self.backend}: {self.latency_p50_ms:.3f} ms a window (p90 "
            f"{self.latency_p90_ms:.3f}), {self.batch_ms_per_window:.3f} ms in batches, "
            f"golden answers within {self.golden_error:.2g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The back end taken, and what all of them were measured to do."""

    runtime: RhythmRuntime
    taken: BackendMeasurement
    all: tuple[BackendMeasurement, ...]


def choose_runtime(
    bundle: Bundle,
    backend: str = AUTOMATIC,
    *,
    latency_budget_ms: float = 5.0,
    make: Callable[[Bundle, str], RhythmRuntime] = make_runtime,
    candidates: Sequence[str] = tuple(BACKENDS),
) -> Choice:
    """The model of `bundle` on the fastest back end that answers the golden vectors.

    Parameters
    ----------
    bundle : Bundle
        Verified.
    backend : str
        One name, or ``auto``: all `candidates`. A named one is taken or refused; none other
        takes its place.
    latency_budget_ms : float
        Most that nine of ten single windows may take.
    make : callable
        Loads the model on a back end.
    candidates : sequence of str
        What ``auto`` tries.

    Raises
    ------
    ModelRefusedError
        None may judge; the reason of each is given. Agreement comes before speed: a back end
        whose answers are off is never taken, however fast.
    """
    names = tuple(candidates) if backend == AUTOMATIC else (backend,)
    measured: list[BackendMeasurement] = []
    fit: list[tuple[RhythmRuntime, BackendMeasurement]] = []
    for name in names:
        try:
            runtime = make(bundle, name)
            measurement = measure(runtime, bundle, name, latency_budget_ms)
        except (ModelRefusedError, ConfigurationError, TransientError) as error:
            measured.append(BackendMeasurement(backend=name, refused=str(error)))
            continue
        measured.append(measurement)
        fit.append((runtime, measurement))
    if not fit:
        raise ModelRefusedError("; ".join(str(each) for each in measured))
    runtime, taken = min(fit, key=lambda pair: pair[1].latency_p50_ms or float("inf"))
    for other, _ in fit:
        if other is not runtime:
            _release(other)
    logger.info(
        "model %s-%d judges on %s",
        runtime.manifest.name,
        runtime.manifest.version,
        taken,
        extra={
            "fields": {
                "event": "backend_chosen",
                "backend": taken.backend,
                "asked": backend,
                "measured": [str(each) for each in measured],
            }
        },
    )
    return Choice(runtime=runtime, taken=taken, all=tuple(measured))


def measure(
    runtime: RhythmRuntime, bundle: Bundle, backend: str, latency_budget_ms: float
) -> BackendMeasurement:
    """What `runtime` does with the golden vectors, and how fast.

    Raises
    ------
    ModelRefusedError
        Its answers are off, or nine of ten windows take longer than `latency_budget_ms`.
    """
    error = golden_error(runtime, bundle)
    singles = _times_ms(runtime, 1)
    p50, p90 = singles[N_TIMED // 2], singles[N_TIMED * 9 // 10]
    if p90 > latency_budget_ms:
        raise ModelRefusedError(
            f"a window takes {p90:.2f} ms here, allowed are {latency_budget_ms} ms"
        )
    return BackendMeasurement(
        backend=backend,
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        batch_ms_per_window=_times_ms(runtime, _BATCH)[N_TIMED // 2] / _BATCH,
        golden_error=error,
    )


def _times_ms(runtime: RhythmRuntime, n_windows: int) -> list[float]:
    (spec, *_) = runtime.manifest.inputs
    windows = np.zeros((n_windows, *spec.shape), dtype=np.float32)
    runtime.infer(windows)
    taken: list[float] = []
    for _ in range(N_TIMED):
        begun_s = time.perf_counter()
        runtime.infer(windows)
        taken.append((time.perf_counter() - begun_s) * 1000)
    return sorted(taken)


class ChosenRuntime:
    """`RhythmRuntime` that knows how it was chosen and, where it is guarded, how it fares.

    Parameters
    ----------
    choice : Choice
        What was measured, and what runs.
    bundle : Bundle
        To load it again from.
    limits : GuardLimits or None
        When it is given up; None: never, for replays whose outcome may not depend on the clock.
    """

    def __init__(self, choice: Choice, bundle: Bundle, limits: GuardLimits | None = None) -> None:
        self.choice = choice
        self._bundle = bundle
        self._guard = (
            None if limits is None else GuardedRuntime(choice.runtime, self._load_again, limits)
        )
        self._runtime: RhythmRuntime = self._guard or choice.runtime

    @property
    def manifest(self) -> ModelManifest:
        """What the model says of itself."""
        return self._runtime.manifest

    @property
    def guard(self) -> GuardReport | None:
        """How it has fared; None where nobody watches."""
        return None if self._guard is None else self._guard.report

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `RhythmRuntime.infer`."""
        return self._runtime.infer(windows)

    def describe(self, windows: NDArray[np.float32]) -> RhythmAnswers:
        """See `RhythmRuntime.describe`."""
        return self._runtime.describe(windows)

    def close(self) -> None:
        """Give back what it holds. Nothing may be judged afterwards."""
        _release(self._runtime)

    def _load_again(self) -> RhythmRuntime:
        # The same back end: another one would be another choice, which nobody measured.
        runtime = make_runtime(self._bundle, self.choice.taken.backend)
        golden_error(runtime, self._bundle)
        return runtime


def _release(runtime: RhythmRuntime) -> None:
    # Those that hold memory outside Python have something to give back.
    close = getattr(runtime, "close", None)
    if close is not None:
        close()
