"""Sampled curves and slowly changing values as sources deliver them; they stay on the device."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codes import code_by_mdc
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_boot_id, check_id, check_sequence_number
from wardstream.contracts.timebase import TimestampNs, sample_time_ns
from wardstream.contracts.units import Unit


class GenerationMode(StrEnum):
    """Whether a value is a patient's, in the words of IEEE 11073-10207."""

    REAL = "real"
    TEST = "test"
    DEMO = "demo"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WaveformChunk:
    """Consecutive samples of one device's channels, all at one rate and in one unit.

    A source that has several rates or units yields several chunks for the same stretch.

    Attributes
    ----------
    device_id : str
        Device of origin. A chunk never names a patient; the bed assignment is joined later.
    boot_id : str
        Drawn anew at each start of the agent; with `sequence_number` it makes loss visible.
    sequence_number : int
        0, 1, 2, ... per channel group within a `boot_id`. A jump is a gap; a repeat a duplicate.
    codes : tuple of str, length n_channels
        IEEE 11073-10101 reference ids, for example ``MDC_ECG_ELEC_POTL_II``.
    unit : Unit
        Unit of every entry of `samples`.
    sampling_rate_hz : float
        Samples a second, the same for all channels; greater than 0.
    start_time_ns : TimestampNs
        When the FIRST sample was taken, device clock corrected to UTC.
        (BICEPS stamps the first sample, OpenICE the end: adapters convert.)
    samples : ndarray of float32, shape (n_channels, n_samples)
        Physical values, not ADC counts. NaN marks a sample the device did not deliver.

    Raises
    ------
    OutOfRangeError
        The shape does not match `codes`, the rate is not positive, or a value is infinite.
    UnknownSchemaError
        A code is not registered.
    """

    SCHEMA: ClassVar[str] = "waveform_chunk/1"

    device_id: str
    boot_id: str
    sequence_number: int
    codes: tuple[str, ...]
    unit: Unit
    sampling_rate_hz: float
    start_time_ns: TimestampNs
    samples: NDArray[np.float32]

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_sequence_number(self.sequence_number)
        for code in self.codes:
            code_by_mdc(code)
        if len(set(self.codes)) != len(self.codes):
            raise OutOfRangeError(f"codes {self.codes} name a channel twice")
        if self.samples.ndim != 2 or self.samples.shape[0] != len(self.codes):
            raise OutOfRangeError(
                f"samples has shape {self.samples.shape}, expected ({len(self.codes)}, n_samples)"
            )
        if self.samples.dtype != np.float32:
            raise OutOfRangeError(f"samples is {self.samples.dtype}, expected float32")
        if not 0 < self.sampling_rate_hz < float("inf"):
            raise OutOfRangeError(f"sampling_rate_hz is {self.sampling_rate_hz}, expected > 0")
        if np.isinf(self.samples).any():
            raise OutOfRangeError("samples holds an infinite value; missing samples are NaN")

    @property
    def end_time_ns(self) -> TimestampNs:
        """When the sample after the last would be taken: [start, end) is half open."""
        return sample_time_ns(self.start_time_ns, self.sampling_rate_hz, self.samples.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericObservation:
    """One value of a slowly changing quantity, as a monitor or a record states it.

    Attributes
    ----------
    code : str
        IEEE 11073-10101 reference id of a numeric, for example ``MDC_PULS_OXIM_SAT_O2``.
    value : float
        In `unit`; NaN means the monitor shows no value.
    unit : Unit
        UCUM unit of `value`.
    determination_time_ns : TimestampNs
        When the value was determined.

    Raises
    ------
    OutOfRangeError
        The value is infinite.
    UnknownSchemaError
        The code is not registered.
    """

    code: str
    value: float
    unit: Unit
    determination_time_ns: TimestampNs

    def __post_init__(self) -> None:
        code_by_mdc(self.code)
        if self.value in (float("inf"), float("-inf")):
            raise OutOfRangeError(f"{self.code} is infinite; a missing value is NaN")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlertStrip:
    """The curves around one alert: the only way raw samples leave a device unasked.

    Attributes
    ----------
    device_id, boot_id, sequence_number
        Identity on the strip lane.
    alert_id : str
        The alert this strip belongs to.
    chunks : tuple of WaveformChunk
        One per sampling rate and unit, same device and boot as the strip.

    Raises
    ------
    OutOfRangeError
        An id is malformed, or a chunk belongs to another device.
    """

    SCHEMA: ClassVar[str] = "alert_strip/1"

    device_id: str
    boot_id: str
    sequence_number: int
    alert_id: str
    chunks: tuple[WaveformChunk, ...]

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_sequence_number(self.sequence_number)
        check_boot_id(self.alert_id)
        if any(chunk.device_id != self.device_id for chunk in self.chunks):
            raise OutOfRangeError(f"strip of {self.device_id} holds another device's samples")
