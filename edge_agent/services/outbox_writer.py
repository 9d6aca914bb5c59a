"""The thread between judgement and disk: it may wait, judgement may not."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from edge_agent.core.outbox_port import Outbox, StorageError
from edge_agent.core.ports import Measurements, Output
from edge_agent.core.retention import PendingWrites, Taken
from edge_agent.services.own_thread import OwnThread
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.codec import encode

logger = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 5.0


class OutboxWriter(OwnThread):
    """Stores outputs in the order of their numbers, alerts before anything else.

    A disk that refuses is tried again with growing, jittered pauses; meanwhile outputs wait
    in memory, bounded by `PendingWrites`, and alerts are sent from there.

    Parameters
    ----------
    outbox : Outbox
        Closed here when the service is left.
    on_stored : callable
        Told after each transaction, and of alerts that could not be stored; must not wait.
    measurements : Measurements
        Counters.
    """

    def __init__(
        self, outbox: Outbox, on_stored: Callable[[], None], measurements: Measurements
    ) -> None:
        super().__init__("outbox", "writes the outbox")
        self._outbox = outbox
        self._on_stored = on_stored
        self._measurements = measurements
        self._pending = PendingWrites()
        self._accepts: dict[str, Callable[[], None]] = {}
        self._failing = False

    def submit(
        self,
        outputs: Sequence[Output],
        snapshot: bytes | None = None,
        command_id: str | None = None,
        accept: Callable[[], None] | None = None,
    ) -> None:
        """Queue `outputs`; returns at once."""
        with self._changed:
            if command_id is not None and accept is not None:
                self._accepts[command_id] = accept
            self._pending.add(outputs, snapshot, command_id)
            self._changed.notify()
        if self._failing:
            self._on_stored()

    @property
    def waiting_bytes(self) -> int:
        """Estimated bytes that are not on disk yet."""
        return self._pending.n_bytes

    @property
    def failing(self) -> bool:
        """Whether the disk refuses what it is given."""
        return self._failing

    def unstored_alerts(self) -> Sequence[AlertEvent]:
        """Alerts that a failing disk does not take; they must reach people without it."""
        if not self._failing:
            return ()
        with self._changed:
            return self._pending.alerts

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        if self._thread.is_alive():
            logger.error("the disk did not take the last %d bytes", self._pending.n_bytes)
        else:
            self._outbox.close()

    def _work(self) -> None:
        pause_s = FIRST_RETRY_S
        while True:
            with self._changed:
                taken = self._pending.take()
                if taken is None:
                    if self._closing:
                        return
                    self._changed.wait()
                    continue
            try:
                self._outbox.append(taken.encoded(encode), time.time_ns())
            except StorageError as error:
                self._refused(taken, error)
                if self._closing:
                    return
                time.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                pause_s = min(2 * pause_s, LAST_RETRY_S)
                continue
            pause_s = FIRST_RETRY_S
            self._stored(taken)

    def _refused(self, taken: Taken, error: StorageError) -> None:
        self._measurements.n_storage_failures += 1
        with self._changed:
            self._pending.put_back(taken)
        if not self._failing:
            logger.error("%s; alarms sound, nothing can be stored", error, extra=_STORAGE_FAILING)
        self._failing = True
        if any(isinstance(output, AlertEvent) for output in taken.outputs):
            self._on_stored()

    def _stored(self, taken: Taken) -> None:
        if self._failing:
            logger.warning("the outbox stores again", extra=_STORAGE_BACK)
        self._failing = False
        for command_id in taken.command_ids:
            accept = self._accepts.pop(command_id, None)
            if accept is not None:
                accept()
        self._on_stored()


_STORAGE_FAILING: Final = {"fields": {"event": "storage_failing"}}
_STORAGE_BACK: Final = {"fields": {"event": "storage_back"}}
