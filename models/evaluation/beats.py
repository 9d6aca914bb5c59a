"""Beats found against beats marked, as `bxb` pairs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import wfdb
from numpy.typing import NDArray

from models.evaluation.statistics import Counts

LEARNING_S: Final = 5.0
"""What happens before this second of a record is not held against a detector."""

BEAT_SYMBOLS: Final = frozenset("NLRBAaJSVrFejnE/fQ?")
"""Annotations that mark a beat, WFDB Programmer's Guide; ``!`` (flutter wave) is none."""

Samples = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """How two lists of beats pair.

    Attributes
    ----------
    pairs : ndarray of int64, shape (n_pairs, 2)
        Index of the beat marked and of the beat found.
    missed, extra : ndarray of int64
        Indices of beats marked but not found, and found but not marked.
    """

    pairs: Samples
    missed: Samples
    extra: Samples

    @property
    def counts(self) -> Counts:
        """True positives, false positives, false negatives."""
        return Counts(tp=len(self.pairs), fp=len(self.extra), fn=len(self.missed))


def match_beats(reference: Samples, found: Samples, tolerance: int) -> Matching:
    """Pair each beat marked with at most one found that is no further than `tolerance`.

    Parameters
    ----------
    reference, found : ndarray of int64
        Sample numbers in rising order.
    tolerance : int
        Largest distance of a pair, in samples, included.

    Notes
    -----
    The pairing of `bxb` (WFDB): in order of time, and a beat is left to the next one of the
    other list if that is nearer to it. O(n).
    """
    pairs: list[tuple[int, int]] = []
    missed: list[int] = []
    extra: list[int] = []
    i = j = 0
    while i < len(reference) and j < len(found):
        distance = int(found[j]) - int(reference[i])
        if distance >= 0:
            # The mark comes first: is the found beat its own, or the next mark's?
            taken = i + 1 < len(reference) and abs(int(reference[i + 1]) - int(found[j])) < distance
            fits = distance <= tolerance and not taken
        else:
            taken = j + 1 < len(found) and abs(int(found[j + 1]) - int(reference[i])) < -distance
            fits = -distance <= tolerance and not taken
        if fits:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif distance >= 0:
            missed.append(i)
            i += 1
        else:
            extra.append(j)
            j += 1
    missed.extend(range(i, len(reference)))
    extra.extend(range(j, len(found)))
    return Matching(
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        np.array(missed, dtype=np.int64),
        np.array(extra, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceBeats:
    """Beats of a record as experts marked them.

    Attributes
    ----------
    samples : ndarray of int64
        Where, at the record's own rate, in rising order.
    symbols : ndarray of str
        What each is.
    excluded : tuple of (int, int)
        Stretches without beats to speak of (flutter between ``[`` and ``]``), half open:
        nothing in them is counted, as `bxb` does.
    """

    samples: Samples
    symbols: NDArray[np.str_]
    excluded: tuple[tuple[int, int], ...]


def read_reference_beats(path: Path, extension: str = "atr") -> ReferenceBeats:
    """Beats marked in the WFDB annotation beside the record at `path` (no extension)."""
    annotation: Any = wfdb.rdann(str(path), extension)
    samples = np.asarray(annotation.sample, dtype=np.int64)
    symbols = np.asarray(annotation.symbol, dtype=np.str_)
    beats = np.array([symbol in BEAT_SYMBOLS for symbol in symbols], dtype=bool)
    excluded: list[tuple[int, int]] = []
    onset: int | None = None
    for sample, symbol in zip(samples.tolist(), symbols.tolist(), strict=True):
        if symbol == "[" and onset is None:
            onset = sample
        elif symbol == "]" and onset is not None:
            excluded.append((onset, sample))
            onset = None
    if onset is not None:
        excluded.append((onset, np.iinfo(np.int64).max))
    return ReferenceBeats(samples=samples[beats], symbols=symbols[beats], excluded=tuple(excluded))


def counted(
    samples: Samples, sampling_rate_hz: float, excluded: tuple[tuple[int, int], ...] = ()
) -> NDArray[np.bool_]:
    """Which of `samples` count: after the learning time and outside what is excluded."""
    keep = samples >= LEARNING_S * sampling_rate_hz
    for start, stop in excluded:
        keep &= (samples < start) | (samples >= stop)
    return keep


def score_beats(
    reference: ReferenceBeats, found: Samples, sampling_rate_hz: float, tolerance_s: float
) -> Matching:
    """Pairing of the beats that count; indices are into the beats that count.

    Beats are paired before those of the learning time are left out, so that a pair across
    its border is neither missed nor extra: its mark decides.
    """
    tolerance = round(tolerance_s * sampling_rate_hz)
    matching = match_beats(reference.samples, found, tolerance)
    keep_reference = counted(reference.samples, sampling_rate_hz, reference.excluded)
    keep_found = counted(found, sampling_rate_hz, reference.excluded)
    pairs = matching.pairs[keep_reference[matching.pairs[:, 0]]]
    return Matching(
        pairs,
        matching.missed[keep_reference[matching.missed]],
        matching.extra[keep_found[matching.extra]],
    )
