"""What a live device delivers, as it comes: before order, clock and gaps are put right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codes import code_by_mdc
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.units import Unit, conversion

MAX_RATE_HZ = 10_000.0
"""A faster stream is not a bedside curve."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WaveformArrival:
    """Consecutive samples of one stream of a device.

    Attributes
    ----------
    stream : str
        Name of the stream in the words of the device; what is numbered together.
    codes : tuple of str, length n_channels
        IEEE 11073-10101 reference ids.
    unit : Unit
        Of every sample, as stated by the device or its configuration.
    sampling_rate_hz : float
        Nominal rate of the stream.
    samples : ndarray of float32, shape (n_channels, n_samples)
        In `unit`; NaN where the device says that it has none (lead off).
    arrived_ns : int
        Host clock when the last of them had come, in nanoseconds UTC.
    position : int or None
        Number of the first sample in the device's own counting, from any origin.
    device_time_ns : int or None
        Device clock at the first sample; any epoch. One of the two is stated.
    """

    stream: str
    codes: tuple[str, ...]
    unit: Unit
    sampling_rate_hz: float
    samples: NDArray[np.float32]
    arrived_ns: int
    position: int | None = None
    device_time_ns: int | None = None

    def __post_init__(self) -> None:
        if self.position is None and self.device_time_ns is None:
            raise OutOfRangeError(f"{self.stream} states neither a number nor a time")
        if not 0 < self.sampling_rate_hz <= MAX_RATE_HZ:
            raise OutOfRangeError(
                f"{self.stream} states {self.sampling_rate_hz} Hz, expected 0 to {MAX_RATE_HZ:.0f}"
            )
        if self.samples.ndim != 2 or self.samples.shape[0] != len(self.codes):
            raise OutOfRangeError(
                f"{self.stream} has samples of shape {self.samples.shape}, "
                f"expected {len(self.codes)} channels"
            )
        for code in self.codes:
            _check_carried(code, self.unit)
        if np.isinf(self.samples).any():
            raise OutOfRangeError(f"{self.stream} holds an infinite value")


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericArrival:
    """One value of a slowly changing quantity.

    Attributes
    ----------
    code, unit
        As stated by the device or its configuration.
    value : float
        In `unit`; NaN where the device shows none.
    arrived_ns : int
        Host clock when it came, in nanoseconds UTC.
    device_time_ns : int or None
        Device clock when it was determined, None where that is not said.
    clock_is_utc : bool
        Whether that clock is set by the network's, so that an old value is known to be old;
        else its offset is learned from the least delay it ever showed.
    """

    code: str
    value: float
    unit: Unit
    arrived_ns: int
    device_time_ns: int | None = None
    clock_is_utc: bool = False

    def __post_init__(self) -> None:
        _check_carried(self.code, self.unit)
        if self.value in (float("inf"), float("-inf")):
            raise OutOfRangeError(f"{self.code} is infinite")


def _check_carried(code: str, unit: Unit) -> None:
    conversion(unit, code_by_mdc(code).unit)
