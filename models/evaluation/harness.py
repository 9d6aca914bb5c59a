"""Every protocol by name, and what it is asked with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from models.datasets.cache import default_cache_dir
from models.evaluation.outcome import Outcome
from wardstream.contracts.errors import ConfigurationError

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


def silent(done: int, total: int, what: str) -> None:
    """No progress is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldBundles:
    """Models of a cross-validation.

    Attributes
    ----------
    name : str
        Configuration they were trained with.
    fold_of : mapping of patient to int
        Fold that did not learn from the patient.
    bundle_dirs : tuple of Path
        Bundle of each fold.
    """

    name: str
    fold_of: Mapping[str, int]
    bundle_dirs: tuple[Path, ...]


FoldTrainer = Callable[[Path, Path], FoldBundles]
"""From data directory and cache directory to the models of the folds, trained where needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate, and on what.

    Attributes
    ----------
    data_dir : Path
        Folder laid out like ``shared/data``: one folder a data set.
    bundle_dir : Path or None
        Model bundle; None is the shipped one.
    cross_validate : bool
        Train and score by folds instead of scoring the shipped artifact.
    peers : bool
        Run the open detectors in the same run, where the protocol has some.
    cache_dir : Path
        Where what is costly to compute is kept.
    progress : callable
        Told as the run goes on.
    jobs : int
        Agents that replay recordings side by side.
    fold_bundles : callable or None
        Trains the models of the folds; None where that cannot be done.
    """

    data_dir: Path
    bundle_dir: Path | None = None
    cross_validate: bool = False
    peers: bool = False
    cache_dir: Path = field(default_factory=default_cache_dir)
    progress: Progress = silent
    jobs: int = 1
    fold_bundles: FoldTrainer | None = None

    def folder(self, dataset: str) -> Path:
        """Folder of `dataset`.

        Raises
        ------
        ConfigurationError
            It is not there.
        """
        folder = self.data_dir / dataset
        if not folder.is_dir():
            raise ConfigurationError([f"{folder} is not there: --data names the recordings"])
        return folder


class Evaluate(Protocol):
    """One protocol."""

    def __call__(self, request: EvaluationRequest) -> Outcome:
        """Judge the recordings as the protocol says."""
        ...


@dataclass(frozen=True, slots=True)
class ProtocolEntry:
    """One row of the registry.

    Attributes
    ----------
    title : str
        What is asked.
    target : str
        ``module:function``, imported when the protocol is run and not before.
    """

    title: str
    target: str


PROTOCOLS: Final[dict[str, ProtocolEntry]] = {
    "windows": ProtocolEntry(
        "Sensitivity and specificity of every rhythm class, 4 s windows",
        "models.evaluation.bundle_protocols:evaluate_windows",
    ),
    "shockable": ProtocolEntry(
        "Shockable rhythm, 4 s windows",
        "models.evaluation.shockable_protocol:evaluate_shockable_windows",
    ),
    "quantization": ProtocolEntry(
        "Does the INT8 graph decide as the network it came from?",
        "models.evaluation.bundle_protocols:evaluate_quantization",
    ),
    "cinc2015": ProtocolEntry(
        "Is the monitor's arrhythmia alarm true? (real time, to 5:00)",
        "models.evaluation.alarm_protocol:evaluate_alarms",
    ),
    "episodes": ProtocolEntry(
        "VF, VT and asystole episodes alarmed within 10 s",
        "models.evaluation.episode_protocol:evaluate_episodes",
    ),
    "quiet": ProtocolEntry(
        "False high-priority alarms of the whole agent in quiet data",
        "models.evaluation.quiet_protocol:evaluate_quiet",
    ),
    "qrs": ProtocolEntry(
        "Beats, clean and in noise", "models.evaluation.qrs_protocol:evaluate_qrs"
    ),
    "respiration": ProtocolEntry(
        "Respiration rate", "models.evaluation.respiration_protocol:evaluate_respiration"
    ),
    "af": ProtocolEntry("Atrial fibrillation, 30 s", "models.evaluation.af_protocol:evaluate_af"),
    "deterioration": ProtocolEntry(
        "Who of those in intensive care will die in this hospital?",
        "models.deterioration.protocol:evaluate_deterioration",
    ),
    "fusion": ProtocolEntry(
        "Early, middle or late fusion, with every subset of modalities missing",
        "models.fusion.protocol:evaluate_fusion",
    ),
}


def load_protocol(name: str) -> Evaluate:
    """The protocol called `name`.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    if name not in PROTOCOLS:
        raise ConfigurationError([f"no protocol {name!r} (known: {', '.join(PROTOCOLS)})"])
    module, _, function = PROTOCOLS[name].target.partition(":")
    return cast("Evaluate", getattr(import_module(module), function))
