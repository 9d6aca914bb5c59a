"""An analogue front-end on a serial line (framing: `serial_frames`)."""

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import DeviceLostError
from edge_agent.adapters.drivers.nomenclature import Carried, carry
from edge_agent.adapters.drivers.serial_frames import FULL_SCALE, SerialFrame, SerialFramer
from edge_agent.adapters.drivers.threads import on_own_thread
from edge_agent.adapters.optional import import_driver
from edge_agent.core.arrivals import WaveformArrival
from wardstream.contracts.errors import ContractError
from wardstream.contracts.units import Unit

logger = logging.getLogger(__name__)

READ_S: Final = 0.02
SILENCE_S: Final = 2.0
"""After this long without a whole frame the line is opened anew."""

_MODULUS: Final = 1 << 16
_HALF: Final = _MODULUS // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialChannel:
    """What the configuration says one input is; without it the input is quarantined.

    Attributes
    ----------
    input : int
        Which input of the front-end, from 0.
    code, unit : str
        MDC code and UCUM unit of the quantity.
    scale : float
        Of one count, in `unit`: for an ADS1298, 2.4 V / gain / (2**23 - 1).
    """

    input: int
    code: str
    unit: str
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPlan:
    """The line and what comes over it.

    Attributes
    ----------
    port : str
        Device node, or a URL that pyserial knows.
    baud_rate : int
        Symbols a second; a pseudo-terminal and USB ignore it.
    sampling_rate_hz : float
        Of every channel; the frame does not state it.
    channels : tuple of SerialChannel
        Inputs that are used.
    """

    port: str
    baud_rate: int
    sampling_rate_hz: float
    channels: tuple[SerialChannel, ...]


class SerialDriver:
    """Reads frames on a thread of its own; lead-off is NaN, saturation stays what it is."""

    def __init__(self, plan: SerialPlan, inbox: Inbox) -> None:
        self._serial: Any = import_driver("serial")
        self._plan = plan
        self._inbox = inbox
        self._groups = self._group()
        self._newest: int | None = None  # number of the newest frame
        self._end = 0  # position after its last sample
        self._told_unused: set[int] = set()

    @property
    def name(self) -> str:
        """``serial`` and the port."""
        return f"serial:{self._plan.port}"

    async def converse(self) -> None:
        """Read until the line is lost.

        Raises
        ------
        DeviceLostError
            The line cannot be opened, broke, or is silent.
        """
        await on_own_thread(self.name, self._read)

    # ---- on the reading thread ------------------------------------------------------------

    def _read(self, stop: threading.Event) -> None:
        try:
            line: Any = self._serial.serial_for_url(
                self._plan.port, baudrate=self._plan.baud_rate, timeout=READ_S
            )
        except (OSError, ValueError) as error:
            raise DeviceLostError(f"it cannot be opened: {error}") from error
        framer = SerialFramer()
        silent_s = 0.0
        try:
            while not stop.is_set():
                data = line.read(max(1, min(65_536, line.in_waiting)))
                frames, reasons = framer.feed(data) if data else ([], [])
                for reason in reasons:
                    self._inbox.refuse(self.name, reason)
                silent_s = 0.0 if frames else silent_s + (0.0 if data else READ_S)
                for frame in frames:
                    self._inbox.connected(self.name, True)
                    self._deliver(frame)
                if silent_s >= SILENCE_S:
                    raise DeviceLostError(f"no frame for {SILENCE_S:g} s")
        except (OSError, TypeError) as error:  # pyserial on a descriptor that went away
            raise DeviceLostError(f"the line broke: {error}") from error
        finally:
            with suppress(OSError):
                line.close()

    def _deliver(self, frame: SerialFrame) -> None:
        now_ns = self._inbox.now_ns()
        n_channels, n_samples = frame.counts.shape
        position = self._position(frame.sequence_number, n_samples)
        for unit, members in self._groups.items():
            present = [m for m in members if m[0].input < n_channels]
            for channel, _ in members:
                if channel.input >= n_channels:
                    self._inbox.refuse(
                        f"input {channel.input}", f"the front-end has {n_channels} inputs"
                    )
            if not present:
                continue
            samples = np.stack(
                [self._carried(frame, channel, carried) for channel, carried in present]
            )
            codes = tuple(carried.code for _, carried in present)
            self._inbox.deliver(
                self.name,
                lambda unit=unit, samples=samples, codes=codes: WaveformArrival(
                    stream=f"{self.name} {unit.value}",
                    codes=codes,
                    unit=unit,
                    sampling_rate_hz=self._plan.sampling_rate_hz,
                    samples=samples,
                    arrived_ns=now_ns,
                    position=position,
                ),
            )
        self._tell_unused(n_channels)

    def _position(self, number: int, n_samples: int) -> int:
        """Position of a frame's first sample; frames that were lost are taken to be as long."""
        ahead = 1 if self._newest is None else (number - self._newest + _HALF) % _MODULUS - _HALF
        position = self._end + (ahead - 1) * n_samples
        self._newest, self._end = number, position + n_samples
        return position

    def _carried(self, frame: SerialFrame, channel: SerialChannel, carried: Carried) -> Any:
        counts = frame.counts[channel.input]
        if frame.lead_off >> channel.input & 1:
            return np.full(counts.shape, np.nan, dtype=np.float32)
        values = counts * (channel.scale * carried.scale) + carried.offset
        return values.astype(np.float32)

    def _tell_unused(self, n_channels: int) -> None:
        used = {c.input for c in self._plan.channels} | self._told_unused
        for unused in set(range(n_channels)) - used:
            self._told_unused.add(unused)
            self._inbox.refuse(f"input {unused}", "the configuration does not say what it is")

    def _group(self) -> dict[Unit, list[tuple[SerialChannel, Carried]]]:
        groups: dict[Unit, list[tuple[SerialChannel, Carried]]] = {}
        taken: set[str] = set()
        for channel in self._plan.channels:
            try:
                carried = carry(channel.code, channel.unit)
            except ContractError as error:
                self._inbox.refuse(f"input {channel.input}", str(error))
                continue
            if carried.code in taken:
                self._inbox.refuse(f"input {channel.input}", f"{carried.code} is given already")
                continue
            taken.add(carried.code)
            groups.setdefault(carried.unit, []).append((channel, carried))
        return groups


def millivolts_per_count(reference_v: float, gain: float) -> float:
    """One count of a 24-bit converter in mV; 2.4 V and gain 6 for an ADS1298 as it powers up."""
    return 1000.0 * reference_v / gain / FULL_SCALE
