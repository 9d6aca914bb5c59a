"""What one bed costs on this machine, beside what others ask for the detection of its beats."""

import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.memory import give_back
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.scenario import Scenario
from edge_agent.adapters.simulator import SimulatedPatient
from edge_agent.bootstrap.judgement import warm_up
from edge_agent.core.outbox_port import OutboxLimits
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity, PipelineOutput
from edge_agent.core.retention import PendingWrites
from edge_agent.core.ward import Ward
from wardstream.contracts.codec import encode
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.resample import TARGET_RATE_HZ

REPEATS: Final = 3

_SECONDS: Final = 60
_PACKET_MS: Final = 40
_HOP_MS: Final = 250
_WARD_BEDS: Final = 64
_WARD_SECONDS: Final = 16
_WARD_SETTLED_S: Final = 8  # by then every detector has learned and every window is full

_BED: Final = (
    (("MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_V"), Unit.MILLIVOLT),
    (("MDC_PULS_OXIM_PLETH",), Unit.ARBITRARY),
    (("MDC_PRESS_BLD_ART",), Unit.MMHG),
)
"""Two ECG leads, PPG and arterial pressure, all at 250 Hz."""


def measure(bundle_dir: Path) -> dict[str, Any]:
    """Costs of a bed with two ECG leads, PPG and arterial pressure at 250 Hz, simulated.

    Returns
    -------
    dict
        ``bed_second_ms``: processor time of one second of the bed in 40 ms packets, through
        kernels, model, conditions, alert engine, frame and the outbox on disk.
        ``decision_ms``: wall time from a packet's arrival to its decision, p50 and p99, and
        ``cpu_p99``, the processor time of it, which other processes do not lengthen by waiting.
        ``beds_per_core``: beds that one core judges in one process at 250 ms packets, the model
        asked for all of them together: kernels, model, conditions, engine and frames, without
        outbox and network. ``rss_mb``: resident memory of this process with one bed, before
        anything else is measured. ``qrs_ms_per_minute`` and ``peers``: finding the beats of one
        lead, ours streaming in 40 ms packets, theirs over the whole minute at once, as a
        multiple of ours. Figures are medians of `REPEATS` runs, which stand in ``repeats``.
        ``load``: running processes a core at the begin and the end, and processor time of a
        fixed piece of work over the least that it took: what is above 1 others took away.
    """
    runtime = load_runtime(bundle_dir)
    warm_up(runtime, PipelineConfig())
    load_before = os.getloadavg()[0]
    yardstick = [_yardstick_s()]
    _one_bed(runtime, 4)
    give_back()
    rss_mb = _resident_mb()
    singles: list[dict[str, float]] = []
    wards: list[float] = []
    for _ in range(REPEATS):
        singles.append(_one_bed(runtime, _SECONDS))
        yardstick.append(_yardstick_s())
        wards.append(_ward_bed_second_ms(runtime))
        yardstick.append(_yardstick_s())
    n_cores = os.cpu_count() or 1
    return {
        "bed_second_ms": statistics.median(one["bed_second_ms"] for one in singles),
        "decision_ms": {
            name: statistics.median(one[name] for one in singles)
            for name in ("p50", "p99", "cpu_p99")
        },
        "beds_per_core": int(1000 / statistics.median(wards)),
        "rss_mb": rss_mb,
        "repeats": {"one_bed": singles, "ward_bed_second_ms": wards, "ward_beds": _WARD_BEDS},
        "load": {
            "processes_a_core": [load_before / n_cores, os.getloadavg()[0] / n_cores],
            "slowdown": statistics.median(yardstick) / min(yardstick),
        },
    } | _beside_peers(_lead())


def _one_bed(runtime: RhythmRuntime, seconds: int) -> dict[str, float]:
    pipeline = _pipeline("bench", runtime)
    packets = list(_packets("bench", _PACKET_MS, seconds))
    decided_ms: list[float] = []
    worked_ms: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        outbox = SqliteOutbox(Path(folder), "bench", OutboxLimits())
        pending = PendingWrites()
        began_s = time.process_time()
        for packet in packets:
            arrived_ns, idle_ns = time.perf_counter_ns(), time.thread_time_ns()
            outputs: list[PipelineOutput] = []
            for chunk in packet:
                outputs.extend(pipeline.push(chunk, time.time_ns()))
            worked_ms.append((time.thread_time_ns() - idle_ns) / 1e6)
            decided_ms.append((time.perf_counter_ns() - arrived_ns) / 1e6)
            if outputs:
                pending.add(outputs)
                while (taken := pending.take()) is not None:
                    outbox.append(taken.encoded(encode), time.time_ns())
        spent_s = time.process_time() - began_s
        outbox.close()
    p50, p99 = np.percentile(decided_ms, [50, 99])
    return {
        "bed_second_ms": spent_s / seconds * 1e3,
        "p50": float(p50),
        "p99": float(p99),
        "cpu_p99": float(np.percentile(worked_ms, 99)),
    }


def _ward_bed_second_ms(runtime: RhythmRuntime) -> float:
    names = [f"bench-{number}" for number in range(_WARD_BEDS)]
    ward = Ward((name, _pipeline(name, runtime)) for name in names)
    spent_s = 0.0
    settled = _WARD_SETTLED_S * 1000 // _HOP_MS
    for number, packet in enumerate(_packets("bench", _HOP_MS, _WARD_SECONDS)):
        chunks = [
            replace(chunk, device_id=name, samples=chunk.samples.copy())
            for name in names
            for chunk in packet
        ]
        began_s = time.process_time()
        ward.push(chunks, time.time_ns())
        if number >= settled:
            spent_s += time.process_time() - began_s
    gc.collect()
    return spent_s / (_WARD_SECONDS - _WARD_SETTLED_S) / _WARD_BEDS * 1e3


def _pipeline(device_id: str, runtime: RhythmRuntime) -> BedPipeline:
    identity = PipelineIdentity(
        device_id=device_id, boot_id=str(uuid4()), generation_mode=GenerationMode.TEST
    )
    return BedPipeline(
        identity,
        runtime,
        PipelineConfig(),
        clock_ns=time.time_ns,
        monotonic_ns=time.monotonic_ns,
    )


def _packets(device_id: str, packet_ms: int, seconds: int) -> Iterator[list[WaveformChunk]]:
    curves = _curves(seconds)
    boot_id = str(uuid4())
    start_ns = time.time_ns()
    edges = [
        round(number * packet_ms * TARGET_RATE_HZ / 1000)
        for number in range(seconds * 1000 // packet_ms + 1)
    ]
    for number, (begin, end) in enumerate(pairwise(edges)):
        yield [
            WaveformChunk(
                device_id=device_id,
                boot_id=boot_id,
                sequence_number=number,
                codes=codes,
                unit=unit,
                sampling_rate_hz=TARGET_RATE_HZ,
                start_time_ns=TimestampNs(start_ns + round(begin * NS_PER_S / TARGET_RATE_HZ)),
                samples=np.stack([curves[code][begin:end] for code in codes]),
            )
            for codes, unit in _BED
        ]


def _curves(seconds: int) -> dict[str, NDArray[np.float32]]:
    # Of the simulated patient, brought to 250 Hz where it is sampled more slowly.
    patient = SimulatedPatient(Scenario(), seed=0)
    block = patient.read(0, round(seconds * patient.frame_rate_hz))
    at_s = np.arange(round(seconds * TARGET_RATE_HZ)) / TARGET_RATE_HZ
    return {
        code: np.interp(at_s, np.arange(row.size) * seconds / row.size, row).astype(np.float32)
        for group, samples in zip(patient.groups, block.samples, strict=True)
        for code, row in zip(group.codes, samples, strict=True)
    }


def _lead() -> NDArray[np.float64]:
    # One minute of one ECG lead at 250 Hz.
    return _curves(60)[_BED[0][0][0]].astype(np.float64)


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _yardstick_s() -> float:
    # A fixed piece of work of the kind that is measured; the least of some, for what is around.
    taken: list[float] = []
    for _ in range(3):
        began_s = time.process_time()
        total = 0
        for number in range(100_000):
            total += number & 3
        taken.append(time.process_time() - began_s)
    return min(taken)


def _beside_peers(lead_mv: NDArray[np.float64]) -> dict[str, Any]:
    packet = round(TARGET_RATE_HZ * 0.04)
    packets = [  # made beforehand: in the agent they come as they are
        lead_mv[None, start : start + packet].astype(np.float32)
        for start in range(0, len(lead_mv) - packet + 1, packet)
    ]

    def ours() -> None:
        detector = QrsDetector(1)
        for samples_mv in packets:
            detector.push(samples_mv)

    ours_s = _median_s(ours)
    peers = {name: _median_s(run, runs=3) for name, run in _peers(lead_mv).items()}
    return {
        "qrs_ms_per_minute": ours_s * 1e3,
        "qrs_times_real_time": 60 / ours_s,
        "peers": {name: {"ratio": taken / ours_s} for name, taken in peers.items()},
    }


def _peers(lead_mv: NDArray[np.float64]) -> Mapping[str, Callable[[], object]]:
    # Present with the dev extra; the benchmark runs without them too.
    found: dict[str, Callable[[], object]] = {}
    modules = cast("dict[str, object]", sys.modules)
    if modules.get("scipy") is None:
        modules.pop("scipy", None)  # the agent hides it from itself, the peers need it
    if find_spec("neurokit2") is not None:
        import neurokit2

        rate = round(TARGET_RATE_HZ)
        found["neurokit2"] = lambda: neurokit2.ecg_peaks(
            neurokit2.ecg_clean(lead_mv, sampling_rate=rate), sampling_rate=rate
        )
    if find_spec("wfdb") is not None:
        from wfdb import processing

        found["wfdb_xqrs"] = lambda: processing.XQRS(lead_mv, TARGET_RATE_HZ).detect(verbose=False)
    return found


def _median_s(work: Callable[[], object], runs: int = 7) -> float:
    work()
    taken: list[float] = []
    for _ in range(runs):
        began_s = time.process_time()
        work()
        taken.append(time.process_time() - began_s)
    return float(np.median(taken))
