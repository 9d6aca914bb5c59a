"""Log lines written by a thread of their own: a full pipe must not stop the judgement."""

import logging
import queue
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final

from edge_agent.core.ports import Measurements
from wardstream.contracts.logs import log_to_stderr

CAPACITY: Final = 10_000


class _BoundedHandler(QueueHandler):
    """Drops what the full queue cannot hold, and counts it."""

    def __init__(self, lines: "queue.Queue[Any]", measurements: Measurements) -> None:
        super().__init__(lines)
        self._measurements = measurements

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Same process: the record goes over as it is; only its arguments are fixed now.
        record.message = record.getMessage()
        record.msg, record.args = record.message, None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._measurements.n_log_lines_dropped += 1


def start_logging(level: int, measurements: Measurements) -> QueueListener:
    """Begin to log JSON lines to standard error; stop the listener to write what is left."""
    log_to_stderr(level)
    root = logging.getLogger()
    written_by = root.handlers[:]
    lines: queue.Queue[Any] = queue.Queue(CAPACITY)
    root.handlers = [_BoundedHandler(lines, measurements)]
    listener = QueueListener(lines, *written_by)
    listener.start()
    return listener
