"""Atrial fibrillation on the beats of the ECG that is judged, second by second."""

import math
from collections.abc import Callable
from typing import Final

from edge_agent.core.bed import Bed
from edge_agent.core.ecg_track import EcgTrack
from wardstream.alerting.engine import Finding
from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import TimestampNs
from wardstream.kernels.atrial import AfDetector
from wardstream.kernels.resample import TARGET_RATE_HZ

_GRAVER: Final = (
    Condition.ASYSTOLE,
    Condition.VENTRICULAR_FIBRILLATION,
    Condition.VENTRICULAR_TACHYCARDIA,
)
"""While one of these is alerted on, the intervals say nothing of the atria."""


class AtrialWatch:
    """Feeds the detector with beats that can be believed.

    Beats found while no lead was usable are left out; the hole is longer than any interval
    that counts, or is one long interval.

    Parameters
    ----------
    is_active : callable
        Whether a condition is alerted on and there.
    """

    def __init__(self, is_active: Callable[[Condition], bool]) -> None:
        self._is_active = is_active
        self._detector = AfDetector()
        self._ecg: EcgTrack | None = None
        self._n_restarts = 0
        self._n_seen = 0

    def second(self, bed: Bed, now_ns: TimestampNs) -> Finding:
        """What the beats until `now_ns` say."""
        ecg = bed.ecg(now_ns)
        if ecg is not None:
            self._follow(ecg)
        if ecg is None or not ecg.is_usable or any(map(self._is_active, _GRAVER)):
            return Finding(condition=Condition.ATRIAL_FIBRILLATION, present=None, time_ns=now_ns)
        since_s, probability = self._detector.since_s, self._detector.probability
        return Finding(
            condition=Condition.ATRIAL_FIBRILLATION,
            present=self._detector.present,
            time_ns=ecg.time_ns,
            since_ns=None if math.isnan(since_s) else ecg.time_of(round(since_s * TARGET_RATE_HZ)),
            evidence={} if math.isnan(probability) else {"probability_af": probability},
        )

    def _follow(self, ecg: EcgTrack) -> None:
        if ecg is not self._ecg or ecg.n_restarts != self._n_restarts:
            self._ecg, self._n_restarts, self._n_seen = ecg, ecg.n_restarts, 0
            self._detector.restart(ecg.n_out / TARGET_RATE_HZ)
        first = max(self._n_seen, ecg.unbroken_from)
        self._n_seen = ecg.n_beats
        if ecg.is_usable:
            self._detector.push(ecg.beats_from(first) / TARGET_RATE_HZ, ecg.n_out / TARGET_RATE_HZ)
