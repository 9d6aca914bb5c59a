"""Signs what devices obey."""

from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wardstream.contracts.authority import O_co, signed, signing_bytes
from wardstream.contracts.errors import ConfigurationError


class OrderSigner:
    """Signs with the Ed25519 private key in the file `path` (PEM, without a password).

    Raises
    ------
    ConfigurationError
        The file cannot be read or holds another kind of key.
    """

    def __init__(self, path: Path) -> None:
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError([f"CLOUD_ORDERS_KEY: {path}: {error}"]) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError([f"CLOUD_ORDERS_KEY: {path} holds no Ed25519 private key"])
        self._key = key

    def __call__(self, order: O_co) -> O_co:
        """`order` with its signature."""
        return signed(order, self.signature_of(order))

    def signature_of(self, message: object) -> str:
        """Signature of a message that has a field for one."""
        return b64encode(self._key.sign(signing_bytes(message))).decode()
