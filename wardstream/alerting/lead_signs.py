"""One ECG lead by itself, as a witness for or against what all of them together seem to show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_BEAT_MV: Final = 0.4  # P waves of a standstill are regular too, but lower than this
_RECENT_INTERVALS: Final = 1.5
_TRUSTED: Final = 0.5
_DIFFERS: Final = 1.25  # rates this far apart are two different rhythms


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadSigns:
    """What a detector that sees only this lead found in its last seconds.

    Attributes
    ----------
    quality : float
        0 to 1.
    rate_per_min, interval_s : float
        Mean rate and median interval of its beats; NaN below four of them.
    since_beat_s : float
        Since the last; NaN likewise.
    regular : bool
        Whether three quarters of the intervals are within a fifth of the median.
    height_mv : float
        Median extent of its beats within 0.08 s of the peak; NaN likewise.
    likeness : float
        Median likeness of its beats to one another, -1 to 1; NaN likewise.
    """

    quality: float
    rate_per_min: float = math.nan
    interval_s: float = math.nan
    since_beat_s: float = math.nan
    regular: bool = False
    height_mv: float = math.nan
    likeness: float = math.nan

    @property
    def worth(self) -> float:
        """How far its beats can be believed, 0 to 1: artefact does not resemble itself."""
        return self.quality * max(self.likeness, 0.0) if self.likeness == self.likeness else 0.0


def beating_lead(leads: Sequence[LeadSigns]) -> LeadSigns | None:
    """A lead that goes on beating regularly by itself: no asystole while there is one."""
    for lead in leads:
        beats_now = lead.since_beat_s < _RECENT_INTERVALS * lead.interval_s
        if beats_now and lead.regular and lead.height_mv >= _BEAT_MV and lead.worth >= _TRUSTED:
            return lead
    return None


def slower_lead(leads: Sequence[LeadSigns], rate_per_min: float) -> LeadSigns | None:
    """The lead that can be believed most, where it alone shows a clearly lower rate."""
    best = max(leads, key=lambda lead: lead.worth, default=None)
    if best is None or best.worth < _TRUSTED:
        return None
    return best if best.rate_per_min * _DIFFERS < rate_per_min else None
