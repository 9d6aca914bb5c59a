"""Blocks as devices send them become one run of samples with its gaps, on the host's clock."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.aligner import MAX_FILL_S, MAX_WAITING, AlignedRun, StreamAligner
from edge_agent.core.arrivals import WaveformArrival
from edge_agent.core.clock_map import ClockMap
from edge_agent.core.ports import SourceEventKind
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S
from wardstream.contracts.units import Unit

ECG = "MDC_ECG_ELEC_POTL_II"
RATE_HZ = 250.0
N = 10
PERIOD_NS = 40 * NS_PER_MS
START_NS = 1_800_000_000 * NS_PER_S


def block(
    number: int,
    *,
    arrived_ns: int,
    stamped: bool = False,
    first: int | None = None,
    stamp_ns: int | None = None,
) -> WaveformArrival:
    """Block `number`; sample k of the device has the value k, so order and loss can be seen."""
    values = np.arange(number * N, (number + 1) * N, dtype=np.float32)[None, :]
    return WaveformArrival(
        stream="ecg",
        codes=(ECG,),
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=RATE_HZ,
        samples=values,
        arrived_ns=arrived_ns,
        position=None if stamped else (number * N if first is None else first),
        device_time_ns=stamp_ns
        if stamp_ns is not None
        else (777 * NS_PER_S + number * PERIOD_NS if stamped else None),
    )


def arrival_ns(number: int, delay_ms: float = 5) -> int:
    return START_NS + (number + 1) * PERIOD_NS + round(delay_ms * NS_PER_MS)


def joined(runs: list[AlignedRun]) -> np.ndarray:
    return np.concatenate([run.samples[0] for run in runs]) if runs else np.zeros(0)


def check_times(runs: list[AlignedRun]) -> None:
    """Every run begins where the one before ended, or later; never earlier."""
    end_ns = 0
    for run in runs:
        if run.follows:
            assert abs(run.start_time_ns - end_ns) <= 1
        else:
            assert run.start_time_ns >= end_ns
        end_ns = run.start_time_ns + round(run.samples.shape[1] * NS_PER_S / RATE_HZ)


@st.composite
def journeys(draw: st.DrawFn) -> list[tuple[int, int]]:
    """(block number, arrival) with loss, repeats and overtaking within what is waited for."""
    found: list[tuple[int, int]] = []
    for number in range(draw(st.integers(20, 60))):
        if number > 8 and draw(st.integers(0, 9)) == 0:
            continue
        delay_ms = 5 + (draw(st.integers(0, 120)) if number > 8 else 0)
        found.append((number, arrival_ns(number, delay_ms)))
        if draw(st.integers(0, 9)) == 0:
            found.append((number, arrival_ns(number, delay_ms + draw(st.integers(1, 60)))))
    return sorted(found, key=lambda sent: sent[1])


@given(journeys(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_arrived_is_given_once_in_order_and_the_rest_is_nan(
    journey: list[tuple[int, int]], stamped: bool
) -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    runs: list[AlignedRun] = []
    for number, at_ns in journey:
        runs += aligner.push(block(number, arrived_ns=at_ns, stamped=stamped))
    runs += aligner.poll(journey[-1][1] + NS_PER_S)
    # Naive twin: lay every delivered block where its number says; what is left is NaN.
    delivered = {number for number, _ in journey}
    first, last = min(delivered), max(delivered)
    expected = np.full((last - first + 1) * N, np.nan)
    for number in delivered:
        expected[(number - first) * N : (number - first + 1) * N] = np.arange(
            number * N, (number + 1) * N
        )
    assert np.array_equal(joined(runs), expected, equal_nan=True)
    check_times(runs)
    missing = sum(e.amount for e in aligner.take_events() if e.kind is SourceEventKind.GAP)
    assert missing == np.isnan(expected).sum() == aligner.counts.n_missing


@given(
    drift_ppm=st.floats(-250, 250),
    seed=st.integers(0, 2**16),
    jitter_ms=st.floats(0.5, 20),
)
@settings(max_examples=12, deadline=None)
def test_a_drifting_device_is_followed_sample_by_sample(
    drift_ppm: float, seed: int, jitter_ms: float
) -> None:
    random = np.random.default_rng(seed)
    aligner = StreamAligner("ecg", RATE_HZ)
    runs: list[AlignedRun] = []
    n_blocks = 150 * 25
    newest_ns = 0
    for number in range(n_blocks):
        taken_ns = START_NS + round((number + 1) * PERIOD_NS * (1 + drift_ppm * 1e-6))
        newest_ns = max(newest_ns, taken_ns + round(random.exponential(jitter_ms) * NS_PER_MS))
        runs += aligner.push(block(number, arrived_ns=newest_ns))
    check_times(runs)
    values = joined(runs)
    assert not np.isnan(values).any()
    # 1. Every sample but those left out or repeated, which are no more than the drift needs.
    needed = abs(drift_ppm) * 1e-6 * 150 * RATE_HZ
    assert aligner.counts.n_slipped <= needed + 15
    assert np.isin(np.diff(values), (0, 1, 2)).all()
    # 2. Its time on the host's clock is when it was taken.
    at_ns = runs[-1].start_time_ns
    true_ns = START_NS + runs[-1].samples[0, 0] * 4 * NS_PER_MS * (1 + drift_ppm * 1e-6)
    assert abs(at_ns - true_ns) < 30 * NS_PER_MS
    # 3. The drift is known: an exponential's least of 25 lies within a twenty-fifth of its mean.
    assert abs(aligner.drift_ppm - drift_ppm) < 20 + 10 * jitter_ms


def test_a_device_that_sets_its_clock_goes_on_without_a_gap_and_it_is_told() -> None:
    for step_s in (3600.0, -3600.0, -30.0):
        aligner = StreamAligner("ecg", RATE_HZ)
        runs: list[AlignedRun] = []
        for number in range(200):
            stamp_ns = 10_000 * NS_PER_S + number * PERIOD_NS
            stamp_ns += round(step_s * NS_PER_S) if number >= 100 else 0
            runs += aligner.push(
                block(number, arrived_ns=arrival_ns(number), stamped=True, stamp_ns=stamp_ns)
            )
        assert np.array_equal(joined(runs), np.arange(2000))
        check_times(runs)
        (event,) = aligner.take_events()
        assert event.kind is SourceEventKind.CLOCK_STEP
        assert abs(event.amount - step_s) < 0.01


def test_a_device_that_restarts_counts_anew_and_the_silence_is_a_gap() -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    runs: list[AlignedRun] = []
    for number in range(100):
        runs += aligner.push(block(number, arrived_ns=arrival_ns(number)))
    for number in range(150, 250):
        runs += aligner.push(block(number, arrived_ns=arrival_ns(number), first=(number - 150) * N))
    values = joined(runs)
    assert np.array_equal(values[:1000], np.arange(1000))
    assert np.array_equal(values[-1000:], np.arange(1500, 2500))
    assert np.isnan(values[1000:-1000]).all()
    assert abs(len(values) - 2500) <= 2
    kinds = [event.kind for event in aligner.take_events()]
    assert kinds == [SourceEventKind.CLOCK_STEP, SourceEventKind.GAP]


def test_one_wild_number_is_left_out_and_told() -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    runs: list[AlignedRun] = []
    for number in range(100):
        first = 123_456_789 if number == 50 else None
        runs += aligner.push(block(number, arrived_ns=arrival_ns(number), first=first))
    values = joined(runs)
    assert len(values) == 1000
    assert np.isnan(values[500:510]).all()
    assert np.array_equal(values[510:], np.arange(510, 1000))
    kinds = {event.kind for event in aligner.take_events()}
    assert kinds == {SourceEventKind.LATE, SourceEventKind.GAP}


def test_after_a_long_silence_the_run_begins_anew() -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    runs: list[AlignedRun] = []
    for number in (*range(50), *range(1000, 1050)):
        runs += aligner.push(block(number, arrived_ns=arrival_ns(number)))
    runs += aligner.poll(arrival_ns(1060))
    assert [run.follows for run in runs].count(False) == 2
    assert not np.isnan(joined(runs)).any()
    (event,) = aligner.take_events()
    assert (event.kind, event.amount) == (SourceEventKind.GAP, 9500)
    check_times(runs)


def test_a_set_host_clock_moves_the_grid_and_nothing_is_lost() -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    before, after = [], []
    for number in range(50):
        before += aligner.push(block(number, arrived_ns=arrival_ns(number)))
    aligner.move_host(60 * NS_PER_S)
    for number in range(50, 100):
        after += aligner.push(block(number, arrived_ns=arrival_ns(number) + 60 * NS_PER_S))
    assert np.array_equal(joined(before + after), np.arange(1000))
    moved_ns = after[0].start_time_ns - before[-1].start_time_ns
    assert abs(moved_ns - 60 * NS_PER_S - PERIOD_NS) < 10 * NS_PER_MS


def test_blocks_that_wait_are_bounded() -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    for number in range(20):
        aligner.push(block(number, arrived_ns=arrival_ns(number)))
    # A burst in one instant, of which the first is missing.
    at_ns = arrival_ns(20)
    runs = [r for n in range(21, 121) for r in aligner.push(block(n, arrived_ns=at_ns))]
    assert runs, "the oldest went on without what it waited for"


def test_the_clock_map_finds_offset_and_drift_below_the_jitter() -> None:
    random = np.random.default_rng(1)
    clock = ClockMap()
    for tick in range(100 * 25):
        device_ns = tick * PERIOD_NS
        host_ns = round(device_ns * (1 + 200e-6)) + 3 * NS_PER_S
        clock.note(device_ns, host_ns + round(random.exponential(5) * NS_PER_MS))
    assert abs(clock.drift_ppm - 200) < 20
    now_ns = 100 * NS_PER_S
    assert abs(clock.host_ns(now_ns) - now_ns * (1 + 200e-6) - 3 * NS_PER_S) < 5 * NS_PER_MS


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**40), 2**40) | st.integers(0, 3000),
            st.integers(0, 3 * NS_PER_S) | st.integers(0, 50 * NS_PER_MS),
        ),
        max_size=80,
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_device_numbers_time_never_runs_back(
    blocks: list[tuple[int, int]], stamped: bool
) -> None:
    aligner = StreamAligner("ecg", RATE_HZ)
    runs: list[AlignedRun] = []
    now_ns = START_NS
    for position, later_ns in blocks:
        now_ns += later_ns
        runs += aligner.push(
            block(0, arrived_ns=now_ns, stamped=stamped, first=position, stamp_ns=position * 10**6)
        )
        held = aligner._waiting, aligner._suspects
        assert all(len(part) <= MAX_WAITING + 1 for part in held), "what waits is bounded"
        assert all(run.samples.shape[1] <= MAX_FILL_S * RATE_HZ + N for run in runs[-3:])
    runs += aligner.poll(now_ns + 10 * NS_PER_S)
    check_times(runs)
