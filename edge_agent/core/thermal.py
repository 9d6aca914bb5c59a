"""What a hot device does without, in which order. Alarms are not in the list, and cannot be.

Heat comes from work, so work is shed before the silicon slows everything down alike: first
what only someone far away looks at, last every second question to the model (the verdict before
stands for the skipped one, so an alarm is at most one hop, 0.25 s, later). Kernels, rules,
annunciation and the alert lane go on at any temperature.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from wardstream.contracts.errors import OutOfRangeError

HYSTERESIS_CELSIUS: Final = 5.0
"""How much cooler than where it was shed a thing comes back."""


class Shed(StrEnum):
    """What can be done without, in the order in which it is."""

    LIVE_VIEW = "live_view"
    """Curves for a station that looks."""
    STRIPS = "strips"
    """Sending strips: they wait in the outbox."""
    TRENDS = "trends"
    """Sending frames: they wait in the outbox."""
    MODEL_HOP = "model_hop"
    """Every second question to the model."""


@dataclass(frozen=True, slots=True)
class TelemetryReading:
    """How the device is.

    Attributes
    ----------
    celsius : float
        Of the hottest zone; NaN if it cannot be read.
    throttled : bool
        Whether the hardware or its driver slows itself down now.
    watts : float
        Drawn by the whole board; NaN if it cannot be read.
    """

    celsius: float
    throttled: bool = False
    watts: float = math.nan


class Telemetry(Protocol):
    """Where readings come from. `read` may block for some milliseconds; it never raises."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def read(self) -> TelemetryReading:
        """How the device is now; NaN for what cannot be read."""
        ...


class ThermalGovernor:
    """Decides what is shed. Pure.

    Parameters
    ----------
    thresholds : mapping of Shed to float
        At how many °C each is shed; what is absent never is.

    Raises
    ------
    OutOfRangeError
        A later thing would be shed at a lower temperature than an earlier one.
    """

    def __init__(self, thresholds: Mapping[Shed, float]) -> None:
        ordered = [thresholds[shed] for shed in Shed if shed in thresholds]
        if ordered != sorted(ordered):
            raise OutOfRangeError(
                "what is shed later needs the higher temperature: "
                + " <= ".join(shed.value for shed in Shed)
            )
        self._thresholds = dict(thresholds)
        self._shed: frozenset[Shed] = frozenset()

    @property
    def shed(self) -> frozenset[Shed]:
        """What is done without now."""
        return self._shed

    def observe(self, reading: TelemetryReading) -> frozenset[Shed]:
        """What is done without after `reading`; an unreadable temperature changes nothing.

        A device that throttles itself is as hot as it may be, whatever its sensors say:
        everything with a threshold is shed until it recovers.
        """
        if reading.throttled:
            self._shed = frozenset(self._thresholds)
        elif not math.isnan(reading.celsius):
            self._shed = frozenset(
                shed
                for shed, at in self._thresholds.items()
                if reading.celsius >= at - (HYSTERESIS_CELSIUS if shed in self._shed else 0.0)
            )
        return self._shed
