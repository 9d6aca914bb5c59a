"""Who a patient is inside the streams: a keyed hash that only the site can repeat."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from wardstream.contracts.errors import ConfigurationError

_SECRET_FILE = "site-secret"  # noqa: S105  # a file name
_FEWEST_BYTES = 16


def pseudonym_of(site_secret: bytes, identifier_system: str, identifier: str) -> str:
    """Stable pseudonym of the patient with that identifier; 80 bits of HMAC-SHA-256."""
    message = f"{identifier_system}|{identifier}".encode()
    digest = hmac.new(site_secret, message, hashlib.sha256).digest()
    return "p-" + base64.b32encode(digest[:10]).decode().lower()


def site_secret(state_dir: Path, given: str | None) -> bytes:
    """The site's key: `given`, else the one kept in `state_dir`, drawn at first use.

    Raises
    ------
    ConfigurationError
        The kept one is damaged. A new one would give every patient a second pseudonym.
    """
    if given is not None:
        return given.encode()
    path = state_dir / _SECRET_FILE
    state_dir.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_bytes()
        if len(kept) < _FEWEST_BYTES:
            raise ConfigurationError([f"{path} is damaged; restore it from a backup"]) from None
        return kept
    drawn = secrets.token_hex(32).encode()
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(drawn)
        handle.flush()
        os.fsync(handle.fileno())
    return drawn
