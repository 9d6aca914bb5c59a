"""Alarm light on the pins of a Jetson (or any board with a library of the same interface)."""

from importlib import import_module
from typing import Any

from wardstream.alerting.annunciation import FLASHES
from wardstream.contracts.alert import AlertPriority
from wardstream.contracts.errors import ConfigurationError


class GpioLight:
    """`Light` of a red and a yellow lamp, each on a pin that is high when lit.

    Parameters
    ----------
    red_pin, yellow_pin : int
        Numbers on the board's header.
    library : str
        Module with the interface of ``RPi.GPIO``.

    Raises
    ------
    ConfigurationError
        The library is not installed, or the pins cannot be had.
    """

    def __init__(self, red_pin: int, yellow_pin: int, library: str = "Jetson.GPIO") -> None:
        self._pins = {"red": red_pin, "yellow": yellow_pin}
        try:
            self._gpio: Any = import_module(library)
            self._gpio.setmode(self._gpio.BOARD)
            for pin in self._pins.values():
                self._gpio.setup(pin, self._gpio.OUT, initial=self._gpio.LOW)
        except ImportError as error:
            raise ConfigurationError(
                [f"EDGE_ANNUNCIATION__LIGHT_LIBRARY: {library} is not installed ({error})"]
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError(
                [f"EDGE_ANNUNCIATION: the pins {red_pin} and {yellow_pin}: {error}"]
            ) from error

    def show(self, priority: AlertPriority | None) -> None:
        """Light up for `priority`, or go dark."""
        colour = None if priority is None else FLASHES[priority].colour
        for name, pin in self._pins.items():
            self._gpio.output(pin, self._gpio.HIGH if name == colour else self._gpio.LOW)

    def close(self) -> None:
        """Go dark and let go of the pins."""
        self.show(None)
        self._gpio.cleanup(list(self._pins.values()))
