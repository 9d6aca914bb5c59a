"""What the outbox knows of itself without asking the disk, and the writes that change it."""

import sqlite3
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from edge_agent.adapters.outbox_file import NUMBERED, WAITING
from edge_agent.core.outbox_port import (
    DROP_ORDER,
    DropRule,
    OutboxBatch,
    OutboxLimits,
    OutboxStats,
)
from edge_agent.core.retention import merge_gaps
from wardstream.contracts.identity import GapNotice, Lane

_EVER_NS: Final = 2**63 - 1

Stream = tuple[str, Lane]
"""A boot and a lane: what is numbered without a break."""


def _zeros() -> dict[Lane, int]:
    return dict.fromkeys(Lane, 0)


@dataclass(slots=True)
class Book:
    """Counters of an outbox, and the statements that keep them true.

    Every method but `stats` runs inside the caller's transaction; the caller puts an earlier
    `copy` back when it is rolled back.

    Attributes
    ----------
    device_id : str
        Named in gap notices.
    limits : OutboxLimits
        How much may wait; may be exchanged at any time.
    covered : dict
        Highest number of each stream that the cloud is known to have committed.
    last_given : dict
        Highest number of each stream that was given in this life.
    """

    device_id: str
    limits: OutboxLimits
    covered: dict[Stream, int] = field(default_factory=dict[Stream, int])
    _rows: dict[Lane, int] = field(default_factory=_zeros)
    _bytes: dict[Lane, int] = field(default_factory=_zeros)
    _numbered: dict[Lane, int] = field(default_factory=_zeros)
    _n_gaps: int = 0
    last_given: dict[Stream, int] = field(default_factory=dict[Stream, int])

    def copy(self) -> "Book":
        """The same, untouched by what comes."""
        return replace(
            self,
            covered=self.covered.copy(),
            _rows=self._rows.copy(),
            _bytes=self._bytes.copy(),
            _numbered=self._numbered.copy(),
            last_given=self.last_given.copy(),
        )

    def stats(self) -> OutboxStats:
        """Counters, from memory."""
        return OutboxStats(
            rows=MappingProxyType({lane.value: self._rows[lane] for lane in Lane}),
            n_bytes=MappingProxyType({lane.value: self._bytes[lane] for lane in Lane}),
            numbered=MappingProxyType({lane.value: self._numbered[lane] for lane in Lane}),
            gaps=self._n_gaps,
        )

    def count(self, connection: sqlite3.Connection) -> None:
        """Count anew what the file holds."""
        self._rows, self._bytes, self._numbered = _zeros(), _zeros(), _zeros()
        for lane, rows, n_bytes in connection.execute(WAITING):
            self._rows[Lane(lane)], self._bytes[Lane(lane)] = rows, n_bytes
        for lane, n in connection.execute(NUMBERED):
            self._numbered[Lane(lane)] = n
        self._n_gaps = connection.execute("SELECT count(*) FROM gap").fetchone()[0]

    def insert(self, connection: sqlite3.Connection, batch: OutboxBatch, now_ns: int) -> None:
        """Write `batch`. A message the cloud has committed already is only numbered."""
        for m in batch.messages:
            if m.sequence_number > self.covered.get((m.boot_id, m.lane), -1):
                connection.execute(
                    "INSERT INTO message (boot_id, lane, sequence_number, stored_time_ns, payload) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (m.boot_id, m.lane.value, m.sequence_number, now_ns, m.payload),
                )
                self._rows[m.lane] += 1
                self._bytes[m.lane] += len(m.payload)
            self._number(connection, m.boot_id, m.lane, m.sequence_number, m.sequence_number)
        for gap in batch.gaps:
            self._insert_gap(connection, gap)
            first, last = gap.first_sequence_number, gap.last_sequence_number
            self._number(connection, gap.boot_id, gap.lane, first, last)
        if batch.snapshot is not None:
            connection.execute("INSERT OR REPLACE INTO engine VALUES (1, ?)", (batch.snapshot,))
        for command_id in batch.command_ids:
            connection.execute("INSERT OR IGNORE INTO command VALUES (?, ?)", (command_id, now_ns))
        if batch.command_ids:
            kept_ns = int(self.limits.max_age_s * 1e9)
            connection.execute("DELETE FROM command WHERE stored_time_ns < ?", (now_ns - kept_ns,))

    def free(self, connection: sqlite3.Connection, stream: Stream, up_to: int) -> int:
        """Delete what the watermark covers; return how many messages."""
        boot_id, lane = stream
        key = (lane.value, boot_id, up_to)
        n_bytes = connection.execute(
            "SELECT coalesce(sum(length(payload)), 0) FROM message "
            "WHERE lane = ? AND boot_id = ? AND sequence_number <= ?",
            key,
        ).fetchone()[0]
        n_rows = connection.execute(
            "DELETE FROM message WHERE lane = ? AND boot_id = ? AND sequence_number <= ?", key
        ).rowcount
        connection.execute(
            "UPDATE gap SET covered = 1 WHERE lane = ? AND boot_id = ? AND last <= ?", key
        )
        self.covered[stream] = up_to
        self._rows[lane] -= n_rows
        self._bytes[lane] -= n_bytes
        return n_rows

    def make_room(self, connection: sqlite3.Connection, now_ns: int) -> None:
        """Drop by `DROP_ORDER` what is too old or too much, each loss with its gap."""
        oldest_ns = now_ns - int(self.limits.max_age_s * 1e9)
        for rule in DROP_ORDER:
            if not rule.may_drop:
                continue
            self._drop(connection, rule, oldest_ns, limit=256)
            while sum(self._bytes.values()) > self.limits.max_bytes and self._rows[rule.lane]:
                self._drop(connection, rule, _EVER_NS, limit=16)

    def record_loss(self, connection: sqlite3.Connection, before: "Book") -> None:
        """Say in a new file what of `before`'s numbers went with the old one.

        Of this life's numbers the new file knows nothing. What the cloud had covered is
        remembered; the rest will never be sent and must not hold the watermark up.
        """
        for (boot_id, lane), last in before.last_given.items():
            rows = connection.execute(
                "SELECT sequence_number FROM message WHERE boot_id = ? AND lane = ?",
                (boot_id, lane.value),
            )
            saved = {row[0] for row in rows}
            first = before.covered.get((boot_id, lane), -1) + 1
            lost = (n for n in range(first, last + 1) if n not in saved)
            connection.execute(
                "INSERT OR REPLACE INTO numbered VALUES (?, ?, 0, ?)", (boot_id, lane.value, last)
            )
            reason = "the outbox file was damaged"
            for gap in merge_gaps(self.notice(boot_id, lane.value, n, n, reason) for n in lost):
                self._insert_gap(connection, gap)
        self.count(connection)
        self.last_given = dict(before.last_given)

    def notice(self, boot_id: str, lane: str, first: int, last: int, reason: str) -> GapNotice:
        """A loss of this device."""
        return GapNotice(
            device_id=self.device_id,
            boot_id=boot_id,
            lane=Lane(lane),
            first_sequence_number=first,
            last_sequence_number=last,
            reason=reason,
        )

    def _number(
        self, connection: sqlite3.Connection, boot_id: str, lane: Lane, first: int, last: int
    ) -> None:
        # Numbers of a stream only grow, gaps included, so the span says how many were given.
        before = self.last_given.get((boot_id, lane))
        self.last_given[boot_id, lane] = last if before is None else max(before, last)
        connection.execute(
            "INSERT INTO numbered (boot_id, lane, first, last) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (boot_id, lane) DO UPDATE SET first = min(first, excluded.first), "
            "last = max(last, excluded.last)",
            (boot_id, lane.value, first, last),
        )
        self._numbered[lane] += last - first + 1 if before is None else max(0, last - before)

    def _insert_gap(self, connection: sqlite3.Connection, gap: GapNotice) -> None:
        key = (gap.boot_id, gap.lane.value, gap.first_sequence_number - 1, gap.reason)
        grown = connection.execute(
            "UPDATE gap SET last = ?, covered = 0 "
            "WHERE boot_id = ? AND lane = ? AND last = ? AND reason = ?",
            (gap.last_sequence_number, *key),
        ).rowcount
        if not grown:
            connection.execute(
                "INSERT INTO gap (boot_id, lane, first, last, reason) VALUES (?, ?, ?, ?, ?)",
                (
                    gap.boot_id,
                    gap.lane.value,
                    gap.first_sequence_number,
                    gap.last_sequence_number,
                    gap.reason,
                ),
            )
            self._n_gaps += 1

    def _drop(
        self, connection: sqlite3.Connection, rule: DropRule, before_ns: int, limit: int
    ) -> None:
        rows = connection.execute(
            "SELECT position, boot_id, sequence_number, length(payload) FROM message "
            "WHERE lane = ? AND stored_time_ns < ? ORDER BY position LIMIT ?",
            (rule.lane.value, before_ns, limit),
        ).fetchall()
        gaps: list[GapNotice] = []
        for position, boot_id, number, n_bytes in rows:
            connection.execute("DELETE FROM message WHERE position = ?", (position,))
            self._rows[rule.lane] -= 1
            self._bytes[rule.lane] -= n_bytes
            gaps.append(self.notice(boot_id, rule.lane.value, number, number, rule.reason))
        for gap in merge_gaps(gaps):
            self._insert_gap(connection, gap)
