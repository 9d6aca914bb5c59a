"""Compiles what is compiled on first use, before anyone waits for it."""

import numpy as np

from stream_processors.core.context import UNKNOWN, ContextTable
from stream_processors.core.copy_rows import copy_rows
from stream_processors.core.fusion import LogRecord, decode_records, join
from stream_processors.core.patient_scores import (
    N_HOURS,
    VITALS,
    judge_deterioration,
    score_minutes,
    usual_of,
)
from wardstream.contracts.frame import BEDSIDE_V1, FeatureFrame, encode_frame
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode
from wardstream.inference.deterioration.boosted import BoostedTrees
from wardstream.inference.deterioration.model import DeteriorationModel


def warm_up() -> None:
    """Send one made-up frame through decoding, joining, row building and scoring."""
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
    _warm_up_scores()


def _warm_up_scores() -> None:
    nothing = np.full((1, N_HOURS, len(VITALS)), np.nan)
    score_minutes(nothing[:, 0], [UNKNOWN])
    usual_of(nothing)
    stump = BoostedTrees(
        roots=np.zeros(1, dtype=np.int32),
        feature=np.full(1, -1, dtype=np.int16),
        threshold=np.zeros(1),
        left=np.full(1, -1, dtype=np.int32),
        right=np.full(1, -1, dtype=np.int32),
        missing_left=np.zeros(1, dtype=np.bool_),
        value=np.zeros(1),
        intercept=0.0,
    )
    empty = np.zeros((0, 0))
    model = DeteriorationModel(
        trees=stump, point=0.5, reference_edges=empty, reference_shares=empty
    )
    judge_deterioration(model, nothing, [UNKNOWN])
