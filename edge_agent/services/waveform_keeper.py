"""The thread that keeps the curves on the device's disk; judgement never waits for it."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from edge_agent.core.outbox_port import StorageError
from edge_agent.core.ports import Measurements
from edge_agent.services.own_thread import OwnThread
from wardstream.contracts.waveform import WaveformChunk

logger = logging.getLogger(__name__)

CAPACITY: Final = 6000
"""Chunks that may wait: a minute of four groups at 40 ms."""

_PATIENCE_S: Final = 1.0


class Ring(Protocol):
    """Where the curves are kept; may wait for the disk and raise `StorageError`."""

    def append(self, chunk: WaveformChunk) -> int:
        """Keep `chunk`; how many blocks went to the disk with it."""
        ...

    def flush(self) -> int:
        """Put everything on the disk now; how many blocks that were."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class WaveformKeeper(OwnThread):
    """Keeps every chunk in the ring; when the disk is too slow, the oldest that wait are lost.

    Parameters
    ----------
    ring : Ring
        Closed here when the service is left.
    measurements : Measurements
        Counters.
    """

    def __init__(self, ring: Ring, measurements: Measurements) -> None:
        super().__init__("waveform ring", "keeps the curves")
        self._ring = ring
        self._measurements = measurements
        self._waiting: deque[WaveformChunk] = deque()
        self._flush_asked = False
        self._failing = False

    @property
    def failing(self) -> bool:
        """Whether the disk refused the last block."""
        return self._failing

    def keep(self, chunk: WaveformChunk) -> None:
        """Queue `chunk`; returns at once."""
        with self._changed:
            if len(self._waiting) == CAPACITY:
                self._waiting.popleft()
                self._measurements.n_ring_chunks_lost += 1
            self._waiting.append(chunk)
            if len(self._waiting) >= 25:  # no need to wake for each packet
                self._changed.notify()

    def flush_soon(self) -> None:
        """Have the curves before an alert on the disk before anything else can happen."""
        with self._changed:
            self._flush_asked = True
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not (self._waiting or self._flush_asked or self._closing):
                    self._changed.wait(_PATIENCE_S)
                chunks, flush, closing = list(self._waiting), self._flush_asked, self._closing
                self._waiting.clear()
                self._flush_asked = False
            for chunk in chunks:
                self._keep(chunk)
            if flush:
                self._try(self._ring.flush)
            if closing:
                self._ring.close()
                return

    def _keep(self, chunk: WaveformChunk) -> None:
        self._try(lambda: self._ring.append(chunk))

    def _try(self, work: Callable[[], int]) -> None:
        try:
            n_written = work()
        except StorageError as error:
            self._measurements.n_ring_failures += 1
            if not self._failing:
                logger.error("%s; alarms sound, curves are lost", error, extra=_FAILING)
            self._failing = True
            return
        if n_written and self._failing:
            logger.warning("the waveform ring stores again", extra=_BACK)
            self._failing = False


_FAILING: Final = {"fields": {"event": "ring_failing"}}
_BACK: Final = {"fields": {"event": "ring_back"}}
