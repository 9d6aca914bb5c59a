"""Curves with known rhythm and pulse, and the chunks a source would cut them into."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.timebase import NS_PER_S, TimestampNs, sample_time_ns
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import WaveformChunk

BOOT_ID = "00000000-0000-4000-8000-000000000001"
START_NS = TimestampNs(1_700_000_000 * NS_PER_S)
LEAD_II, LEAD_V, PLETH, ABP = (
    "MDC_ECG_ELEC_POTL_II",
    "MDC_ECG_ELEC_POTL_V",
    "MDC_PULS_OXIM_PLETH",
    "MDC_PRESS_BLD_ART",
)

Curve = NDArray[np.float32]


def ecg(beats_s: list[float], duration_s: float, rate_hz: float = 250.0) -> Curve:
    """One lead in mV with a QRS and a T wave for each beat, and the noise of a live electrode."""
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    curve = 0.01 * np.random.default_rng(0).standard_normal(times.size)
    for beat in beats_s:
        near = slice(*np.searchsorted(times, [beat - 0.2, beat + 0.6]))
        since = times[near] - beat
        curve[near] += np.exp(-((since / 0.012) ** 2)) + 0.2 * np.exp(
            -(((since - 0.25) / 0.05) ** 2)
        )
    return curve.astype(np.float32)


def fibrillation(duration_s: float, rate_hz: float = 250.0) -> Curve:
    """Something that moves as ventricular fibrillation does, 0.5 mV at about 5 Hz."""
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    wander = 1.2 * np.sin(2 * np.pi * 0.31 * times)
    return (0.5 * np.sin(2 * np.pi * 5.0 * times + wander)).astype(np.float32)


def pulse(beats_s: list[float], duration_s: float, rate_hz: float = 125.0) -> Curve:
    """A pulse curve 0 to 1 whose onsets follow the beats by 0.2 s."""
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    curve = 0.002 * np.random.default_rng(1).standard_normal(times.size)
    for beat in beats_s:
        since = np.clip((times - beat - 0.2) / 0.12, 0, 1)
        after = np.clip(times - beat - 0.32, 0, None)
        curve = np.maximum(curve, (0.5 - 0.5 * np.cos(np.pi * since)) * np.exp(-4 * after))
    return curve.astype(np.float32)


def regular(rate_per_min: float, start_s: float, end_s: float) -> list[float]:
    """Times of regular beats in ``[start_s, end_s)``."""
    return list(np.arange(start_s, end_s, 60.0 / rate_per_min))


def chunks(
    curves: dict[str, Curve],
    *,
    unit: Unit = Unit.MILLIVOLT,
    rate_hz: float = 250.0,
    packet_s: float = 0.04,
    start_ns: TimestampNs = START_NS,
    device_id: str = "bed-1",
) -> Iterator[WaveformChunk]:
    """One group of channels as a source delivers it."""
    samples = np.stack(list(curves.values())).astype(np.float32)
    n = max(1, round(packet_s * rate_hz))
    for k, begin in enumerate(range(0, samples.shape[1], n)):
        yield WaveformChunk(
            device_id=device_id,
            boot_id=BOOT_ID,
            sequence_number=k,
            codes=tuple(curves),
            unit=unit,
            sampling_rate_hz=rate_hz,
            start_time_ns=sample_time_ns(start_ns, rate_hz, begin),
            samples=np.ascontiguousarray(samples[:, begin : begin + n]),
        )


def merged(*groups: Iterator[WaveformChunk]) -> list[WaveformChunk]:
    """The chunks of several groups in the order in which they would arrive."""
    return sorted((c for group in groups for c in group), key=lambda chunk: chunk.end_time_ns)


def later(chunk: WaveformChunk, seconds: float, **changes: object) -> WaveformChunk:
    """`chunk` with its clock moved."""
    start_ns = TimestampNs(chunk.start_time_ns + round(seconds * NS_PER_S))
    return replace(chunk, start_time_ns=start_ns, **changes)  # type: ignore[arg-type]
