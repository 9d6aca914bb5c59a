"""The bridge's MQTT side: paho in its own thread, messages handed over to the event loop."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from stream_processors.adapters.mqtt_client import KEEPALIVE_S, connect_properties, make_client
from stream_processors.core.ports import DeviceMessage
from wardstream.contracts.errors import TransientError
from wardstream.contracts.topics import ALERT, FRAME, GAP, STATUS

logger = logging.getLogger(__name__)

SHARED_GROUP: Final = "bridge"
RECEIVE_MAXIMUM: Final = 4000
"""Unacknowledged messages the broker may have given us; it may itself allow fewer."""


class MqttInbox:
    """Frames, gaps and alerts of all devices (shared among bridges), and every device's status.

    A status is retained, and a broker gives retained messages to no shared subscription, so
    each bridge has its own for them; that Kafka then holds them twice does no harm.
    """

    def __init__(self, url: str, instance: str) -> None:
        self._client, self._host, self._port = make_client(
            url, f"wardstream-bridge-{instance}", manual_ack=True
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._waiting: deque[DeviceMessage] = deque()
        self._connection = 0
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Start connecting; the broker may be away, paho keeps trying."""
        self._loop = asyncio.get_running_loop()
        self._client.connect_async(
            self._host,
            self._port,
            keepalive=KEEPALIVE_S,
            clean_start=False,
            properties=connect_properties(RECEIVE_MAXIMUM),
        )
        self._thread = threading.Thread(target=self._work, name="mqtt-inbox", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, keeping the session: what is unacknowledged comes again."""
        thread = self._thread
        if thread is not None:
            self._client.disconnect()
            await asyncio.to_thread(thread.join, 5)

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.is_connected()

    async def take(self, *, linger_s: float, max_messages: int) -> list[DeviceMessage]:
        """What has come, oldest first; an empty list once a second while nothing comes.

        Raises
        ------
        TransientError
            The thread that reads from the broker died; only a new process helps.
        """
        if not self._waiting:
            self._arrived.clear()
            if not self._waiting:
                try:
                    await asyncio.wait_for(self._arrived.wait(), 1.0)
                except TimeoutError:
                    self._check()
                    return []
        if len(self._waiting) < max_messages:
            await asyncio.sleep(linger_s)
        self._check()
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), max_messages))]

    def acknowledge(self, messages: Sequence[DeviceMessage]) -> None:
        """PUBACK each message, in order, unless its connection is gone: then it comes again."""
        for message in messages:
            connection, packet_id = message.receipt
            if connection == self._connection:
                self._client.ack(packet_id, 1)

    def ask_again(self) -> None:
        """Subscribe anew to what is retained, which makes the broker send it again."""
        if self._client.is_connected():
            self._client.subscribe(STATUS.filter(), qos=1)

    def _check(self) -> None:
        if self._failure is not None:
            raise TransientError(f"MQTT reader failed: {self._failure!r}") from self._failure
        if self._thread is None or not self._thread.is_alive():
            raise TransientError("MQTT reader is not running")

    def _work(self) -> None:
        try:
            self._client.loop_forever(retry_first_connection=True)
        except BaseException as error:  # noqa: BLE001  # the thread ends here; `take` raises it
            self._failure = error

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            logger.error("MQTT broker refused the connection: %s", reason)
            return
        self._connection += 1
        once = SubscribeOptions(qos=1)
        shared = [topic.filter(shared_group=SHARED_GROUP) for topic in (FRAME, GAP, ALERT)]
        client.subscribe([(name, once) for name in (*shared, STATUS.filter())])
        logger.info("MQTT connected, session %s", "kept" if flags.session_present else "new")

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        # Whatever is still here was not acknowledged and comes again.
        if reason.is_failure:
            logger.warning("MQTT connection lost: %s", reason)

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        was_empty = not self._waiting
        self._waiting.append(
            DeviceMessage(
                message.topic,
                bytes(message.payload),
                time.time_ns(),
                (self._connection, message.mid),
            )
        )
        if was_empty and self._loop is not None:
            self._loop.call_soon_threadsafe(self._arrived.set)
