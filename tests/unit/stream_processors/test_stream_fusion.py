"""Batches of frames: decoded together, sifted when broken, joined and scored row by row."""

import math
from uuid import uuid4

import numpy as np
import pytest
from fakes.stream_beds import make_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.core.context import Assignment, ContextTable, DeviceBed, Knowledge
from stream_processors.core.fusion import LogRecord, decode_records, join, refuse_implausible
from wardstream.alerting import early_warning
from wardstream.contracts.frame import encode_frame
from wardstream.contracts.record import Consciousness, PatientContext
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

BOOT = str(uuid4())
NOW = 1_790_000_000 * NS_PER_S


def record(*numbers: int, device_id: str = "dev-1", at: int = NOW, **features: float) -> LogRecord:
    payload = b"".join(
        encode_frame(make_frame(device_id, BOOT, n, at + n * NS_PER_S, **features)) for n in numbers
    )
    return LogRecord(payload, NOW)


def admitted(context: PatientContext, device_id: str = "dev-1") -> ContextTable:
    table = ContextTable()
    table.place(
        DeviceBed(device_id=device_id, boot_id=BOOT, bed_id="bed-1", unit_id="icu", site_id="s")
    )
    table.assign(
        Assignment(
            event_id="a", bed_id="bed-1", pseudonym="p", effective_time_ns=0, recorded_time_ns=0
        )
    )
    table.learn(
        Knowledge(
            event_id="k", pseudonym="p", effective_time_ns=0, recorded_time_ns=0, context=context
        )
    )
    return table


def test_a_broken_record_becomes_a_letter_and_its_neighbours_are_kept() -> None:
    broken = LogRecord(record(7).payload[:-4], NOW)
    batches, letters = decode_records([record(0, 1), broken, record(2)], NOW)
    assert [int(n) for n in batches[0].records["sequence_number"]] == [0, 1, 2]
    assert len(letters) == 1


def test_a_frame_from_next_week_is_refused_but_its_number_is_settled() -> None:
    (batch,), _ = decode_records([record(0), record(1, at=NOW + 7 * 86_400 * NS_PER_S)], NOW)
    ((gap, letter),) = refuse_implausible(batch)
    assert (gap.first_sequence_number, gap.last_sequence_number) == (1, 1)
    assert letter.device_id == "dev-1"
    assert list(batch.handled().values()) == [[(0, 1)]]
    joined = join(batch, ContextTable())
    assert joined is not None
    assert joined.sequence_number.tolist() == [0]


def test_handled_numbers_and_buckets_are_told_apart_by_device_and_life() -> None:
    (batch,), _ = decode_records([record(0, 1, 5), record(9, device_id="dev-2"), record(1, 2)], NOW)
    runs = {stream.device_id: runs for stream, runs in batch.handled().items()}
    assert runs == {"dev-1": [(0, 2), (5, 5)], "dev-2": [(9, 9)]}
    assert {device_id for device_id, _ in batch.buckets()} == {"dev-1", "dev-2"}


maybe = st.one_of(st.just(math.nan), st.floats(min_value=0, max_value=300, width=32))


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(maybe, maybe, maybe, maybe, maybe), min_size=1, max_size=6),
    consciousness=st.sampled_from([None, *Consciousness]),
    oxygen=st.sampled_from([None, True, False]),
    hypercapnic=st.booleans(),
    charted=st.sampled_from([None, 36.6]),
)
def test_scores_of_a_batch_are_those_of_each_frame_alone(
    rows: list[tuple[float, ...]],
    consciousness: Consciousness | None,
    oxygen: bool | None,
    hypercapnic: bool,
    charted: float | None,
) -> None:
    names = (
        "heart_rate_per_min", "respiration_rate_per_min", "spo2_percent", "abp_systolic_mmhg",
        "temperature_celsius",
    )  # fmt: skip
    table = admitted(
        PatientContext(
            birth_year=1960,
            sex="male",
            consciousness=consciousness,
            supplemental_oxygen=oxygen,
            hypercapnic_target=hypercapnic,
            temperature_celsius=charted,
            observed_time_ns=TimestampNs(NOW),
        )
    )
    log = [
        record(n, **dict(zip(names, row, strict=True))) for n, row in enumerate(rows)
    ]  # fmt: skip
    (batch,), _ = decode_records(log, NOW)
    joined = join(batch, table)
    assert joined is not None
    letters = {None: None, **{c: early_warning.Consciousness[c.name] for c in Consciousness}}
    for n, (pulse, respiration, spo2, systolic, temperature) in enumerate(rows):
        if math.isnan(temperature) and charted is not None:
            temperature = charted
        expected = early_warning.news2(
            early_warning.News2Inputs(
                pulse_per_min=pulse,
                respiration_per_min=respiration,
                spo2_percent=spo2,
                systolic_mmhg=systolic,
                temperature_celsius=temperature,
                on_oxygen=oxygen,
                consciousness=letters[consciousness],
                hypercapnic_target=hypercapnic,
            )
        )
        assert (joined.news2_low[n], joined.news2_high[n]) == (expected.low, expected.high)


def test_an_empty_bed_is_not_scored() -> None:
    (batch,), _ = decode_records([record(0)], NOW)
    joined = join(batch, ContextTable())
    assert joined is not None
    assert (joined.news2_low[0], joined.news2_high[0]) == (-1, -1)


def test_the_ppg_stands_in_for_a_missing_ecg_rate() -> None:
    table = admitted(PatientContext(birth_year=None, sex="male"))
    (batch,), _ = decode_records(
        [record(0, heart_rate_per_min=math.nan, pulse_rate_ppg_per_min=140.0)], NOW
    )
    joined = join(batch, table)
    assert joined is not None
    assert joined.news2_low[0] == 3


@pytest.mark.parametrize("n_frames", [1, 2, 500])
def test_nothing_of_a_frame_is_changed_by_joining(n_frames: int) -> None:
    (batch,), _ = decode_records([record(*range(n_frames), spo2_percent=97.5)], NOW)
    joined = join(batch, ContextTable())
    assert joined is not None
    np.testing.assert_array_equal(joined.features, batch.records["features"])
    assert joined.start_time_ns.tolist() == [NOW + n * NS_PER_S for n in range(n_frames)]
