"""Bytewax: one frame a record, keyed by bed."""
# pyright: basic, reportMissingImports=false

import os
import sys

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from task import Stopwatch, row_of


class _Count(StatelessSinkPartition):
    def __init__(self, n_frames: int) -> None:
        self._n_frames, self._watch = n_frames, Stopwatch()

    def write_batch(self, items: list) -> None:
        for _ in items:
            if self._watch.tick() >= self._n_frames:
                self._watch.tell()
                os._exit(0)


class _Sink(DynamicSink):
    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Count:
        """The one partition."""
        return _Count(self._n_frames)


def main(bootstrap: str, topic: str, n_frames: int) -> None:
    """Consume `n_frames` and tell the time."""
    flow = Dataflow("news2")
    source = KafkaSource([bootstrap], [topic], tail=True, batch_size=1000)
    messages = op.input("in", flow, source)
    op.output("out", op.map("score", messages, lambda m: row_of(m.value)), _Sink(n_frames))
    run_main(flow)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
