"""The learned score: its bundle, its answer, and what the answer rests on."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import ContractError
from wardstream.inference.deterioration.boosted import FIELDS, BoostedTrees
from wardstream.inference.deterioration.features import (
    FEATURE_MODALITIES,
    FEATURE_SUBJECTS,
    FEATURES,
)
from wardstream.inference.deterioration.parameters import Modality

MANIFEST_FILE: Final = "manifest.json"
ARTIFACT_FILE: Final = "deterioration.npz"

Floats = NDArray[np.float64]

_SUBJECTS: Final = tuple(dict.fromkeys(FEATURE_SUBJECTS))
_SUBJECT_OF: Final = np.array([_SUBJECTS.index(subject) for subject in FEATURE_SUBJECTS])
_OBSERVED: Final = np.array(
    [
        modality is not Modality.DEMOGRAPHICS and name not in ("hours_known",)
        for name, modality in zip(FEATURES, FEATURE_MODALITIES, strict=True)
    ]
)


class DeteriorationManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the bundle says of itself.

    Attributes
    ----------
    name, version : str, int
        What it is; versions only grow.
    sha256, n_bytes : str, int
        Of the artifact.
    features : tuple of str
        Columns it asks, in order: a runtime with other columns refuses it.
    created_time_ns : int
        When it was made.
    training_data : dict of data set name to sha256
        Digest over stays and outcomes.
    metrics : dict of name to float
        By folds.
    """

    name: str
    version: int
    sha256: str
    n_bytes: int
    features: tuple[str, ...]
    created_time_ns: int
    training_data: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one quantity adds.

    Attributes
    ----------
    subject : str
        Name of the quantity.
    log_odds : float
        Added to the log odds; above 0 it speaks for deterioration.
    """

    subject: str
    log_odds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgements:
    """Answers for n rows.

    Attributes
    ----------
    probability : ndarray of float64, shape (n,)
        Calibrated, that the stay ends in death; NaN where it abstains: nothing but demographics
        is known.
    log_odds : ndarray of float64, shape (n,)
        Of that probability.
    by_subject : ndarray of float64, shape (n, n_subjects)
        What each quantity adds; with `expected` they sum to `log_odds`.
    expected : float
        Log odds before anything is known.
    """

    probability: Floats
    log_odds: Floats
    by_subject: Floats
    expected: float

    def top(self, row: int, n: int = 5) -> tuple[Contribution, ...]:
        """The `n` quantities that move `row` most, the strongest first."""
        order = np.argsort(-np.abs(self.by_subject[row]), kind="stable")[:n]
        return tuple(
            Contribution(_SUBJECTS[int(i)], float(self.by_subject[row, i]))
            for i in order
            if self.by_subject[row, i] != 0
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeteriorationModel:
    """Calibrated boosted trees over `FEATURES`.

    Attributes
    ----------
    trees : BoostedTrees
        Whose log odds are calibrated.
    point : float
        Probability from which a stay is named as in danger: at 48 h as many are named as die.
    reference_edges, reference_shares : ndarray of float64
        What inputs and answers looked like in training, for drift: see `wardstream.alerting.drift`;
        shapes (n_features + 1, n_edges) and (n_features + 1, n_edges + 2), the answer last.
    """

    trees: BoostedTrees
    point: float
    reference_edges: Floats
    reference_shares: Floats

    def judge(self, rows: Floats) -> Judgements:
        """Answers for `rows` of `feature_rows`, shape (n, n_features).

        Raises
        ------
        OutOfRangeError
            The rows have too few columns.
        """
        by_feature = self.trees.contributions(rows)
        log_odds = by_feature.sum(axis=1) + self.trees.expected
        by_subject = np.zeros((len(rows), len(_SUBJECTS)))
        for feature, subject in enumerate(_SUBJECT_OF.tolist()):
            by_subject[:, subject] += by_feature[:, feature]
        knows = np.isfinite(rows[:, _OBSERVED]).any(axis=1)
        return Judgements(
            probability=np.where(knows, 1 / (1 + np.exp(-log_odds)), math.nan),
            log_odds=np.where(knows, log_odds, math.nan),
            by_subject=by_subject,
            expected=self.trees.expected,
        )


def without(rows: Floats, modalities: Sequence[Modality]) -> Floats:
    """A copy of `rows` in which nothing of `modalities` is known."""
    kept = rows.copy()
    gone = [i for i, modality in enumerate(FEATURE_MODALITIES) if modality in modalities]
    # How long the patient has been watched is known whatever was measured.
    kept[:, [i for i in gone if FEATURES[i] != "hours_known"]] = math.nan
    return kept


def save_model(
    model: DeteriorationModel, folder: Path, manifest: Mapping[str, Any]
) -> DeteriorationManifest:
    """Write artifact and manifest into `folder`; the rest of the manifest as `manifest` says."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ARTIFACT_FILE
    with path.open("wb") as file:
        arrays: dict[str, Any] = {
            **model.trees.arrays(),
            "point": np.array(model.point),
            "reference_edges": model.reference_edges,
            "reference_shares": model.reference_shares,
        }
        np.savez_compressed(file, **arrays)
    payload = path.read_bytes()
    found = DeteriorationManifest(
        sha256=hashlib.sha256(payload).hexdigest(),
        n_bytes=len(payload),
        features=FEATURES,
        **manifest,
    )
    (folder / MANIFEST_FILE).write_bytes(
        msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
    )
    return found


def read_manifest(folder: Path) -> DeteriorationManifest:
    """What the bundle in `folder` says of itself.

    Raises
    ------
    ContractError
        There is none, or it is malformed.
    """
    try:
        return msgspec.json.decode(
            (folder / MANIFEST_FILE).read_bytes(), type=DeteriorationManifest
        )
    except (OSError, msgspec.MsgspecError) as error:
        raise ContractError(f"{folder} is no deterioration bundle: {error}") from error


def load_model(folder: Path) -> tuple[DeteriorationModel, DeteriorationManifest]:
    """The model of the bundle in `folder`, checked against its manifest.

    Raises
    ------
    ContractError
        It is no bundle, its artifact is not the one described, or it asks other columns than
        this version computes.
    """
    manifest = read_manifest(folder)
    try:
        payload = (folder / ARTIFACT_FILE).read_bytes()
    except OSError as error:
        raise ContractError(f"{folder} is no deterioration bundle: {error}") from error
    if hashlib.sha256(payload).hexdigest() != manifest.sha256:
        raise ContractError(f"{folder / ARTIFACT_FILE} is not the artifact its manifest describes")
    if manifest.features != FEATURES:
        raise ContractError(
            f"{folder} asks other features than this version computes: train it again"
        )
    try:
        with np.load(folder / ARTIFACT_FILE, allow_pickle=False) as arrays:
            trees: dict[str, Any] = {name: arrays[name] for name in FIELDS}
            return (
                DeteriorationModel(
                    trees=BoostedTrees(**trees, intercept=float(arrays["intercept"])),
                    point=float(arrays["point"]),
                    reference_edges=arrays["reference_edges"],
                    reference_shares=arrays["reference_shares"],
                ),
                manifest,
            )
    except (KeyError, ValueError) as error:
        raise ContractError(f"{folder / ARTIFACT_FILE} is malformed: {error}") from error
