"""When the model is asked, what of, and what its answers come to over some hops."""

from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.confirmation import Confirmation
from wardstream.alerting.detection import RhythmSigns
from wardstream.contracts.errors import TransientError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES, ModelManifest
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.inference.leads import (
    MIN_SHARE_PRESENT,
    SHORT_RULE,
    ShockableOdds,
    answer_to,
    decided_odds,
    question_of,
)
from wardstream.inference.port import RhythmRuntime
from wardstream.kernels.repetition import RepetitionMeter
from wardstream.kernels.windows import WINDOW_S, WINDOW_SAMPLES, normalise_window

LONG_RULE: Final = (18, 20)
"""The same where a pulse contradicts: 5 s."""

_DEFAULT_POINT: Final = 0.5  # where a manifest states no operating point
_HALF_WINDOW_NS: Final = round(WINDOW_S * NS_PER_S / 2)


T = TypeVar("T")

Questions = Generator[NDArray[np.float32], NDArray[np.float32] | None, T]
"""Yields windows, shape (n, channels, 1000), is sent answers, shape (n, n_classes), or None."""


def answered(
    steps: Questions[T],
    infer: Callable[[NDArray[np.float32]], NDArray[np.float32] | None],
) -> T:
    """What `steps` returns when each of its questions goes through `infer`."""
    try:
        windows = next(steps)
        while True:
            windows = steps.send(infer(windows))
    except StopIteration as done:
        return done.value


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmVerdict:
    """What the model holds of one hop, over all usable leads.

    Attributes
    ----------
    probabilities : dict of class to float
        Of the manifest's classes, 0 to 1, averaged over leads by their quality.
    n_leads : int
        Leads that were judged.
    slow_and_regular : float
        How clearly the leads repeat themselves more slowly than a shockable rhythm does, 0 to
        1, averaged likewise; 0 where the manifest has no rule that asks for it.
    """

    probabilities: dict[str, float]
    n_leads: int
    slow_and_regular: float = 0.0


class RhythmJudge:
    """Asks the model about the last 4 s of each usable lead."""

    def __init__(self, runtime: RhythmRuntime | None) -> None:
        self._runtime = runtime
        self._answers = True
        self._scratch = np.empty(WINDOW_SAMPLES, dtype=np.float32)
        self._repetition = RepetitionMeter(WINDOW_SAMPLES)
        self.n_judged = 0
        self.n_unjudged = 0
        self.n_unusable = 0
        self.last: RhythmVerdict | None = None

    @property
    def runtime(self) -> RhythmRuntime | None:
        """The model in force; None while it does not answer, although it is asked each hop."""
        return self._runtime if self._answers else None

    @property
    def asked(self) -> RhythmRuntime | None:
        """The model that is asked each hop, whether it answers or not."""
        return self._runtime

    @property
    def model_version(self) -> str:
        """Name and version for alerts, ``none`` without a model."""
        runtime = self.runtime
        if runtime is None:
            return "none"
        return f"{runtime.manifest.name}-{runtime.manifest.version}"

    def swap(self, runtime: RhythmRuntime) -> None:
        """Let `runtime` judge from the next window on."""
        self._runtime, self._answers = runtime, True

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
        return answered(self.steps(leads, weights), self.infer)

    def steps(
        self, leads: list[NDArray[np.float32]], weights: NDArray[np.float64]
    ) -> Questions["RhythmVerdict | None"]:
        """`judge` in two steps: what it yields is to be sent through the model.

        Whoever judges several beds asks the model once about all of them.
        """
        self.last = None
        if self._runtime is None:
            self.n_unjudged += 1
            return None
        manifest = self._runtime.manifest
        n_channels = manifest.inputs[0].shape[0]
        windows = np.empty((len(leads), WINDOW_SAMPLES), dtype=np.float32)
        used: list[float] = []
        for lead, weight in zip(leads, weights.tolist(), strict=True):
            share = normalise_window(
                lead, windows[len(used)], self._scratch, manifest.preprocessing
            )
            if weight > 0 and share >= MIN_SHARE_PRESENT:
                used.append(weight)
        if not used:
            self.n_unusable += 1
            return None
        worth = np.asarray(used)
        answers = yield question_of(windows[None, : len(used)], worth, n_channels)
        if answers is None:
            # Given up for now: until it answers again the rules alarm alone, and say so.
            self._answers = False
            self.n_unjudged += 1
            return None
        self._answers = True
        self.n_judged += 1
        (fused,) = answer_to(answers, worth, n_channels).tolist()
        slow = 0.0
        if manifest.shockable_rule is not None:
            by_lead = [self._repetition.slow_and_regular(lead) for lead in windows[: len(used)]]
            slow = float(np.average(by_lead, weights=worth))
        self.last = RhythmVerdict(
            probabilities=dict(zip(manifest.classes, fused, strict=True)),
            n_leads=len(used),
            slow_and_regular=slow,
        )
        return self.last

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Answers of the model in force, None where it gives none."""
        if self._runtime is None:
            return None
        try:
            return self._runtime.infer(windows)
        except TransientError:
            return None


class RhythmMemory:
    """What the verdicts of the last hops come to, at the manifest's operating points.

    A fibrillating heart divides a model's belief between ``vf`` and ``vt``, so their sum is
    what is confirmed, where the manifest states a point for it; the larger one names it.
    Once named, it keeps its name until it is over, except that tachycardia may become
    fibrillation. Whether it calls for a shock is a second decision, over 4 s and by the
    manifest's rule, and said with the alarm; its log odds must reach the rule's alarm point.
    """

    def __init__(self) -> None:
        self._short = {name: Confirmation(*SHORT_RULE) for name in ("shockable", "asystole")}
        self._long = Confirmation(*LONG_RULE)
        self._odds = ShockableOdds()
        self._balance: deque[float] = deque(maxlen=SHORT_RULE[1])
        self._is_vf = False
        self._signs: RhythmSigns | None = None

    @property
    def signs(self) -> RhythmSigns | None:
        """After the last hop; None when that was not judged."""
        return self._signs

    @property
    def any_confirmed(self) -> bool:
        """Whether a shockable rhythm stands after the last hop, by either rule."""
        signs = self._signs
        return signs is not None and (signs.vf or signs.vt or signs.vf_long or signs.vt_long)

    def clear(self) -> None:
        """Forget all hops: the signal was interrupted."""
        for confirmation in (*self._short.values(), self._long):
            confirmation.clear()
        self._odds.clear()
        self._balance.clear()
        self._is_vf = False
        self._signs = None

    def move(self, by_ns: int) -> None:
        """The clock was set by `by_ns`; what was seen stands."""
        for confirmation in (*self._short.values(), self._long):
            confirmation.move(by_ns)

    def push(
        self, verdict: RhythmVerdict | None, manifest: ModelManifest | None, end_ns: TimestampNs
    ) -> None:
        """Take note of the hop that ended at `end_ns`. One not judged counts as no hit."""
        probabilities = {} if verdict is None else verdict.probabilities
        shockable = manifest is not None and _is_shockable(probabilities, manifest)
        self._short["shockable"].push(shockable, end_ns)
        self._long.push(shockable, end_ns)
        point = _point(manifest, "asystole")
        self._short["asystole"].push(probabilities.get("asystole", 0.0) >= point, end_ns)
        vf, vt = probabilities.get("vf", 0.0), probabilities.get("vt", 0.0)
        self._balance.append(vf - vt)
        means = self._odds.push(vf + vt, 0.0 if verdict is None else verdict.slow_and_regular)
        rule = None if manifest is None else manifest.shockable_rule
        if verdict is None:
            self._signs = None
            return
        odds = None if rule is None else decided_odds(means, rule)
        held = odds is None or rule is None or rule.alarm_point is None or odds >= rule.alarm_point
        confirmed = held and self._short["shockable"].confirmed
        confirmed_long = held and self._long.confirmed
        self._is_vf = sum(self._balance) >= 0 or (confirmed and self._is_vf)
        since_ns = self._since()
        self._signs = RhythmSigns(
            probabilities=dict(probabilities),
            vf=confirmed and self._is_vf,
            vt=confirmed and not self._is_vf,
            asystole=self._short["asystole"].confirmed,
            vf_long=confirmed_long and self._is_vf,
            vt_long=confirmed_long and not self._is_vf,
            vf_since_ns=since_ns,
            vt_since_ns=since_ns,
            shockable=None if odds is None or rule is None else odds >= rule.point,
        )

    def _since(self) -> TimestampNs | None:
        # A window turns positive when about half of it shows the rhythm.
        first_ns = self._short["shockable"].first_hit_ns
        return None if first_ns is None else TimestampNs(first_ns - _HALF_WINDOW_NS)


def _is_shockable(probabilities: Mapping[str, float], manifest: ModelManifest) -> bool:
    vf, vt = probabilities.get("vf", 0.0), probabilities.get("vt", 0.0)
    if manifest.shockable_operating_point is not None:
        return vf + vt >= manifest.shockable_operating_point
    return vf >= _point(manifest, "vf") or vt >= _point(manifest, "vt")


def _point(manifest: ModelManifest | None, name: str) -> float:
    points = {} if manifest is None else manifest.operating_points
    return points.get(name, _DEFAULT_POINT)


PROBABILITY_FEATURES: Final = {name: f"probability_{name}" for name in RHYTHM_CLASSES}
"""Where a class goes in a `FeatureFrame`."""
