"""What the cloud does for a device, on a real broker: commits, publishes watermarks, commands."""

import threading
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from wardstream.contracts import topics
from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.contiguity import Contiguity
from wardstream.contracts.device import DeviceStatus, ModelCommand
from wardstream.contracts.frame import decode_batch, frame_of
from wardstream.contracts.identity import CommitWatermark, GapNotice, Lane
from wardstream.contracts.waveform import AlertStrip

SITE = "site-1"

Key = tuple[str, Lane, int]


class CloudSide:
    """Reads as ``cloud`` and ``bridge``, writes watermarks as ``cloud`` and ``worker``."""

    def __init__(self, urls: dict[str, str], device_id: str) -> None:
        self.device_id = device_id
        self.committing = True
        self.changed = threading.Condition()
        self.payloads: dict[Key, bytes] = {}
        self.arrivals: list[Key] = []
        self.order: list[Lane] = []
        self.conflicts: list[Key] = []
        self.alerts: list[AlertEvent] = []
        self.statuses: list[DeviceStatus] = []
        self.gaps: list[GapNotice] = []
        self.messages: dict[str, int] = defaultdict(int)
        self._streams: dict[tuple[str, Lane], Contiguity] = defaultdict(Contiguity)
        self._clients = {user: self._connect(user, url) for user, url in urls.items()}

    def _connect(self, user: str, url: str) -> mqtt.Client:
        parts = urlsplit(url)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"fake-{user}-{uuid4()}", protocol=mqtt.MQTTv5
        )
        client.username_pw_set(parts.username, parts.password)
        client.reconnect_delay_set(1, 1)
        read = {
            "cloud": (topics.ALERT, topics.STRIP, topics.STATUS, topics.GAP),
            "bridge": (topics.ALERT, topics.FRAME),
        }.get(user, ())

        def on_connect(c: mqtt.Client, *_: Any) -> None:
            for topic in read:
                c.subscribe(topic.address(SITE, self.device_id), qos=1)

        client.on_connect = on_connect
        client.on_message = self._on_message
        client.user_data_set(user)
        client.connect_async(parts.hostname or "", parts.port or 1883, keepalive=5)
        client.loop_start()
        return client

    def close(self) -> None:
        for client in self._clients.values():
            client.disconnect()
            client.loop_stop()

    def _on_message(self, _c: mqtt.Client, user: str, message: mqtt.MQTTMessage) -> None:
        suffix = message.topic.rsplit("/", 1)[1]
        payload = bytes(message.payload)
        with self.changed:
            if user == "bridge":
                # One client hears both lanes, so it alone can say which came first.
                self.order.append(Lane(suffix))
                if suffix == "alert":
                    return
            self.messages[suffix] += 1
            match suffix:
                case "alert":
                    self._take(Lane.ALERT, event := decode(payload, AlertEvent), payload)
                    self.alerts.append(event)
                case "strip":
                    self._take(Lane.STRIP, decode(payload, AlertStrip), payload)
                case "frame":
                    schema, records = decode_batch(payload)
                    for record in records:
                        frame = frame_of(schema, record)
                        self._take(Lane.FRAME, frame, encode(frame))
                case "gap":
                    gap = decode(payload, GapNotice)
                    self.gaps.append(gap)
                    stream = self._streams[gap.boot_id, gap.lane]
                    stream.commit(gap.first_sequence_number, gap.last_sequence_number)
                    self._commit(gap.boot_id, gap.lane)
                case _:
                    self.statuses.append(decode(payload, DeviceStatus))
            if self.committing and suffix in ("alert", "strip", "frame"):
                for boot_id, lane in {key[:2] for key in self.arrivals[-64:]}:
                    self._commit(boot_id, lane)
            self.changed.notify_all()

    def _take(self, lane: Lane, message: Any, payload: bytes) -> None:
        key = (message.boot_id, lane, message.sequence_number)
        if self.payloads.get(key, payload) != payload:
            self.conflicts.append(key)
        self.payloads[key] = payload
        self.arrivals.append(key)
        self._streams[key[:2]].commit(message.sequence_number)

    def _commit(self, boot_id: str, lane: Lane) -> None:
        watermark = self._streams[boot_id, lane].watermark
        if watermark < 0 or not self.committing:
            return
        said = CommitWatermark(
            device_id=self.device_id, boot_id=boot_id, lane=lane, sequence_number=watermark
        )
        writer = self._clients["worker" if lane is Lane.FRAME else "cloud"]
        topic = topics.WATERMARK[lane]
        writer.publish(topic.address(SITE, self.device_id), encode(said), qos=1, retain=True)

    def say(self, command: AcknowledgeCommand | ModelCommand, user: str = "cloud") -> None:
        acknowledges = isinstance(command, AcknowledgeCommand)
        topic = topics.ACKNOWLEDGEMENT if acknowledges else topics.MODEL_COMMAND
        self.say_raw(topic.suffix, encode(command), user, retain=topic.retained)

    def say_raw(
        self, suffix: str, payload: bytes, user: str = "cloud", *, retain: bool = False
    ) -> None:
        address = f"{topics.ROOT}/{SITE}/{self.device_id}/{suffix}"
        self._clients[user].publish(address, payload, qos=1, retain=retain)

    def wait_for(self, condition: Any, timeout_s: float = 20.0) -> bool:
        with self.changed:
            return bool(self.changed.wait_for(lambda: condition(self), timeout_s))

    def numbers(self, lane: Lane) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for boot_id, at, number in sorted(self.payloads):
            if at is lane:
                found[boot_id].append(number)
        return dict(found)

    def holes(self) -> list[tuple[str, Lane, tuple[int, int]]]:
        return [
            (boot_id, lane, hole)
            for (boot_id, lane), stream in self._streams.items()
            for hole in stream.missing()
        ]
