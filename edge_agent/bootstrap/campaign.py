"""A recording under bad delivery: what a bed still says of it, against what it says undisturbed.

Loss, jitter, overtaking, clock steps, cold starts, stalls and gaps, drawn from a seed, through
the whole pipeline as fast as it goes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.adapters.playback_blocks import FrameReader
from edge_agent.adapters.wfdb_record import WfdbReader
from edge_agent.bootstrap.deliveries import (
    BOOT,
    DEVICE,
    Delivery,
    Faults,
    Packet,
    begins_s,
    deliver,
    joined,
    numbered_anew,
    read_packets,
    undisturbed,
)
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity, PipelineReport
from wardstream.contracts.alert import AlertEvent, AlertPriority, Transition
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.waveform import GenerationMode, WaveformChunk
from wardstream.inference.port import RhythmRuntime
from wardstream.inference.registry import load_runtime

_TICK_NS: Final = NS_PER_S // 4
_BEGUN_LATER: Final = 3
"""Packets left out at the begin of the control: windows then end at other samples."""

_ACTIVATIONS: Final = frozenset({Transition.ONSET, Transition.REACTIVATED})
_OVER: Final = frozenset({Transition.ENDED, Transition.CLEARED})


@dataclass(frozen=True, slots=True)
class Told:
    """A change of an alert; `record_s` is the second of the recording that had come by then."""

    record_s: float
    condition: str
    priority: AlertPriority
    transition: Transition
    evidence: dict[str, float]

    @property
    def begins(self) -> bool:
        """Whether an alert began, or came back."""
        return self.transition in _ACTIVATIONS


def judge(delivery: Delivery, runtime: RhythmRuntime) -> tuple[list[Told], PipelineReport]:
    """Everything a bed says of what is delivered, and its counters."""
    pipeline = BedPipeline(
        PipelineIdentity(device_id=DEVICE, boot_id=BOOT, generation_mode=GenerationMode.TEST),
        runtime,
        PipelineConfig(),
        clock_ns=lambda: 0,
        monotonic_ns=lambda: 0,
    )
    told: list[Told] = []
    next_tick_ns = 0
    for packet, record_s in zip(delivery.packets, delivery.record_s, strict=True):
        for chunk in packet:
            told.extend(_told(pipeline.push(chunk, 0), record_s))
        end_ns = packet[0].end_time_ns
        if not next_tick_ns - 2 * _TICK_NS < end_ns < next_tick_ns:
            told.extend(_told(pipeline.tick(end_ns, 0), record_s))
            next_tick_ns = end_ns + _TICK_NS
    return told, pipeline.report


def _told(outputs: Iterable[object], record_s: float) -> list[Told]:
    return [
        Told(
            record_s,
            output.condition.value,
            output.priority,
            output.transition,
            dict(output.evidence),
        )
        for output in outputs
        if isinstance(output, AlertEvent)
    ]


def unmatched(told: Sequence[Told], others: Sequence[Told], tolerance_s: float) -> list[Told]:
    """High-priority beginnings in `told` that `others` do not know of.

    Known is what begins there within `tolerance_s`, or stands, under whatever name: one arrest
    may be called fibrillation here and asystole there.
    """
    return [one for one in told if _is_high(one) and not _known(one, others, tolerance_s)]


def _is_high(one: Told) -> bool:
    return one.begins and one.priority is AlertPriority.HIGH


def _known(one: Told, others: Sequence[Told], tolerance_s: float) -> bool:
    standing: set[str] = set()
    for other in others:
        if other.priority is not AlertPriority.HIGH:
            continue
        if other.begins and abs(other.record_s - one.record_s) <= tolerance_s:
            return True
        if other.record_s <= one.record_s:
            if other.begins:
                standing.add(other.condition)
            elif other.transition in _OVER:
                standing.discard(other.condition)
    return bool(standing)


def compare_delivery(
    packets: Sequence[Packet],
    runtime: RhythmRuntime,
    faults: Faults,
    *,
    seed: int,
    tolerance_s: float,
) -> dict[str, Any]:
    """What a bed says of `packets` delivered with `faults`, beside what it says without.

    Returns
    -------
    dict
        ``missed`` and ``added``: high-priority alerts only without, only with faults;
        ``n_alerts``: without; ``n_samples_lost`` and ``n_samples_recorded_missing``;
        ``n_losses``; ``n_clock_steps`` and ``n_clock_jumps_recorded`` (a step below 1 s is
        taken for a gap or a repeat); ``control``: how many are missed and added when nothing is
        done but to begin 0.12 s later, which is what marginal decisions alone amount to.
    """
    clean, _ = judge(undisturbed(packets), runtime)
    delivery = deliver(packets, faults, seed)
    told, report = judge(delivery, runtime)
    later, _ = judge(undisturbed(numbered_anew(packets[_BEGUN_LATER:])), runtime)
    return {
        "n_alerts": sum(map(_is_high, clean)),
        "missed": [_words(one) for one in unmatched(clean, told, tolerance_s)],
        "added": [_words(one) for one in unmatched(told, clean, tolerance_s)],
        "control": {
            "missed": len(unmatched(clean, later, tolerance_s)),
            "added": len(unmatched(later, clean, tolerance_s)),
        },
        "n_samples_lost": delivery.n_samples_lost,
        "n_samples_recorded_missing": report.n_samples_missing,
        "n_losses": delivery.n_losses,
        "n_clock_steps": delivery.n_clock_steps,
        "n_clock_jumps_recorded": report.n_clock_jumps,
    }


class Restart(StrEnum):
    """How the judgement of a recording is disturbed."""

    COLD_START = "cold start"
    GAP = "gap"
    TWO_GAPS = "two gaps"
    STALL = "stall and backlog after a cold start"
    GAP_AFTER_START = "gap after a cold start"


def disturbed(
    packets: Sequence[Packet], at_s: float, kind: Restart, *, gap_s: float, run_in_s: float
) -> list[Packet]:
    """`packets`, disturbed at `at_s` seconds of the recording.

    Parameters
    ----------
    gap_s : float
        Length of what is missing, or comes late in one burst.
    run_in_s : float
        From a cold start to the gap or stall.
    """
    cold = kind in (Restart.COLD_START, Restart.STALL, Restart.GAP_AFTER_START)
    kept = [packet for packet in packets if not cold or begins_s(packet) >= at_s]
    begin_s = at_s if kind in (Restart.GAP, Restart.TWO_GAPS) else at_s + run_in_s
    if kind in (Restart.GAP, Restart.TWO_GAPS, Restart.GAP_AFTER_START):
        kept = [p for p in kept if not begin_s <= begins_s(p) < begin_s + gap_s]
    if kind is Restart.TWO_GAPS:
        second_s = begin_s + gap_s + 5
        kept = [p for p in kept if not second_s <= begins_s(p) < second_s + min(gap_s, 3.0)]
    numbered = numbered_anew(kept) if cold else kept
    if kind is not Restart.STALL:
        return numbered
    before = [p for p in numbered if begins_s(p) < begin_s]
    burst = [p for p in numbered if begin_s <= begins_s(p) < begin_s + gap_s]
    after = [p for p in numbered if begins_s(p) >= begin_s + gap_s]
    return [*before, *_by_channel(burst), *after]


def _by_channel(burst: Sequence[Packet]) -> list[Packet]:
    # A backlog comes second by second, one channel group after the other.
    seconds: dict[int, list[WaveformChunk]] = {}
    for packet in burst:
        seconds.setdefault(math.floor(begins_s(packet)), []).extend(packet)
    return [
        (chunk,)
        for chunks in seconds.values()
        for chunk in sorted(chunks, key=lambda one: (one.codes, one.start_time_ns))
    ]


def false_alarms(
    packets: Sequence[Packet],
    runtime: RhythmRuntime,
    variants: Iterable[Sequence[Packet]],
    *,
    tolerance_s: float = 15.0,
) -> list[list[dict[str, Any]]]:
    """For each variant, its high-priority alerts that an undisturbed run does not raise."""
    clean, _ = judge(undisturbed(packets), runtime)
    found: list[list[dict[str, Any]]] = []
    for variant in variants:
        told, _ = judge(undisturbed(variant), runtime)
        found.append([_words(one) for one in unmatched(told, clean, tolerance_s)])
    return found


def restart_campaign(
    records: Sequence[Path],
    open_record: Callable[[Path], FrameReader],
    runtime: RhythmRuntime,
    *,
    n: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """One line a restart: at random times of random `records`, gaps of 0.1 to 30 s."""
    draw = np.random.default_rng(seed)
    kinds = list(Restart)
    for number in range(n):
        record = records[int(draw.integers(len(records)))]
        reader = open_record(record)
        length_s = (reader.n_frames or 0) / reader.frame_rate_hz
        at_s = float(draw.uniform(30, max(length_s - 40, 31)))
        gap_s = float(np.exp(draw.uniform(math.log(0.1), math.log(30))))
        run_in_s = float(draw.uniform(0.5, 6))
        kind = kinds[number % len(kinds)]
        packets = read_packets(reader, max(at_s - 30, 0), at_s + gap_s + 30)
        variant = disturbed(packets, at_s, kind, gap_s=gap_s, run_in_s=run_in_s)
        [found] = false_alarms(packets, runtime, [variant])
        yield {
            "record": f"{record.parent.name}/{record.name}",
            "at_s": round(at_s, 2),
            "kind": kind.value,
            "gap_s": round(gap_s, 2),
            "false_alarms": found,
        }


def _words(one: Told) -> dict[str, Any]:
    return {
        "condition": one.condition,
        "record_s": round(one.record_s, 2),
        "evidence": one.evidence,
    }


def run(
    kind: str,
    records: Sequence[Path],
    bundle_dir: Path,
    *,
    n: int,
    seed: int,
    tolerance_s: float,
    join: bool = False,
) -> Iterator[dict[str, Any]]:
    """The lines of a campaign of `kind` ``restarts`` or ``deliveries``.

    With `join` the deliveries are of all `records` as one recording.

    Raises
    ------
    UnreadableSourceError
        A record cannot be read, or cannot be joined to the first.
    """
    runtime = load_runtime(bundle_dir)
    if kind == "restarts":
        yield from restart_campaign(records, WfdbReader, runtime, n=n, seed=seed)
        return
    for name, packets in _recordings(records, join):
        for number in range(n):
            found = compare_delivery(
                packets, runtime, Faults(), seed=seed + number, tolerance_s=tolerance_s
            )
            yield {
                "record": name,
                "hours": round(begins_s(packets[-1]) / 3600, 2),
                "seed": seed + number,
                **found,
            }


def _recordings(records: Sequence[Path], join: bool) -> Iterator[tuple[str, list[Packet]]]:
    read = (
        (f"{record.parent.name}/{record.name}", read_packets(WfdbReader(record), 0.0, math.inf))
        for record in records
    )
    if not join:
        yield from read
        return
    names, recordings = zip(*read, strict=True)
    yield " + ".join(names), joined(recordings)
