"""Pairing of beats: by hand, by wfdb's own comparison, and at the borders."""

from pathlib import Path

import numpy as np
import pytest
import wfdb
from wfdb.processing import compare_annotations

from models.evaluation.beats import ReferenceBeats, match_beats, read_reference_beats, score_beats

# wfdb 4.3 reads annotations through a call that pandas 3.1 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def _beats(*samples: int) -> np.ndarray:
    return np.array(samples, dtype=np.int64)


def test_a_pair_may_be_as_far_apart_as_the_tolerance_and_no_further() -> None:
    assert match_beats(_beats(100), _beats(154), 54).counts.tp == 1
    outside = match_beats(_beats(100), _beats(155), 54).counts
    assert (outside.tp, outside.fp, outside.fn) == (0, 1, 1)


def test_a_beat_is_left_to_the_mark_nearer_to_it() -> None:
    matching = match_beats(_beats(100, 140), _beats(138), 54)
    np.testing.assert_array_equal(matching.pairs, [[1, 0]])
    np.testing.assert_array_equal(matching.missed, [0])


def test_a_beat_found_twice_counts_once() -> None:
    matching = match_beats(_beats(100), _beats(90, 101), 54)
    np.testing.assert_array_equal(matching.pairs, [[0, 1]])
    np.testing.assert_array_equal(matching.extra, [0])


def test_empty_lists_pair_with_nothing() -> None:
    assert match_beats(_beats(), _beats(1, 2), 54).counts.fp == 2
    assert match_beats(_beats(1, 2), _beats(), 54).counts.fn == 2


def test_a_disturbed_rhythm_pairs_as_wfdb_pairs_it() -> None:
    generator = np.random.default_rng(7)
    for tolerance in (18, 54):
        reference = np.cumsum(generator.integers(150, 400, size=2000))
        kept = generator.random(2000) > 0.03
        jitter = np.round(generator.normal(0, 8, size=2000)).astype(np.int64)
        false = generator.integers(0, reference[-1], size=40)
        found = np.unique(np.concatenate([(reference + jitter)[kept], false]))
        ours = match_beats(reference, found, tolerance).counts
        theirs = compare_annotations(reference, found, tolerance + 1)  # theirs excludes the end
        # wfdb resolves a contested beat in another order, which moves a handful of 2000.
        assert abs(ours.tp - theirs.tp) <= 3
        assert abs(ours.fp - theirs.fp) <= 3
        assert abs(ours.fn - theirs.fn) <= 3


def test_the_first_seconds_and_flutter_do_not_count() -> None:
    reference = ReferenceBeats(
        samples=_beats(300, 1810, 4000, 9000),
        symbols=np.array(["N", "N", "N", "V"]),
        excluded=((3000, 5000),),
    )
    # At 360 Hz the first 5 s end at 1800: 300 and 500 are before it, 3500 is in flutter.
    counts = score_beats(reference, _beats(500, 1790, 3500, 6000, 9010), 360.0, 0.15).counts
    assert (counts.tp, counts.fp, counts.fn) == (2, 1, 0)


def test_marks_that_are_no_beats_are_not_read(tmp_path: Path) -> None:
    wfdb.wrann(
        "r",
        "atr",
        _beats(10, 500, 900, 1000, 1500, 1600),
        symbol=["+", "N", "[", "!", "]", "V"],
        aux_note=["(N", "", "", "", "", ""],
        fs=360,
        write_dir=str(tmp_path),
    )
    beats = read_reference_beats(tmp_path / "r")
    np.testing.assert_array_equal(beats.samples, [500, 1600])
    assert beats.excluded == ((900, 1500),)
