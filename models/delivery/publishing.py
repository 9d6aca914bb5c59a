"""Between a bundle and a signature: everything that can refuse it, all reasons at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.delivery.repository import SignedRepository
from models.evaluation.gates import Gates, limit_reasons, manifest_reasons
from wardstream.contracts.errors import RefusedError
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.inference.bundle import qualify, read_bundle
from wardstream.inference.port import ModelRefusedError
from wardstream.inference.registry import load_runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was signed, and how well the artifact answered its golden vectors."""

    manifest: ModelManifest
    golden_error: float


def check_bundle(
    bundle_dir: Path,
    gates: Gates,
    newest: ModelManifest | None,
    measured: Mapping[str, float] | None,
) -> Publication:
    """The bundle of `bundle_dir`, if it may be signed.

    Parameters
    ----------
    bundle_dir : Path
        Bundle to check.
    gates : Gates
        What it must show.
    newest : ModelManifest or None
        What is published now.
    measured : mapping of metric to float, or None
        Figures measured on the artifact just now; None where the recordings are not at hand.

    Raises
    ------
    RefusedError
        It may not; every reason is named.
    """
    reasons: list[str] = []
    try:
        bundle = read_bundle(bundle_dir)
        golden_error = qualify(load_runtime(bundle_dir), bundle_dir)
    except ModelRefusedError as error:
        raise RefusedError(f"the bundle in {bundle_dir} is refused: {error}") from error
    reasons += manifest_reasons(bundle.manifest, gates, newest)
    if measured is not None:
        reasons += limit_reasons(measured, gates.artifact, "artifact")
    if reasons:
        raise RefusedError(f"the bundle in {bundle_dir} is refused: " + "; ".join(reasons))
    return Publication(manifest=bundle.manifest, golden_error=golden_error)


def sign_and_lay_out(
    publication: Publication, bundle_dir: Path, repository: SignedRepository, now: datetime
) -> None:
    """Put a checked bundle into `repository`.

    Raises
    ------
    RefusedError
        Somebody published that version, or a higher one, in the meantime.
    ConfigurationError
        The repository or a key is missing.
    """
    repository.publish(publication.manifest, bundle_dir, now)
