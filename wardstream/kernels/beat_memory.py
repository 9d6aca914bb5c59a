"""What the QRS detector knows, as two records in one array.

At 40 ms a packet, passing arrays costs more than the arithmetic; parts of records cost nothing.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.kernels.compile import inlined

MAX_BEATS: Final = 128
"""Beats kept: half a minute at 250 /min."""

AMPLITUDE, WIDTH, LIKENESS = range(3)
"""Columns of the features of a beat."""

RING: Final = 1024  # history in samples, a power of two: search-back reaches 2.5 s
MASK: Final = RING - 1
SHAPE_SAMPLES: Final = 40  # 160 ms in the band: what a beat of each lead looks like

MEAN_WIDTH: Final = 28  # moving mean of the slope: 112 ms, about one QRS
MIN_LEVEL: Final = 0.004  # mV a sample: what moves less than a QRS of about 0.1 mV is no beat
R_BEFORE: Final = 22  # of the peak of the feature, by the filter and half the mean: the R peak
BASELINE_HALF: Final = 50  # the R peak stands out of 0.4 s around it

_SHAPE_ROW: Final = 64

STATE: Final = np.dtype(
    [
        ("n", "i8"), ("n_beats", "i8"), ("last_at", "i8"), ("learn_until", "i8"),
        ("peak_at", "i8"), ("peak", "f8"), ("missed_at", "i8"), ("missed", "f8"),
        ("missed_slope", "f8"), ("signal", "f8"), ("noise", "f8"), ("rr", "f8"), ("slope", "f8"),
        ("lag", "i8"), ("shaped", "i8"), ("alike", "f8"),
        ("found", "i8", (2, MAX_BEATS)), ("features", "f8", (MAX_BEATS, 3)),
        ("scratch", "f8", (4, _SHAPE_ROW)),
    ]
)  # fmt: skip
"""Of all leads together. ``found`` is where beats were and when they were known."""

LEAD: Final = np.dtype(
    [
        ("held", "f8"), ("sum", "f8"), ("level", "f8"), ("mean", "f8"), ("weight", "f8"),
        ("a0", "f8"), ("a1", "f8"), ("b0", "f8"), ("b1", "f8"), ("gap", "i8"),
        ("quality", "f8"), ("shape", "f8", (_SHAPE_ROW,)),
        ("raw", "f8", (RING,)), ("band", "f8", (RING,)), ("slope", "f8", (RING,)),
    ]
)  # fmt: skip
"""Of one lead. ``shape``: latest sample first, at `SHAPE_SAMPLES` the sum of squares; rings of
the samples in mV, in the band of the QRS, and how steep that is."""

_STATE_WORDS: Final = STATE.itemsize // 8
_LEAD_WORDS: Final = LEAD.itemsize // 8


def new_memory(n_leads: int) -> NDArray[np.float64]:
    """Zeros for a detector of `n_leads` leads, shape (n_words,)."""
    return np.zeros(_STATE_WORDS + n_leads * _LEAD_WORDS)


def state_in(memory: NDArray[np.float64]) -> Any:
    """View on the record of `STATE`, shape (1,)."""
    return memory[:_STATE_WORDS].view(STATE)


def leads_in(memory: NDArray[np.float64]) -> Any:
    """View on the records of `LEAD`, shape (n_leads,)."""
    return memory[_STATE_WORDS:].view(LEAD)


state_of = inlined(state_in)
"""`state_in` for kernels."""

leads_of = inlined(leads_in)
"""`leads_in` for kernels."""
