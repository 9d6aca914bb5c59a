"""Whole records through the streaming code of the bed, packet by packet."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.recording import EcgSignal
from wardstream.contracts.codes import Modality
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.quality import LIMITS, QualityMeter
from wardstream.kernels.resample import TARGET_RATE_HZ, Resampler

PACKET_S: Final = 0.04
"""The bed's own packet; any other gives the same beats."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectedBeats:
    """Beats of one record.

    Attributes
    ----------
    samples : ndarray of int64
        Where, at the record's own rate, in rising order.
    known_s : ndarray of float64
        When each was said, in seconds of the record: the end of the packet that decided it.
    """

    samples: NDArray[np.int64]
    known_s: NDArray[np.float64]


def packets(samples: NDArray[np.float32], packet_samples: int) -> Iterator[NDArray[np.float32]]:
    """`samples`, shape (n_channels, n_samples), in the order of their arrival."""
    for start in range(0, samples.shape[1], packet_samples):
        yield np.ascontiguousarray(samples[:, start : start + packet_samples])


def detect_beats(signal: EcgSignal, packet_s: float = PACKET_S) -> DetectedBeats:
    """What the fused detector says of `signal`, with what had arrived when it said so.

    Leads are weighted by their quality, as the agent weighs them.
    """
    rate_hz = signal.sampling_rate_hz
    n_leads = len(signal.samples_mv)
    resampler, detector = Resampler(n_leads, rate_hz), QrsDetector(n_leads)
    quality = QualityMeter(n_leads, LIMITS[Modality.ECG])
    found: list[int] = []
    known: list[float] = []
    n_seen = 0
    for packet in packets(signal.samples_mv, max(1, round(packet_s * rate_hz))):
        n_seen += packet.shape[1]
        resampled = np.ascontiguousarray(resampler.push(packet))
        quality.push(resampled)
        detector.weights[:] = quality.score
        if n_new := detector.push(resampled):
            found.extend(detector.last_beats(n_new).tolist())
            known.extend([n_seen / rate_hz] * n_new)
    times_s = np.asarray(found, dtype=np.float64) / TARGET_RATE_HZ
    order = np.argsort(times_s, kind="stable")
    return DetectedBeats(
        np.round(times_s[order] * rate_hz).astype(np.int64), np.asarray(known)[order]
    )


def realtime_factor(signal: EcgSignal, packet_s: float = PACKET_S) -> float:
    """Seconds of one lead that one CPU second of the detector takes in, packets of `packet_s`.

    Resampling is done before: what is timed is `QrsDetector.push`, called once a packet.
    """
    resampler = Resampler(1, signal.sampling_rate_hz)
    resampled = resampler.push(np.ascontiguousarray(signal.samples_mv[:1])).copy()
    parts = list(packets(resampled, max(1, round(packet_s * TARGET_RATE_HZ))))
    QrsDetector(1).push(parts[0])  # compiled before the clock runs
    detector = QrsDetector(1)
    begun_ns = time.process_time_ns()
    for packet in parts:
        detector.push(packet)
    spent_s = (time.process_time_ns() - begun_ns) / 1e9
    return resampled.shape[1] / TARGET_RATE_HZ / max(spent_s, 1e-9)
