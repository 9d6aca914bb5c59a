"""Every kernel compiled before anyone is told that the bed is watched."""

import numpy as np

from wardstream.contracts.codes import Modality
from wardstream.kernels.atrial import rr_features
from wardstream.kernels.beats import MAX_BEATS, QrsDetector
from wardstream.kernels.derived_respiration import DerivedRespiration
from wardstream.kernels.ecg import EcgLimits, EcgWatch
from wardstream.kernels.ectopic_beats import EctopicBeats
from wardstream.kernels.intervals import rr_statistics
from wardstream.kernels.pulse import PulseDetector
from wardstream.kernels.pulse_summary import summarise
from wardstream.kernels.quality import LIMITS, QualityMeter
from wardstream.kernels.repetition import RepetitionMeter
from wardstream.kernels.resample import Resampler
from wardstream.kernels.respiration import BreathDetector
from wardstream.kernels.windows import WINDOW_SAMPLES, LeadPreprocessor, normalise_window


def warm_up() -> None:
    """Compile every kernel for the types it is called with, or load it from the cache.

    Takes some 15 s of a core the first time on a machine, well under a second later. Without
    it the first packet of a patient would wait that long.
    """
    packet = np.zeros((2, 16), dtype=np.float32)
    one = np.ascontiguousarray(packet[:1])
    resampled, _ = LeadPreprocessor(2, 360.0).push(packet)
    LeadPreprocessor(2, 250.0).push(packet)
    for samples in (packet, resampled):  # an own array, and a view on a longer one
        QualityMeter(2, LIMITS[Modality.ECG]).push(samples)
        QrsDetector(2).push(samples)
    for samples in (one, Resampler(1, 125.0).push(one)):
        QualityMeter(1, LIMITS[Modality.PPG]).push(samples)
        PulseDetector(min_amplitude=1.0).push(samples)
        BreathDetector().push(samples)
    window = np.zeros(2 * WINDOW_SAMPLES, dtype=np.float32)[:WINDOW_SAMPLES]
    scratch = np.empty_like(window)
    normalise_window(window, np.empty((1, 1, WINDOW_SAMPLES), np.float32)[0, 0], scratch)
    RepetitionMeter(WINDOW_SAMPLES).slow_and_regular(scratch)
    watch_limits = EcgLimits()
    for rate_hz in (250.0, 360.0):
        EcgWatch(2, rate_hz, 10, watch_limits).push(packet, 0, every_block=True)
    summarise(PulseDetector(min_amplitude=1.0).pulses, 0, 0)
    respiration, beats = DerivedRespiration(), QrsDetector(1)
    respiration.take_beats(beats.beat_index, beats.features, 0, 0)
    respiration.take_pulses(PulseDetector(min_amplitude=1.0).pulses, 0, 0)
    respiration.rate_per_min()
    EctopicBeats().push(np.arange(MAX_BEATS) * 200, np.ones((MAX_BEATS, 3)), 0, 20)
    rr_statistics(np.full(20, 800.0))
    rr_features(np.full(20, 800.0))
