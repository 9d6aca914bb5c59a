"""Several beds judged together, as a gateway does: the model is asked once for all of them."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineOutput
from edge_agent.core.rhythm import Questions
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.waveform import WaveformChunk

MAX_BATCH: Final = 64
"""Windows at once: from there on a window gets no cheaper, and memory grows with each."""


class Ward:
    """Beds that share one process and one model.

    Every bed is judged by its own `BedPipeline`, so it is told the same, bit for bit, as if it
    were alone; only the model's answers come in batches, to all who wait for one.

    Parameters
    ----------
    beds : iterable of (device id, BedPipeline)
        Which share a model.
    """

    def __init__(self, beds: Iterable[tuple[str, BedPipeline]]) -> None:
        self._beds = dict(beds)

    def push(self, chunks: Iterable[WaveformChunk], received_time_ns: int) -> list[PipelineOutput]:
        """Judge what came of any beds since the last time; everything that is to be told.

        The chunks of one bed are judged in the order in which they come here.

        Raises
        ------
        OutOfRangeError
            A chunk is of no bed of this ward; nothing was judged.
        """
        of_bed: dict[str, list[WaveformChunk]] = {}
        for chunk in chunks:
            of_bed.setdefault(chunk.device_id, []).append(chunk)
        strangers = of_bed.keys() - self._beds.keys()
        if strangers:
            raise OutOfRangeError(f"no bed of this ward is called {sorted(strangers)}")
        outputs: list[PipelineOutput] = []
        waiting = [
            _Waiting(self._beds[device_id], of_one, received_time_ns)
            for device_id, of_one in of_bed.items()
        ]
        while waiting := [one for one in waiting if one.go_on(outputs)]:
            _answer(waiting)
        return outputs


class _Waiting:
    """One bed on its way through its chunks."""

    def __init__(
        self, pipeline: BedPipeline, chunks: list[WaveformChunk], received_time_ns: int
    ) -> None:
        self.pipeline = pipeline
        self.windows: NDArray[np.float32] = np.empty((0, 1, 0), dtype=np.float32)
        self.answers: NDArray[np.float32] | None = None
        self._chunks = iter(chunks)
        self._received_time_ns = received_time_ns
        self._steps: Questions[list[PipelineOutput]] | None = None

    def go_on(self, outputs: list[PipelineOutput]) -> bool:
        """Whether there is a question now; else all its chunks have been judged."""
        while True:
            try:
                if self._steps is not None:
                    self.windows = self._steps.send(self.answers)
                    return True
                chunk = next(self._chunks, None)
                if chunk is None:
                    return False
                steps = self.pipeline.steps(chunk, self._received_time_ns)
                if steps is None:
                    continue
                self.windows = next(steps)
                self._steps = steps
                return True
            except StopIteration as done:
                outputs.extend(done.value)
                self._steps = None


def _answer(waiting: Sequence[_Waiting]) -> None:
    alike: dict[tuple[int, tuple[int, ...]], list[_Waiting]] = {}
    for one in waiting:
        key = id(one.pipeline.model), one.windows.shape[1:]
        alike.setdefault(key, []).append(one)
    for asking in alike.values():
        batch: list[_Waiting] = []
        n_windows = 0
        for one in asking:
            if batch and n_windows + len(one.windows) > MAX_BATCH:
                _infer(batch)
                batch, n_windows = [], 0
            batch.append(one)
            n_windows += len(one.windows)
        _infer(batch)


def _infer(batch: Sequence[_Waiting]) -> None:
    if len(batch) == 1:
        batch[0].answers = batch[0].pipeline.infer(batch[0].windows)
        return
    answers = batch[0].pipeline.infer(np.concatenate([one.windows for one in batch]))
    begin = 0
    for one in batch:
        end = begin + len(one.windows)
        one.answers = None if answers is None else answers[begin:end]
        begin = end
