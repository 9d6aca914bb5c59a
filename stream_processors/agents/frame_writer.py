"""From log records to committed rows, and the word back to the devices that they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream_processors.agents.patience import Patience
from stream_processors.core.context import ContextTable
from stream_processors.core.fusion import (
    FrameBatch,
    LogRecord,
    decode_records,
    join,
    refuse_implausible,
)
from stream_processors.core.ports import (
    FrameStore,
    Gap,
    StoreUnit,
    WatermarkPublisher,
)
from stream_processors.core.positions import Run
from wardstream.contracts.identity import CommitWatermark, StreamKey
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.topics import DeadLetter

_DAY_NS = 24 * 3600 * NS_PER_S


@dataclass(slots=True)
class WriterCounts:
    """Since start; for the metrics endpoint."""

    n_frames: int = 0
    n_new_rows: int = 0
    n_dead_letters: int = 0
    n_commits: int = 0


class FrameWriter:
    """Writes frames and what belongs to them in one transaction, then publishes watermarks.

    Parameters
    ----------
    store, publisher
        Where rows end, and the way back.
    table : ContextTable
        Follows the store: each transaction brings it up to date before it joins.
    clock_ns, monotonic_s : callable
        Wall clock, and one that only runs forward.
    mark_validity_s : float
        How long a roll-up mark is relied on before it is made again.
    """

    def __init__(
        self,
        store: FrameStore,
        publisher: WatermarkPublisher,
        table: ContextTable,
        *,
        clock_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
        mark_validity_s: float,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._table = table
        self._clock_ns = clock_ns
        self._monotonic_s = monotonic_s
        self._mark_validity_s = mark_validity_s
        self._marks: dict[tuple[str, int], float] = {}
        self._days: set[int] = set()
        self._unplaced: dict[StreamKey, int] = {}
        self.counts = WriterCounts()
        self.patience = Patience("the store")

    async def write(self, log_records: Sequence[LogRecord]) -> None:
        """Return once everything in `log_records` is committed, however long the store is away."""
        batches, letters = decode_records(log_records, self._clock_ns())
        refused = [pair for batch in batches for pair in refuse_implausible(batch)]
        gaps = [gap for gap, _ in refused]
        letters += [letter for _, letter in refused]
        self.counts.n_dead_letters += len(letters)
        await self.patience.until_done(lambda: self._store_batches(batches, gaps, letters))
        self.counts.n_commits += 1
        self.counts.n_frames += sum(len(batch.records) for batch in batches)

    async def write_gap(self, gap: Gap) -> None:
        """Return once `gap` is on record and counts as handled."""
        await self.patience.until_done(lambda: self._store_gap(gap))

    def publish_unplaced(self) -> None:
        """Publish watermarks of devices that have said meanwhile where they stand."""
        self._publish({})

    async def refresh_context(self) -> None:
        """Bring the context table up to date, so that the first frames find their patients.

        Raises
        ------
        TransientError
            The store is away.
        """
        async with self._store.unit() as unit:
            await self._follow(unit)

    async def _store_batches(
        self, batches: Sequence[FrameBatch], gaps: Sequence[Gap], letters: Sequence[DeadLetter]
    ) -> None:
        started_s = self._monotonic_s()
        await self._make_room(batches)
        marks = self._marks_needed(batches, started_s)
        n_new = 0
        async with self._store.unit() as unit:
            await self._follow(unit)
            for batch in batches:
                n_new += await self._store_batch(unit, batch)
            await unit.write_gaps(gaps)
            await unit.write_letters(letters)
            await unit.mark_rollups(marks)
            watermarks = await unit.commit_handled(_handled(batches))
        self.counts.n_new_rows += n_new
        self._marks.update(dict.fromkeys(marks, started_s + self._mark_validity_s))
        self._publish(watermarks)

    async def _follow(self, unit: StoreUnit) -> None:
        changes = await unit.context_changes(self._table.version)
        self._table.follow(changes.version, changes.devices, changes.assignments, changes.knowledge)

    async def _store_batch(self, unit: StoreUnit, batch: FrameBatch) -> int:
        joined = join(batch, self._table)
        return 0 if joined is None else await unit.write_frames(joined)

    async def _store_gap(self, gap: Gap) -> None:
        run = (gap.first_sequence_number, gap.last_sequence_number)
        async with self._store.unit() as unit:
            await self._follow(unit)
            await unit.write_gaps([gap])
            watermarks = await unit.commit_handled({gap.stream: [run]})
        self._publish(watermarks)

    async def _make_room(self, batches: Sequence[FrameBatch]) -> None:
        days = {
            day
            for batch in batches
            for day in set((batch.records["start_time_ns"][batch.plausible] // _DAY_NS).tolist())
        }
        missing = days - self._days
        for day in missing:
            await self._store.ensure_chunks(day * _DAY_NS, day * _DAY_NS)
        self._days |= missing

    def _marks_needed(self, batches: Sequence[FrameBatch], now_s: float) -> list[tuple[str, int]]:
        if len(self._marks) > 100_000:
            self._marks = {key: until for key, until in self._marks.items() if until > now_s}
        touched: set[tuple[str, int]] = set().union(*(batch.buckets() for batch in batches))
        return [bucket for bucket in touched if self._marks.get(bucket, 0.0) <= now_s]

    def _publish(self, watermarks: dict[StreamKey, int]) -> None:
        self._unplaced.update(watermarks)
        for stream, sequence_number in list(self._unplaced.items()):
            placed = self._table.device_bed(stream.device_id, stream.boot_id)
            if placed is None:
                continue
            del self._unplaced[stream]
            if sequence_number >= 0:
                self._publisher.publish(
                    placed.site_id,
                    CommitWatermark(
                        device_id=stream.device_id,
                        boot_id=stream.boot_id,
                        lane=stream.lane,
                        sequence_number=sequence_number,
                    ),
                )


def _handled(batches: Sequence[FrameBatch]) -> dict[StreamKey, list[Run]]:
    handled: dict[StreamKey, list[Run]] = {}
    for batch in batches:
        for stream, runs in batch.handled().items():
            handled.setdefault(stream, []).extend(runs)
    return handled
