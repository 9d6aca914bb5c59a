"""The signed repository on disk: a TUF repository with consistent snapshots.

    metadata/1.root.json  N.targets.json  N.snapshot.json  timestamp.json
    targets/rhythm/{version}/{sha256}.manifest.json and the files it names

Anybody may serve the folder and anybody may read it: trust is in the signatures. Writers take
a lock, files appear whole, and `timestamp.json` comes last, so a reader sees the old state or
the new one.
"""

# tuf and securesystemslib re-export their public names without saying so to a type checker.
# pyright: reportPrivateImportUsage=false

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from models.delivery.keys import ONLINE_ROLES, ROLES, create_keys, load_keys
from wardstream.contracts.codec import decode
from wardstream.contracts.errors import ConfigurationError, RefusedError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import MANIFEST_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """For how long each role's word holds.

    The timestamp is short: whoever holds a device back can do so for that long at most.
    """

    root: timedelta = timedelta(days=730)
    targets: timedelta = timedelta(days=365)
    snapshot: timedelta = timedelta(days=30)
    timestamp: timedelta = timedelta(days=7)


DEFAULT_EXPIRY: Final = Expiry()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryStatus:
    """What stands in a repository, for people."""

    versions: list[int]
    expires: dict[str, str]
    metadata_versions: dict[str, int]
    expired: list[str]


class SignedRepository:
    """A TUF repository of bundles of one model.

    Parameters
    ----------
    folder : Path
        Where it stands.
    keys_dir : Path
        Where its keys are; reading needs none.
    name : str
        Name of the model, first level of every target.
    """

    def __init__(self, folder: Path, keys_dir: Path, name: str = "rhythm") -> None:
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"
        self._keys_dir = keys_dir
        self._name = name

    @property
    def exists(self) -> bool:
        """Whether it was initialised."""
        return (self._metadata / "timestamp.json").exists()

    @property
    def trusted_root(self) -> Path:
        """The root every device is given once, by hand; everything else follows from it."""
        return self._metadata / "1.root.json"

    def initialise(self, now: datetime, expiry: Expiry = DEFAULT_EXPIRY) -> None:
        """Create keys and an empty repository.

        Raises
        ------
        ConfigurationError
            It exists, or its keys do.
        """
        if self.exists:
            raise ConfigurationError([f"{self._metadata} holds a repository already"])
        self._metadata.mkdir(parents=True, exist_ok=True)
        self._targets.mkdir(parents=True, exist_ok=True)
        signers = create_keys(self._keys_dir)
        with self._locked():
            root = Root(expires=_end(now, expiry.root), consistent_snapshot=True)
            for role in ROLES:
                root.add_key(signers[role].public_key, role)
            signed = Metadata(root)
            signed.sign(signers["root"])
            self._write(self.trusted_root, signed)
            self._commit(Targets(expires=_end(now, expiry.targets)), None, now, expiry, signers)

    def publish(
        self,
        manifest: ModelManifest,
        bundle_dir: Path,
        now: datetime,
        expiry: Expiry = DEFAULT_EXPIRY,
    ) -> None:
        """Add the bundle in `bundle_dir` as version ``manifest.version``.

        Raises
        ------
        RefusedError
            That version, or a higher one, is published already.
        ConfigurationError
            There is no repository, or a key is missing.
        """
        signers = load_keys(self._keys_dir, ONLINE_ROLES)
        with self._locked():
            targets = self._load("targets")
            newest = max(_versions(targets, self._name), default=0)
            if manifest.version <= newest:
                raise RefusedError(
                    f"version {manifest.version} is not above the newest published, {newest}"
                )
            for file in (MANIFEST_FILE, manifest.artifact, manifest.golden.file):
                self._add_target(
                    targets, f"{self._name}/{manifest.version}/{file}", bundle_dir / file
                )
            targets.expires = _end(now, expiry.targets)
            self._commit(targets, self._load("snapshot"), now, expiry, signers)

    def refresh(self, now: datetime, expiry: Expiry = DEFAULT_EXPIRY) -> None:
        """Sign snapshot and timestamp anew, so that devices do not hold them for stale.

        Raises
        ------
        ConfigurationError
            There is no repository, or a key is missing.
        """
        signers = load_keys(self._keys_dir, ("snapshot", "timestamp"))
        with self._locked():
            self._commit(None, self._load("snapshot"), now, expiry, signers)

    def newest(self) -> ModelManifest | None:
        """Manifest of the newest published version; None if there is none.

        Raises
        ------
        ConfigurationError
            There is no repository, or it is damaged.
        """
        targets = self._load("targets")
        versions = _versions(targets, self._name)
        if not versions:
            return None
        path = f"{self._name}/{versions[-1]}/{MANIFEST_FILE}"
        return decode(self._target_file(targets.targets[path]).read_bytes(), ModelManifest)

    def status(self, now: datetime) -> RepositoryStatus:
        """What is published, and until when the signatures hold.

        Raises
        ------
        ConfigurationError
            There is no repository, or it is damaged.
        """
        roles = {role: self._load(role) for role in ROLES}
        return RepositoryStatus(
            versions=_versions(roles["targets"], self._name),
            expires={role: signed.expires.isoformat() for role, signed in roles.items()},
            metadata_versions={role: signed.version for role, signed in roles.items()},
            expired=[role for role, signed in roles.items() if signed.is_expired(now)],
        )

    def _add_target(self, targets: Targets, path: str, source: Path) -> None:
        target = TargetFile.from_data(path, source.read_bytes(), ["sha256"])
        destination = self._target_file(target)
        destination.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(destination, source.read_bytes())
        targets.targets[path] = target

    def _target_file(self, target: TargetFile) -> Path:
        folder, _, name = target.path.rpartition("/")
        return self._targets / folder / f"{target.hashes['sha256']}.{name}"

    def _commit(
        self,
        targets: Targets | None,
        snapshot: Snapshot | None,
        now: datetime,
        expiry: Expiry,
        signers: Mapping[str, CryptoSigner],
    ) -> None:
        # Order is the proof: what is pointed to is there before what points to it.
        if snapshot is None:
            snapshot = Snapshot()
        else:
            snapshot.version += 1
            if targets is not None:
                targets.version += 1
        if targets is not None:
            self._sign(f"{targets.version}.targets.json", targets, signers["targets"])
            snapshot.meta["targets.json"] = MetaFile(version=targets.version)
        snapshot.expires = _end(now, expiry.snapshot)
        self._sign(f"{snapshot.version}.snapshot.json", snapshot, signers["snapshot"])
        timestamp = self._load("timestamp") if self.exists else Timestamp(version=1)
        timestamp.version += 1 if self.exists else 0
        timestamp.expires = _end(now, expiry.timestamp)
        timestamp.snapshot_meta = MetaFile(version=snapshot.version)
        self._sign("timestamp.json", timestamp, signers["timestamp"])

    def _sign(self, file: str, signed: Any, signer: CryptoSigner) -> None:
        metadata = Metadata(signed)
        metadata.sign(signer)
        self._write(self._metadata / file, metadata)

    @staticmethod
    def _write(path: Path, metadata: Metadata[Any]) -> None:
        _write_whole(path, metadata.to_bytes())

    def _load(self, role: str) -> Any:
        if not self.exists:
            raise ConfigurationError(
                [f"no model repository in {self._metadata}: run `python -m models init-repository`"]
            )
        try:
            match role:
                case "timestamp":
                    file = "timestamp.json"
                case "snapshot":
                    file = f"{self._load('timestamp').snapshot_meta.version}.snapshot.json"
                case "targets":
                    version = self._load("snapshot").meta["targets.json"].version
                    file = f"{version}.targets.json"
                case _:
                    roots = sorted(
                        int(p.name.split(".")[0]) for p in self._metadata.glob("*.root.json")
                    )
                    file = f"{roots[-1]}.root.json"
            return Metadata.from_file(str(self._metadata / file)).signed
        except (StorageError, DeserializationError, LookupError) as error:
            raise ConfigurationError([f"{role} of {self._metadata}: {error}"]) from error

    @contextmanager
    def _locked(self) -> Generator[None]:
        with (self._metadata.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _versions(targets: Targets, name: str) -> list[int]:
    found: set[int] = set()
    for path in targets.targets:
        parts = path.split("/")
        if len(parts) == 3 and parts[0] == name and parts[1].isdigit():
            found.add(int(parts[1]))
    return sorted(found)


def _end(now: datetime, period: timedelta) -> datetime:
    return (now.astimezone(UTC) + period).replace(microsecond=0)


def _write_whole(path: Path, payload: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
