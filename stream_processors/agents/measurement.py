"""The Faust tier alone: everything a worker does with a frame, but for the database."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stream_processors.agents.faust_worker import FaustWorker
from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.core.context import Assignment, DeviceBed, Knowledge
from stream_processors.core.copy_rows import JoinedFrames, copy_rows
from stream_processors.core.ports import ContextChanges, Gap
from stream_processors.core.positions import Run
from wardstream.contracts.identity import CommitWatermark, StreamKey
from wardstream.contracts.record import PatientContext, RecordEvent
from wardstream.contracts.topics import DeadLetter


class NoPublisher:
    """Watermarks that go nowhere."""

    def publish(self, site_id: str, watermark: CommitWatermark) -> None:
        """Forget it."""


@dataclass(slots=True)
class RowsOnly:
    """A store that builds the rows and throws them away; each of `devices` holds a patient."""

    devices: Sequence[tuple[str, str]]
    n_rows: int = 0
    n_bytes: int = 0

    @asynccontextmanager
    async def unit(self) -> AsyncGenerator["RowsOnly"]:
        """No transaction."""
        yield self

    async def context_changes(self, since: int) -> ContextChanges:
        """Once, everything: device, bed, patient, what is known of the patient."""
        if since:
            return ContextChanges(version=1)
        beds = [
            DeviceBed(device_id=d, boot_id=b, bed_id=f"bed-{d}", unit_id="icu", site_id="demo")
            for d, b in self.devices
        ]
        return ContextChanges(
            version=1,
            devices=beds,
            assignments=[
                Assignment(
                    event_id=f"a-{bed.bed_id}",
                    bed_id=bed.bed_id,
                    pseudonym=f"p-{bed.bed_id}",
                    effective_time_ns=1,
                    recorded_time_ns=1,
                )
                for bed in beds
            ],
            knowledge=[
                Knowledge(
                    event_id=f"k-{bed.bed_id}",
                    pseudonym=f"p-{bed.bed_id}",
                    effective_time_ns=1,
                    recorded_time_ns=1,
                    context=PatientContext(birth_year=1950, sex="female"),
                )
                for bed in beds
            ],
        )

    async def write_frames(self, frames: JoinedFrames) -> int:
        """Build the rows as for COPY."""
        self.n_bytes += len(copy_rows(frames))
        self.n_rows += len(frames)
        return len(frames)

    async def write_gaps(self, gaps: Sequence[Gap]) -> None:
        """Forget them."""

    async def write_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Forget them."""

    async def mark_rollups(self, buckets: Sequence[tuple[str, int]]) -> None:
        """Forget them."""

    async def commit_handled(
        self, handled: Mapping[StreamKey, Sequence[Run]]
    ) -> dict[StreamKey, int]:
        """The last number of each stream."""
        return {stream: runs[-1][1] for stream, runs in handled.items() if runs}

    async def ensure_chunks(self, first_ns: int, last_ns: int) -> None:
        """There is room."""

    async def keep_device_bed(self, device_bed: DeviceBed) -> bool:
        """Known already."""
        return False

    async def keep_record_event(self, event: RecordEvent) -> bool:
        """Known already."""
        return False

    async def keep_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Forget them."""


async def measure_worker(
    worker: FaustWorker,
    writer: FrameWriter,
    n_frames: int,
    clocks: tuple[Callable[[], float], Callable[[], float]] = (
        time.perf_counter,
        time.process_time,
    ),
) -> dict[str, float]:
    """Wall and processor time from the first handled record to the last of `n_frames`.

    Raises
    ------
    TimeoutError
        They were not all handled within 5 minutes.
    """
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        async with asyncio.timeout(300):
            first = 0
            while not first and not running.done():
                await asyncio.sleep(0.002)
                first = writer.counts.n_frames
            begun = [clock() for clock in clocks]
            while writer.counts.n_frames < n_frames and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # the writer counts; it says nothing
            wall_s, cpu_s = (clock() - since for clock, since in zip(clocks, begun, strict=True))
            if running.done():
                running.result()  # raises what ended it
    finally:
        stop.set()
        await asyncio.wait([running], timeout=10)
    n_timed = writer.counts.n_frames - first
    return {
        "frames": n_timed,
        "wall_s": round(wall_s, 3),
        "cpu_s": round(cpu_s, 3),
        "frames_per_s": round(n_timed / wall_s, 1),
        "frames_per_s_per_core": round(n_timed / cpu_s, 1),
    }
