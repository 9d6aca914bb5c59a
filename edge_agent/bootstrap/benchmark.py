"""What one bed costs on this machine, beside what others ask for the detection of its beats."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.scenario import Scenario
from edge_agent.adapters.simulator import SimulatedPatient
from edge_agent.bootstrap.judgement import warm_up
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.registry import load_runtime
from wardstream.kernels.beats import QrsDetector
from wardstream.kernels.resample import TARGET_RATE_HZ

_SECONDS: Final = 120
_PACKET_MS: Final = (40, 250)


def measure(bundle_dir: Path) -> dict[str, Any]:
    """Costs of one simulated bed (2 ECG leads, PPG, arterial pressure, respiration).

    Returns
    -------
    dict
        ``bed_second_ms``: processor time of one second of the bed, by packet length;
        ``decision_ms``: wall time from a packet's arrival to its decision, 40 ms packets;
        ``beds_per_core``: beds one core serves at 250 ms packets, one after the other, no
        batching; ``rss_mb``: largest resident memory of this process; ``qrs_ms_per_minute``
        and ``peers``: finding the beats of one lead, ours streaming in 40 ms packets, theirs
        over the whole record at once, as a multiple of ours.
    """
    runtime = load_runtime(bundle_dir)
    config = PipelineConfig()
    warm_up(runtime, config)
    results: dict[str, Any] = {"seconds": _SECONDS, "bed_second_ms": {}}
    for packet_ms in _PACKET_MS:
        identity = PipelineIdentity(
            device_id="bench", boot_id=str(uuid4()), generation_mode=GenerationMode.TEST
        )
        pipeline = BedPipeline(
            identity, runtime, config, clock_ns=time.time_ns, monotonic_ns=time.monotonic_ns
        )
        packets = list(_packets(identity, packet_ms))
        decided_ms: list[float] = []
        cpu_s = time.process_time()
        for packet in packets:
            arrived_ns = time.perf_counter_ns()
            for chunk in packet:
                pipeline.push(chunk, time.time_ns())
            decided_ms.append((time.perf_counter_ns() - arrived_ns) / 1e6)
        cpu_s = time.process_time() - cpu_s
        results["bed_second_ms"][f"{packet_ms}_ms_packets"] = cpu_s / _SECONDS * 1e3
        if packet_ms == _PACKET_MS[0]:
            p50, p99 = np.percentile(decided_ms, [50, 99])
            results["decision_ms"] = {"p50": float(p50), "p99": float(p99)}
        else:
            results["beds_per_core"] = int(_SECONDS / cpu_s)
    results["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return results | _beside_peers(_lead())


def _packets(identity: PipelineIdentity, packet_ms: int) -> Iterator[list[WaveformChunk]]:
    patient = SimulatedPatient(Scenario(), seed=0)
    n_frames = round(patient.frame_rate_hz * packet_ms / 1000)
    start_ns = time.time_ns()
    for number in range(_SECONDS * 1000 // packet_ms):
        block = patient.read(n_frames * number, n_frames * (number + 1))
        yield [
            WaveformChunk(
                device_id=identity.device_id,
                boot_id=identity.boot_id,
                sequence_number=number,
                codes=group.codes,
                unit=group.unit,
                sampling_rate_hz=patient.frame_rate_hz * group.samples_per_frame,
                start_time_ns=TimestampNs(start_ns + packet_ms * number * NS_PER_S // 1000),
                samples=samples,
            )
            for group, samples in zip(patient.groups, block.samples, strict=True)
        ]


def _lead() -> NDArray[np.float64]:
    # One minute of one ECG lead at 250 Hz.
    patient = SimulatedPatient(Scenario(), seed=0)
    block = patient.read(0, round(60 * patient.frame_rate_hz))
    for group, samples in zip(patient.groups, block.samples, strict=True):
        if code_by_mdc(group.codes[0]).modality is Modality.ECG:
            return samples[0].astype(np.float64)
    raise RuntimeError("the simulated patient has no ECG")


def _beside_peers(lead_mv: NDArray[np.float64]) -> dict[str, Any]:
    packet = round(TARGET_RATE_HZ * 0.04)

    def ours() -> None:
        detector = QrsDetector(1)
        for start in range(0, len(lead_mv) - packet + 1, packet):
            detector.push(lead_mv[None, start : start + packet].astype(np.float32))

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
