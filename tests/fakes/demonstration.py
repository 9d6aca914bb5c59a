"""A ward worth looking at: beds with plausible numerics, alarms of each priority, a real strip."""

import os
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from fakes.dashboard_server import DashboardServer
from fakes.dashboard_ward import NS_PER_S, MemoryWard
from numpy.typing import NDArray

from cloud_api.core.views import (
    AlertView,
    BedView,
    DeadLetterView,
    DeviceView,
    FrameView,
    ModelVersionView,
    ModelView,
    NumericsView,
    PatientView,
    condition_label,
)
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import AlertStrip, WaveformChunk

CHECKOUT = Path(__file__).resolve().parents[2]
PROBLEMS = (
    ["septic shock", "acute kidney injury"],
    ["COPD", "pneumonia"],
    ["NSTEMI", "type 2 diabetes"],
    ["polytrauma"],
    ["heart failure", "atrial fibrillation"],
    ["intracerebral haemorrhage"],
    ["pancreatitis", "ARDS"],
    ["post cardiac surgery"],
)


def make_bed(bed_id: str, index: int = 0, *, mode: str = "demo") -> BedView:
    """A bed that is online and has no data yet."""
    return BedView(
        bed_id=bed_id,
        unit_id="icu-1",
        site_id="demo",
        device_id=f"dev-{bed_id}",
        connectivity="online",
        generation_mode=mode,
        source="simulator" if index % 2 else "wfdb:cu01",
        last_seen_time_ns=time.time_ns(),
        silent=False,
        model=ModelView(state="running", version=3, reason="", refused_version=None),
        numerics=NumericsView(time_ns=None, age_s=None, values={}),
        patient=PatientView(
            pseudonym=f"p-{index:03}",
            age_years=34 + (index * 17) % 52,
            problems=list(PROBLEMS[index % len(PROBLEMS)]),
            news2_low=(index * 3) % 8,
            news2_high=(index * 3) % 8 + index % 4,
        ),
    )


def make_numerics(random: np.random.Generator, index: int) -> dict[str, float | None]:
    """One second of a patient who is ill but steady."""
    systolic = 96 + (index * 13) % 50 + random.normal(0, 1.5)
    diastolic = systolic * 0.6 + random.normal(0, 1)
    return {
        "heart_rate_per_min": 62 + (index * 19) % 55 + random.normal(0, 1.2),
        "spo2_percent": min(100.0, 93 + (index * 5) % 7 + random.normal(0, 0.4)),
        "abp_systolic_mmhg": None if index % 5 == 4 else systolic,
        "abp_diastolic_mmhg": None if index % 5 == 4 else diastolic,
        "abp_mean_mmhg": None if index % 5 == 4 else (systolic + 2 * diastolic) / 3,
        "respiration_rate_per_min": 12 + (index * 7) % 14 + random.normal(0, 0.6),
        "temperature_celsius": 36.4 + (index * 3) % 20 / 10,
    }


def make_alert(
    bed: BedView, condition: str, priority: str, *, seconds_ago: float = 0, **more: Any
) -> AlertView:
    """An alert at its onset."""
    onset_ns = time.time_ns() - round(seconds_ago * NS_PER_S)
    technical = condition in {"lead_off", "no_data", "model_unavailable", "artefact"}
    alert = AlertView(
        alert_id=str(uuid4()),
        device_id=bed.device_id,
        bed_id=bed.bed_id,
        unit_id=bed.unit_id,
        condition=condition,
        label=condition_label(condition),
        kind="technical" if technical else "physiological",
        priority=priority,
        presence="on",
        transition="onset",
        onset_time_ns=onset_ns,
        event_time_ns=onset_ns,
        decided_time_ns=onset_ns + 3_000_000,
        stored_time_ns=onset_ns + 9_000_000,
        model_version="none" if technical else "rhythm/3",
        generation_mode=bed.generation_mode,
        evidence={"probability_vf": 0.982, "held_s": 4.0} if not technical else {"flat_s": 3.2},
        acknowledged_by=None,
        acknowledgement_expires_ns=None,
        acknowledgement_state="none",
        has_strip=False,
        sequence_number=0,
        event_id=0,
    )
    return replace(alert, **more)


def make_strip(alert: AlertView, *, gap: bool = False) -> AlertStrip:
    """Ten seconds before and after the onset: cu01 where there is one, else drawn here."""
    ecg = _recorded_ecg()
    if gap:
        ecg[0, 1800:2100] = np.nan
    chunk = WaveformChunk(
        device_id=alert.device_id,
        boot_id=str(uuid4()),
        sequence_number=0,
        codes=("MDC_ECG_ELEC_POTL_II",),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=250.0,
        start_time_ns=TimestampNs(alert.onset_time_ns - 10 * NS_PER_S),
        samples=ecg,
    )
    pressure = replace(
        chunk,
        codes=("MDC_PRESS_BLD_ART",),
        unit=Unit.MMHG,
        sampling_rate_hz=125.0,
        samples=_pressure(),
    )
    return AlertStrip(
        device_id=alert.device_id,
        boot_id=chunk.boot_id,
        sequence_number=0,
        alert_id=alert.alert_id,
        chunks=(chunk, pressure),
    )


def _recorded_ecg() -> NDArray[np.float32]:
    data = Path(os.environ.get("WARDSTREAM_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (data / "cudb" / "cu01.hea").is_file():
        t = np.arange(5000) / 250
        calm = np.exp(-(((t % 0.8) - 0.2) ** 2) / 0.0002)
        wild = 0.6 * np.sin(2 * np.pi * 4.7 * t + np.sin(2 * np.pi * 0.7 * t))
        return np.where(t < 10, calm, wild)[np.newaxis].astype(np.float32)
    with warnings.catch_warnings():  # wfdb uses what pandas means to drop
        warnings.simplefilter("ignore")
        import wfdb

        name = str(data / "cudb" / "cu01")
        marks = wfdb.rdann(name, "atr")
        onset = int(marks.sample[list(marks.symbol).index("[")])
        record = wfdb.rdrecord(name, sampfrom=onset - 2500, sampto=onset + 2500)
    return record.p_signal.T.astype(np.float32)


def _pressure() -> NDArray[np.float32]:
    t = np.arange(2500) / 125
    beating = 84 + 32 * np.maximum(0, np.sin(2 * np.pi * 1.2 * t)) ** 2
    falling = 30 + 54 * np.exp(-np.maximum(0, t - 10) / 1.5)
    return np.where(t < 10, beating, falling)[np.newaxis].astype(np.float32)


def fill_ward(ward: MemoryWard, n_beds: int) -> None:
    """Beds, some alarms, and what operations look at."""
    modes = ("demo", "demo", "real", "demo", "test", "demo")
    for index in range(n_beds):
        bed = make_bed(f"icu-1-bed-{index + 1:02}", index, mode=modes[index % len(modes)])
        ward.beds_by_id[bed.bed_id] = bed
    beds = list(ward.beds_by_id.values())
    fibrillation = make_alert(beds[2], "ventricular_fibrillation", "high", seconds_ago=14)
    ward.put_alert(fibrillation)
    ward.put_strip(make_strip(fibrillation))
    ward.put_alert(make_alert(beds[2], "desaturation", "medium", seconds_ago=5))
    ward.put_alert(make_alert(beds[-1], "lead_off", "low", seconds_ago=95))
    if n_beds > 4:
        ward.put_alert(make_alert(beds[4], "desaturation", "medium", seconds_ago=41))
        answered = make_alert(beds[1], "extreme_tachycardia", "high", seconds_ago=300)
        ward.put_alert(answered)
        ward.put_strip(make_strip(answered, gap=True))
        answered = ward.alerts_by_id[answered.alert_id]
        ward.put_alert(replace(answered, acknowledged_by="nurse", acknowledgement_state="sent"))
        ward.confirm(answered.alert_id)
    _fill_past(ward)
    _fill_operations(ward)


def _fill_past(ward: MemoryWard) -> None:
    random = np.random.default_rng(1)
    now_ns = time.time_ns()
    for index, bed in enumerate(ward.beds_by_id.values()):
        drift = np.cumsum(random.normal(0, 0.7, 300))
        drift -= drift[-1]
        ward.frames_by_bed[bed.bed_id] = [
            FrameView(
                device_id=bed.device_id,
                boot_id=str(UUID(int=index)),
                sequence_number=second,
                time_ns=now_ns - (301 - second) * NS_PER_S,
                generation_mode=bed.generation_mode,
                values={"heart_rate_per_min": 62 + (index * 19) % 55 + float(drift[second])},
            )
            for second in range(300)
            if index != 6 or not 120 < second < 160
        ]


def _fill_operations(ward: MemoryWard) -> None:
    for index, bed in enumerate(ward.beds_by_id.values()):
        refused = index == 3
        reason = "target length 81234 is not the signed 81230" if refused else ""
        ward.device_rows.append(
            DeviceView(
                device_id=bed.device_id,
                site_id=bed.site_id,
                unit_id=bed.unit_id,
                bed_id=bed.bed_id,
                boot_id=str(uuid4()),
                connectivity=bed.connectivity,
                generation_mode=bed.generation_mode,
                source=bed.source,
                agent_version="0.1.0",
                reported_time_ns=time.time_ns(),
                last_sample_time_ns=time.time_ns(),
                last_seen_time_ns=time.time_ns(),
                silent=False,
                model=ModelView(
                    state="refused" if refused else "running",
                    version=3,
                    reason=reason,
                    refused_version=4 if refused else None,
                ),
                model_sha256="ab" * 32,
                n_windows_judged=48_211 + index,
                n_windows_unjudged=0,
                outbox_rows={"alert": 0, "frame": index % 3, "strip": 0},
                outbox_bytes={"alert": 0, "frame": 0, "strip": 0},
                channels=["MDC_ECG_ELEC_POTL_II"],
            )
        )
    ward.versions_offered = [
        ModelVersionView(
            name="rhythm",
            version=version,
            created_time_ns=time.time_ns() - (4 - version) * 86_400 * NS_PER_S,
            sha256="cd" * 32,
            metrics={"sensitivity_vf": 0.94 + version / 100, "specificity": 0.97},
        )
        for version in (3, 2, 1)
    ]
    ward.letters = [
        DeadLetterView(
            letter_id=str(uuid4()),
            origin="wardstream/v1/demo/dev-icu-1-bed-04/frame",
            device_id="dev-icu-1-bed-04",
            reason="byte 0: frame schema 9 is not registered (known: [1])",
            received_time_ns=time.time_ns() - 90 * NS_PER_S,
            payload_bytes=220,
            payload_base64="",
        )
    ]


def run_demonstration(server: DashboardServer, n_beds: int) -> None:
    """Fill the ward and keep it alive until Ctrl-C; a bed confirms after a second."""
    ward = server.ward
    random = np.random.default_rng(0)
    server.do(lambda: fill_ward(ward, n_beds))
    try:
        while True:
            server.do(lambda: _one_second(ward, random))
            time.sleep(1)
    except KeyboardInterrupt:
        return


def _one_second(ward: MemoryWard, random: np.random.Generator) -> None:
    # One bed falls silent after a while, so that delayed data can be seen.
    ward.put_numerics(
        {
            bed_id: make_numerics(random, index)
            for index, bed_id in enumerate(ward.beds_by_id)
            if index != 5 or ward.beds_by_id[bed_id].numerics.time_ns is None
        }
    )
    for alert in list(ward.alerts_by_id.values()):
        waiting = time.time_ns() - alert.stored_time_ns
        if alert.acknowledgement_state == "sent" and waiting > NS_PER_S:
            ward.confirm(alert.alert_id)
