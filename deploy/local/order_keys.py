"""The key with which the API signs what beds obey, and the half of it that the beds hold."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from deploy.local.layout import write_private


def order_keys(folder: Path) -> tuple[Path, Path]:
    """Files of the private and of the public key in `folder`, drawn now if it has none."""
    private, public = folder / "orders.pem", folder / "orders.pub.pem"
    if not private.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        drawn = Ed25519PrivateKey.generate()
        pem = drawn.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(private, pem.decode())
    key = load_pem_private_key(private.read_bytes(), password=None)
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public
