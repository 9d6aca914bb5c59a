"""When the model is asked, what of, and what its answers come to over some hops."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import TransientError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.inference.port import RhythmRuntime
from wardstream.kernels.windows import WINDOW_SAMPLES, normalise_window

MIN_SHARE_PRESENT: Final = 0.5
"""A window with fewer of its samples is not judged: zeros would look like asystole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmVerdict:
    """What the model holds of one hop, over all usable leads.

    Attributes
    ----------
    probabilities : dict of class to float
        Of the manifest's classes, 0 to 1, averaged over leads by their quality.
    n_leads : int
        Leads that were judged.
    """

    probabilities: dict[str, float]
    n_leads: int


class RhythmJudge:
    """Asks the model about the last 4 s of each usable lead."""

    def __init__(self, runtime: RhythmRuntime | None) -> None:
        self._runtime = runtime
        self._scratch = np.empty(WINDOW_SAMPLES, dtype=np.float32)
        self.n_judged = 0
        self.n_unjudged = 0
        self.n_unusable = 0
        self.last: RhythmVerdict | None = None

    @property
    def runtime(self) -> RhythmRuntime | None:
        """The model in force."""
        return self._runtime

    @property
    def model_version(self) -> str:
        """Name and version for alerts, ``none`` without a model."""
        if self._runtime is None:
            return "none"
        return f"{self._runtime.manifest.name}-{self._runtime.manifest.version}"

    def swap(self, runtime: RhythmRuntime) -> None:
        """Let `runtime` judge from the next window on."""
        self._runtime = runtime

    def forget(self) -> None:
        """What was said before no longer holds: the signal was interrupted."""
        self.last = None

    def judge(
        self, leads: list[NDArray[np.float32]], weights: NDArray[np.float64]
    ) -> RhythmVerdict | None:
        """Verdict on the windows `leads`, or None where there is nothing to say.

        Parameters
        ----------
        leads : list of ndarray of float32, shape (1000,)
            The last filtered samples of every lead.
        weights : ndarray of float64, shape (n_leads,)
            Quality of each, 0 to 1; a lead of weight 0 is not asked about.
        """
        self.last = None
        if self._runtime is None:
            self.n_unjudged += 1
            return None
        windows = np.empty((len(leads), 1, WINDOW_SAMPLES), dtype=np.float32)
        used: list[float] = []
        for lead, weight in zip(leads, weights, strict=True):
            share = normalise_window(lead, windows[len(used), 0], self._scratch)
            if weight > 0 and share >= MIN_SHARE_PRESENT:
                used.append(float(weight))
        if not used:
            self.n_unusable += 1
            return None
        try:
            answers = self._runtime.infer(windows[: len(used)])
        except TransientError:
            # The accelerator is gone: from here on the rules alarm alone, and say so.
            self._runtime = None
            self.n_unjudged += 1
            return None
        self.n_judged += 1
        fused = np.asarray(used) @ answers / sum(used)
        classes = self._runtime.manifest.classes
        self.last = RhythmVerdict(
            probabilities=dict(zip(classes, fused.tolist(), strict=True)), n_leads=len(used)
        )
        return self.last


class Confirmation:
    """k of the last n hops: one odd window is no alarm, and one miss ends none."""

    def __init__(self, k: int, n: int) -> None:
        self._k = k
        self._hits: deque[tuple[bool, int]] = deque(maxlen=n)

    def push(self, hit: bool, time_ns: int) -> bool:
        """Whether at least k of the last n hops, this one included, were hits."""
        self._hits.append((hit, time_ns))
        return sum(hit for hit, _ in self._hits) >= self._k

    @property
    def first_hit_ns(self) -> int | None:
        """Time of the oldest hit that counts."""
        return next((time_ns for hit, time_ns in self._hits if hit), None)

    def clear(self) -> None:
        """Forget all hops."""
        self._hits.clear()


PROBABILITY_FEATURES: Final = {name: f"probability_{name}" for name in RHYTHM_CLASSES}
"""Where a class goes in a `FeatureFrame`."""
