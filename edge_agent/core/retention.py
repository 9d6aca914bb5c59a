"""What waits for the disk, and what gives way when too much of it does.

The judgement of a bed never waits for storage. Between the two stands this queue: bounded,
alerts first, and when it is full it loses by `ports.DROP_ORDER`, each loss with a gap notice.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.core.outbox_port import DROP_ORDER, OutboxBatch, OutgoingMessage
from edge_agent.core.ports import Output
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.identity import GapNotice, Lane
from wardstream.contracts.waveform import AlertStrip

ALERT_BYTES: Final = 1000
"""An alert event as JSON, to the nearest thousand."""

FRAME_BYTES: Final = 220


def lane_of(output: Output) -> Lane:
    """Lane that numbers `output`."""
    match output:
        case AlertEvent():
            return Lane.ALERT
        case FeatureFrame():
            return Lane.FRAME
        case AlertStrip():
            return Lane.STRIP


def estimated_bytes(output: Output) -> int:
    """About how long `output` is on the wire, without encoding it."""
    match output:
        case AlertEvent():
            return ALERT_BYTES
        case FeatureFrame():
            return FRAME_BYTES
        case AlertStrip():
            return 200 + sum(2 * chunk.samples.size + 200 for chunk in output.chunks)


def merge_gaps(gaps: Iterable[GapNotice]) -> list[GapNotice]:
    """The same losses in fewer notices: neighbours of one stream and reason become one."""
    merged: list[GapNotice] = []
    for gap in gaps:
        last = merged[-1] if merged else None
        if last is not None and _continues(last, gap):
            merged[-1] = joined(last, gap.last_sequence_number)
        else:
            merged.append(gap)
    return merged


def joined(gap: GapNotice, last_sequence_number: int) -> GapNotice:
    """`gap`, reaching up to `last_sequence_number`."""
    return GapNotice(
        device_id=gap.device_id,
        boot_id=gap.boot_id,
        lane=gap.lane,
        first_sequence_number=gap.first_sequence_number,
        last_sequence_number=last_sequence_number,
        reason=gap.reason,
    )


def _continues(gap: GapNotice, other: GapNotice) -> bool:
    return (
        (gap.device_id, gap.boot_id, gap.lane, gap.reason)
        == (other.device_id, other.boot_id, other.lane, other.reason)
    ) and other.first_sequence_number == gap.last_sequence_number + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What goes into one transaction."""

    outputs: tuple[Output, ...] = ()
    gaps: tuple[GapNotice, ...] = ()
    snapshot: bytes | None = None
    command_ids: tuple[str, ...] = ()

    def encoded(self, encode: Callable[[Output], bytes]) -> OutboxBatch:
        """The same in its wire form."""
        return OutboxBatch(
            messages=tuple(
                OutgoingMessage(o.boot_id, lane_of(o), o.sequence_number, encode(o))
                for o in self.outputs
            ),
            gaps=self.gaps,
            snapshot=self.snapshot,
            command_ids=self.command_ids,
        )


class PendingWrites:
    """Bounded queue of outputs on their way to the outbox. Not thread-safe: the owner locks.

    Parameters
    ----------
    max_bytes : int
        Estimated bytes that may wait; alerts may pass it, for they are never dropped.
    """

    def __init__(self, max_bytes: int = 16_000_000) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, expected >= 1")
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._lanes: dict[Lane, deque[Output]] = {lane: deque() for lane in Lane}
        self._gaps: list[GapNotice] = []
        self._snapshot: bytes | None = None
        self._command_ids: list[str] = []

    @property
    def n_bytes(self) -> int:
        """Estimated bytes that wait."""
        return self._n_bytes

    @property
    def alerts(self) -> tuple[AlertEvent, ...]:
        """Alert events that wait, oldest first."""
        return tuple(o for o in self._lanes[Lane.ALERT] if isinstance(o, AlertEvent))

    def add(
        self,
        outputs: Sequence[Output],
        snapshot: bytes | None = None,
        command_id: str | None = None,
    ) -> None:
        """Queue `outputs`; `snapshot` is the alert engine's state after them."""
        for output in outputs:
            self._lanes[lane_of(output)].append(output)
            self._n_bytes += estimated_bytes(output)
        if snapshot is not None:
            self._snapshot = snapshot
        if command_id is not None:
            self._command_ids.append(command_id)
        self._make_room()

    def take(self, limit: int = 512) -> Taken | None:
        """The next transaction, None if nothing waits.

        Alerts go first, all of them, with their snapshot; then strips and frames, at most
        `limit` of each.
        """
        if self._lanes[Lane.ALERT] or self._snapshot is not None or self._command_ids:
            taken = Taken(
                outputs=tuple(self._drain(Lane.ALERT, len(self._lanes[Lane.ALERT]))),
                snapshot=self._snapshot,
                command_ids=tuple(self._command_ids),
            )
            self._snapshot, self._command_ids = None, []
            return taken
        outputs = (*self._drain(Lane.STRIP, limit), *self._drain(Lane.FRAME, limit))
        if not outputs and not self._gaps:
            return None
        gaps, self._gaps = tuple(merge_gaps(self._gaps)), []
        return Taken(outputs=outputs, gaps=gaps)

    def put_back(self, taken: Taken) -> None:
        """Return what the disk refused, ahead of everything newer."""
        for output in reversed(taken.outputs):
            self._lanes[lane_of(output)].appendleft(output)
            self._n_bytes += estimated_bytes(output)
        self._gaps[:0] = taken.gaps
        self._command_ids[:0] = taken.command_ids
        if self._snapshot is None:
            self._snapshot = taken.snapshot
        self._make_room()

    def _drain(self, lane: Lane, limit: int) -> list[Output]:
        waiting = self._lanes[lane]
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self._n_bytes -= sum(estimated_bytes(output) for output in taken)
        return taken

    def _make_room(self) -> None:
        for rule in DROP_ORDER:
            waiting = self._lanes[rule.lane]
            while rule.may_drop and waiting and self._n_bytes > self._max_bytes:
                output = waiting.popleft()
                self._n_bytes -= estimated_bytes(output)
                self._gaps.append(gap_of(output, f"{rule.reason} (the disk refused them)"))
            self._gaps = merge_gaps(self._gaps)


def gap_of(output: Output, reason: str) -> GapNotice:
    """The notice that `output` will never come."""
    return GapNotice(
        device_id=output.device_id,
        boot_id=output.boot_id,
        lane=lane_of(output),
        first_sequence_number=output.sequence_number,
        last_sequence_number=output.sequence_number,
        reason=reason,
    )
