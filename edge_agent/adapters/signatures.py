"""Whether an order was signed by whom this device obeys."""

from base64 import b64decode
from binascii import Error as Base64Error
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from wardstream.contracts.authority import signing_bytes
from wardstream.contracts.errors import ConfigurationError


class OrderVerifier:
    """Checks Ed25519 signatures against the keys in `path` (PEM, one after the other).

    Raises
    ------
    ConfigurationError
        The file cannot be read or has no Ed25519 public key.
    """

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ConfigurationError([f"EDGE_ORDERS_KEY: {error}"]) from error
        end = b"-----END PUBLIC KEY-----"
        self._keys: list[Ed25519PublicKey] = []
        for part in text.split(end)[:-1]:
            try:
                key = load_pem_public_key(part.strip() + b"\n" + end + b"\n")
            except ValueError as error:
                raise ConfigurationError([f"EDGE_ORDERS_KEY: {path}: {error}"]) from error
            if not isinstance(key, Ed25519PublicKey):
                raise ConfigurationError([f"EDGE_ORDERS_KEY: {path} holds no Ed25519 key"])
            self._keys.append(key)
        if not self._keys:
            raise ConfigurationError([f"EDGE_ORDERS_KEY: there is no public key in {path}"])

    def __call__(self, order: object) -> bool:
        """Whether one of the keys signed `order`, exactly as it stands."""
        signature = getattr(order, "signature", "")
        try:
            raw = b64decode(signature, validate=True)
        except (Base64Error, ValueError):
            return False
        message = signing_bytes(order)
        return any(_is_by(key, raw, message) for key in self._keys)


def _is_by(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
