"""Compiles what is compiled on first use, before anyone waits for it."""

import numpy as np

from stream_processors.core.context import ContextTable
from stream_processors.core.copy_rows import copy_rows
from stream_processors.core.fusion import LogRecord, decode_records, join
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame, encode_frame
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode


def warm_up() -> None:
    """Send one made-up frame through decoding, joining and row building."""
    frame = FeatureFrame(
        device_id="warm-up",
        boot_id="00000000-0000-4000-8000-000000000000",
        sequence_number=0,
        start_time_ns=TimestampNs(1),
        monotonic_ns=0,
        generation_mode=GenerationMode.TEST,
        values=np.full(len(BEDSIDE_V1.features), np.nan, dtype=np.float32),
    )
    batches, _ = decode_records([LogRecord(encode_frame(frame), 1)], now_ns=1)
    for batch in batches:
        joined = join(batch, ContextTable())
        if joined is not None:
            copy_rows(joined)
