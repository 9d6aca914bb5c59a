"""What each ECG lead shows by itself, asked before an alert is raised on all of them together."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.lead_signs import LeadSigns
from wardstream.kernels.beats import LIKENESS, MAX_BEATS, QrsDetector
from wardstream.kernels.resample import TARGET_RATE_HZ

_AROUND: Final = round(0.08 * TARGET_RATE_HZ)
_FEWEST_BEATS: Final = 4


class LeadWitness:
    """Looks for beats in one lead after the other, with a detector that knows of no other lead."""

    def __init__(self) -> None:
        self._detector = QrsDetector(1)

    def signs(
        self, leads: NDArray[np.float32], scores: NDArray[np.float64]
    ) -> tuple[LeadSigns, ...]:
        """What the last seconds of each of `leads` show.

        Parameters
        ----------
        leads : ndarray of float32, shape (n_leads, n_samples)
            Filtered, 250 Hz, mV; the newest sample last.
        scores : ndarray of float64, shape (n_leads,)
            Quality of each; one of quality 0 is not asked.
        """
        return tuple(
            self._of(lead, float(score))
            for lead, score in zip(leads, scores, strict=True)
            if score > 0
        )

    def _of(self, lead: NDArray[np.float32], score: float) -> LeadSigns:
        detector = self._detector
        detector.reset()
        detector.push(np.ascontiguousarray(lead)[None])
        beats = detector.last_beats(MAX_BEATS)
        if beats.size < _FEWEST_BEATS:
            return LeadSigns(quality=score)
        intervals = np.diff(beats) / TARGET_RATE_HZ
        usual_s = float(np.median(intervals))
        spans = [lead[max(at - _AROUND, 0) : at + _AROUND + 1] for at in beats.tolist()]
        likeness = detector.features[np.arange(beats.size) % MAX_BEATS, LIKENESS]
        return LeadSigns(
            quality=score,
            rate_per_min=60.0 / float(intervals.mean()),
            since_beat_s=(lead.size - float(beats[-1])) / TARGET_RATE_HZ,
            interval_s=usual_s,
            regular=bool(np.quantile(np.abs(intervals - usual_s), 0.75) < 0.2 * usual_s),
            height_mv=float(np.median([np.nanmax(span) - np.nanmin(span) for span in spans])),
            likeness=float(np.median(likeness[1:])),
        )
