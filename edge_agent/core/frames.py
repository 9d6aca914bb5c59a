"""One `FeatureFrame` for each whole second on the clock of the data."""

from collections.abc import Mapping

import numpy as np

from edge_agent.core.pipeline_types import PipelineIdentity
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

_DESCRIBED_GAP_S = 10
"""Empty seconds that still get a frame; a longer gap is a gap in the frames too."""

_INDEX = {name: i for i, name in enumerate(BEDSIDE_V1.names)}


class FrameMaker:
    """Numbers frames on their lane and sees to it that each second is described once."""

    def __init__(self, identity: PipelineIdentity) -> None:
        self._identity = identity
        self._next_number = 0
        self._second: int | None = None
        self.last_start_ns = TimestampNs(0)

    def begin(self, time_ns: TimestampNs) -> None:
        """Data starts at `time_ns`, or starts anew after a gap too long to be described."""
        second = time_ns // NS_PER_S
        if self._second is None or second > self._second + _DESCRIBED_GAP_S:
            self._second = second

    def restart(self, time_ns: TimestampNs) -> None:
        """The clock was set to `time_ns`: seconds may be described a second time."""
        self._second = time_ns // NS_PER_S

    @property
    def next_end_ns(self) -> int:
        """End of the next second to be described; 0 before the first sample."""
        return 0 if self._second is None else (self._second + 1) * NS_PER_S

    def due(self, complete_until_ns: int) -> TimestampNs | None:
        """Start of the next second if data is complete until its end, else None."""
        if self._second is None or (self._second + 1) * NS_PER_S > complete_until_ns:
            return None
        return TimestampNs(self._second * NS_PER_S)

    def make(self, values: Mapping[str, float], monotonic_ns: int) -> FeatureFrame:
        """The frame of the due second, numbered; what is not in `values` is missing."""
        if self._second is None:
            raise ValueError("no second is due")
        array = np.full(len(_INDEX), np.nan, dtype=np.float32)
        for name, value in values.items():
            array[_INDEX[name]] = value
        start_ns = TimestampNs(self._second * NS_PER_S)
        frame = FeatureFrame(
            device_id=self._identity.device_id,
            boot_id=self._identity.boot_id,
            sequence_number=self._next_number,
            start_time_ns=start_ns,
            monotonic_ns=monotonic_ns,
            generation_mode=self._identity.generation_mode,
            values=array,
        )
        self._next_number += 1
        self._second += 1
        self.last_start_ns = start_ns
        return frame
