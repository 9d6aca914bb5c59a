"""Gates between a trained model and a signature: each says what it wants and what it found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import yaml

from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import ModelManifest

GATES_DIR: Final = Path(__file__).parent / "gate_files"
DEFAULT_GATES: Final = GATES_DIR / "default.yaml"


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one figure, both included."""

    at_least: float | None = None
    at_most: float | None = None


class Gates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every gate.

    Attributes
    ----------
    manifest : mapping of metric to Limit
        On the cross-validated figures a manifest states.
    artifact : mapping of metric to Limit
        On figures measured on the artifact at publishing, ``protocol.metric``.
    max_artifact_bytes : int
        Largest graph.
    max_loss_points : mapping of metric to float
        How much worse than the newest published model, in percentage points.
    """

    manifest: dict[str, Limit]
    artifact: dict[str, Limit]
    max_artifact_bytes: int
    max_loss_points: dict[str, float] = {}


def named_gates(name: str) -> Path:
    """`name` as a path where it is one, else the file of that name in `GATES_DIR`."""
    path = Path(name)
    return path if path.suffix in (".yaml", ".yml") else GATES_DIR / f"{name}.yaml"


def load_gates(path: Path = DEFAULT_GATES) -> Gates:
    """The gates in the YAML file at `path`.

    Raises
    ------
    ConfigurationError
        It cannot be read, or is not such a file.
    """
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), Gates)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from error


def manifest_reasons(
    manifest: ModelManifest, gates: Gates, newest: ModelManifest | None
) -> list[str]:
    """Why `manifest` may not be signed after `newest`; empty if it may."""
    reasons = limit_reasons(manifest.metrics, gates.manifest, "manifest")
    if manifest.n_bytes > gates.max_artifact_bytes:
        reasons.append(f"artifact has {manifest.n_bytes} bytes, at most {gates.max_artifact_bytes}")
    if newest is None:
        return reasons
    if manifest.version <= newest.version:
        reasons.append(f"version {manifest.version} is not above the newest, {newest.version}")
    for name, points in gates.max_loss_points.items():
        before, now = newest.metrics.get(name), manifest.metrics.get(name)
        if before is not None and now is not None and 100 * (before - now) > points:
            reasons.append(
                f"{name} is {now:.4f}, more than {points:g} points below version "
                f"{newest.version}'s {before:.4f}"
            )
    return reasons


def limit_reasons(
    metrics: Mapping[str, float], limits: Mapping[str, Limit], source: str
) -> list[str]:
    """Every limit that `metrics` miss or do not state."""
    reasons: list[str] = []
    for name, limit in limits.items():
        value = metrics.get(name)
        if value is None:
            reasons.append(f"{source} does not state {name}")
        elif limit.at_least is not None and not value >= limit.at_least:
            reasons.append(f"{source} {name} is {value:.4f}, expected at least {limit.at_least:g}")
        elif limit.at_most is not None and not value <= limit.at_most:
            reasons.append(f"{source} {name} is {value:.4f}, expected at most {limit.at_most:g}")
    return reasons
