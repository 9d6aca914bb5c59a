"""The four signing keys on disk: one file each, readable by their owner only."""

# tuf and securesystemslib re-export their public names without saying so to a type checker.
# pyright: reportPrivateImportUsage=false

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from wardstream.contracts.errors import ConfigurationError

ROLES: Final = ("root", "targets", "snapshot", "timestamp")

ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
"""What publishing needs. `root` signs only who may sign: it can be, and should be, taken away."""


def create_keys(keys_dir: Path) -> dict[str, CryptoSigner]:
    """New Ed25519 keys in `keys_dir`, made with mode 0700, files 0600.

    Raises
    ------
    ConfigurationError
        A key is there already: a key is never overwritten.
    """
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys_dir.chmod(0o700)
    present = [role for role in ROLES if _path(keys_dir, role).exists()]
    if present:
        raise ConfigurationError([f"{_path(keys_dir, role)} is there already" for role in present])
    signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
    for role, signer in signers.items():
        descriptor = os.open(_path(keys_dir, role), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.private_bytes)
    return signers


def load_keys(keys_dir: Path, roles: Sequence[str] = ONLINE_ROLES) -> dict[str, CryptoSigner]:
    """The signers of `roles`.

    Raises
    ------
    ConfigurationError
        A key is missing, is no Ed25519 key, or others may read it.
    """
    problems: list[str] = []
    signers: dict[str, CryptoSigner] = {}
    for role in roles:
        path = _path(keys_dir, role)
        try:
            if path.stat().st_mode & 0o077:
                problems.append(f"{path} may be read by others: chmod 600 it")
                continue
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            problems.append(f"signing key {path}: {error}")
            continue
        signers[role] = CryptoSigner(cast("Ed25519PrivateKey", key))
    if problems:
        raise ConfigurationError(problems)
    return signers


def _path(keys_dir: Path, role: str) -> Path:
    return keys_dir / f"{role}.pem"
