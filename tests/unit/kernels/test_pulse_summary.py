"""What a pulse track says of itself, on pulses that are none."""

import math

import numpy as np

from wardstream.kernels.pulse import MAX_PULSES, ONSET
from wardstream.kernels.pulse_summary import N_RECENT, RATE, REGULAR, summarise


def test_pulses_that_share_an_onset_have_no_rate_and_stop_nothing() -> None:
    # Noise: the lowest sample before several upstrokes is one and the same.
    pulses = np.full((MAX_PULSES, 6), np.nan)
    pulses[:4, ONSET] = 900.0
    found = summarise(pulses, 4, 1000)
    assert math.isnan(found[RATE])
    assert found[REGULAR] == 0.0
    assert found[N_RECENT] == 4
