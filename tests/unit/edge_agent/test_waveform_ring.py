"""The curves on the device's disk: exact, bounded, and whole after whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from edge_agent.adapters.waveform_ring import FOLDER, RingLimits, WaveformRing, read, segments
from edge_agent.core.outbox_port import StorageError
from edge_agent.core.waveform_block import bodies
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import WaveformChunk

BOOT = str(uuid4())
START_NS = 1_700_000_000 * NS_PER_S
ECG = ("MDC_ECG_ELEC_POTL_I", "MDC_ECG_ELEC_POTL_II")
CHANCE = np.random.default_rng(3)


def chunk(at_s: float, n: int = 10, codes: tuple[str, ...] = ECG) -> WaveformChunk:
    counts = np.rint(300 * CHANCE.standard_normal((len(codes), n)))
    return WaveformChunk(
        device_id="bed-1",
        boot_id=BOOT,
        sequence_number=0,
        codes=codes,
        unit=Unit.MILLIVOLT,
        sampling_rate_hz=250.0,
        start_time_ns=TimestampNs(START_NS + round(at_s * NS_PER_S)),
        samples=(counts / 200).astype(np.float32),
    )


def played(seconds: float, from_s: float = 0.0) -> list[WaveformChunk]:
    return [chunk(from_s + 0.04 * n) for n in range(round(seconds * 25))]


def laid_out(chunks: list[WaveformChunk], n: int) -> np.ndarray:
    found = np.full((2, n), np.nan, np.float32)
    for c in chunks:
        at = round((c.start_time_ns - START_NS) * 250 / NS_PER_S)
        for source in range(c.samples.shape[1]):
            if 0 <= at + source < n and not np.isnan(c.samples[:, source]).all():
                found[:, at + source] = c.samples[:, source]
    return found


def test_what_was_kept_is_read_back_exactly_with_its_gaps(tmp_path: Path) -> None:
    ring = WaveformRing(tmp_path, RingLimits())
    chunks = [*played(12), *played(3, 14), chunk(40.0)]
    chunks[30].samples[0, 3:7] = np.nan
    for one in chunks:
        ring.append(one)
    everything = list(ring.read(TimestampNs(START_NS), TimestampNs(START_NS + 60 * NS_PER_S)))
    n = 250 * 60
    np.testing.assert_array_equal(laid_out(everything, n), laid_out(chunks, n))
    ring.close()
    again = list(read(tmp_path / FOLDER, START_NS, START_NS + 60 * NS_PER_S))
    np.testing.assert_array_equal(laid_out(again, n), laid_out(chunks, n))
    some = list(read(tmp_path / FOLDER, START_NS + 6 * NS_PER_S, START_NS + 7 * NS_PER_S))
    assert len(some) == 1


def test_a_new_life_begins_a_new_segment_and_numbers_go_on(tmp_path: Path) -> None:
    for life in range(3):
        ring = WaveformRing(tmp_path, RingLimits())
        for one in played(1, from_s=10 * life):
            ring.append(one)
        ring.close()
    assert [s.number for s in segments(tmp_path / FOLDER)] == [0, 1, 2]
    assert all(s.path.stat().st_mode & 0o077 == 0 for s in segments(tmp_path / FOLDER))


def test_a_torn_end_and_a_flipped_bit_cost_their_block_and_no_other(tmp_path: Path) -> None:
    ring = WaveformRing(tmp_path, RingLimits())
    for one in played(30):
        ring.append(one)
    ring.close()
    (segment,) = segments(tmp_path / FOLDER)
    content = bytearray(segment.path.read_bytes())
    n_blocks = len(list(bodies(bytes(content))))
    assert n_blocks == 6
    content[len(content) // 2] ^= 1
    assert len(list(bodies(bytes(content)))) == n_blocks - 1
    assert len(list(bodies(bytes(content[:-7])))) == n_blocks - 2
    segment.path.write_bytes(content[:-7])
    assert len(list(read(tmp_path / FOLDER, START_NS, START_NS + 60 * NS_PER_S))) == n_blocks - 2


def test_the_oldest_go_when_there_are_too_many_bytes_or_they_are_too_old(tmp_path: Path) -> None:
    ring = WaveformRing(tmp_path, RingLimits(max_bytes=60_000, max_age_s=3600))
    for minute in range(0, 100, 10):
        for one in played(5, from_s=60 * minute):
            ring.append(one)
    assert ring.n_bytes <= 60_000
    assert ring.n_bytes == sum(s.path.stat().st_size for s in segments(tmp_path / FOLDER))
    oldest_ns = segments(tmp_path / FOLDER)[0].start_ns
    assert oldest_ns > START_NS
    ring.append(chunk(10 * 3600))
    ring.flush()
    assert len(segments(tmp_path / FOLDER)) == 1
    ring.close()


def test_a_clock_that_is_set_back_begins_a_segment(tmp_path: Path) -> None:
    ring = WaveformRing(tmp_path, RingLimits())
    for one in [*played(6, from_s=7200), *played(6)]:
        ring.append(one)
    ring.close()
    assert len(segments(tmp_path / FOLDER)) == 2
    assert list(read(tmp_path / FOLDER, START_NS, START_NS + 7 * NS_PER_S))


_WRITER = """
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from test_waveform_ring import chunk, WaveformRing, RingLimits
ring = WaveformRing(Path({folder!r}), RingLimits())
n = 0
while True:
    ring.append(chunk(0.04 * n))
    n += 1
    if n % 125 == 0:
        print(n, flush=True)
"""


def test_killed_while_it_writes_it_keeps_every_block_it_had_said(tmp_path: Path) -> None:
    script = _WRITER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(20)]
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
    n_said = int(rest[-1]) if rest else said[-1]
    kept = list(read(tmp_path / FOLDER, 0, 2**62))
    assert sum(c.samples.shape[1] for c in kept) >= 10 * n_said
    assert all(a.end_time_ns == b.start_time_ns for a, b in pairwise(kept))


def test_a_disk_that_refuses_is_told_and_the_next_block_is_kept(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("no folder can be here")
    ring = WaveformRing(tmp_path, RingLimits())
    *enough, last = played(5)
    for one in enough:
        assert ring.append(one) == 0
    with pytest.raises(StorageError, match="ring cannot be written"):
        ring.append(last)
    (tmp_path / FOLDER).unlink()
    for one in played(6, from_s=6):
        ring.append(one)
    ring.close()
    assert list(read(tmp_path / FOLDER, START_NS + 6 * NS_PER_S, START_NS + 20 * NS_PER_S))
