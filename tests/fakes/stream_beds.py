"""Beds that talk over real MQTT: status, frames, gaps; they resend what no watermark covers."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wardstream.contracts.codec import decode, encode
from wardstream.contracts.device import Connectivity, DeviceStatus, ModelReport, ModelState
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame, encode_frame
from wardstream.contracts.identity import CommitWatermark, Lane
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.topics import FRAME, GAP, STATUS, WATERMARK
from wardstream.contracts.waveform import GenerationMode

SITE = "site-a"


def make_frame(
    device_id: str,
    boot_id: str,
    number: int,
    start_time_ns: int,
    **features: float,
) -> FeatureFrame:
    """A frame with a heart rate and what `features` names; everything else missing."""
    values = np.full(len(BEDSIDE_V1.features), np.nan, dtype=np.float32)
    values[0] = 60 + number % 40
    for name, value in features.items():
        values[BEDSIDE_V1.index(name)] = value
    return FeatureFrame(
        device_id=device_id,
        boot_id=boot_id,
        sequence_number=number,
        start_time_ns=TimestampNs(start_time_ns),
        monotonic_ns=number * NS_PER_S,
        generation_mode=GenerationMode.TEST,
        values=values,
    )


@dataclass
class Bed:
    """One device over its own MQTT connection, with an outbox in memory."""

    url: str
    device_id: str
    bed_id: str
    boot_id: str = field(default_factory=lambda: str(uuid4()))
    watermark: int = -1

    def __post_init__(self) -> None:
        self.outbox: dict[int, bytes] = {}
        self._next = 0
        self._lock = threading.Lock()
        parts = urlsplit(self.url)
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"wardstream-edge-{self.device_id}",
            protocol=mqtt.MQTTv5,
        )
        self.client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 2)
        self.client.max_inflight_messages_set(200)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self.client.connect_async(
            parts.hostname or "", parts.port or 1883, keepalive=10, properties=properties
        )
        self.client.loop_start()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def say_status(self) -> None:
        status = DeviceStatus(
            site_id=SITE,
            unit_id="icu-1",
            bed_id=self.bed_id,
            device_id=self.device_id,
            boot_id=self.boot_id,
            connectivity=Connectivity.ONLINE,
            generation_mode=GenerationMode.TEST,
            source="test",
            agent_version="0",
            reported_time_ns=TimestampNs(time.time_ns()),
            last_sample_time_ns=TimestampNs(0),
            model=ModelReport(state=ModelState.UNAVAILABLE, version=0, sha256=""),
        )
        self.publish(STATUS.address(SITE, self.device_id), encode(status), retain=True)

    def say_frames(self, n_frames: int, *, start_time_ns: int | None = None, per_message: int = 1,
                   **features: float) -> None:  # fmt: skip
        """Number, keep and publish frames, one a second of event time."""
        first_ns = time.time_ns() if start_time_ns is None else start_time_ns
        payloads: list[bytes] = []
        for i in range(n_frames):
            with self._lock:
                number = self._next
                self._next += 1
            frame = make_frame(
                self.device_id, self.boot_id, number, first_ns + i * NS_PER_S, **features
            )
            self.outbox[number] = encode_frame(frame)
            payloads.append(self.outbox[number])
        self._publish_frames(payloads, per_message)

    def resend(self, per_message: int = 16) -> int:
        """Publish again everything the watermark does not cover; how many frames."""
        waiting = [self.outbox[number] for number in sorted(self.outbox) if number > self.watermark]
        self._publish_frames(waiting, per_message)
        return len(waiting)

    def resend_until_covered(self, timeout_s: float, every_s: float = 3.0) -> None:
        """What an edge does: resend after a deadline until the watermark covers everything."""
        deadline = time.monotonic() + timeout_s
        resend_at = time.monotonic() + every_s
        while self.watermark < self._next - 1:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.device_id}: {self.watermark} of {self._next - 1}")
            if time.monotonic() > resend_at:
                self.resend()
                resend_at = time.monotonic() + every_s
            time.sleep(0.02)

    def say_gap(self, payload: bytes) -> None:
        self.publish(GAP.address(SITE, self.device_id), payload)

    def publish(self, address: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(address, payload, qos=1, retain=retain)

    @property
    def frame_address(self) -> str:
        return FRAME.address(SITE, self.device_id)

    @property
    def n_said(self) -> int:
        return self._next

    def _publish_frames(self, payloads: list[bytes], per_message: int) -> None:
        for at in range(0, len(payloads), per_message):
            self.publish(self.frame_address, b"".join(payloads[at : at + per_message]))

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, props: Any) -> None:
        client.subscribe(WATERMARK[Lane.FRAME].address(SITE, self.device_id), qos=1)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        watermark = decode(bytes(message.payload), CommitWatermark)
        if watermark.boot_id == self.boot_id:
            self.watermark = max(self.watermark, watermark.sequence_number)
