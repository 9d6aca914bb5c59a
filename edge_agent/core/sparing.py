"""When the model need not be asked, because no answer of its could change what is decided.

An alert asks for six of eight hops. Where at least three of any eight hops were asked about and
none of them was a hit, at most five can have been: whatever the model holds of the others,
nothing is confirmed. So while the ECG is calm the model is asked about three hops of eight. With
the first hit it is asked about all the others of the last 4 s, whose curves are still kept, and
the memory is told of every hop in its order: from there on it holds what it would have held.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.ecg_track import EcgTrack
from edge_agent.core.rhythm import (
    LONG_RULE,
    Questions,
    RhythmJudge,
    RhythmMemory,
    RhythmVerdict,
)
from edge_agent.core.tracks import USABLE_SCORE
from wardstream.contracts.alert import Condition
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.contracts.timebase import TimestampNs
from wardstream.inference.leads import MEMORY_HOPS, SHORT_RULE
from wardstream.inference.port import RhythmRuntime

_KEPT: Final = MEMORY_HOPS - 1  # with the hop of a hit all that the memory's means reach back to
_ENOUGH: Final = SHORT_RULE[1] - SHORT_RULE[0] + 1  # known misses that leave too few for an alert
_LONGEST_RUN: Final = 3  # hops: a model that answers no longer is found out within a second
_SETTLED: Final = LONG_RULE[1]  # misses in a row: no older hit counts any more
_DEFAULT_POINT: Final = 0.5

SHOCKABLE: Final = frozenset(
    {Condition.VENTRICULAR_FIBRILLATION, Condition.VENTRICULAR_TACHYCARDIA}
)
"""Conditions that the model finds."""


@dataclass(slots=True, eq=False)
class _Hop:
    ecg: EcgTrack
    n_restarts: int
    end: int
    score: NDArray[np.float64]
    asked: bool = False
    verdict: RhythmVerdict | None = None


class RhythmWatch:
    """Judgement of the rhythm hop by hop: whom to ask, about what, and what it comes to.

    Attributes
    ----------
    judge : RhythmJudge
        Asks the model.
    memory : RhythmMemory
        Told of each hop; while hops are spared it stands at the last before them, of which
        nothing was confirmed either.
    every : int
        Ask about every so-manieth hop only; 2 on a hot device, where nothing is asked later.
    n_spared : int
        Hops decided without being asked about.
    """

    def __init__(self, runtime: RhythmRuntime | None) -> None:
        self.judge = RhythmJudge(runtime)
        self.memory = RhythmMemory()
        self.every = 1
        self.n_spared = 0
        self._hops: deque[_Hop] = deque(maxlen=_KEPT)
        self._n_hops = 0
        self._n_behind = 0  # hops the memory has not been told of
        self._n_misses = 0

    @property
    def n_judged(self) -> int:
        """Hops that the model decided, those included about which it need not be asked."""
        return self.judge.n_judged + self.n_spared

    def clear(self) -> None:
        """Forget all hops: the signal was interrupted."""
        self.memory.clear()
        self._hops.clear()
        self._n_behind = self._n_misses = 0

    def steps(self, ecg: EcgTrack, *, chosen: bool, calm: bool) -> Questions[None]:
        """Judge the hops of `ecg` that are due, as far as it is the one that is judged.

        Parameters
        ----------
        ecg : EcgTrack
            Whose windows are due.
        chosen : bool
            Whether it is the one that is judged.
        calm : bool
            Whether nothing else could make use of an answer.
        """
        for end, leads in ecg.due_hops():
            if not chosen:
                continue
            self._n_hops += 1
            hop = _Hop(ecg, ecg.n_restarts, end, ecg.quality.score.copy())
            if self._n_hops % self.every:
                yield from self.settle()
                self._tell(hop, self.judge.last)  # stands for the hop that is not asked
                self._hops.append(hop)
            elif calm and self._may_spare(ecg):
                if self._must_ask():
                    yield from self._ask(hop, leads)
                else:
                    self.n_spared += 1
                    self._hold(hop)
            else:
                yield from self.settle()
                hop.asked, hop.verdict = True, (yield from self.judge.steps(leads, _weights(hop)))
                self._tell(hop, hop.verdict)
                self._hops.append(hop)

    def newest(self) -> Questions[None]:
        """Ask about the newest hop, where it was spared."""
        if self._hops and not self._hops[-1].asked and self._n_behind:
            hop = self._hops.pop()
            self._n_behind -= 1
            leads = _window(hop)
            if leads is None:
                self._hold(hop)
                return
            self.n_spared -= 1
            yield from self._ask(hop, leads)

    def settle(self) -> Questions[None]:
        """Tell the memory of all hops it has not been told of; ask about those spared."""
        if not self._n_behind:
            return
        last = self.judge.last
        hops, self._n_behind = list(self._hops), 0
        self._hops.clear()
        self.memory.clear()
        self._n_misses = 0
        answers = True
        for hop in hops:
            if not hop.asked:
                leads = _window(hop)
                if leads is None:  # of an ECG that is no longer there: as after an interruption
                    self.memory.clear()
                    self._hops.clear()
                    continue
                self.n_spared -= 1
                if answers:
                    hop.verdict = yield from self.judge.steps(list(leads), _weights(hop))
                    answers = self.judge.runtime is not None
                hop.asked = True
            self._tell(hop, hop.verdict)
            self._hops.append(hop)
        self.judge.last = last

    def _ask(self, hop: _Hop, leads: list[NDArray[np.float32]]) -> Questions[None]:
        # While hops are spared: a miss is kept, a hit ends the sparing.
        hop.asked, hop.verdict = True, (yield from self.judge.steps(leads, _weights(hop)))
        if hop.verdict is not None and not self._may_hit(hop.verdict):
            self._hold(hop)
            return
        yield from self.settle()
        self._tell(hop, hop.verdict)
        self._hops.append(hop)

    def _hold(self, hop: _Hop) -> None:
        self._hops.append(hop)
        self._n_behind += 1

    def _tell(self, hop: _Hop, verdict: RhythmVerdict | None) -> None:
        hop.asked, hop.verdict = True, verdict
        missed = verdict is not None and not self._may_hit(verdict)
        self._n_misses = self._n_misses + 1 if missed else 0
        end_ns: TimestampNs = hop.ecg.time_of(hop.end)
        self.memory.push(verdict, self._manifest, end_ns)

    def _may_spare(self, ecg: EcgTrack) -> bool:
        newest = self._hops[-1] if self._hops else None
        return (
            newest is not None
            and newest.ecg is ecg
            and newest.n_restarts == ecg.n_restarts
            and self.every == 1
            and (self._n_misses >= _SETTLED)
        )

    def _must_ask(self) -> bool:
        newest_first = reversed(self._hops)
        asked = [hop.asked for hop in islice(newest_first, SHORT_RULE[1] - 1)]
        return sum(asked) < _ENOUGH or not any(asked[:_LONGEST_RUN])

    @property
    def _manifest(self) -> ModelManifest | None:
        runtime = self.judge.runtime
        return None if runtime is None else runtime.manifest

    def _may_hit(self, verdict: RhythmVerdict) -> bool:
        # Wider than what counts as a hit, never narrower.
        manifest = self._manifest
        if manifest is None:
            return True
        points, of_class = manifest.operating_points, verdict.probabilities
        shockable = of_class.get("vf", 0.0) + of_class.get("vt", 0.0)
        least = min(points.get(name, _DEFAULT_POINT) for name in ("vf", "vt"))
        if manifest.shockable_operating_point is not None:
            least = min(least, manifest.shockable_operating_point)
        asystole = points.get("asystole", _DEFAULT_POINT)
        return shockable >= least or of_class.get("asystole", 0.0) >= asystole


def _weights(hop: _Hop) -> NDArray[np.float64]:
    # As `EcgTrack.weights` was at the end of the hop.
    return np.where(hop.score >= USABLE_SCORE, hop.score, 0.0)


def _window(hop: _Hop) -> list[NDArray[np.float32]] | None:
    # The curves of a hop that was spared; None where they have been written over.
    if hop.ecg.n_restarts != hop.n_restarts:
        return None
    leads = hop.ecg.window_until(hop.end)
    return None if leads is None else list(leads)
