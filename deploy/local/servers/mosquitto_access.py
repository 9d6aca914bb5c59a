"""Who may say what on the broker: one row a role, made from the directions of the contracts."""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wardstream.contracts.identity import Lane, check_id
from wardstream.contracts.topics import (
    ACKNOWLEDGEMENT,
    ALERT,
    FLEET,
    FRAME,
    GAP,
    LEASE,
    LIMITS,
    LIVE,
    LIVE_VIEW,
    MODEL_COMMAND,
    MQTT_TOPICS,
    ROOT,
    SILENCE,
    STATUS,
    STRIP,
    WATERMARK,
    MqttTopic,
)

_PBKDF2_ROUNDS: Final = 101  # what mosquitto_passwd writes; the passwords are 144 random bits


@dataclass(frozen=True, slots=True)
class ServiceRole:
    """What one service may read and write, of every device."""

    reads: tuple[MqttTopic[Any], ...]
    writes: tuple[MqttTopic[Any], ...]


SERVICES: Final[Mapping[str, ServiceRole]] = {
    "bridge": ServiceRole(reads=(FRAME, GAP, ALERT, STATUS), writes=()),
    "worker": ServiceRole(reads=(), writes=(WATERMARK[Lane.FRAME],)),
    "cloud": ServiceRole(
        reads=(ALERT, STRIP, LIVE, GAP, STATUS, MODEL_COMMAND),
        writes=(
            *(ACKNOWLEDGEMENT, SILENCE, LEASE, LIMITS, LIVE_VIEW, MODEL_COMMAND),
            *(WATERMARK[Lane.ALERT], WATERMARK[Lane.STRIP]),
        ),
    ),
    "ops": ServiceRole(reads=(STATUS, MODEL_COMMAND), writes=(MODEL_COMMAND,)),
}


def access_list() -> str:
    """The broker's ACL file: a device reaches its own topics and the fleet's commands alone."""
    lines: list[str] = []
    for name, role in SERVICES.items():
        lines.append(f"user {name}")
        lines.extend(f"topic read {topic.filter()}" for topic in role.reads)
        lines.extend(f"topic write {topic.filter()}" for topic in role.writes)
        lines.append("")
    # A device's user name is its device id, which %u stands for.
    for topic in MQTT_TOPICS:
        direction = "write" if topic.from_device else "read"
        lines.append(f"pattern {direction} {ROOT}/+/%u/{topic.suffix}")
    lines.append(f"pattern read {ROOT}/+/{FLEET}/{MODEL_COMMAND.suffix}")
    return "\n".join(lines) + "\n"


def password_file(passwords: Mapping[str, str]) -> str:
    """The broker's password file (format 7: PBKDF2 with SHA-512)."""
    return "".join(f"{user}:{_hashed(password)}\n" for user, password in passwords.items())


def draw_passwords(known: Mapping[str, str], device_ids: Sequence[str]) -> dict[str, str]:
    """`known`, and a new password for every service and device that has none.

    Raises
    ------
    OutOfRangeError
        A device id is malformed.
    ValueError
        A device bears the name of a service.
    """
    for device_id in device_ids:
        check_id(device_id, "device_id")
        if device_id in SERVICES or device_id == FLEET:
            raise ValueError(f"a device may not be called {device_id!r}")
    users = [*SERVICES, *device_ids]
    drawn = {user: secrets.token_urlsafe(18) for user in users if user not in known}
    return {**known, **drawn}


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PBKDF2_ROUNDS)
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${_PBKDF2_ROUNDS}${'$'.join(parts)}"
