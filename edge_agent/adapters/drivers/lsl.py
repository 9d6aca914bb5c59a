"""One stream of the Lab Streaming Layer: curves at a nominal rate, or numerics without one."""

import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import DeviceLostError
from edge_agent.adapters.drivers.nomenclature import Carried, carry
from edge_agent.adapters.drivers.stated import numeric
from edge_agent.adapters.drivers.threads import on_own_thread
from edge_agent.adapters.optional import import_driver
from edge_agent.core.arrivals import WaveformArrival
from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S

PULL_S: Final = 0.04
SILENCE_S: Final = 2.0
"""After this long without a sample the stream is looked for anew."""

JITTER_S: Final = 0.02
"""How far a time stamp within a chunk may stray before samples are missing between two."""

SECOND_LOOK_S: Final = 0.3
"""How long to look for a second stream that claims the same source id."""

BUFFER_S: Final = 10

XDF_UNITS: Final[dict[str, str]] = {
    "microvolts": "uV",
    "microvolt": "uV",
    "millivolts": "mV",
    "millivolt": "mV",
    "uV": "uV",
    "mV": "mV",
    "percent": "%",
    "celsius": "Cel",
}
"""Spellings of the XDF meta-data convention -> UCUM; a UCUM code stands for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LslChannel:
    """What the configuration says of a channel that its stream does not say in MDC and UCUM.

    Attributes
    ----------
    label : str
        Label in the stream's description.
    code, unit : str
        MDC code; UCUM unit, "" to take the unit that the stream states.
    """

    label: str
    code: str
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LslPlan:
    """Which stream.

    Attributes
    ----------
    source_id : str
        Unique id of the stream's device; a name is not unique in a hospital.
    resolve_s : float
        How long to look for it at a time.
    channels : tuple of LslChannel
        For channels whose label is no MDC code.
    """

    source_id: str
    resolve_s: float = 2.0
    channels: tuple[LslChannel, ...] = ()


@dataclass(frozen=True, slots=True)
class _Described:
    index: int
    label: str
    unit_text: str
    carried: Carried


class LslDriver:
    """Pulls chunks on a thread of its own; the sender's own clock is kept, and mapped later."""

    def __init__(self, plan: LslPlan, inbox: Inbox) -> None:
        self._lsl: Any = import_driver("pylsl")
        util: Any = import_driver("pylsl.util")
        self._errors = (util.LostError, util.InternalError, TimeoutError)
        self._plan = plan
        self._inbox = inbox

    @property
    def name(self) -> str:
        """``lsl`` and the source id."""
        return f"lsl:{self._plan.source_id}"

    async def converse(self) -> None:
        """Pull until the stream is lost.

        Raises
        ------
        DeviceLostError
            It cannot be found, broke, or is silent.
        """
        await on_own_thread(self.name, self._pull)

    # ---- on the pulling thread --------------------------------------------------------------

    def _pull(self, stop: threading.Event) -> None:
        found = self._lsl.resolve_byprop(
            "source_id", self._plan.source_id, timeout=self._plan.resolve_s
        )
        if not found:
            raise DeviceLostError("no such stream on the network")
        found = (
            self._lsl.resolve_byprop(
                "source_id", self._plan.source_id, minimum=2, timeout=SECOND_LOOK_S
            )
            or found
        )
        if len({info.uid() for info in found}) > 1:
            self._inbox.refuse(self.name, "several streams claim this source id; none is taken")
            raise DeviceLostError("its source id is not unique")
        inlet: Any = self._lsl.StreamInlet(found[0], max_buflen=BUFFER_S, recover=False)
        try:
            info = inlet.info(timeout=self._plan.resolve_s)
            rate_hz = float(info.nominal_srate())
            channels = self._describe(info)
            if not channels:
                raise DeviceLostError("none of its channels can be taken")
            inlet.open_stream(timeout=self._plan.resolve_s)
            self._inbox.connected(self.name, True)
            self._deliver_until(stop, inlet, rate_hz, channels)
        except self._errors as error:
            raise DeviceLostError(str(error) or type(error).__name__) from error
        finally:
            with suppress(RuntimeError):
                inlet.close_stream()

    def _deliver_until(
        self, stop: threading.Event, inlet: Any, rate_hz: float, channels: list[_Described]
    ) -> None:
        silent_s = 0.0
        while not stop.is_set():
            rows, stamps = inlet.pull_chunk(timeout=PULL_S, max_samples=4096)
            silent_s = 0.0 if stamps else silent_s + PULL_S
            if silent_s > SILENCE_S and rate_hz > 0:
                raise DeviceLostError(f"no sample for {SILENCE_S:g} s")
            if not stamps:
                continue
            if rate_hz > 0:
                self._curves(rows, stamps, rate_hz, channels)
            else:
                self._values(rows, stamps, channels)

    def _curves(
        self, rows: Any, stamps: list[float], rate_hz: float, channels: list[_Described]
    ) -> None:
        values = np.asarray(rows, dtype=np.float64).T
        times = np.asarray(stamps)
        now_ns = self._inbox.now_ns()
        if not np.isfinite(times).all():
            self._inbox.refuse(self.name, "a time stamp is not finite")
            return
        for unit in dict.fromkeys(c.carried.unit for c in channels):
            members = [c for c in channels if c.carried.unit is unit]
            samples = np.stack([self._carried(values, channel) for channel in members])
            for a, b in _runs(times, rate_hz):
                self._inbox.deliver(
                    self.name,
                    lambda unit=unit, members=members, part=samples[:, a:b], at=times[a]: (
                        WaveformArrival(
                            stream=f"{self.name} {unit.value}",
                            codes=tuple(c.carried.code for c in members),
                            unit=unit,
                            sampling_rate_hz=rate_hz,
                            samples=part,
                            arrived_ns=now_ns,
                            device_time_ns=round(at * NS_PER_S),
                        )
                    ),
                )

    def _carried(self, values: NDArray[np.float64], channel: _Described) -> NDArray[np.float32]:
        row = values[channel.index] * channel.carried.scale + channel.carried.offset
        with np.errstate(over="ignore"):
            carried = row.astype(np.float32)
        infinite = np.isinf(carried)
        if infinite.any():
            self._inbox.refuse(channel.label, "infinite samples; they are carried as missing")
            carried[infinite] = np.nan
        return carried

    def _values(self, rows: Any, stamps: list[float], channels: list[_Described]) -> None:
        now_ns = self._inbox.now_ns()
        for row, stamp in zip(rows, stamps, strict=True):
            if not math.isfinite(stamp):
                self._inbox.refuse(self.name, "a time stamp is not finite")
                continue
            device_ns = round(stamp * NS_PER_S)
            for channel in channels:
                self._inbox.deliver(
                    channel.label,
                    lambda channel=channel, value=float(row[channel.index]), at=device_ns: numeric(
                        channel.carried.code, channel.unit_text, value, now_ns, at
                    ),
                )

    # ---- what the stream says of itself -----------------------------------------------------

    def _describe(self, info: Any) -> list[_Described]:
        n_channels = int(info.channel_count())
        if int(info.channel_format()) == self._lsl.cf_string:
            self._inbox.refuse(self.name, "its samples are texts")
            return []
        labels = info.get_channel_labels() or [None] * n_channels
        units = info.get_channel_units() or [None] * n_channels
        described: list[_Described] = []
        for index in range(n_channels):
            label = str(labels[index] or f"channel {index}")
            try:
                channel = self._described(index, label, str(units[index] or ""))
                if any(channel.carried.code == other.carried.code for other in described):
                    raise OutOfRangeError(f"{channel.carried.code} is given already")
            except ContractError as error:
                self._inbox.refuse(label, str(error))
                continue
            described.append(channel)
        return described

    def _described(self, index: int, label: str, stated: str) -> _Described:
        configured = {channel.label: channel for channel in self._plan.channels}.get(label)
        code = configured.code if configured else label
        stated = XDF_UNITS.get(stated, stated)
        unit = configured.unit if configured and configured.unit else stated
        carried = carry(code, unit)
        if stated and unit != stated and carry(code, stated) != carried:
            raise OutOfRangeError(
                f"the stream states {stated!r}, the configuration {unit!r}: one of them is wrong"
            )
        return _Described(index, label, unit, carried)


def _runs(times: NDArray[np.float64], rate_hz: float) -> list[tuple[int, int]]:
    """Bounds of stretches without a gap or a step between two stamps."""
    deviation = np.abs(np.diff(times) - 1 / rate_hz)
    cuts = (np.flatnonzero(deviation > JITTER_S) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(times)], strict=True))
