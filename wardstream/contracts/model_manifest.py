"""What a model says of itself; signed together with its artifact."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit

RHYTHM_CLASSES: tuple[str, ...] = (
    "sinus_like",
    "af",
    "vt",
    "vf",
    "asystole",
    "paced",
    "noise",
)
"""Rhythm classes a model may give, in the order of the frame's ``probability_*`` features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes
    ----------
    name : str
        Name of the tensor in the ONNX graph.
    dtype : str
        Numpy name, for example ``float32``.
    shape : tuple of int
        Without the batch axis, which always comes first and is free.
    axes : tuple of str
        A name for each axis of `shape`, for example ``("channel", "sample")``.
    unit : Unit
        Unit of the values.
    sampling_rate_hz : float or None
        Rate along the ``sample`` axis, where there is one.
    channels : tuple of str
        What lies along the ``channel`` axis, in order; empty where it goes without saying. A
        channel that is missing is all zeros.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    unit: Unit
    sampling_rate_hz: float | None = None
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        along = [n for n, axis in zip(self.shape, self.axes, strict=False) if axis == "channel"]
        if self.channels and along != [len(self.channels)]:
            raise OutOfRangeError(f"{self.name}: shape {self.shape}, channels {self.channels}")
        if len(self.shape) != len(self.axes):
            raise OutOfRangeError(f"{self.name}: shape {self.shape} and axes {self.axes} differ")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenVectors:
    """Windows with the answers the artifact must give on any device before it may judge.

    Attributes
    ----------
    file : str
        Name of the ``.npz`` beside the artifact, arrays ``inputs`` and ``outputs``.
    sha256 : str
        Digest of that file.
    n_vectors : int
        How many there are.
    max_abs_error : float
        Largest difference of any output probability that still counts as agreement.
    """

    file: str
    sha256: str
    n_vectors: int
    max_abs_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShockableRule:
    """How the answers of the last 4 s make one decision, shockable or not.

    Its `point` decides what the rhythm of a window calls for. An alarm is raised from
    `ModelManifest.shockable_operating_point` on, and from `alarm_point` where there is one, for
    a ventricular tachycardia of 100 to 150 a minute must alarm as well.

    Attributes
    ----------
    point : float
        Log odds from which on a window is held to be shockable.
    slow_and_regular : float
        Log odds taken off, 0 or more, where the leads clearly repeat themselves more slowly
        than 150 a minute.
    alarm_point : float or None
        The same log odds, below which no alert of fibrillation or ventricular tachycardia is
        raised although the operating point is reached; None: they have no say in alerts.
    """

    point: float
    slow_and_regular: float
    alarm_point: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.point):
            raise OutOfRangeError(f"point of the shockable rule is {self.point}, expected a number")
        if not 0 <= self.slow_and_regular < math.inf:
            raise OutOfRangeError(
                f"slow_and_regular is {self.slow_and_regular}, expected at least 0"
            )
        if self.alarm_point is not None and not math.isfinite(self.alarm_point):
            raise OutOfRangeError(
                f"alarm_point of the shockable rule is {self.alarm_point}, expected a number"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """Everything an agent checks before a model may judge.

    Attributes
    ----------
    name : str
        What the model is, for example ``rhythm``.
    version : int
        Strictly increasing for ever; a device refuses to go back except by rollback.
    artifact : str
        File name of the ONNX graph.
    sha256 : str
        Digest of that file.
    n_bytes : int
        Its length.
    classes : tuple of str
        Meaning of the class axis of output ``probability``; a subset of `RHYTHM_CLASSES`, in order.
    inputs, outputs : tuple of TensorSpec
        What goes in and comes out. The first output is ``probability``; ``quality`` (of each
        channel, 0 to 1) and ``embedding`` (of length 1) follow where the model gives them.
    operating_points : dict of class to float
        Probability from which a class is held to be present, each in (0, 1).
    shockable_operating_point : float or None
        Sum of the probabilities of ``vf`` and ``vt`` from which a window is held to be
        shockable, in (0, 2); the larger of the two names it. None: each class at its own point.
        Alarms rest on it.
    shockable_rule : ShockableRule or None
        What is held of a window over 4 s, said in the evidence of an alarm; None: nothing.
    window_s, hop_s : float
        Length of a window and the distance of two, in seconds.
    preprocessing : str
        Id of the code that makes a window; the agent must have the same.
    golden : GoldenVectors
        The qualification set.
    created_time_ns : TimestampNs
        When it was exported.
    training_data : dict of data set name to sha256
        Digest over the record list and labels used.
    metrics : dict of name to float
        Cross-validated figures; the protocol is in the model card.
    min_agent_version : str
        Oldest agent that can run it.
    """

    SCHEMA: ClassVar[str] = "model_manifest/1"

    name: str
    version: int
    artifact: str
    sha256: str
    n_bytes: int
    classes: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operating_points: dict[str, float]
    window_s: float
    hop_s: float
    preprocessing: str
    golden: GoldenVectors
    created_time_ns: TimestampNs
    training_data: dict[str, str] = field(default_factory=dict[str, str])
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    min_agent_version: str = "0.1.0"
    shockable_operating_point: float | None = None
    shockable_rule: ShockableRule | None = None

    def __post_init__(self) -> None:
        if self.version < 1:
            raise OutOfRangeError(f"version is {self.version}, expected at least 1")
        unknown = [name for name in self.classes if name not in RHYTHM_CLASSES]
        if unknown:
            raise OutOfRangeError(f"classes {unknown} are not among {RHYTHM_CLASSES}")
        for name, point in self.operating_points.items():
            if name not in self.classes:
                raise OutOfRangeError(f"operating point for {name!r}, which is no class")
            if not 0 < point < 1:
                raise OutOfRangeError(f"operating point of {name} is {point}, expected in (0, 1)")
        if (
            self.shockable_operating_point is not None
            and not 0 < self.shockable_operating_point < 2
        ):
            raise OutOfRangeError(
                f"shockable_operating_point is {self.shockable_operating_point}, expected in (0, 2)"
            )
