"""The outbox in memory: same contract, no disk."""

from collections.abc import Sequence
from itertools import count

from edge_agent.core.outbox_port import (
    DROP_ORDER,
    OutboxBatch,
    OutboxLimits,
    OutboxStats,
    StorageError,
    StoredGap,
    StoredMessage,
)
from edge_agent.core.retention import joined
from wardstream.contracts.identity import GapNotice, Lane


class MemoryOutbox:
    """`Outbox` that forgets everything with the process; `refuse` makes the disk full."""

    def __init__(self, device_id: str, limits: OutboxLimits) -> None:
        self.refuse = False
        self._device_id = device_id
        self._limits = limits
        self._positions = count(1)
        self._rows: list[tuple[int, StoredMessage]] = []
        self._gaps: list[StoredGap] = []
        self._n_gaps = 0
        self._spans: dict[tuple[str, Lane], tuple[int, int]] = {}
        self._snapshot: bytes | None = None
        self._commands: set[str] = set()

    def append(self, batch: OutboxBatch, now_ns: int) -> None:
        if self.refuse:
            raise StorageError("the disk is full")
        for m in batch.messages:
            self._rows.append((now_ns, StoredMessage(next(self._positions), m)))
            self._number(m.boot_id, m.lane, m.sequence_number, m.sequence_number)
        for gap in batch.gaps:
            self._add_gap(gap)
            self._number(gap.boot_id, gap.lane, gap.first_sequence_number, gap.last_sequence_number)
        self._snapshot = batch.snapshot or self._snapshot
        self._commands.update(batch.command_ids)
        self._make_room(now_ns)

    def peek(self, lane: Lane, after: int, limit: int) -> Sequence[StoredMessage]:
        rows = [row for _, row in self._rows if row.message.lane is lane and row.position > after]
        return rows[:limit]

    def gaps(self) -> Sequence[StoredGap]:
        return tuple(self._gaps)

    def free(self, boot_id: str, lane: Lane, up_to: int) -> int:
        def covered(row: StoredMessage) -> bool:
            m = row.message
            return m.lane is lane and m.boot_id == boot_id and m.sequence_number <= up_to

        before = len(self._rows)
        self._rows = [entry for entry in self._rows if not covered(entry[1])]
        self._gaps = [
            gap
            for gap in self._gaps
            if (gap.notice.boot_id, gap.notice.lane) != (boot_id, lane)
            or gap.notice.last_sequence_number > up_to
        ]
        return before - len(self._rows)

    def stats(self) -> OutboxStats:
        rows = {lane.value: [r for _, r in self._rows if r.message.lane is lane] for lane in Lane}
        return OutboxStats(
            rows={lane: len(kept) for lane, kept in rows.items()},
            n_bytes={lane: sum(len(r.message.payload) for r in k) for lane, k in rows.items()},
            numbered={
                lane.value: sum(b - a + 1 for (_, at), (a, b) in self._spans.items() if at is lane)
                for lane in Lane
            },
            gaps=self._n_gaps,
        )

    def snapshot(self) -> bytes | None:
        return self._snapshot

    def has_command(self, command_id: str) -> bool:
        return command_id in self._commands

    def close(self) -> None:
        """Nothing to release."""

    def _number(self, boot_id: str, lane: Lane, first: int, last: int) -> None:
        low, high = self._spans.get((boot_id, lane), (first, last))
        self._spans[boot_id, lane] = (min(low, first), max(high, last))

    def _add_gap(self, gap: GapNotice) -> None:
        for i, kept in enumerate(self._gaps):
            old = kept.notice
            if (old.boot_id, old.lane, old.reason, old.last_sequence_number + 1) == (
                gap.boot_id,
                gap.lane,
                gap.reason,
                gap.first_sequence_number,
            ):
                self._gaps[i] = StoredGap(kept.position, joined(old, gap.last_sequence_number))
                return
        self._gaps.append(StoredGap(next(self._positions), gap))
        self._n_gaps += 1

    def _make_room(self, now_ns: int) -> None:
        oldest_ns = now_ns - int(self._limits.max_age_s * 1e9)
        size = sum(len(row.message.payload) for _, row in self._rows)
        if size <= self._limits.max_bytes and all(at >= oldest_ns for at, _ in self._rows):
            return
        for rule in DROP_ORDER:
            for entry in list(self._rows) if rule.may_drop else []:
                stored_ns, row = entry
                too_much = size > self._limits.max_bytes
                if row.message.lane is rule.lane and (too_much or stored_ns < oldest_ns):
                    self._rows.remove(entry)
                    size -= len(row.message.payload)
                    m = row.message
                    n = m.sequence_number
                    self._add_gap(
                        GapNotice(
                            device_id=self._device_id,
                            boot_id=m.boot_id,
                            lane=m.lane,
                            first_sequence_number=n,
                            last_sequence_number=n,
                            reason=rule.reason,
                        )
                    )
