"""Signed models over HTTP: The Update Framework's client, with its own trusted root."""

import logging
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from edge_agent.core.ports import ModelUnreachableError
from wardstream.contracts.codec import decode
from wardstream.contracts.errors import ContractError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.port import ModelRefusedError

if TYPE_CHECKING:
    from tuf.ngclient import Updater

logger = logging.getLogger(__name__)

NAME: Final = "rhythm"
MANIFEST: Final = "manifest.json"
MAX_TARGET_BYTES: Final = 64_000_000

# In words for an operator; the class of python-tuf's error says which rule was broken.
_REASONS: Final = {
    "UnsignedMetadataError": "the repository's metadata is not signed by the trusted keys",
    "BadVersionNumberError": "the repository offers older metadata than this device has seen",
    "EqualVersionNumberError": "the repository changed its metadata without a new version",
    "ExpiredMetadataError": "the repository's metadata has expired",
    "LengthOrHashMismatchError": "a file is not the one that was signed",
}


class TufRepository:
    """`ModelRepository` at `url` (its ``metadata/`` and ``targets/``).

    Parameters
    ----------
    url : str
        Address above ``metadata`` and ``targets``.
    trusted_root : Path
        The root metadata this device was given at installation.
    state_dir : Path
        Where seen metadata is kept: without it a rollback could not be noticed.
    """

    def __init__(self, url: str, trusted_root: Path, state_dir: Path) -> None:
        self._url = url.rstrip("/")
        self._trusted_root = trusted_root
        self._metadata_dir = state_dir / "tuf"

    def fetch(self, version: int, into: Path) -> None:
        """Write the verified files of `version` into the existing folder `into`."""
        # Ten megabytes that a bed needs only while it is offered a model.
        from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError

        try:
            updater = self._updater(into)
            manifest = self._manifest(updater, version, into)
            for name in (manifest.artifact, manifest.golden.file):
                if PurePosixPath(name).name != name:
                    raise ModelRefusedError(f"the manifest names {name!r}, no plain file")
                self._target(updater, version, name, into)
        except RepositoryError as error:
            reason = _REASONS.get(type(error).__name__, "the repository's metadata is malformed")
            raise ModelRefusedError(f"{reason} ({error})") from error
        except DownloadHTTPError as error:
            if error.status_code in (403, 404):
                raise ModelRefusedError(f"the repository lacks a signed file: {error}") from error
            raise ModelUnreachableError(f"{self._url} answered {error.status_code}") from error
        except (DownloadError, OSError) as error:
            raise ModelUnreachableError(f"{self._url} does not answer: {error}") from error

    def _updater(self, into: Path) -> "Updater":
        from tuf.ngclient import Updater, UpdaterConfig

        try:
            root = self._trusted_root.read_bytes()
        except OSError as error:
            raise ModelRefusedError(f"no trusted root on this device: {error}") from error
        self._metadata_dir.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            metadata_dir=str(self._metadata_dir),
            metadata_base_url=f"{self._url}/metadata/",
            target_dir=str(into),
            target_base_url=f"{self._url}/targets/",
            config=UpdaterConfig(app_user_agent="wardstream-edge"),
            bootstrap=root,
        )
        updater.refresh()
        return updater

    def _manifest(self, updater: "Updater", version: int, into: Path) -> ModelManifest:
        path = self._target(updater, version, MANIFEST, into)
        try:
            manifest = decode(path.read_bytes(), ModelManifest)
        except ContractError as error:
            raise ModelRefusedError(f"malformed manifest: {error}") from error
        if (manifest.name, manifest.version) != (NAME, version):
            raise ModelRefusedError(
                f"the manifest of {NAME} {version} says {manifest.name} {manifest.version}"
            )
        return manifest

    def _target(self, updater: "Updater", version: int, name: str, into: Path) -> Path:
        info = updater.get_targetinfo(f"{NAME}/{version}/{name}")
        if info is None:
            raise ModelRefusedError(f"{NAME} {version} is not in the signed repository ({name})")
        if info.length > MAX_TARGET_BYTES:
            raise ModelRefusedError(f"{name} has {info.length} bytes, too many for a bedside model")
        path = into / name
        updater.download_target(info, str(path))
        return path
