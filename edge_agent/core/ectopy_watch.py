"""Ventricular beats of the ECG that is judged, second by second."""

from collections import deque

from edge_agent.core.bed import Bed
from edge_agent.core.ecg_track import EcgTrack
from wardstream.alerting.ectopy import MINUTE_NS, Beat, ectopy
from wardstream.alerting.engine import Finding
from wardstream.contracts.timebase import TimestampNs
from wardstream.kernels.ectopic_beats import EctopicBeats


class EctopyWatch:
    """Keeps the beats of the last minute that can be believed."""

    def __init__(self) -> None:
        self._judge = EctopicBeats()
        self._beats: deque[Beat] = deque()
        self._ecg: EcgTrack | None = None
        self._n_restarts = 0
        self._n_seen = 0
        self._unbroken_from = 0

    def second(self, bed: Bed, now_ns: TimestampNs, *, frequent_is_active: bool) -> list[Finding]:
        """What the beats until `now_ns` say of ventricular beats, couplets and runs."""
        ecg = bed.ecg(now_ns)
        if ecg is None or not ecg.is_usable:
            self._beats.clear()
            return ectopy((), now_ns)
        self._follow(ecg)
        while self._beats and self._beats[0].time_ns <= ecg.time_ns - MINUTE_NS:
            self._beats.popleft()
        return ectopy(tuple(self._beats), ecg.time_ns, frequent_is_active=frequent_is_active)

    def _follow(self, ecg: EcgTrack) -> None:
        interrupted = ecg.unbroken_from != self._unbroken_from
        if ecg is not self._ecg or ecg.n_restarts != self._n_restarts or interrupted:
            self._ecg, self._n_restarts = ecg, ecg.n_restarts
            self._n_seen = self._unbroken_from = ecg.unbroken_from
            self._beats.clear()
            self._judge.reset()
        index, ventricular = ecg.ventricular_from(self._n_seen, self._judge)
        self._n_seen = ecg.n_beats
        for at, is_ventricular in zip(index.tolist(), ventricular.tolist(), strict=True):
            self._beats.append(Beat(ecg.time_of(at), is_ventricular))
