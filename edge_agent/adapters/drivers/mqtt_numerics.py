"""Numerics of wearables and glucose sensors, as JSON over MQTT.

One message is one observation or ``{"observations": [...]}``::

    {"code": "MDC_CONC_GLU_ISF", "unit": "mg/dL", "value": 104, "time": "2026-11-23T08:15:00Z"}

`code` is an MDC reference id or number, `unit` UCUM or MDC, `value` a number or null (the device
shows none), `time` RFC 3339 with an offset, or absent (determined as it arrives). A field that is
not one of these is a refusal: what it says might change what the value means.
"""

import ssl
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import DeviceLostError
from edge_agent.adapters.drivers.stated import numeric
from edge_agent.adapters.drivers.threads import on_own_thread
from edge_agent.adapters.optional import import_driver
from wardstream.contracts.errors import ContractError
from wardstream.contracts.timebase import from_datetime

MAX_PAYLOAD_BYTES: Final = 65_536
MAX_OBSERVATIONS: Final = 512
KEEP_ALIVE_S: Final = 10
SESSION_EXPIRY_S: Final = 3600
"""How long the broker keeps what comes while we are away."""


class Observation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One value, as the gateway of a wearable states it."""

    code: str
    unit: str
    value: float | None
    time: datetime | None = None


class Observations(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Several values in one message."""

    observations: list[Observation]


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttNumericsPlan:
    """Broker and topic.

    Attributes
    ----------
    host, port, tls : str, int, bool
        The broker.
    topic : str
        Topic of this bed's devices; wildcards are refused by the settings.
    client_id : str
        Unique at the broker.
    username, password : str or None
        Credentials.
    authority : Path or None
        Certificate authority of the broker, None for the system's.
    """

    host: str
    port: int
    tls: bool
    topic: str
    client_id: str
    username: str | None = None
    password: str | None = None
    authority: Path | None = None


class MqttNumericsDriver:
    """Subscribes at QoS 1 on a thread of its own."""

    def __init__(self, plan: MqttNumericsPlan, inbox: Inbox) -> None:
        self._paho: Any = import_driver("paho.mqtt.client")
        self._enums: Any = import_driver("paho.mqtt.enums")
        self._properties: Any = import_driver("paho.mqtt.properties")
        self._packets: Any = import_driver("paho.mqtt.packettypes")
        self._plan = plan
        self._inbox = inbox
        self._subscribed = False
        self._lost = ""

    @property
    def name(self) -> str:
        """``mqtt`` and the topic."""
        return f"mqtt:{self._plan.topic}"

    async def converse(self) -> None:
        """Receive until the broker is lost.

        Raises
        ------
        DeviceLostError
            It does not answer, refuses, or hung up.
        """
        await on_own_thread(self.name, self._receive)

    # ---- on the receiving thread --------------------------------------------------------------

    def _receive(self, stop: threading.Event) -> None:
        client = self._client()
        self._subscribed, self._lost = False, ""
        properties = self._properties.Properties(self._packets.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        try:
            client.connect(
                self._plan.host,
                self._plan.port,
                keepalive=KEEP_ALIVE_S,
                clean_start=False,
                properties=properties,
            )
            while not stop.is_set():
                code = client.loop(timeout=0.2)
                if self._lost or code != self._enums.MQTTErrorCode.MQTT_ERR_SUCCESS:
                    raise DeviceLostError(self._lost or f"the connection broke ({code})")
        except (OSError, ValueError) as error:
            raise DeviceLostError(f"the broker does not answer: {error}") from error
        finally:
            if client.is_connected():
                client.disconnect()
                client.loop(timeout=0.05)

    def _client(self) -> Any:
        plan = self._plan
        client: Any = self._paho.Client(
            self._enums.CallbackAPIVersion.VERSION2,
            client_id=plan.client_id,
            protocol=self._enums.MQTTProtocolVersion.MQTTv5,
        )
        if plan.username is not None:
            client.username_pw_set(plan.username, plan.password)
        if plan.tls:
            cafile = None if plan.authority is None else str(plan.authority)
            client.tls_set_context(ssl.create_default_context(cafile=cafile))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            self._lost = f"the broker refuses: {reason}"
            return
        client.subscribe(self._plan.topic, qos=1)

    def _on_subscribe(self, _client: Any, _data: Any, _id: Any, reasons: Any, _more: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._lost = f"the broker refuses the subscription: {reasons[0]}"
            return
        self._inbox.connected(self.name, True)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        now_ns = self._inbox.now_ns()
        try:
            observations = read_observations(bytes(message.payload))
        except ContractError as error:
            self._inbox.refuse(self.name, str(error))
            return
        if message.retain:
            self._inbox.refuse(self.name, "a retained message: a value of who knows when")
            return
        for observation in observations:
            value = float("nan") if observation.value is None else observation.value
            self._inbox.deliver(
                "observation",
                lambda observation=observation, value=value: numeric(
                    observation.code,
                    observation.unit,
                    value,
                    now_ns,
                    None if observation.time is None else from_datetime(observation.time),
                    clock_is_utc=True,
                ),
            )


def read_observations(payload: bytes) -> list[Observation]:
    """The observations of one message.

    Raises
    ------
    ContractError
        It is no such message; the reason does not quote it.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ContractError(f"a message is longer than {MAX_PAYLOAD_BYTES} bytes")
    try:
        if payload.lstrip()[:15].replace(b" ", b"").startswith(b'{"observations"'):
            found = msgspec.json.decode(payload, type=Observations).observations
        else:
            found = [msgspec.json.decode(payload, type=Observation)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec names types and paths, and of unknown fields the name.
        raise ContractError(f"a message is no observation: {error}") from error
    if len(found) > MAX_OBSERVATIONS:
        raise ContractError(f"a message holds more than {MAX_OBSERVATIONS} observations")
    return found
