"""What the streaming kernels know when a monitor's alarm sounds, as one row of numbers.

Every figure looks back only. The last sixteen seconds are judged; the minutes before them say
what is usual for this patient.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.codes import Modality
from wardstream.inference.alarms.curves import AlarmCurves
from wardstream.inference.alarms.perfusion import (
    extent_features,
    likeness_features,
    silence_features,
)
from wardstream.inference.alarms.waveform import lead_features, similarity_features
from wardstream.inference.port import RhythmRuntime
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.pulse import DIASTOLIC, ONSET, SYSTOLIC, PulseDetector
from wardstream.kernels.quality import LIMITS, QualityMeter
from wardstream.kernels.resample import TARGET_RATE_HZ, Resampler
from wardstream.kernels.windows import filtered_record, record_windows

JUDGED_S: Final = 16.0
_RECENT_S: Final = 10.0
_PACKET: Final = 125
_MIN_AMPLITUDE: Final = {Modality.PPG: 0.01, Modality.ARTERIAL_PRESSURE: 5.0}
_MODEL_STEP_S: Final = 1.0
_USABLE: Final = 0.5

Row = dict[str, float]
Floats = NDArray[np.float64]


def alarm_features(curves: AlarmCurves, runtime: RhythmRuntime | None) -> Row:
    """All features by name; NaN where a channel is missing or says nothing.

    Parameters
    ----------
    curves : AlarmCurves
        The last `REACH_S` before the alarm.
    runtime : RhythmRuntime or None
        Rhythm model that never saw this patient; None leaves its columns NaN.
    """
    ecg = _resampled(curves.ecg, curves.sampling_rate_hz)
    row: Row = {}
    beats, quality = _beats(ecg)
    end = ecg.shape[1]
    beats_s = beats / TARGET_RATE_HZ - end / TARGET_RATE_HZ
    row |= _rates(beats_s, "ecg")
    row |= {f"ecg_{name}": value for name, value in silence_features(beats_s).items()}
    row["ecg_quality"] = float(quality.max()) if quality.size else math.nan
    row |= _pulses(curves, Modality.PPG, "ppg", beats, end)
    row |= _pulses(curves, Modality.ARTERIAL_PRESSURE, "abp", beats, end)
    row |= _best_lead(curves, beats, quality)
    row |= _model(curves, runtime, quality)
    row |= together(row)
    return row


def _resampled(channels: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    if not len(channels):
        return np.zeros((0, 0), dtype=np.float32)
    return Resampler(len(channels), rate_hz).push(channels).copy()


def _packets(curves: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, curves.shape[1], _PACKET):
        yield np.ascontiguousarray(curves[:, start : start + _PACKET])


def _beats(ecg: NDArray[np.float32]) -> tuple[Floats, Floats]:
    # Beats (samples at 250 Hz) of all leads fused, and each lead's mean quality at the end.
    if not len(ecg):
        return np.zeros(0), np.zeros(0)
    detector, meter = QrsDetector(len(ecg)), QualityMeter(len(ecg), LIMITS[Modality.ECG])
    found: list[int] = []
    scores: list[Floats] = []
    for packet in _packets(ecg):
        meter.push(packet)
        detector.weights[:] = meter.score
        n_new = detector.push(packet)
        found.extend(detector.last_beats(n_new).tolist())
        scores.append(meter.score.copy())
    recent = round(_RECENT_S * TARGET_RATE_HZ / _PACKET)
    return np.sort(np.array(found, dtype=np.float64)), np.mean(scores[-recent:], axis=0)


def _rates(times_s: Floats, name: str) -> Row:
    """Intervals of events at `times_s` (0 = the alarm) over the judged seconds."""
    recent = times_s[times_s >= -JUDGED_S]
    edges = np.concatenate([[-JUDGED_S], recent, [0.0]])
    rr = np.diff(recent)
    return {
        f"{name}_n": float(len(recent)),
        f"{name}_n_recent": float((recent >= -_RECENT_S).sum()),
        f"{name}_longest_gap_s": float(np.diff(edges).max()),
        f"{name}_slowest_5": _extreme_rate(rr, 4, slowest=True),
        f"{name}_slowest_3": _extreme_rate(rr, 2, slowest=True),
        f"{name}_fastest_5": _extreme_rate(rr, 4, slowest=False),
        f"{name}_fastest_9": _extreme_rate(rr, 8, slowest=False),
        f"{name}_fastest_17": _extreme_rate(rr, 16, slowest=False),
        f"{name}_irregularity": float(np.median(np.abs(np.diff(rr))) / rr.mean())
        if len(rr) > 3
        else math.nan,
        f"{name}_usual_rate": _usual_rate(times_s),
    }


def _extreme_rate(rr: Floats, n: int, *, slowest: bool) -> float:
    if len(rr) < n:
        return math.nan
    means = np.convolve(rr, np.ones(n) / n, mode="valid")
    return float(60 / (means.max() if slowest else means.min()))


def _usual_rate(times_s: Floats) -> float:
    before = np.diff(times_s[times_s < -JUDGED_S])
    return float(60 / np.median(before)) if len(before) > 4 else math.nan


def _pulses(curves: AlarmCurves, modality: Modality, name: str, beats: Floats, end: int) -> Row:
    channels = curves.ppg if modality is Modality.PPG else curves.abp
    if not len(channels):
        return _rates(np.zeros(0), name) | {f"{name}_n": math.nan, f"{name}_n_recent": math.nan,
                f"{name}_longest_gap_s": math.nan}  # fmt: skip
    curve = _resampled(channels[:1], curves.sampling_rate_hz)
    detector = PulseDetector(min_amplitude=_MIN_AMPLITUDE[modality])
    meter = QualityMeter(1, LIMITS[modality])
    rows: list[Floats] = []
    scores: list[float] = []
    for packet in _packets(curve):
        meter.push(packet)
        n_new = detector.push(packet)
        rows += list(detector.last_pulses(n_new).copy()) if n_new else []
        scores.append(float(meter.score[0]))
    pulses = np.array(rows).reshape(-1, 6)
    onset_s = (pulses[:, ONSET] - end) / TARGET_RATE_HZ
    recent = round(_RECENT_S * TARGET_RATE_HZ / _PACKET)
    height = pulses[:, SYSTOLIC] - pulses[:, DIASTOLIC]
    row = _rates(onset_s, name)
    row[f"{name}_quality"] = float(np.mean(scores[-recent:]))
    row |= _heights(height, pulses[:, SYSTOLIC], onset_s, name)
    row[f"{name}_follows"] = _share_followed(beats / TARGET_RATE_HZ - end / TARGET_RATE_HZ, onset_s)
    row[f"{name}_flat_share"] = _flat_share(curve[0])
    onsets = np.sort(pulses[:, ONSET])
    perfusion = (
        extent_features(curve[0])
        | likeness_features(curve[0], onsets)
        | silence_features((onsets - end) / TARGET_RATE_HZ)
    )
    return row | {f"{name}_{what}": value for what, value in perfusion.items()}


def _heights(height: Floats, systolic: Floats, onset_s: Floats, name: str) -> Row:
    recent, before = onset_s >= -_RECENT_S, onset_s < -JUDGED_S
    usual = float(np.median(height[before])) if before.sum() > 4 else math.nan
    judged = height[recent]
    return {
        f"{name}_lowest_height": float(judged.min() / usual) if len(judged) else math.nan,
        f"{name}_height_spread": float(judged.std() / usual) if len(judged) > 2 else math.nan,
        f"{name}_lowest_systolic": float(systolic[recent].min()) if recent.any() else math.nan,
    }


def _share_followed(beats_s: Floats, onsets_s: Floats) -> float:
    # Beats with a pulse 0.05 to 0.6 s later.
    judged = beats_s[(beats_s >= -JUDGED_S) & (beats_s <= -0.8)]
    if not len(judged):
        return math.nan
    nearest = np.searchsorted(onsets_s, judged + 0.05)
    found = [
        k < len(onsets_s) and onsets_s[k] <= beat + 0.6
        for beat, k in zip(judged, nearest, strict=True)
    ]
    return float(np.mean(found))


def _flat_share(curve: NDArray[np.float32]) -> float:
    recent = curve[-round(JUDGED_S * TARGET_RATE_HZ) :]
    return float((np.abs(np.diff(recent)) < 1e-6).mean())


def _best_lead(curves: AlarmCurves, beats: Floats, quality: Floats) -> Row:
    # Shape features of each lead, and of them the best by quality and the extremes.
    rows: list[Row] = []
    for lead, score in zip(curves.ecg, quality, strict=True):
        filtered = filtered_record(lead, curves.sampling_rate_hz)
        row = lead_features(filtered) | similarity_features(filtered, beats) | _alone(lead, curves)
        row |= extent_features(filtered) | {"lead_quality": float(score)}
        rows.append(row)
    if not rows:
        return {}
    best = max(rows, key=lambda row: row["lead_quality"])
    found: Row = {f"best_{name}": value for name, value in best.items()}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        known = values[np.isfinite(values)]
        found[f"lowest_{name}"] = float(known.min()) if len(known) else math.nan
        found[f"highest_{name}"] = float(known.max()) if len(known) else math.nan
    return found


_ALONE: Final = ("longest_gap_s", "slowest_5", "fastest_5", "fastest_17", "n_recent")


def _alone(lead: NDArray[np.float32], curves: AlarmCurves) -> Row:
    # Beats as one lead alone has them: where leads disagree, one of them is noise.
    resampled = _resampled(lead[None, :], curves.sampling_rate_hz)
    beats, _ = _beats(resampled)
    row = _rates((beats - resampled.shape[1]) / TARGET_RATE_HZ, "alone")
    return {f"alone_{what}": row[f"alone_{what}"] for what in _ALONE}


def _model(curves: AlarmCurves, runtime: RhythmRuntime | None, quality: Floats) -> Row:
    if runtime is None or not len(curves.ecg):
        return {}
    n_windows = round(JUDGED_S / _MODEL_STEP_S) - 4
    reach = round((JUDGED_S + 30.0) * curves.sampling_rate_hz)
    windows = np.concatenate(
        [
            record_windows(lead[-reach:], curves.sampling_rate_hz, hop_s=_MODEL_STEP_S).windows[
                -n_windows:
            ]
            for lead in curves.ecg
        ],
        axis=1,
    )
    n_channels = runtime.manifest.inputs[0].shape[0]
    if n_channels > 1:  # it fuses leads itself; the best come first
        best = np.argsort(-quality, kind="stable")[:n_channels]
        fused: Any = runtime.infer(np.ascontiguousarray(windows[:, best]))
    else:
        weights = np.maximum(quality, 1e-3) / np.maximum(quality, 1e-3).sum()
        fused = sum(
            weight * runtime.infer(np.ascontiguousarray(windows[:, i : i + 1]))
            for i, weight in enumerate(weights)
        )
    row: Row = {}
    for index, name in enumerate(runtime.manifest.classes):
        column = np.sort(np.asarray(fused)[:, index])
        row[f"model_{name}_highest"] = float(column[-1])
        row[f"model_{name}_third"] = float(column[-3])
        row[f"model_{name}_mean"] = float(column.mean())
    return row


def together(row: Row) -> Row:
    """What the believable pulse channels say, and what all channels agree on."""
    usable = [
        name for name in ("abp", "ppg") if row.get(f"{name}_quality", 0.0) > _USABLE
        and row.get(f"{name}_n", 0.0) > 0
    ]  # fmt: skip
    found: Row = {"n_pulse_channels": float(len(usable))}
    for what in ("longest_gap_s", "slowest_5", "fastest_5", "fastest_9", "fastest_17", "n_recent"):
        values = [row[f"{name}_{what}"] for name in usable if math.isfinite(row[f"{name}_{what}"])]
        found[f"pulse_least_{what}"] = min(values, default=math.nan)
        found[f"pulse_most_{what}"] = max(values, default=math.nan)
        values += [row[f"ecg_{what}"]] if math.isfinite(row[f"ecg_{what}"]) else []
        # The silence, the slowness and the speed that every channel confirms.
        found[f"all_least_{what}"] = min(values, default=math.nan)
        found[f"all_most_{what}"] = max(values, default=math.nan)
    found["pulse_goes_on"] = float(any(_goes_on(row, name) for name in ("abp", "ppg")))
    found["standstill"] = float(_stands_still(row))
    return found


_USUAL_LIKENESS: Final = 0.9
_PULSE_GAP_S: Final = 2.5
_STANDSTILL_S: Final = 3.0
_STANDSTILL_FALL: Final = -0.35


def _goes_on(row: Row, name: str) -> bool:
    # A channel whose pulses are usually alike shows such pulses still, without a pause.
    return (
        row.get(f"{name}_likeness_usual", 0.0) >= _USUAL_LIKENESS
        and row[f"{name}_gap_like_s"] <= _PULSE_GAP_S
    )


def _stands_still(row: Row) -> bool:
    # A good arterial line without a pulse, and its mean falling: the heart moves no blood. A line
    # that is flushed, clamped or let to air goes up or stays, and has no pulse before either.
    return (
        row.get("abp_quality", 0.0) > _USABLE
        and row["abp_likeness_usual"] >= _USUAL_LIKENESS
        and row["abp_gap_like_s"] >= _STANDSTILL_S
        and row["abp_fall_most"] <= _STANDSTILL_FALL
    )
