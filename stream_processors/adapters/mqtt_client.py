"""A paho client set up the one way that loses nothing: v5, own acknowledgements, kept session."""

import socket
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wardstream.contracts.codec import MAX_MESSAGE_BYTES
from wardstream.contracts.errors import ConfigurationError

KEEPALIVE_S = 10
_SESSION_EXPIRY_S = 24 * 3600
_PORTS = {"mqtt": 1883, "mqtts": 8883}


def make_client(
    url: str, client_id: str, *, manual_ack: bool = False
) -> tuple[mqtt.Client, str, int]:
    """A client for `url` (``mqtt[s]://user:password@host:port``), with the host and port.

    Raises
    ------
    ConfigurationError
        The URL is none of ours.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigurationError(["MQTT URL must be mqtt[s]://[user:password@]host[:port]"])
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=mqtt.MQTTv5,
        manual_ack=manual_ack,
    )
    if parts.username:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        client.tls_set()
    client.reconnect_delay_set(min_delay=1, max_delay=4)  # the default grows to 120 s
    client.on_socket_open = _no_delay
    return client, parts.hostname, parts.port or _PORTS[parts.scheme]


def connect_properties(receive_maximum: int) -> Properties:
    """CONNECT properties: the session outlives the connection, and what comes is bounded."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = _SESSION_EXPIRY_S
    properties.ReceiveMaximum = receive_maximum
    properties.MaximumPacketSize = MAX_MESSAGE_BYTES + 4096
    return properties


def _no_delay(_client: mqtt.Client, _data: object, connection: Any) -> None:
    # A watermark is a small packet: without this it may wait 40 ms for company.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
