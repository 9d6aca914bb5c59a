"""A bedside device as the broker sees one: raises alerts, obeys acknowledgements, resends."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from wardstream.contracts import topics
from wardstream.contracts.alert import (
    AcknowledgeCommand,
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
from wardstream.contracts.identity import CommitWatermark, Lane
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import AlertStrip, GenerationMode, WaveformChunk

SITE = "site-1"
UNIT = "icu-1"
_SIGNAL = AlertSignal(audible=SignalState.ON, visible=SignalState.ON)


def make_event(
    device_id: str,
    boot_id: str,
    number: int,
    *,
    onset_ns: int | None = None,
    condition: Condition = Condition.VENTRICULAR_FIBRILLATION,
) -> AlertEvent:
    """An onset, decided now."""
    now_ns = time.time_ns()
    onset = now_ns if onset_ns is None else onset_ns
    return AlertEvent(
        device_id=device_id,
        boot_id=boot_id,
        sequence_number=number,
        alert_id=alert_id_for(device_id, boot_id, condition, onset),
        condition=condition,
        kind=AlertKind.PHYSIOLOGICAL,
        priority=AlertPriority.HIGH,
        transition=Transition.ONSET,
        presence=Presence.ON,
        signal=_SIGNAL,
        onset_time_ns=TimestampNs(onset),
        event_time_ns=TimestampNs(max(onset, now_ns)),
        received_time_ns=TimestampNs(now_ns),
        decided_time_ns=TimestampNs(now_ns),
        model_version="rhythm/1",
        rule_version="test/1",
        generation_mode=GenerationMode.TEST,
        evidence={"probability_vf": 0.97},
    )


def next_event(event: AlertEvent, number: int, transition: Transition, **more: Any) -> AlertEvent:
    """What follows `event` in the story of the same alert."""
    presence = {
        Transition.CLEARED: Presence.LATCHED,
        Transition.ACKNOWLEDGED: Presence.ACKED,
        Transition.ENDED: Presence.OFF,
        Transition.REACTIVATED: Presence.ON,
    }[transition]
    now_ns = TimestampNs(time.time_ns())
    return replace(
        event,
        sequence_number=number,
        transition=transition,
        presence=presence,
        event_time_ns=TimestampNs(max(now_ns, event.event_time_ns)),
        received_time_ns=now_ns,
        decided_time_ns=now_ns,
        **more,
    )


def make_status(
    device_id: str, boot_id: str, bed_id: str, connectivity: Connectivity = Connectivity.ONLINE
) -> DeviceStatus:
    """A heartbeat."""
    return DeviceStatus(
        site_id=SITE,
        unit_id=UNIT,
        bed_id=bed_id,
        device_id=device_id,
        boot_id=boot_id,
        connectivity=connectivity,
        generation_mode=GenerationMode.TEST,
        source="simulator",
        agent_version="0.1.0",
        reported_time_ns=TimestampNs(time.time_ns()),
        last_sample_time_ns=TimestampNs(time.time_ns()),
        model=ModelReport(state=ModelState.RUNNING, version=1, sha256="ab" * 32),
        channels=("MDC_ECG_ELEC_POTL_II",),
    )


def make_strip(event: AlertEvent, number: int) -> AlertStrip:
    """Two seconds of two leads around the onset, one sample missing."""
    samples = np.sin(np.arange(1000, dtype=np.float32) / 25).reshape(2, 500)
    samples[0, 7] = np.nan
    chunk = WaveformChunk(
        device_id=event.device_id,
        boot_id=event.boot_id,
        sequence_number=0,
        codes=("MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_V1"),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=250.0,
        start_time_ns=TimestampNs(event.onset_time_ns - 1_000_000_000),
        samples=samples,
    )
    return AlertStrip(
        device_id=event.device_id,
        boot_id=event.boot_id,
        sequence_number=number,
        alert_id=event.alert_id,
        chunks=(chunk,),
    )


class FakeDevice:
    """An agent's link without an agent: unacknowledged alerts stay in `outbox` and are resent."""

    def __init__(self, url: str, device_id: str, bed_id: str) -> None:
        parts = urlsplit(url)
        self.device_id = device_id
        self.bed_id = bed_id
        self.boot_id = str(uuid4())
        self.watermarks: dict[Lane, int] = {}
        self.commands: list[AcknowledgeCommand] = []
        self.outbox: dict[tuple[Lane, int], bytes] = {}
        self.confirm_acknowledgements = True
        self._open: dict[str, AlertEvent] = {}
        self._numbers = {Lane.ALERT: 0, Lane.STRIP: 0}
        self._lock = threading.RLock()
        self._applied: set[str] = set()
        self.connected = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"fake-{device_id}", protocol=paho.MQTTv5
        )
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self.connected.clear()
        self._client.on_message = self._on_message
        self._client.on_socket_open = lambda _c, _d, link: link.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        self._address = (parts.hostname or "", parts.port or 1883)

    def __enter__(self) -> "FakeDevice":
        will = make_status(self.device_id, self.boot_id, self.bed_id, Connectivity.LOST)
        self._client.will_set(self._topic(topics.STATUS), encode(will), qos=1, retain=True)
        self._client.connect_async(*self._address, keepalive=5)
        self._client.loop_start()
        if not self.connected.wait(10):
            raise TimeoutError("the broker did not accept the fake device")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def beat(self, connectivity: Connectivity = Connectivity.ONLINE) -> None:
        """Say how it is."""
        status = make_status(self.device_id, self.boot_id, self.bed_id, connectivity)
        self.publish(topics.STATUS, encode(status), retain=True)

    def raise_alert(self, **more: Any) -> AlertEvent:
        """A new alert, numbered, kept and sent."""
        with self._lock:
            event = make_event(self.device_id, self.boot_id, self._take(Lane.ALERT), **more)
            self._tell(event)
            return event

    def change(self, event: AlertEvent, transition: Transition, **more: Any) -> AlertEvent:
        """The next event of an alert, numbered, kept and sent."""
        with self._lock:
            following = next_event(event, self._take(Lane.ALERT), transition, **more)
            self._tell(following)
            return following

    def send_strip(self, event: AlertEvent) -> AlertStrip:
        """The strip of an alert."""
        with self._lock:
            strip = make_strip(event, self._take(Lane.STRIP))
            self.outbox[Lane.STRIP, strip.sequence_number] = encode(strip)
            self.publish(topics.STRIP, encode(strip))
            return strip

    def resend(self) -> int:
        """Send again what no watermark covers; how much that was."""
        with self._lock:
            waiting = sorted(self.outbox.items(), key=lambda item: item[0][1])
        for (lane, _), payload in waiting:
            self.publish(topics.ALERT if lane is Lane.ALERT else topics.STRIP, payload)
        return len(waiting)

    def publish(
        self, topic: topics.MqttTopic[Any], payload: bytes, *, retain: bool = False
    ) -> None:
        """Any bytes on a topic of this device."""
        self._client.publish(self._topic(topic), payload, qos=1, retain=retain)

    def _take(self, lane: Lane) -> int:
        number = self._numbers[lane]
        self._numbers[lane] += 1
        return number

    def _tell(self, event: AlertEvent) -> None:
        self._open[event.alert_id] = event
        self.outbox[Lane.ALERT, event.sequence_number] = encode(event)
        self.publish(topics.ALERT, encode(event))

    def _topic(self, topic: topics.MqttTopic[Any]) -> str:
        return topic.address(SITE, self.device_id)

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            return
        for topic in (topics.ACKNOWLEDGEMENT, *topics.WATERMARK.values()):
            client.subscribe(self._topic(topic), qos=1)
        self.connected.set()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if message.topic.endswith("/acknowledgement"):
            self._obey(decode(payload, AcknowledgeCommand))
            return
        watermark = decode(payload, CommitWatermark)
        if watermark.boot_id != self.boot_id:
            return
        with self._lock:
            reached = max(self.watermarks.get(watermark.lane, -1), watermark.sequence_number)
            self.watermarks[watermark.lane] = reached
            for lane, number in list(self.outbox):
                if lane is watermark.lane and number <= reached:
                    del self.outbox[lane, number]

    def _obey(self, command: AcknowledgeCommand) -> None:
        self.commands.append(command)
        event = self._open.get(command.alert_id)
        if (
            event is None
            or not self.confirm_acknowledgements
            or command.command_id in self._applied
        ):
            return
        self._applied.add(command.command_id)
        self.change(
            event,
            Transition.ACKNOWLEDGED,
            acknowledged_by=command.author,
            acknowledgement_expires_ns=command.expires_time_ns,
        )


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    """Return once `condition` holds; fail the test with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"within {timeout_s} s not: {what}")
        time.sleep(0.02)
