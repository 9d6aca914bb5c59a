"""Open beat detectors, run in the same run on the same samples.

They see one lead and all of it at once, later samples included; ours sees what has arrived.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Detect = Callable[[NDArray[np.float64], float], NDArray[np.int64]]
"""From one lead in mV and its rate to the samples of the beats."""


def xqrs(lead: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.int64]:
    """XQRS of wfdb."""
    processing: Any = import_module("wfdb.processing")
    return _samples(processing.xqrs_detect(sig=lead, fs=sampling_rate_hz, verbose=False))


def gqrs(lead: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.int64]:
    """GQRS of wfdb."""
    processing: Any = import_module("wfdb.processing")
    return _samples(processing.gqrs_detect(sig=lead, fs=sampling_rate_hz))


def neurokit(lead: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.int64]:
    """The default of neurokit2: cleaning, then its own detector."""
    nk: Any = import_module("neurokit2")
    rate = int(sampling_rate_hz)
    cleaned = nk.ecg_clean(lead, sampling_rate=rate, method="neurokit")
    _, found = nk.ecg_peaks(cleaned, sampling_rate=rate, method="neurokit")
    return _samples(found["ECG_R_Peaks"])


def sleepecg(lead: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.int64]:
    """sleepecg, its compiled detector."""
    module: Any = import_module("sleepecg")
    return _samples(module.detect_heartbeats(lead, sampling_rate_hz))


PEERS: Final[dict[str, Detect]] = {
    "xqrs": xqrs,
    "gqrs": gqrs,
    "neurokit2": neurokit,
    "sleepecg": sleepecg,
}

_PACKAGE: Final = {"xqrs": "wfdb", "gqrs": "wfdb"}


def installed_peers() -> dict[str, Detect]:
    """Those of `PEERS` whose package is there."""
    found: dict[str, Detect] = {}
    for name, detect in PEERS.items():
        try:
            import_module(_PACKAGE.get(name, name))
        except ImportError:
            continue
        found[name] = detect
    return found


def run_peer(
    detect: Detect, lead: NDArray[np.float64], sampling_rate_hz: float
) -> NDArray[np.int64]:
    """Beats `detect` finds on `lead`; missing samples are held, for the peers know no gaps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.unique(detect(_held(lead), sampling_rate_hz))


def _held(lead: NDArray[np.float64]) -> NDArray[np.float64]:
    present = np.isfinite(lead)
    if present.all():
        return np.ascontiguousarray(lead)
    if not present.any():
        return np.zeros_like(lead)
    last = np.maximum.accumulate(np.where(present, np.arange(len(lead)), -1))
    return lead[np.where(last < 0, int(np.argmax(present)), last)]


def _samples(found: Any) -> NDArray[np.int64]:
    values = np.asarray(found, dtype=np.float64)
    return values[np.isfinite(values)].astype(np.int64)
