"""How alarms sound and flash: burst and flash tables after IEC 60601-1-8, and the sound itself.

The figures were chosen inside the ranges of IEC 60601-1-8:2006, tables 3 and 4. Pulses and the
spacings between them are measured from 90 % to 90 % of the amplitude there. Spacing and rise of
medium and low were found alike in a public implementation of the standard (that of Pulse in
wavtools, GitHub); the other ranges are as we know them. Whoever certifies a device checks all
of them against the edition that applies to it.

| (range) | high | medium | low |
|---|---|---|---|
| pulses of a burst | 5 + 5 | 3 | 2 |
| pulse, ms (75–200; 125–250) | 105 | 155 | 155 |
| spacing x, ms (50–125; 125–250) | 95 | 245 | 245 |
| third to fourth pulse, ms (2 x + a pulse) | 295 | | |
| fifth to sixth pulse, ms (350–1300) | 545 | | |
| rise, share of the pulse (10–20 %) | 15 % | 10 % | 10 % |
| end of a burst to the next, s (2.5–15; 2.5–30; 15 or more) | 2.7 | 9 | 19.4 |
| light | red, 2 Hz | yellow, 0.6 Hz | yellow, steady |
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.alerting.state import RANK
from wardstream.contracts.alert import AlertPriority, AlertSignal, SignalState

_C4, _E4, _G4, _C5 = 261.63, 329.63, 392.00, 523.25
_RISE_S: Final = 0.02
_FALL_S: Final = 0.03
_HARMONICS: Final = (1.0, 0.8, 0.6, 0.5, 0.4)
"""Fundamental and four more within 15 dB of it, so that a sound can be located in a room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """One burst of pulses.

    Attributes
    ----------
    pulses : tuple of (onset s, fundamental Hz)
        From the beginning of the burst.
    pulse_s : float
        Length of each pulse.
    every_s : float
        From the beginning of one burst to that of the next.
    """

    pulses: tuple[tuple[float, float], ...]
    pulse_s: float
    every_s: float

    @property
    def effective_pulse_s(self) -> float:
        """Length of a pulse from 90 % to 90 % of its amplitude."""
        return self.pulse_s - 0.9 * (_RISE_S + _FALL_S)

    @property
    def spacings_s(self) -> tuple[float, ...]:
        """From the end of each pulse to the beginning of the next, at 90 % of the amplitude."""
        onsets_s = [onset_s for onset_s, _ in self.pulses]
        return tuple(
            after - before - self.effective_pulse_s for before, after in pairwise(onsets_s)
        )

    @property
    def length_s(self) -> float:
        """From its beginning to the end of its last pulse."""
        return self.pulses[-1][0] + self.pulse_s


_FIVE: Final = ((0.0, _C4), (0.2, _E4), (0.4, _G4), (0.8, _G4), (1.0, _C5))

BURSTS: Final = {
    AlertPriority.HIGH: Burst(
        pulses=(*_FIVE, *((1.65 + onset_s, hz) for onset_s, hz in _FIVE)),
        pulse_s=0.15,
        every_s=5.5,
    ),
    AlertPriority.MEDIUM: Burst(
        pulses=((0.0, _C4), (0.4, _E4), (0.8, _G4)), pulse_s=0.2, every_s=10.0
    ),
    AlertPriority.LOW: Burst(pulses=((0.0, _E4), (0.4, _C4)), pulse_s=0.2, every_s=20.0),
}


@dataclass(frozen=True, slots=True)
class Flash:
    """Colour and rhythm of a light; a rate of 0 is steady."""

    colour: str
    rate_hz: float
    duty: float


FLASHES: Final = {
    AlertPriority.HIGH: Flash("red", 2.0, 0.5),
    AlertPriority.MEDIUM: Flash("yellow", 0.6, 0.5),
    AlertPriority.LOW: Flash("yellow", 0.0, 1.0),
}


def most_urgent_heard(
    alerts: Iterable[tuple[AlertPriority, AlertSignal]],
) -> AlertPriority | None:
    """Priority of the sound that is due, None: silence."""
    heard = (priority for priority, signal in alerts if signal.audible is SignalState.ON)
    return max(heard, key=RANK.__getitem__, default=None)


def most_urgent_seen(
    alerts: Iterable[tuple[AlertPriority, AlertSignal]],
) -> AlertPriority | None:
    """Priority of the light that is due, None: dark."""
    seen = (priority for priority, signal in alerts if signal.visible is SignalState.ON)
    return max(seen, key=RANK.__getitem__, default=None)


def is_lit(priority: AlertPriority, since_s: float) -> bool:
    """Whether the light is on, `since_s` seconds after it began."""
    flash = FLASHES[priority]
    return flash.rate_hz == 0 or (since_s * flash.rate_hz) % 1.0 < flash.duty


def burst_samples(priority: AlertPriority, sampling_rate_hz: int = 22_050) -> NDArray[np.int16]:
    """One burst, ready to be played.

    Parameters
    ----------
    priority : AlertPriority
        Which.
    sampling_rate_hz : int
        At least 8000, so that every harmonic is below half of it.

    Returns
    -------
    ndarray of int16, shape (n_samples,)
        Peak at 80 % of full scale; no pulse overlaps the next.

    Raises
    ------
    ValueError
        The rate is too low.
    """
    if sampling_rate_hz < 8000:
        raise ValueError(f"sampling_rate_hz is {sampling_rate_hz}, expected >= 8000")
    burst = BURSTS[priority]
    samples = np.zeros(round(burst.length_s * sampling_rate_hz) + 1)
    for onset_s, hz in burst.pulses:
        pulse = _pulse(hz, burst.pulse_s, sampling_rate_hz)
        start = round(onset_s * sampling_rate_hz)
        samples[start : start + pulse.size] += pulse[: samples.size - start]
    return np.round(samples / np.abs(samples).max() * 0.8 * 32767).astype(np.int16)


def _pulse(hz: float, length_s: float, rate_hz: int) -> NDArray[np.float64]:
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    tone = np.zeros_like(time_s)
    for number, share in enumerate(_HARMONICS, 1):
        tone += share * np.sin(2 * np.pi * number * hz * time_s)
    rise = np.clip(time_s / _RISE_S, 0, 1)
    fall = np.clip((length_s - time_s) / _FALL_S, 0, 1)
    return tone * rise * fall
