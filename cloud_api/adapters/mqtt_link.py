"""The broker, through paho's own thread, with everything that thread must not do kept out of it.

Nothing is acknowledged by paho: a message stays the broker's until `acknowledge`. Callbacks only
hand over; what escapes from one ends the process instead of silently ending the thread.
"""

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud_api.core.intake import Inbound
from cloud_api.core.ports import Clock, Delivery

logger = logging.getLogger(__name__)

RECEIVE_MAXIMUM: Final = 400
"""Messages the broker may have out unacknowledged: what is held while the database is away."""

_SESSION_EXPIRY_S: Final = 24 * 3600
_KEEPALIVE_S: Final = 10
_MAX_QUEUED: Final = 2_000
_SESSION_TAKEN_OVER: Final = 0x8E


class LinkBrokenError(Exception):
    """The client can no longer be trusted; the process ends and starts anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and who we are there."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool


@dataclass(frozen=True, slots=True)
class _Token:
    epoch: int
    mid: int


class MqttLink:
    """One client: takes what devices say, sends what they are told."""

    def __init__(
        self, address: BrokerAddress, client_id: str, filters: Sequence[str], clock: Clock
    ) -> None:
        self._address = address
        self._filters = tuple(filters)
        self._clock = clock
        self._inbox: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._broken: BaseException | None = None
        self._epoch = 0
        self._connected = threading.Event()
        self._n_overflowed = 0
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        self._client.username_pw_set(address.username, address.password)
        if address.tls:
            self._client.tls_set()
        self._client.reconnect_delay_set(1, 8)
        self._client.max_queued_messages_set(_MAX_QUEUED)
        self._client.max_inflight_messages_set(200)
        self._client.on_connect = self._guarded(self._on_connect)
        self._client.on_disconnect = self._guarded(self._on_disconnect)
        self._client.on_message = self._guarded(self._on_message)
        self._client.on_socket_open = self._guarded(_no_delay)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive=_KEEPALIVE_S,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connected.clear()
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        self._loop = None

    @property
    def is_connected(self) -> bool:
        """Whether the broker can be reached now."""
        return self._connected.is_set()

    @property
    def n_waiting(self) -> int:
        """Messages taken from the broker and not yet by the intake."""
        return len(self._inbox)

    async def take(self, limit: int) -> list[Delivery]:
        """Between 1 and `limit` messages, in order of arrival; waits for the first.

        Raises
        ------
        LinkBrokenError
            A callback failed or another process uses our client id.
        """
        while not self._inbox:
            self._arrived.clear()
            self._raise_if_broken()
            await self._arrived.wait()
        self._raise_if_broken()
        return [self._inbox.popleft() for _ in range(min(limit, len(self._inbox)))]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that `deliveries` are in safe hands.

        Those of an earlier connection are passed over: the broker delivers them again, and
        their packet ids may name other messages by now.
        """
        for delivery in deliveries:
            token = delivery.token
            if isinstance(token, _Token) and token.epoch == self._epoch:
                self._client.ack(token.mid, 1)

    def publish(
        self, address: str, payload: bytes, *, retained: bool, expires_in_s: int | None = None
    ) -> bool:
        """Send QoS 1; whether it was taken. Never waits, and never queues without a connection:
        what matters is in the database and is sent again from there.
        """
        if not self._connected.is_set():
            return False
        properties = Properties(PacketTypes.PUBLISH)
        if expires_in_s is not None:
            properties.MessageExpiryInterval = expires_in_s
        info = self._client.publish(address, payload, qos=1, retain=retained, properties=properties)
        return info.rc == paho.MQTT_ERR_SUCCESS

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise LinkBrokenError("the MQTT client failed") from self._broken

    def _on_connect(
        self, client: paho.Client, _data: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            logger.warning("broker refused the connection: %s", reason)
            return
        self._epoch += 1
        self._call(self._forget_redelivered, self._epoch, flags.session_present)
        # Subscribed anew each time: the broker may have lost the session.
        client.subscribe([(name, SubscribeOptions(qos=1)) for name in self._filters])
        self._connected.set()
        logger.info("broker is back" if self._epoch > 1 else "connected to the broker")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        was_connected = self._connected.is_set()
        self._connected.clear()
        if reason.value == _SESSION_TAKEN_OVER:
            raise LinkBrokenError("another process uses our MQTT client id; set CLOUD_INSTANCE")
        if was_connected:
            logger.warning("broker lost: %s", reason)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        inbound = Inbound(
            address=message.topic,
            payload=bytes(message.payload),
            retained=message.retain,
            received_time_ns=self._clock(),
        )
        self._call(self._deliver, Delivery(inbound, _Token(self._epoch, message.mid)))

    def _forget_redelivered(self, epoch: int, session_present: bool) -> None:
        # A kept session delivers the unacknowledged again. A lost one does not, so those stay;
        # however often it is lost, no more than twice the receive maximum is held.
        if session_present:
            kept = [one for one in self._inbox if _epoch_of(one) >= epoch]
            self._inbox = deque(kept)

    def _deliver(self, delivery: Delivery) -> None:
        if len(self._inbox) >= 2 * RECEIVE_MAXIMUM:
            # The device's outbox has it and sends it again, for no watermark covers it. It is
            # acknowledged, or the broker would hold a place of its window for it for ever.
            self.acknowledge([delivery])
            self._n_overflowed += 1
            if self._n_overflowed == 1:
                logger.warning("intake is full; what comes now will be sent again by the devices")
            return
        self._n_overflowed = 0
        self._inbox.append(delivery)
        self._arrived.set()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(function, *arguments)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:  # the process ends, see `take`
                logger.exception("MQTT callback failed")
                self._connected.clear()
                self._call(self._break, error)

        return guarded

    def _break(self, error: BaseException) -> None:
        self._broken = error
        self._arrived.set()


def _epoch_of(delivery: Delivery) -> int:
    return delivery.token.epoch if isinstance(delivery.token, _Token) else 0


def _no_delay(_client: Any, _data: Any, connection: Any) -> None:
    # Small packets both ways: without it an acknowledgement may wait 40 ms for company.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
