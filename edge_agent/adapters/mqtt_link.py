"""paho-mqtt v5 as a `Link`, with what reference/libraries.md says about it taken care of.

* Every callback is wrapped: an exception in one would end paho's loop thread while
  ``is_connected()`` goes on saying True. The thread itself is watched from outside.
* paho queues without bound while offline and loses it at exit: nothing is published unless
  connected and below the window; what matters is in the outbox.
* PUBACKs are sent by hand, after a message has been carried out, and only on the connection
  on which it came.
* Session expiry goes with every CONNECT, and so do the subscriptions: retained watermarks
  are heard again.
"""

import logging
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.core.ports import Delivery, LinkEvent, LinkHandlers

logger = logging.getLogger(__name__)

P = ParamSpec("P")

SESSION_EXPIRY_S: Final = 7 * 86_400
KEEPALIVE_S: Final = 10
SESSION_TAKEN_OVER: Final = 142
UNSENT_AT_MOST: Final = 64
"""Messages of QoS 0 that may wait in paho: two seconds of a live view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where to connect and as whom.

    Attributes
    ----------
    host, port
        Where.
    username, password
        As whom; the password does not show in ``repr``.
    tls : bool
        Whether to check the broker's certificate against the system's authorities.
    client_id : str
        Session's name; two agents with the same one throw each other out.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: bool = False

    def __repr__(self) -> str:
        return f"Broker({self.username}@{self.host}:{self.port} as {self.client_id})"


def _never_raises(callback: Callable[P, None]) -> Callable[P, None]:
    @wraps(callback)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception:
            logger.exception("a callback of the link failed")

    return wrapped


class PahoLink:
    """`Link` to `broker`.

    Parameters
    ----------
    broker : Broker
        Where and as whom.
    will : tuple of (topic, payload)
        What the broker says, retained, when this device is lost.
    window : int
        Unconfirmed messages at most; the broker may allow fewer.
    """

    def __init__(self, broker: Broker, will: tuple[str, bytes], window: int = 32) -> None:
        if not 1 <= window <= 100:
            raise ValueError(f"window is {window}, expected 1 to 100")
        self._broker = broker
        self._will = will
        self._wanted_window = window
        self._window = window
        self._handlers: LinkHandlers | None = None
        self._subscriptions: Sequence[str] = ()
        self._client: mqtt.Client | None = None
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._connected = False
        self._complained = False
        self._unsent: deque[mqtt.MQTTMessageInfo] = deque()

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        return self._connected

    @property
    def window(self) -> int:
        """How many messages may be unconfirmed at once."""
        return self._window

    def start(self, handlers: LinkHandlers, subscriptions: Sequence[str]) -> None:
        """Begin to connect, and keep connecting."""
        self._handlers = handlers
        self._subscriptions = subscriptions
        self._begin()

    def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> int | None:
        """Hand one message to paho; None if it cannot go now."""
        client = self._client
        if client is None or not self._connected:
            return None
        info = client.publish(topic, payload, qos=1, retain=retained)
        # NO_CONN: paho keeps it and sends it with the next connection, so it is in flight.
        if info.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            return info.mid
        return None

    def publish_once(self, topic: str, payload: bytes) -> bool:
        """Send `payload` with QoS 0; False: left out, for the last ones are not on their way."""
        client, unsent = self._client, self._unsent
        while unsent and unsent[0].is_published():
            unsent.popleft()
        if client is None or not self._connected or len(unsent) >= UNSENT_AT_MOST:
            return False
        unsent.append(client.publish(topic, payload, qos=0))
        return True

    def is_alive(self) -> bool:
        """Whether paho's loop thread still runs."""
        return self._thread is not None and self._thread.is_alive()

    def restart(self) -> None:
        """Begin again with a new client."""
        old = self._client
        self._end(old)
        self._begin()

    def stop(self, deadline_s: float) -> None:
        """Disconnect in peace, so that the will is not sent."""
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        if self._thread is not None:
            self._thread.join(deadline_s)
        self._connected = False

    # ---- inside ---------------------------------------------------------------------------

    def _begin(self) -> None:
        self._generation += 1
        self._connected = False
        self._unsent = deque()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._broker.client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        client.max_inflight_messages_set(self._wanted_window)
        client.max_queued_messages_set(2 * self._wanted_window)
        self._spread_reconnects(client)
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls:
            client.tls_set()
        topic, payload = self._will
        client.will_set(topic, payload, qos=1, retain=True)
        self._set_callbacks(client)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        client.connect_async(
            self._broker.host,
            self._broker.port,
            keepalive=KEEPALIVE_S,
            clean_start=False,
            properties=properties,
        )
        self._client = client
        before = set(threading.enumerate())
        client.loop_start()
        started = [
            thread
            for thread in threading.enumerate()
            if thread not in before and thread.name.startswith("paho-mqtt-client")
        ]
        self._thread = started[0] if started else None

    def _end(self, client: mqtt.Client | None) -> None:
        if client is None:
            return
        client.on_connect = client.on_disconnect = client.on_message = client.on_publish = None
        client.disconnect()
        # A loop that hangs must not hang us: it is left to end by itself.
        threading.Thread(target=client.loop_stop, name="old link", daemon=True).start()

    @staticmethod
    def _spread_reconnects(client: mqtt.Client) -> None:
        # After a broker's restart a ward of beds must not come back in one instant.
        spread: Any = client.reconnect_delay_set
        spread(min_delay=random.uniform(1.0, 2.0), max_delay=random.uniform(5.0, 8.0))  # noqa: S311

    def _set_callbacks(self, client: mqtt.Client) -> None:
        generation = self._generation

        @_never_raises
        def on_connect(_c: Any, _u: Any, _flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                self._complain(f"the broker refuses us: {reason}")
                return
            self._complained = False
            self._window = min(
                self._wanted_window, getattr(properties, "ReceiveMaximum", self._wanted_window)
            )
            self._generation += 1
            options = SubscribeOptions(qos=1)
            client.subscribe([(topic, options) for topic in self._subscriptions])
            self._connected = True
            self._told(LinkEvent.CONNECTED)

        @_never_raises
        def on_connect_fail(_c: Any, _u: Any) -> None:
            self._complain("the broker cannot be reached")

        @_never_raises
        def on_disconnect(_c: Any, _u: Any, _flags: Any, reason: Any, _p: Any) -> None:
            was_connected, self._connected = self._connected, False
            self._spread_reconnects(client)
            if getattr(reason, "value", 0) == SESSION_TAKEN_OVER:
                self._complain(f"another agent runs as {self._broker.client_id}")
            if was_connected:
                self._told(LinkEvent.DISCONNECTED)

        @_never_raises
        def on_subscribe(_c: Any, _u: Any, _mid: int, reasons: Any, _p: Any) -> None:
            refused = [
                f"{topic}: {reason}"
                for topic, reason in zip(self._subscriptions, reasons, strict=False)
                if reason.is_failure
            ]
            if refused:
                self._complain(f"the broker refuses subscriptions: {refused}")

        @_never_raises
        def on_publish(_c: Any, _u: Any, mid: int, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                self._complain(f"the broker refuses messages: {reason}")
            if self._handlers is not None:
                self._handlers.on_published(mid, not reason.is_failure)

        @_never_raises
        def on_message(_c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
            if self._handlers is not None:
                accept = self._acceptance(client, message.mid, message.qos)
                self._handlers.on_delivery(Delivery(message.topic, bytes(message.payload), accept))

        client.on_connect, client.on_connect_fail = on_connect, on_connect_fail
        client.on_disconnect, client.on_subscribe = on_disconnect, on_subscribe
        client.on_publish, client.on_message = on_publish, on_message
        client.on_socket_open = _no_delay
        logger.debug("link %d begins: %r", generation, self._broker)

    def _acceptance(self, client: mqtt.Client, mid: int, qos: int) -> Callable[[], None]:
        generation = self._generation

        def accept() -> None:
            # On a later connection the same id belongs to another message.
            if self._connected and self._generation == generation:
                client.ack(mid, qos)

        return accept

    def _complain(self, message: str) -> None:
        if not self._complained:
            logger.warning("%s (%r)", message, self._broker)
        self._complained = True

    def _told(self, event: LinkEvent) -> None:
        if self._handlers is not None:
            self._handlers.on_event(event)


@_never_raises
def _no_delay(_client: Any, _data: Any, connection: Any) -> None:
    # An alert is a small packet: without this it may wait 40 ms for company.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
