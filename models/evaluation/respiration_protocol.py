"""Protocol ``respiration``: respiration rate against breaths that two people marked.

clinical.md section 4: bidmc; the causal rate each second, against the breath annotations (the
headline) and against the monitor's own numerics; mean absolute error and share within 5 /min.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.physionet import read_record
from models.datasets.recording import read_leads, record_paths
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import Outcome, PredictionTable, Strip, ends, present
from models.evaluation.quiet_protocol import bidmc_patient
from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import cluster_bootstrap, ratio, sum_by_cluster
from models.evaluation.streaming import packets
from wardstream.contracts.codes import Modality
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.derived_respiration import DerivedRespiration
from wardstream.kernels.pulse import PulseDetector
from wardstream.kernels.quality import LIMITS, QualityMeter
from wardstream.kernels.resample import TARGET_RATE_HZ, Resampler
from wardstream.kernels.respiration import BreathDetector

REFERENCE_S: Final = 32.0
"""The rate at a moment is that of the breaths marked over the 32 s before it (Pimentel 2017)."""

USABLE_SCORE: Final = 0.3
"""Signal quality from which the agent gives a rate."""

NEAR_PER_MIN: Final = 5.0
_CHANNEL: Final = "RESP"
_PULSE_CHANNEL: Final = "PLETH"
_MIN_PULSE: Final = 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateRecord:
    """Rates of one record, second by second; all arrays of shape (n_seconds,), NaN = none.

    Attributes
    ----------
    path : Path
        WFDB record, no extension.
    patient : str
        Whose.
    time_s : ndarray of float64
        Seconds of the record; what is said of them uses no later sample.
    rate, derived, annotated, monitor : ndarray of float64
        Ours, ours without the respiration curve, the annotators' mean, and the monitor's
        numeric, in breaths a minute.
    """

    path: Path
    patient: str
    time_s: Floats
    rate: Floats
    derived: Floats
    annotated: Floats
    monitor: Floats


def evaluate_respiration(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    paths = record_paths(request.folder("bidmc"))
    records: list[RateRecord] = []
    for i, path in enumerate(paths):
        records.append(_record(path))
        request.progress(i + 1, len(paths), f"bidmc/{path.name}")
    report = ProtocolReport(
        protocol="respiration", model="none", cross_validated=True, n_records=len(records)
    )
    report.metrics.update(_figures(records, "annotated"))
    report.metrics["against_monitor"] = _figures(records, "monitor")
    report.metrics["monitor_against_annotated"] = _monitor_itself(records)
    report.metrics["derived_from_ecg_and_ppg"] = _figures(
        [replace(record, rate=record.derived) for record in records], "annotated"
    )
    report.confidence.update(_intervals(records))
    return Outcome(
        report=report,
        predictions=PredictionTable(
            ("record", "time_s", "rate_per_min"),
            [
                (record.path.name, float(time_s), round(float(rate), 2))
                for record in records
                for time_s, rate in zip(record.time_s, record.rate, strict=True)
                if math.isfinite(rate)
            ],
        ),
        worst=tuple(_worst(records)),
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "A rate each second from the impedance curve, causal. Reference: mean of two annotators, "
        "each from the intervals of the breaths marked over the last 32 s. Seconds without a "
        "reference are left out; seconds without an answer count in coverage only."
    ),
    (
        "derived_from_ecg_and_ppg: the same seconds, from beats and pulses alone. A record "
        "without an impedance curve is answered so."
    ),
    "Nothing is fitted by fold: the kernel's constants were set on these records.",
)


def _record(path: Path) -> RateRecord:
    time_s, rate = breath_rates(path)
    derived = derived_rates(path, len(time_s))
    if not np.isfinite(rate).any():
        rate = derived
    return RateRecord(
        path=path,
        patient=bidmc_patient(path.name),
        time_s=time_s,
        rate=rate,
        derived=derived,
        annotated=annotated_rate(_breath_times(path), time_s),
        monitor=_monitor_rate(path, time_s),
    )


def breath_rates(path: Path) -> tuple[Floats, Floats]:
    """Seconds of the record at `path`, and the streaming rate known at each of them."""
    record: Any = read_record(path)
    rate_hz = float(record.fs)
    names = [str(name).upper() for name in record.sig_name]
    n_seconds = int(record.sig_len // rate_hz)
    time_s = np.arange(1, n_seconds + 1, dtype=np.float64)
    if _CHANNEL not in names:
        return time_s, np.full(n_seconds, math.nan)
    curve = np.asarray(record.p_signal)[:, names.index(_CHANNEL)].astype(np.float32)[None, :]
    return time_s, np.fromiter(_streamed(curve, rate_hz), dtype=np.float64, count=n_seconds)


def _streamed(curve: NDArray[np.float32], rate_hz: float) -> Iterator[float]:
    resampler, detector = Resampler(1, rate_hz), BreathDetector()
    quality = QualityMeter(1, LIMITS[Modality.RESPIRATION])
    n_seconds = int(curve.shape[1] // rate_hz)
    for packet in packets(curve[:, : round(n_seconds * rate_hz)], round(rate_hz)):
        resampled = resampler.push(packet)
        quality.push(resampled)
        detector.push(resampled)
        yield detector.rate_per_min() if quality.score[0] >= USABLE_SCORE else math.nan


def derived_rates(path: Path, n_seconds: int) -> Floats:
    """The streaming rate at each second of the record at `path` from its ECG and pulse alone."""
    ecg = read_leads(path)
    record: Any = read_record(path)
    names = [str(name).upper() for name in record.sig_name]
    pulse = np.full((1, ecg.samples_mv.shape[1]), math.nan, dtype=np.float32)
    if _PULSE_CHANNEL in names:
        pulse[0] = np.asarray(record.p_signal)[:, names.index(_PULSE_CHANNEL)]
    rate_hz, n_leads = ecg.sampling_rate_hz, len(ecg.samples_mv)
    if not n_leads:
        return np.full(n_seconds, math.nan)
    of_ecg, of_pulse = Resampler(n_leads, rate_hz), Resampler(1, rate_hz)
    beats, pulses = QrsDetector(n_leads), PulseDetector(min_amplitude=_MIN_PULSE)
    quality = QualityMeter(n_leads, LIMITS[Modality.ECG])
    pulse_quality = QualityMeter(1, LIMITS[Modality.PPG])
    respiration = DerivedRespiration()
    rates = np.full(n_seconds, math.nan)
    second = round(rate_hz)
    for i, packet in enumerate(packets(ecg.samples_mv[:, : n_seconds * second], second)):
        leads = of_ecg.push(packet)
        quality.push(leads)
        beats.weights[:] = quality.score
        beats.push(leads)
        curve = of_pulse.push(np.ascontiguousarray(pulse[:, i * second : (i + 1) * second]))
        pulse_quality.push(curve)
        pulses.push(curve)
        now = round((i + 1) * TARGET_RATE_HZ)
        respiration.begin()
        if quality.score.max() >= USABLE_SCORE:
            respiration.take_beats(beats.beat_index, beats.features, beats.n_beats, now)
        if pulse_quality.score[0] >= USABLE_SCORE:
            respiration.take_pulses(pulses.pulses, pulses.n_pulses, now)
        rates[i] = respiration.rate_per_min()
    return rates


def annotated_rate(breaths_s: Sequence[Floats], time_s: Floats) -> Floats:
    """Mean over annotators of 60 over their mean interval in the last 32 s; NaN with under 3."""
    rates = np.full((len(breaths_s), len(time_s)), math.nan)
    for row, times in enumerate(breaths_s):
        first = np.searchsorted(times, time_s - REFERENCE_S, side="left")
        last = np.searchsorted(times, time_s, side="right") - 1
        enough = (last - first >= 2) & (time_s >= REFERENCE_S)
        spans = times[last[enough]] - times[first[enough]]
        rates[row, enough] = 60 * (last - first)[enough] / spans
    known = np.isfinite(rates).any(axis=0)
    mean = np.full(len(time_s), math.nan)
    mean[known] = np.nanmean(rates[:, known], axis=0)
    return mean


def _breath_times(path: Path) -> list[Floats]:
    rate_hz = float(read_record(path, stop=1).fs)
    columns: list[list[float]] = [[], []]
    with path.with_name(f"{path.name}_breaths.csv").open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            for column, cell in zip(columns, row, strict=False):
                if cell.strip() and cell.strip().lower() != "nan":
                    column.append(float(cell) / rate_hz)
    return [np.sort(np.array(column)) for column in columns if len(column) > 2]


def _monitor_rate(path: Path, time_s: Floats) -> Floats:
    found = np.full(len(time_s), math.nan)
    with path.with_name(f"{path.name}_numerics.csv").open(newline="") as file:
        for row in csv.DictReader(file, skipinitialspace=True):
            second, value = round(float(row["Time [s]"])), row["RESP"].strip()
            # The numeric of second n stands at time n, as ours does at the end of it.
            if 1 <= second <= len(found) and value and value.lower() != "nan":
                found[second - 1] = float(value)
    return found


def _errors(record: RateRecord, reference: str) -> Floats:
    truth: Floats = record.annotated if reference == "annotated" else record.monitor
    known = np.isfinite(truth) & (record.time_s >= REFERENCE_S)
    return record.rate[known] - truth[known]


def _figures(records: Sequence[RateRecord], reference: str) -> dict[str, float]:
    pooled = np.concatenate([_errors(record, reference) for record in records])
    answered = pooled[np.isfinite(pooled)]
    if not len(answered):
        return {}
    return present(
        {
            "mae_per_min": float(np.abs(answered).mean()),
            "bias_per_min": float(answered.mean()),
            "within_5_per_min": float((np.abs(answered) <= NEAR_PER_MIN).mean()),
            "coverage": ratio(len(answered), len(pooled)),
        }
    )


def _monitor_itself(records: Sequence[RateRecord]) -> dict[str, float]:
    pooled = np.concatenate([r.monitor - r.annotated for r in records])
    known = pooled[np.isfinite(pooled)]
    return present({"mae_per_min": float(np.abs(known).mean())}) if len(known) else {}


def _intervals(records: Sequence[RateRecord]) -> dict[str, Any]:
    rows: list[list[float]] = []
    for record in records:
        errors = np.abs(_errors(record, "annotated"))
        errors = errors[np.isfinite(errors)]
        rows.append([float(errors.sum()), len(errors)])
    _, sums = sum_by_cluster([record.patient for record in records], np.array(rows))
    limits = ends(cluster_bootstrap(sums, lambda s: s[:, 0] / s[:, 1]))
    return {} if limits is None else {"mae_per_min": limits}


def _worst(records: Sequence[RateRecord]) -> Iterator[Strip]:
    def mean_error(record: RateRecord) -> float:
        errors = np.abs(_errors(record, "annotated"))
        return float(np.nanmean(errors)) if np.isfinite(errors).any() else 0.0

    for record in sorted(records, key=mean_error, reverse=True)[:10]:
        errors = np.abs(record.rate - record.annotated)
        if not np.isfinite(errors).any():
            continue
        worst_s = float(record.time_s[int(np.nanargmax(errors))])
        at = int(worst_s) - 1
        yield Strip(
            record=record.path,
            start_s=max(worst_s - REFERENCE_S, 0.0),
            end_s=worst_s,
            caption=f"{record.path.name}: {record.rate[at]:.0f} /min said, "
            f"{record.annotated[at]:.0f} marked; mean error {mean_error(record):.1f} /min",
        )
