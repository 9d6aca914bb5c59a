"""From chunks as they arrive to an unbroken run of samples on the clock of the data."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs, sample_time_ns
from wardstream.contracts.waveform import WaveformChunk

MAX_FILL_S: Final = 10.0
"""Longest gap bridged by missing samples; after a longer one everything starts anew."""

JITTER_NS: Final = 30 * NS_PER_MS
"""How far a time stamp may stray while the numbering says how much was lost, or nothing."""

CLOCK_JUMP_NS: Final = NS_PER_S
"""Beyond this a deviation without loss is the clock, not the data."""

REORDER_NS: Final = 200 * NS_PER_MS
"""How long a chunk waits for one that it overtook."""


@dataclass(slots=True, kw_only=True, eq=False)
class Stretch:
    """Samples that follow what was given before. Not to be changed; frozen it costs threefold.

    Attributes
    ----------
    samples : ndarray of float32, shape (n_channels, n_samples)
        In the unit of the chunk; gaps are NaN.
    start_time_ns : TimestampNs
        Of the first of them.
    restart : bool
        They do not follow: a first stretch, a long gap, or a set clock with something lost.
        Kernels start anew.
    clock_jumped : bool
        The clock was set.
    stepped_ns : int
        By how much, where they follow nevertheless: every time given before moves with it.
    """

    samples: NDArray[np.float32]
    start_time_ns: TimestampNs
    restart: bool = False
    clock_jumped: bool = False
    stepped_ns: int = 0


@dataclass(slots=True)
class IntakeCounts:
    """What happened to chunks so far."""

    repeated: int = 0
    late: int = 0
    samples_missing: int = 0
    clock_jumps: int = 0

    def add(self, other: "IntakeCounts") -> None:
        """Count what happened to `other` too."""
        self.repeated += other.repeated
        self.late += other.late
        self.samples_missing += other.samples_missing
        self.clock_jumps += other.clock_jumps


class GroupIntake:
    """Puts the chunks of one group of channels in order and shows gaps for what they are.

    Attributes
    ----------
    end_time_ns : TimestampNs
        When the next sample is due; 0 before the first.
    """

    def __init__(self, sampling_rate_hz: float) -> None:
        self.sampling_rate_hz = sampling_rate_hz
        self.counts = IntakeCounts()
        self._anchor_ns = TimestampNs(0)
        self._n_since_anchor = 0
        self.end_time_ns = TimestampNs(0)
        self._boot_id = ""
        self._last_number = -1
        self._last_length = 0
        self._waiting: list[WaveformChunk] = []

    def push(self, chunk: WaveformChunk) -> list[Stretch]:
        """What can be judged now that `chunk` is here, in order.

        A chunk that overtook another waits up to 0.2 s of data for it.
        """
        n_samples = chunk.samples.shape[1]
        if n_samples == 0:
            return []
        if self._follows(chunk):
            # As nearly every chunk does, many times a second.
            self._last_number += 1
            self._last_length = n_samples
            start_ns = self.end_time_ns
            self._move_on(n_samples)
            return [Stretch(samples=chunk.samples, start_time_ns=start_ns)]
        if chunk.boot_id != self._boot_id:
            self._boot_id = chunk.boot_id
            self._waiting.clear()
            return [self._restart(chunk, clock_jumped=False)]
        if chunk.sequence_number <= self._last_number or any(
            held.sequence_number == chunk.sequence_number for held in self._waiting
        ):
            seen = chunk.sequence_number == self._last_number
            self.counts.repeated += seen
            self.counts.late += not seen
            return []
        self._waiting.append(chunk)
        self._waiting.sort(key=lambda held: held.sequence_number)
        return self._release()

    def _follows(self, chunk: WaveformChunk) -> bool:
        return (
            chunk.sequence_number == self._last_number + 1
            and chunk.boot_id == self._boot_id
            and not self._waiting
            and -JITTER_NS <= chunk.start_time_ns - self.end_time_ns <= JITTER_NS
        )

    def _move_on(self, n_samples: int) -> None:
        self._n_since_anchor += n_samples
        self.end_time_ns = sample_time_ns(
            self._anchor_ns, self.sampling_rate_hz, self._n_since_anchor
        )

    def _release(self) -> list[Stretch]:
        stretches: list[Stretch] = []
        while self._waiting:
            chunk = self._waiting[0]
            in_order = chunk.sequence_number == self._last_number + 1
            if not in_order and not self._has_waited():
                break
            self._waiting.pop(0)
            stretches.extend(self._place(chunk, in_order=in_order))
        return stretches

    def _has_waited(self) -> bool:
        behind_ns = abs(self._waiting[-1].end_time_ns - self.end_time_ns)
        if behind_ns <= CLOCK_JUMP_NS:
            return behind_ns >= REORDER_NS
        # The stamps say nothing where the clock was set: the samples that wait do.
        n_waiting = sum(held.samples.shape[1] for held in self._waiting)
        return n_waiting * NS_PER_S >= REORDER_NS * self.sampling_rate_hz

    def _place(self, chunk: WaveformChunk, *, in_order: bool) -> list[Stretch]:
        n_lost = self._lost_by_number(chunk)
        if n_lost:
            # Exact, where the stamp of one chunk would move the grid by its own jitter.
            return self._append(chunk, n_lost)
        deviation_ns = chunk.start_time_ns - self.end_time_ns
        if in_order and abs(deviation_ns) > CLOCK_JUMP_NS:
            return [self._step(chunk, deviation_ns)]
        if deviation_ns < -CLOCK_JUMP_NS:
            return [self._restart(chunk, clock_jumped=True)]
        if deviation_ns > MAX_FILL_S * NS_PER_S:
            self.counts.samples_missing += round(deviation_ns * self.sampling_rate_hz / NS_PER_S)
            return [self._restart(chunk, clock_jumped=False)]
        tolerance_ns = JITTER_NS if in_order else 0.6 * NS_PER_S / self.sampling_rate_hz
        shift = 0
        if abs(deviation_ns) > tolerance_ns:
            shift = round(deviation_ns * self.sampling_rate_hz / NS_PER_S)
        return self._append(chunk, shift)

    def _lost_by_number(self, chunk: WaveformChunk) -> int:
        """Samples lost before `chunk`, where its number and its stamp agree; else 0."""
        n_samples = chunk.samples.shape[1]
        n_lost = (chunk.sequence_number - self._last_number - 1) * n_samples
        if n_samples != self._last_length or n_lost > MAX_FILL_S * self.sampling_rate_hz:
            return 0
        due_ns = self.end_time_ns + n_lost * NS_PER_S / self.sampling_rate_hz
        return n_lost if abs(chunk.start_time_ns - due_ns) <= JITTER_NS else 0

    def _append(self, chunk: WaveformChunk, shift: int) -> list[Stretch]:
        self._last_number = chunk.sequence_number
        self._last_length = chunk.samples.shape[1]
        samples = chunk.samples
        if shift < 0:
            samples = samples[:, -shift:]
        elif shift > 0:
            self.counts.samples_missing += shift
            gap = np.full((samples.shape[0], shift), np.nan, dtype=np.float32)
            samples = np.concatenate([gap, samples], axis=1)
        if samples.shape[1] == 0:
            self.counts.late += 1
            return []
        start_ns = self.end_time_ns
        self._move_on(samples.shape[1])
        return [Stretch(samples=samples, start_time_ns=start_ns)]

    def _step(self, chunk: WaveformChunk, by_ns: int) -> Stretch:
        # The numbering says that nothing was lost: it is the clock that moved, not the patient.
        self.counts.clock_jumps += 1
        self._anchor_at(chunk)
        return Stretch(
            samples=chunk.samples,
            start_time_ns=chunk.start_time_ns,
            clock_jumped=True,
            stepped_ns=by_ns,
        )

    def _anchor_at(self, chunk: WaveformChunk) -> None:
        self._anchor_ns = chunk.start_time_ns
        self._n_since_anchor = 0
        self._move_on(chunk.samples.shape[1])
        self._last_number = chunk.sequence_number
        self._last_length = chunk.samples.shape[1]

    def _restart(self, chunk: WaveformChunk, *, clock_jumped: bool) -> Stretch:
        self.counts.clock_jumps += clock_jumped
        self._anchor_at(chunk)
        return Stretch(
            samples=chunk.samples,
            start_time_ns=chunk.start_time_ns,
            restart=True,
            clock_jumped=clock_jumped,
        )
