"""What the signed model repository on disk offers, for people to read.

Nothing here verifies: devices do, with the root of trust they were given. The list says what
is offered, and only devices say what runs.
"""

import re
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from cloud_api.core.views import ModelVersionView

_TARGETS: Final = re.compile(r"(\d+)\.targets\.json|targets\.json")
_MANIFEST: Final = re.compile(r"([a-z0-9_-]+)/(\d+)/manifest\.json")


class DiskModelRepository:
    """A TUF repository's ``metadata`` and ``targets`` folders, read only."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @property
    def directory(self) -> Path | None:
        """Where it lies; None if this site has none."""
        return self._directory

    def versions(self) -> list[ModelVersionView]:
        """Every version the newest targets metadata lists, newest first."""
        if self._directory is None:
            return []
        targets = _newest_targets(self._directory / "metadata")
        found = [
            _version(self._directory / "targets", match[1], int(match[2]), path, entry)
            for path, entry in targets.items()
            if (match := _MANIFEST.fullmatch(path)) is not None
        ]
        return sorted(found, key=lambda view: (view.name, -view.version))


def _newest_targets(metadata: Path) -> dict[str, Any]:
    numbered = [
        (int(match[1] or 0), path)
        for path in metadata.glob("*targets.json")
        if (match := _TARGETS.fullmatch(path.name)) is not None
    ]
    for _, path in sorted(numbered, reverse=True):
        signed = _read_json(path).get("signed", {})
        return cast("dict[str, Any]", signed.get("targets", {}))
    return {}


def _version(
    targets: Path, name: str, version: int, path: str, entry: dict[str, Any]
) -> ModelVersionView:
    digest = str(entry.get("hashes", {}).get("sha256", ""))
    folder = (targets / path).parent
    # With consistent snapshots a target's file name begins with its digest.
    for candidate in (folder / f"{digest}.manifest.json", folder / "manifest.json"):
        manifest = _read_json(candidate)
        if manifest:
            break
    else:
        manifest = {}
    return ModelVersionView(
        name=name,
        version=version,
        created_time_ns=manifest.get("created_time_ns"),
        sha256=str(manifest.get("sha256", "")),
        metrics=cast("dict[str, float]", manifest.get("metrics", {})),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}  # being published this moment, or not there: it is not offered
