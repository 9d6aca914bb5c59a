"""Check-up of what a device reaches: broker, certificates. One connection each, closed at once."""

import json
import socket
import ssl
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.adapters.mqtt_link import Broker
from edge_agent.core.checkup import Check, failed, passed, warned

_DEADLINE_S: Final = 5.0
_RENEW_DAYS: Final = 14.0


def check_broker(broker: Broker) -> Check:
    """Whether the broker takes us, and how far away it is. Says goodbye under another name."""
    name = "broker"
    asked = replace(broker, client_id=f"doctor-{uuid4().hex[:12]}")
    answered = threading.Event()
    reasons: list[Any] = []

    def on_connect(_c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        reasons.append(reason)
        answered.set()

    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=asked.client_id, protocol=mqtt.MQTTv5
    )
    if asked.username is not None:
        client.username_pw_set(asked.username, asked.password)
    if asked.tls:
        client.tls_set()
    client.on_connect = on_connect
    began_s = time.monotonic()
    try:
        client.connect(asked.host, asked.port, keepalive=10)
        client.loop_start()
        heard = answered.wait(_DEADLINE_S)
    except (OSError, ValueError) as error:
        return failed(
            name,
            f"{asked.host}:{asked.port} cannot be reached: {error}",
            "check address, firewall and cable; the bed alarms without it, the station does not",
        )
    finally:
        client.disconnect()
        client.loop_stop()
    took_ms = (time.monotonic() - began_s) * 1e3
    if not heard:
        return failed(
            name,
            f"{asked.host}:{asked.port} took the connection but says nothing for 5 s",
            "is it an MQTT v5 broker? is TLS (mqtts) wanted there?",
        )
    if reasons[0].is_failure:
        return failed(
            name,
            f"{asked.host}:{asked.port} refuses us: {reasons[0]}",
            "check user and password of EDGE_MQTT__URL and the broker's access list",
        )
    if took_ms > 1000:
        return warned(name, f"answers after {took_ms:.0f} ms", "see what slows the network down")
    return passed(name, f"{asked.host}:{asked.port} takes us after {took_ms:.0f} ms")


def check_broker_certificate(broker: Broker, now: datetime) -> Check:
    """Whether the broker's certificate is trusted here, and how long it holds."""
    name = "broker certificate"
    if not broker.tls:
        local = broker.host in ("127.0.0.1", "localhost", "::1")
        if local:
            return passed(name, "none: the broker is on this machine")
        return warned(name, "none: what is sent can be read on the way", "use mqtts://")
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((broker.host, broker.port), _DEADLINE_S) as plain,
            context.wrap_socket(plain, server_hostname=broker.host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return failed(
            name,
            f"not trusted: {error.verify_message}",
            "install the site's authority in the system's store, or renew the certificate",
        )
    except OSError as error:
        return failed(name, f"cannot be asked for: {error}", "see the line of the broker")
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    return _by_age(name, ends, now)


def check_root(path: Path | None, now: datetime) -> Check:
    """Whether the root of trust for models is there and has not expired."""
    name = "model root of trust"
    if path is None:
        return passed(name, "no model repository is set; the shipped model judges")
    try:
        ends = datetime.fromisoformat(json.loads(path.read_text())["signed"]["expires"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return failed(name, f"{path} cannot be read: {error}", "copy root.json of the repository")
    return _by_age(name, ends if ends.tzinfo else ends.replace(tzinfo=UTC), now)


def _by_age(name: str, ends: datetime, now: datetime) -> Check:
    days = (ends - now).total_seconds() / 86_400
    found = f"holds until {ends:%Y-%m-%d} ({days:.0f} days)"
    if days < 0:
        return failed(name, f"expired on {ends:%Y-%m-%d}", "renew it")
    if days < _RENEW_DAYS:
        return warned(name, found, "renew it now")
    return passed(name, found)
