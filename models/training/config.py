"""A training run as data: everything that decides its outcome, read from one YAML file."""

from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import yaml

from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

CONFIG_DIR: Final = Path(__file__).parent / "configs"


class NetworkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Convolutions of stride 2, each followed by batch norm and ReLU; then mean and maximum.

    Attributes
    ----------
    n_leads : int
        Channels of a window; any of them may be missing.
    channels, kernels : tuple of int
        Width and odd kernel length of each layer.
    n_embedding : int
        Width of the layer before the classes.
    dropout : float
        Before the embedding, in [0, 1).
    """

    n_leads: int
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    n_embedding: int
    dropout: float


class FitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how fast one network learns; shares are parts of a batch.

    Attributes
    ----------
    patience_epochs : int
        Epochs without a better one after which to stop. 0: every epoch is run, no fold is kept
        back to watch, and the averaged weights of the last epoch are taken.
    average_decay : float
        Of the running average of the weights, a step; 0 takes the weights themselves.
    patient_power : float
        A patient with n windows of a class counts n to this power, in [0, 1].
    shockable_weight, quality_weight : float
        Of these losses beside that of the classes.
    lead_dropout : float
        How often a window of several leads is shown with one of them only.
    cpu_bfloat16 : bool
        Whether the convolutions run in bfloat16 on a CPU as well; half the time where it has
        instructions for it, correct and slow elsewhere. A GPU always does.
    """

    n_epochs: int
    windows_per_epoch: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    patience_epochs: int
    average_decay: float
    patient_power: float
    shockable_weight: float
    quality_weight: float
    lead_dropout: float
    cpu_bfloat16: bool
    n_threads: int
    class_share: dict[str, float]
    partial_share: float


class AugmentationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bedside does to a curve without changing its rhythm."""

    gain_octaves: float
    flip_probability: float
    noise_probability: float
    noise_snr_db: tuple[float, float]
    wander_probability: float
    lead_off_probability: float
    stretch_probability: float
    stretch_fraction: float
    slowed_probability: float
    pure_noise_probability: float
    standstill_probability: float


class QuantizationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which windows the INT8 ranges are read from."""

    n_calibration_patients: int
    windows_a_patient: int


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run.

    Attributes
    ----------
    name : str
        Name of the model, also the folder of its bundle and of its signed targets.
    seed : int
        Decides folds, order, weights and augmentation.
    datasets : tuple of str
        Folders under the data directory.
    n_folds : int
        Patient-wise folds of the cross-validation, at least 2.
    operating_points : mapping of class to float
        Specificity each class must keep; its operating point is the lowest that does.
    """

    name: str
    seed: int
    datasets: tuple[str, ...]
    n_folds: int
    network: NetworkConfig
    fit: FitConfig
    augmentation: AugmentationConfig
    operating_points: dict[str, float]
    quantization: QuantizationConfig

    @property
    def digest(self) -> str:
        """Sha256 of the whole configuration."""
        return sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def named_config(name: str) -> Path:
    """`name` as a path where it is one, else the file of that name in `CONFIG_DIR`."""
    path = Path(name)
    return path if path.suffix in (".yaml", ".yml") else CONFIG_DIR / f"{name}.yaml"


def load_config(path: Path) -> TrainingConfig:
    """The run described in the YAML file at `path`.

    Raises
    ------
    ConfigurationError
        The file cannot be read, misses a field, has one too many, or contradicts itself.
    """
    try:
        config = msgspec.convert(yaml.safe_load(path.read_text()), TrainingConfig)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from error
    problems = _problems(config)
    if problems:
        raise ConfigurationError([f"{path}: {problem}" for problem in problems])
    return config


def _problems(config: TrainingConfig) -> list[str]:
    problems: list[str] = []
    network, fit = config.network, config.fit
    if len(network.channels) != len(network.kernels) or not network.channels:
        problems.append("network.channels and network.kernels differ in length, or are empty")
    if any(kernel % 2 == 0 for kernel in network.kernels):
        problems.append("network.kernels must be odd")
    if network.n_leads < 1:
        problems.append(f"network.n_leads is {network.n_leads}, expected at least 1")
    for name, share in (("average_decay", fit.average_decay), ("lead_dropout", fit.lead_dropout)):
        if not 0 <= share < 1:
            problems.append(f"fit.{name} is {share}, expected in [0, 1)")
    if config.n_folds < 2:
        problems.append(f"n_folds is {config.n_folds}, expected at least 2")
    problems += [
        f"{name!r} is not among {RHYTHM_CLASSES}"
        for name in (*fit.class_share, *config.operating_points)
        if name not in RHYTHM_CLASSES
    ]
    missing = [name for name in RHYTHM_CLASSES if name not in fit.class_share]
    if missing:
        problems.append(f"fit.class_share misses {missing}")
    for name, specificity in config.operating_points.items():
        if not 0 < specificity < 1:
            problems.append(f"operating_points.{name} is {specificity}, expected in (0, 1)")
    total = sum(fit.class_share.values()) + fit.partial_share
    if abs(total - 1) > 1e-6:
        problems.append(f"fit.class_share and fit.partial_share add up to {total:g}, expected 1")
    return problems
