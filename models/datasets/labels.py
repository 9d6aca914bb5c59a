"""What a stretch of a recording is known to be, in the words of `RHYTHM_CLASSES`.

A label is a *set of classes that may be true*. A rhythm mark names one class. A false
ventricular tachycardia alarm only says "not vt, not vf", which is a label too: training then
asks for the probability of the whole set, and claims nothing about which member it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

N_CLASSES: Final = len(RHYTHM_CLASSES)

# Rhythm marks of vfdb and mitdb (aux notes without the opening parenthesis) and what they are
# to this model. Ectopic and conduction rhythms that carry a pulse and no run of ventricular
# beats count as sinus-like: they must not alarm. HGEA (high-grade ventricular ectopy) may hold
# short runs, so it only says what it is not.
CLASS_OF_RHYTHM: Final[dict[str, tuple[str, ...]]] = {
    "N": ("sinus_like",),
    "SBR": ("sinus_like",),
    "NOD": ("sinus_like",),
    "B": ("sinus_like",),
    "BI": ("sinus_like",),
    "T": ("sinus_like",),
    "PREX": ("sinus_like",),
    "SVTA": ("sinus_like",),
    "BII": ("sinus_like",),
    "AB": ("sinus_like",),
    "IVR": ("sinus_like", "paced"),
    "VER": ("sinus_like", "paced"),
    "HGEA": ("sinus_like", "vt"),
    "AFIB": ("af",),
    "AFL": ("af",),
    "VT": ("vt",),
    "VF": ("vf",),
    "VFIB": ("vf",),
    "VFL": ("vf",),
    "ASYS": ("asystole",),
    "P": ("paced",),
    "PM": ("paced",),
    "NOISE": ("noise",),
}


def everything_but(*classes: str) -> tuple[str, ...]:
    """`RHYTHM_CLASSES` without `classes`: what a false alarm of those says."""
    return tuple(name for name in RHYTHM_CLASSES if name not in classes)


def admissible_bits(classes: Iterable[str]) -> int:
    """The set of classes as a bitmap, bit i for ``RHYTHM_CLASSES[i]``.

    Raises
    ------
    OutOfRangeError
        The set is empty, or names no class of ours.
    """
    bits = 0
    for name in classes:
        if name not in RHYTHM_CLASSES:
            raise OutOfRangeError(f"{name!r} is not among {RHYTHM_CLASSES}")
        bits |= 1 << RHYTHM_CLASSES.index(name)
    if not bits:
        raise OutOfRangeError("a label must admit at least one class")
    return bits


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSpan:
    """A stretch of one recording under one label.

    Attributes
    ----------
    start_s, end_s : float
        Half-open stretch in seconds of the record.
    rhythm : str
        The label as the data set gives it, for example ``VFL``; reports are per rhythm.
    admissible : tuple of str
        Classes that may be true of it; one for a certain label.
    weight : float
        How much a window of it counts in training, in (0, 1]: weak labels count less.
    margin_s : float
        Windows keep this far from a border that is a change of rhythm (marks are set by eye).
    opens, closes : bool
        Whether `start_s` and `end_s` are such changes, or only the record's own ends.
    """

    start_s: float
    end_s: float
    rhythm: str
    admissible: tuple[str, ...]
    weight: float = 1.0
    margin_s: float = 0.0
    opens: bool = True
    closes: bool = True

    def __post_init__(self) -> None:
        admissible_bits(self.admissible)
        if not 0 < self.weight <= 1:
            raise OutOfRangeError(f"weight is {self.weight}, expected in (0, 1]")

    @property
    def certain_class(self) -> str | None:
        """The class, where the label names exactly one."""
        return self.admissible[0] if len(self.admissible) == 1 else None
