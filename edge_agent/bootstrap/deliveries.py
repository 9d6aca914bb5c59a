"""A recording in packets, and how badly they may be delivered: loss, jitter, overtaking, steps."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import numpy as np

from edge_agent.adapters.playback_blocks import FrameReader
from edge_agent.core.ports import UnreadableSourceError
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs
from wardstream.contracts.waveform import WaveformChunk

DEVICE: Final = "campaign"
BOOT: Final = str(UUID(int=1, version=4))
_START_NS: Final = 1_700_000_000 * NS_PER_S

Packet = tuple[WaveformChunk, ...]
"""The same stretch of time of every group of channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How badly packets are delivered.

    Attributes
    ----------
    lost_share : float
        Of packets, lost one by one.
    burst_every_s, burst_s : float
        Mean distance of longer losses, and their mean length.
    overtaken_share : float
        Of packets, handed over after one to three that follow them.
    jitter_ms : float
        Largest error of a time stamp, either way.
    step_every_s, step_s : float
        Mean distance of steps of the device's clock, and their largest size, either way.
    """

    lost_share: float = 0.01
    burst_every_s: float = 120.0
    burst_s: float = 1.0
    overtaken_share: float = 0.03
    jitter_ms: float = 12.0
    step_every_s: float = 600.0
    step_s: float = 30.0


@dataclass(slots=True, kw_only=True)
class Delivery:
    """Packets as they arrive, and what was done to them.

    Attributes
    ----------
    packets : list of Packet
        In the order of arrival.
    record_s : list of float
        Second of the recording at which each of them really ends.
    n_clock_steps : int
        Times that the device's clock was set.
    n_samples_lost : int
        Over all groups of channels.
    n_losses : int
        Runs of packets that were lost.
    """

    packets: list[Packet]
    record_s: list[float]
    n_clock_steps: int = 0
    n_samples_lost: int = 0
    n_losses: int = 0


def read_packets(
    reader: FrameReader, start_s: float, end_s: float, *, packet_ms: int = 40
) -> list[Packet]:
    """Packets of a stretch of a recording, numbered from 0; times are those of the recording."""
    rate_hz = reader.frame_rate_hz
    n = max(1, round(rate_hz * packet_ms / 1000))
    first = int(start_s * rate_hz)
    last = int(min(end_s * rate_hz, reader.n_frames or math.inf))
    block = reader.read(first, last)
    packets: list[Packet] = []
    for number, begin in enumerate(range(0, last - first - n + 1, n)):
        packets.append(
            tuple(
                WaveformChunk(
                    device_id=DEVICE,
                    boot_id=BOOT,
                    sequence_number=number,
                    codes=group.codes,
                    unit=group.unit,
                    sampling_rate_hz=rate_hz * group.samples_per_frame,
                    start_time_ns=TimestampNs(
                        _START_NS + round((first + begin) * NS_PER_S / rate_hz)
                    ),
                    samples=np.ascontiguousarray(
                        samples[:, begin * group.samples_per_frame :][
                            :, : n * group.samples_per_frame
                        ]
                    ),
                )
                for group, samples in zip(reader.groups, block.samples, strict=True)
            )
        )
    return packets


def deliver(packets: Sequence[Packet], faults: Faults, seed: int) -> Delivery:
    """`packets` with `faults`; the same for the same seed."""
    draw = np.random.default_rng(seed)
    delivery = Delivery(packets=[], record_s=[])
    arrivals: list[tuple[float, float, Packet]] = []
    offset_s, lost_until, losing = 0.0, 0, False
    seconds = _seconds(packets[0])
    for number, packet in enumerate(packets):
        if draw.random() < seconds / faults.step_every_s:
            offset_s += float(draw.uniform(-faults.step_s, faults.step_s))
            delivery.n_clock_steps += 1
        if draw.random() < seconds / faults.burst_every_s:
            lost_until = number + max(1, round(draw.exponential(faults.burst_s) / seconds))
        if number and (number < lost_until or draw.random() < faults.lost_share):
            delivery.n_samples_lost += sum(chunk.samples.shape[1] for chunk in packet)
            delivery.n_losses += not losing
            losing = True
            continue
        losing = False
        jitter_ms = float(draw.uniform(-faults.jitter_ms, faults.jitter_ms))
        shift_ns = round(offset_s * NS_PER_S + jitter_ms * NS_PER_MS)
        late = int(draw.integers(1, 4)) + 0.5 if draw.random() < faults.overtaken_share else 0.0
        moved = tuple(
            replace(chunk, start_time_ns=TimestampNs(chunk.start_time_ns + shift_ns))
            for chunk in packet
        )
        arrivals.append((number + late, _end_s(packet), moved))
    arrivals.sort(key=lambda one: one[0])
    delivery.packets = [packet for _, _, packet in arrivals]
    delivery.record_s = [record_s for _, record_s, _ in arrivals]
    return delivery


def undisturbed(packets: Sequence[Packet]) -> Delivery:
    """`packets` as they are."""
    return Delivery(packets=list(packets), record_s=[_end_s(packet) for packet in packets])


def _end_s(packet: Packet) -> float:
    return (packet[0].end_time_ns - _START_NS) / NS_PER_S


def _seconds(packet: Packet) -> float:
    return (packet[0].end_time_ns - packet[0].start_time_ns) / NS_PER_S


def begins_s(packet: Packet) -> float:
    """Second of the recording at which `packet` begins."""
    return (packet[0].start_time_ns - _START_NS) / NS_PER_S


def numbered_anew(packets: Sequence[Packet]) -> list[Packet]:
    """`packets`, numbered anew from 0."""
    return [
        tuple(replace(chunk, sequence_number=number) for chunk in packet)
        for number, packet in enumerate(packets)
    ]


def joined(recordings: Iterable[Sequence[Packet]]) -> list[Packet]:
    """Recordings one after the other, as if they were one of a single patient.

    Raises
    ------
    UnreadableSourceError
        One has other channels, units or rates than the first.
    """
    packets: list[Packet] = []
    end_ns = _START_NS
    for recording in recordings:
        if not recording:
            continue
        if packets and _kind(recording[0]) != _kind(packets[0]):
            raise UnreadableSourceError(
                f"{_kind(recording[0])} cannot follow {_kind(packets[0])}: join records of one kind"
            )
        shift_ns = end_ns - recording[0][0].start_time_ns
        packets += [
            tuple(
                replace(chunk, start_time_ns=TimestampNs(chunk.start_time_ns + shift_ns))
                for chunk in packet
            )
            for packet in recording
        ]
        end_ns = packets[-1][0].end_time_ns
    return numbered_anew(packets)


def _kind(packet: Packet) -> list[tuple[str, str, float]]:
    return [(", ".join(chunk.codes), chunk.unit.value, chunk.sampling_rate_hz) for chunk in packet]
