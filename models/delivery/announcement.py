"""Tell the beds, over MQTT v5, that there is something to fetch, or to go back from."""

import threading
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from wardstream.contracts.codec import encode
from wardstream.contracts.device import ModelCommand
from wardstream.contracts.errors import ConfigurationError, RefusedError, TransientError
from wardstream.contracts.topics import FLEET, MODEL_COMMAND

DEADLINE_S: Final = 10.0

SESSION_EXPIRY_S: Final = 60
"""Said on every CONNECT: without it MQTT v5 drops the session, and what is under way, at once."""


def announce(command: ModelCommand, site_id: str, mqtt_url: str) -> str:
    """Publish `command` retained, at QoS 1, and return its topic once the broker has it.

    Parameters
    ----------
    command : ModelCommand
        To one device, or with no `device_id` to the site's fleet.
    site_id : str
        Which site.
    mqtt_url : str
        ``mqtt://user:password@host:port``.

    Raises
    ------
    ConfigurationError
        The URL is not one.
    RefusedError
        The broker refuses the user or the topic.
    TransientError
        The broker is away, or does not answer within `DEADLINE_S`.
    """
    topic = MODEL_COMMAND.address(site_id, command.device_id or FLEET)
    parts = urlsplit(mqtt_url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ConfigurationError(
            ["WARDSTREAM_MQTT_URL is not of the form mqtt://user:password@host:port"]
        )
    outcome = _Outcome()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"wardstream-models-{command.command_id}",
        protocol=mqtt.MQTTv5,
    )
    client.on_connect = outcome.connected
    client.on_publish = outcome.published
    if parts.username:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        client.tls_set()
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    try:
        client.connect(
            parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883),
            properties=properties,
        )  # fmt: skip
        client.loop_start()
        outcome.wait("answer to CONNECT")
        client.publish(topic, encode(command), qos=1, retain=True)
        outcome.wait("PUBACK")
    except OSError as error:
        raise TransientError(f"MQTT broker {parts.hostname}:{parts.port}: {error}") from error
    finally:
        client.disconnect()
        client.loop_stop()
    return topic


class _Outcome:
    """What the network thread has to say, one answer after the other."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._refusal = ""

    def connected(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._refusal = f"the broker refuses the connection: {reason}" if reason.is_failure else ""
        self._answered.set()

    def published(self, _client: Any, _data: Any, _mid: Any, reason: Any, _properties: Any) -> None:
        self._refusal = (
            f"the broker refuses the announcement: {reason}" if reason.is_failure else ""
        )
        self._answered.set()

    def wait(self, what: str) -> None:
        if not self._answered.wait(DEADLINE_S):
            raise TransientError(f"no {what} within {DEADLINE_S:g} s")
        self._answered.clear()
        if self._refusal:
            raise RefusedError(self._refusal)
