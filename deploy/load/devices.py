"""Devices that are only numbers: deterministic frames and alerts, and an outbox like a bed's."""

import asyncio
import hashlib
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np

from deploy.load.mqtt_wire import Account, DeviceLink
from wardstream.contracts.alert import (
    AlertEvent,
    AlertKind,
    AlertPriority,
    AlertSignal,
    Condition,
    Presence,
    SignalState,
    Transition,
    alert_id_for,
)
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.device import Connectivity, DeviceStatus, ModelReport, ModelState
from wardstream.contracts.frame import BEDSIDE_V1, HEADER_BYTES, FeatureFrame, encode_frame
from wardstream.contracts.identity import CommitWatermark, Lane
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.topics import ALERT, FRAME, STATUS, WATERMARK
from wardstream.contracts.waveform import GenerationMode

SITE: Final = "demo"
UNIT: Final = "icu"
RESEND_AFTER_S: Final = 8.0
"""As a bed: `edge_agent.services.sender.FIRST_PATIENCE_S`."""

_TIMES: Final = struct.Struct("<Qqq")
"""``sequence_number``, ``start_time_ns``, ``monotonic_ns`` of a frame's header, from byte 48."""
_FEATURE: Final = struct.Struct("<f")


@dataclass(slots=True)
class _Sent:
    last_number: int
    address: str
    payload: bytes
    sent_s: float


class _Lane:
    """What of one lane no watermark covers yet, oldest first."""

    def __init__(self) -> None:
        self.next_number = 0
        self.watermark = -1
        self.uncovered: deque[_Sent] = deque()

    def cover(self, number: int) -> None:
        self.watermark = max(self.watermark, number)
        while self.uncovered and self.uncovered[0].last_number <= self.watermark:
            self.uncovered.popleft()


class LoadDevice:
    """One life of one device.

    Parameters
    ----------
    url : str
        Of the broker, with the device's credentials.
    device_id, bed_id, boot_id : str
        Who, where, which life.
    clock_s : callable
        A clock that only runs forward.
    """

    def __init__(
        self, url: str, device_id: str, bed_id: str, boot_id: str, clock_s: Callable[[], float]
    ) -> None:
        self.device_id, self.bed_id, self.boot_id = device_id, bed_id, boot_id
        self.n_resent = 0
        self._clock_s = clock_s
        self._lanes = {Lane.FRAME: _Lane(), Lane.ALERT: _Lane()}
        self._status = b""
        watermarks = {
            lane: WATERMARK[lane].address(SITE, device_id) for lane in (Lane.FRAME, Lane.ALERT)
        }
        self._lane_of = {address: lane for lane, address in watermarks.items()}
        self.link = DeviceLink(
            Account.of(url), tuple(watermarks.values()), self._hear, self._say_status
        )
        self._template = frame_template(device_id, boot_id)

    def n_uncovered(self, lane: Lane = Lane.FRAME) -> int:
        """Numbers given out that no watermark covers."""
        held = self._lanes[lane]
        return held.next_number - 1 - held.watermark

    def last_number(self, lane: Lane) -> int:
        """The last number given out, -1 before the first."""
        return self._lanes[lane].next_number - 1

    def covers(self, lane: Lane, number: int) -> bool:
        """Whether everything up to `number` is committed."""
        return self._lanes[lane].watermark >= number

    def say_status(self, reported_time_ns: int) -> None:
        """Say where it stands, now and after every connection."""
        self._status = encode(_status(self, reported_time_ns))
        self._say_status()

    def say_frames(
        self, n_frames: int, start_time_ns: int, step_ns: int, *, per_message: int
    ) -> None:
        """Number, keep and publish frames of `step_ns` each, `per_message` to a message."""
        held = self._lanes[Lane.FRAME]
        first = held.next_number
        held.next_number += n_frames
        address = FRAME.address(SITE, self.device_id)
        for at in range(0, n_frames, per_message):
            numbers = range(first + at, first + min(at + per_message, n_frames))
            payload = b"".join(
                self._template.at(number, start_time_ns + step_ns * (number - first))
                for number in numbers
            )
            self._send(held, address, payload, numbers[-1])

    def say_alert(self, event_time_ns: int) -> None:
        """Number, keep and publish the next event of an alert that comes and goes."""
        held = self._lanes[Lane.ALERT]
        number = held.next_number
        held.next_number += 1
        event = _alert(self.device_id, self.boot_id, number, event_time_ns)
        self._send(held, ALERT.address(SITE, self.device_id), encode(event), number)

    def say_nonsense(self) -> None:
        """Publish what breaks the contract, once: it has no number, so nobody resends it."""
        self.link.publish(
            FRAME.address(SITE, self.device_id), b"no frame of " + self.boot_id.encode()
        )

    def resend_what_is_late(self) -> None:
        """As a bed: a lane that heard no watermark for `RESEND_AFTER_S` starts at its oldest."""
        now_s = self._clock_s()
        for held in self._lanes.values():
            if held.uncovered and now_s - held.uncovered[0].sent_s > RESEND_AFTER_S:
                for sent in held.uncovered:
                    if self.link.publish(sent.address, sent.payload):
                        sent.sent_s = now_s
                        self.n_resent += 1

    def _send(self, held: _Lane, address: str, payload: bytes, last_number: int) -> None:
        held.uncovered.append(_Sent(last_number, address, payload, self._clock_s()))
        self.link.publish(address, payload)

    def _say_status(self) -> None:
        if self._status:
            self.link.publish(STATUS.address(SITE, self.device_id), self._status, retain=True)

    def _hear(self, address: str, payload: bytes) -> None:
        lane = self._lane_of.get(address)
        if lane is not None and payload:
            watermark = decode(payload, CommitWatermark)
            if watermark.boot_id == self.boot_id:
                self._lanes[lane].cover(watermark.sequence_number)


class LoadWard:
    """Devices together, connected while it is entered."""

    def __init__(self, devices: list[LoadDevice]) -> None:
        self.devices = devices
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "LoadWard":
        """Connect."""
        self._tasks = [asyncio.create_task(device.link.run()) for device in self.devices]
        self._tasks.append(asyncio.create_task(self._resend()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_connected(self, deadline_s: float = 30.0) -> None:
        """Wait until every device is connected; raises `TimeoutError`."""
        async with asyncio.timeout(deadline_s):
            while not all(device.link.is_up for device in self.devices):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def until_covered(self, deadline_s: float) -> bool:
        """Wait until everything said is committed; False at the deadline."""
        return await self.until_past(self.positions(), deadline_s)

    def positions(self) -> list[tuple[LoadDevice, Lane, int]]:
        """The last number given out, by device and lane."""
        return [
            (d, lane, d.last_number(lane))
            for d in self.devices
            for lane in (Lane.FRAME, Lane.ALERT)
        ]

    async def until_past(
        self, positions: list[tuple[LoadDevice, Lane, int]], deadline_s: float
    ) -> bool:
        """Wait until everything up to `positions` is committed; False at the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                while not all(d.covers(lane, n) for d, lane, n in positions):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    @property
    def n_said(self) -> int:
        """Frames given a number."""
        return sum(device.last_number(Lane.FRAME) + 1 for device in self.devices)

    @property
    def n_uncovered(self) -> int:
        """Frames no watermark covers."""
        return sum(device.n_uncovered() for device in self.devices)

    @property
    def n_resent(self) -> int:
        """Messages said again."""
        return sum(device.n_resent for device in self.devices)

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for device in self.devices:
                device.resend_what_is_late()


def boot_id_of(*names: object) -> str:
    """A life's id drawn from `names`: the same names, the same life."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return str(UUID(bytes=digest[:16], version=4))


class FrameTemplate:
    """Frames of one life that differ in number, time and heart rate.

    Patching a template costs 1 µs, building the frame anew 25.
    """

    def __init__(self, frame: bytes) -> None:
        self._frame = bytearray(frame)

    def at(self, number: int, start_time_ns: int) -> bytes:
        """Frame `number`."""
        _TIMES.pack_into(self._frame, 48, number, start_time_ns, number * NS_PER_S)
        _FEATURE.pack_into(self._frame, HEADER_BYTES, 60.0 + number % 40)
        return bytes(self._frame)


def frame_template(device_id: str, boot_id: str) -> FrameTemplate:
    """A template with figures drawn from the device's name; a few are missing."""
    generator = np.random.default_rng(
        int.from_bytes(hashlib.sha256(device_id.encode()).digest()[:4])
    )
    values = generator.normal(40, 8, len(BEDSIDE_V1.features)).astype(np.float32)
    for name, value in (("respiration_rate_per_min", 16), ("spo2_percent", 97),
                        ("abp_systolic_mmhg", 118), ("temperature_celsius", 37)):  # fmt: skip
        values[BEDSIDE_V1.index(name)] = value
    values[3::9] = np.nan
    frame = FeatureFrame(
        device_id=device_id, boot_id=boot_id, sequence_number=0, start_time_ns=TimestampNs(0),
        monotonic_ns=0, generation_mode=GenerationMode.TEST, values=values,
    )  # fmt: skip
    return FrameTemplate(encode_frame(frame))


def _status(device: LoadDevice, reported_time_ns: int) -> DeviceStatus:
    return DeviceStatus(
        site_id=SITE,
        unit_id=UNIT,
        bed_id=device.bed_id,
        device_id=device.device_id,
        boot_id=device.boot_id,
        connectivity=Connectivity.ONLINE,
        generation_mode=GenerationMode.TEST,
        source="load",
        agent_version="0",
        reported_time_ns=TimestampNs(reported_time_ns),
        last_sample_time_ns=TimestampNs(0),
        model=ModelReport(state=ModelState.UNAVAILABLE, version=0, sha256=""),
    )


def _alert(device_id: str, boot_id: str, number: int, event_time_ns: int) -> AlertEvent:
    # Even numbers begin an alert, odd ones end it.
    begins = number % 2 == 0
    onset_ns = TimestampNs(number // 2 * 1_000 + 1_000_000)
    return AlertEvent(
        device_id=device_id,
        boot_id=boot_id,
        sequence_number=number,
        alert_id=alert_id_for(device_id, boot_id, Condition.HIGH_HEART_RATE, onset_ns),
        condition=Condition.HIGH_HEART_RATE,
        kind=AlertKind.PHYSIOLOGICAL,
        priority=AlertPriority.MEDIUM,
        transition=Transition.ONSET if begins else Transition.ENDED,
        presence=Presence.ON if begins else Presence.OFF,
        signal=AlertSignal(
            audible=SignalState.ON if begins else SignalState.OFF,
            visible=SignalState.ON if begins else SignalState.OFF,
        ),
        onset_time_ns=onset_ns,
        event_time_ns=TimestampNs(event_time_ns),
        received_time_ns=TimestampNs(event_time_ns),
        decided_time_ns=TimestampNs(event_time_ns),
        model_version="none",
        rule_version="load",
        generation_mode=GenerationMode.TEST,
        evidence={"heart_rate_per_min": 140.0 + number % 5},
        revision=1 if begins else 2,
    )
