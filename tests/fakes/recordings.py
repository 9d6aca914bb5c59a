"""Real recordings, read for tests."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fakes.replaying import ReplayedAlert
from numpy.typing import NDArray

with warnings.catch_warnings():
    # wfdb 4.3 calls pandas in ways that pandas is about to drop, at import and in rdann.
    warnings.simplefilter("ignore")
    import wfdb

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")

Replay = Callable[[Path, float, float], list[ReplayedAlert]]
"""High-priority onsets of a stretch of a record."""


def read_leads(record: Path, start_s: float, end_s: float) -> tuple[NDArray[np.float32], float]:
    """Up to two leads in mV, shape (n_leads, n), and their rate."""
    rate_hz = float(wfdb.rdheader(str(record)).fs)
    read = wfdb.rdrecord(str(record), sampfrom=int(start_s * rate_hz), sampto=int(end_s * rate_hz))
    assert read.p_signal is not None
    return np.ascontiguousarray(read.p_signal[:, :2].T.astype(np.float32)), rate_hz


def read_beats_s(record: Path) -> NDArray[np.float64]:
    """Times of the annotated beats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        marks = wfdb.rdann(str(record), "atr")
    rate_hz = float(wfdb.rdheader(str(record)).fs)
    pairs = zip(marks.sample, marks.symbol, strict=True)
    return np.array([sample / rate_hz for sample, symbol in pairs if symbol in BEAT_SYMBOLS])
