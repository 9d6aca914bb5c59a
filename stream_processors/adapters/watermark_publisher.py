"""The way back: retained watermarks over MQTT, the newest of each device, a few times a second."""

import logging
import threading
import time
from collections import OrderedDict
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt

from stream_processors.adapters.mqtt_client import KEEPALIVE_S, connect_properties, make_client
from wardstream.contracts.codec import encode
from wardstream.contracts.identity import CommitWatermark, Lane
from wardstream.contracts.topics import WATERMARK

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.2
"""Commits come faster than devices need to know."""
_MOST_REMEMBERED: Final = 50_000


class MqttWatermarkPublisher:
    """Publishes from a thread of its own; what is superseded before its turn is never sent."""

    def __init__(self, url: str, instance: str) -> None:
        self._client, self._host, self._port = make_client(url, f"wardstream-worker-{instance}")
        self._client.on_connect = self._on_connect
        # By topic and life: an old life's backlog and the new life's frames come side by side.
        self._newest: OrderedDict[tuple[str, str], CommitWatermark] = OrderedDict()
        self._changed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watermarks", daemon=True)

    async def __aenter__(self) -> Self:
        """Start connecting; the broker may be away."""
        self._client.connect_async(
            self._host, self._port, keepalive=KEEPALIVE_S, properties=connect_properties(100)
        )
        self._client.loop_start()
        self._thread.start()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say the last word and disconnect."""
        self._stopping.set()
        self._thread.join(2)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, site_id: str, watermark: CommitWatermark) -> None:
        """Keep `watermark` for its device; returns at once."""
        address = WATERMARK[Lane(watermark.lane)].address(site_id, watermark.device_id)
        key = (address, watermark.boot_id)
        with self._lock:
            self._newest[key] = watermark
            self._newest.move_to_end(key)
            self._changed.add(key)
            if len(self._newest) > _MOST_REMEMBERED:
                forgotten, _ = self._newest.popitem(last=False)
                self._changed.discard(forgotten)

    @property
    def is_alive(self) -> bool:
        """Whether the thread that publishes lives."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopping.is_set():
            time.sleep(INTERVAL_S)
            if self._client.is_connected():
                self._send_changed()
        self._send_changed()

    def _send_changed(self) -> None:
        with self._lock:
            due = [(key[0], self._newest[key]) for key in self._changed]
            self._changed.clear()
        for address, watermark in due:
            self._client.publish(address, encode(watermark), qos=1, retain=True)

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            logger.error("MQTT broker refused the connection: %s", reason)
            return
        # A broker that came back may have lost what it retained.
        with self._lock:
            self._changed.update(self._newest)
        logger.info("MQTT connected")
