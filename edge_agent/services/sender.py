"""What goes out next: alerts first, everything again until the cloud has committed it.

The outbox is the truth; this only remembers how far it has read. A lane that hears no
watermark for too long starts again at its oldest row, which the sinks' idempotence allows.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_agent.core.outbox_port import Outbox, StorageError, StoredMessage
from edge_agent.core.ports import Link, Measurements
from wardstream.contracts import topics
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.codec import encode
from wardstream.contracts.identity import CommitWatermark, Lane
from wardstream.contracts.topics import MqttTopic

logger = logging.getLogger(__name__)

FRAMES_A_MESSAGE: Final = 64
RESERVED_FOR_ALERTS: Final = 4
"""Places of the window that frames and strips leave free."""

FIRST_PATIENCE_S: Final = 8.0
LAST_PATIENCE_S: Final = 120.0
STUCK_S: Final = 30.0
"""A broker that is connected but confirms nothing for this long gets a new connection."""

GAP_CHECK_S: Final = 2.0
IDLE_S: Final = 1.0

_TOPIC: Final[dict[Lane, MqttTopic[object]]] = {
    Lane.ALERT: topics.ALERT,
    Lane.FRAME: topics.FRAME,
    Lane.STRIP: topics.STRIP,
}

_UNCOVERED: Final = {Lane.ALERT: 1024, Lane.FRAME: 4096, Lane.STRIP: 64}
"""Rows sent ahead of the watermark; more would only pile up in the broker."""

_AT_ONCE: Final = {Lane.ALERT: 1, Lane.FRAME: FRAMES_A_MESSAGE, Lane.STRIP: 1}


@dataclass(slots=True)
class _LaneState:
    """How far one lane has been read, and what of it nobody has committed yet."""

    cursor: int = 0
    sent: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    progress_s: float = 0.0
    patience_s: float = FIRST_PATIENCE_S
    n_in_flight: int = 0


class Sender:
    """Decides what to publish. Lives on one thread; time comes in as an argument.

    Parameters
    ----------
    outbox, link
        Where messages come from and go to.
    site_id, device_id : str
        Of the topics.
    measurements : Measurements
        Counters.
    unstored_alerts : callable
        Alerts that a failing disk refuses. They are sent all the same; once they are stored
        they go the usual way, and what the cloud has twice it knows by its number.
    """

    def __init__(
        self,
        outbox: Outbox,
        link: Link,
        site_id: str,
        device_id: str,
        measurements: Measurements,
        unstored_alerts: Callable[[], Sequence[AlertEvent]] = tuple,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._site_id = site_id
        self._device_id = device_id
        self._measurements = measurements
        self._lanes = {lane: _LaneState() for lane in Lane}
        self._in_flight: dict[int, tuple[Lane | None, float]] = {}
        self._gaps_sent: dict[int, tuple[int, float]] = {}
        self._next_gap_check_s = 0.0
        self._status: bytes | None = None
        self._status_id: int | None = None
        self._to_free: dict[tuple[str, Lane], int] = {}
        self._unstored_alerts = unstored_alerts
        self._unstored_sent: dict[tuple[str, int], float] = {}
        self._alerts_covered: dict[str, int] = {}
        self._held: frozenset[Lane] = frozenset()

    def say(self, status: bytes) -> None:
        """Publish `status` when there is room; only the newest one matters."""
        self._status = status

    def hold(self, lanes: frozenset[Lane]) -> None:
        """Let `lanes` wait in the outbox until told otherwise; the alert lane never does."""
        self._held = lanes - {Lane.ALERT}

    @property
    def n_in_flight(self) -> int:
        """Messages the broker has not confirmed."""
        return len(self._in_flight)

    @property
    def has_said(self) -> bool:
        """Whether the newest status has reached the broker."""
        return self._status is None and self._status_id is None

    def step(self, now_s: float) -> float:
        """Publish what may go now; return after how many seconds to look again."""
        self._free()
        if not self._link.connected:
            return IDLE_S
        if self._is_stuck(now_s):
            logger.warning("the broker confirms nothing; connecting anew")
            self._link.restart()
            self.forgotten(now_s)
            return IDLE_S
        self._resend_what_is_late(now_s)
        self._send_status(now_s)
        self._send_unstored(now_s)
        try:
            for lane in (Lane.ALERT, None, Lane.STRIP, Lane.FRAME):
                if lane is None:
                    self._send_gaps(now_s)
                elif lane not in self._held:
                    self._send_lane(lane, now_s)
        except StorageError as error:
            logger.debug("nothing to send: %s", error)
        return IDLE_S

    def published(self, message_id: int, *, taken: bool) -> None:
        """The broker has confirmed `message_id`, or refused it."""
        lane, _ = self._in_flight.pop(message_id, (None, 0.0))
        if lane is not None:
            self._lanes[lane].n_in_flight -= 1
        if message_id == self._status_id:
            self._status_id = None
        if not taken:
            self._measurements.n_refused_messages += 1

    def forgotten(self, now_s: float) -> None:
        """The link has begun anew: what was unconfirmed is to be sent again."""
        self._in_flight.clear()
        self._status_id = None
        for state in self._lanes.values():
            state.n_in_flight = 0
            self._rewind(state, now_s)

    def covered(self, watermark: CommitWatermark, now_s: float) -> None:
        """The cloud has committed up to `watermark`."""
        key = (watermark.boot_id, watermark.lane)
        self._to_free[key] = max(self._to_free.get(key, -1), watermark.sequence_number)
        if watermark.lane is Lane.ALERT:
            self._alerts_covered[watermark.boot_id] = self._to_free[key]
        state = self._lanes[watermark.lane]
        done = [
            position
            for position, (boot_id, number) in state.sent.items()
            if boot_id == watermark.boot_id and number <= watermark.sequence_number
        ]
        for position in done:
            del state.sent[position]
        if done:
            state.progress_s = now_s
            state.patience_s = FIRST_PATIENCE_S
        self._free()

    # ---- inside ---------------------------------------------------------------------------

    def _free(self) -> None:
        for (boot_id, lane), up_to in list(self._to_free.items()):
            try:
                self._outbox.free(boot_id, lane, up_to)
            except StorageError as error:
                logger.debug("the outbox could not be freed yet: %s", error)
                return
            del self._to_free[boot_id, lane]

    def _is_stuck(self, now_s: float) -> bool:
        oldest_s = min((sent_s for _, sent_s in self._in_flight.values()), default=now_s)
        return now_s - oldest_s > STUCK_S

    def _resend_what_is_late(self, now_s: float) -> None:
        for lane, state in self._lanes.items():
            waited_s = now_s - state.progress_s
            if state.sent and state.n_in_flight == 0 and waited_s > state.patience_s:
                logger.info("%d of lane %s are not committed, sending again", len(state.sent), lane)
                self._measurements.n_resent += len(state.sent)
                self._rewind(state, now_s)
                longer_s = 2 * state.patience_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
                state.patience_s = min(LAST_PATIENCE_S, longer_s)

    @staticmethod
    def _rewind(state: _LaneState, now_s: float) -> None:
        state.cursor = 0
        state.sent.clear()
        state.progress_s = now_s

    def _has_room(self, lane: Lane | None) -> bool:
        reserved = 0 if lane is Lane.ALERT else RESERVED_FOR_ALERTS
        return len(self._in_flight) < max(1, self._link.window - reserved)

    def _publish(
        self, topic: MqttTopic[object], payload: bytes, lane: Lane | None, now_s: float
    ) -> int | None:
        address = topic.address(self._site_id, self._device_id)
        message_id = self._link.publish(address, payload, retained=topic.retained)
        if message_id is not None:
            self._in_flight[message_id] = (lane, now_s)
        return message_id

    def _send_status(self, now_s: float) -> None:
        if self._status is None or self._status_id is not None or not self._has_room(Lane.ALERT):
            return
        self._status_id = self._publish(topics.STATUS, self._status, None, now_s)
        if self._status_id is not None:
            self._status = None

    def _send_unstored(self, now_s: float) -> None:
        waiting = {(e.boot_id, e.sequence_number): e for e in self._unstored_alerts()}
        self._unstored_sent = {k: s for k, s in self._unstored_sent.items() if k in waiting}
        for key, event in waiting.items():
            sent_s = self._unstored_sent.get(key)
            if sent_s is not None and now_s - sent_s < FIRST_PATIENCE_S:
                continue
            if self._alerts_covered.get(event.boot_id, -1) >= event.sequence_number:
                continue
            if not self._has_room(Lane.ALERT):
                return
            if self._publish(topics.ALERT, encode(event), None, now_s) is None:
                return
            self._unstored_sent[key] = now_s

    def _send_gaps(self, now_s: float) -> None:
        if now_s < self._next_gap_check_s:
            return
        self._next_gap_check_s = now_s + GAP_CHECK_S
        stored = self._outbox.gaps()
        self._gaps_sent = {g.position: self._gaps_sent.get(g.position, (-1, 0.0)) for g in stored}
        for gap in stored:
            last, sent_s = self._gaps_sent[gap.position]
            grown = gap.notice.last_sequence_number > last
            if not self._has_room(None) or (not grown and now_s - sent_s < FIRST_PATIENCE_S):
                continue
            if self._publish(topics.GAP, encode(gap.notice), None, now_s) is not None:
                self._gaps_sent[gap.position] = (gap.notice.last_sequence_number, now_s)

    def _send_lane(self, lane: Lane, now_s: float) -> None:
        state = self._lanes[lane]
        while self._has_room(lane) and len(state.sent) < _UNCOVERED[lane]:
            rows = self._next_rows(lane, state.cursor)
            if not rows:
                return
            payload = b"".join(row.message.payload for row in rows)
            if self._publish(_TOPIC[lane], payload, lane, now_s) is None:
                return
            if not state.sent:
                state.progress_s = now_s
            state.n_in_flight += 1
            state.cursor = rows[-1].position
            for row in rows:
                state.sent[row.position] = (row.message.boot_id, row.message.sequence_number)

    def _next_rows(self, lane: Lane, after: int) -> Sequence[StoredMessage]:
        rows = self._outbox.peek(lane, after, _AT_ONCE[lane])
        boot_id = rows[0].message.boot_id if rows else ""
        return [row for row in rows if row.message.boot_id == boot_id]
