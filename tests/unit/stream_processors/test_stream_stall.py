"""When only a new process helps."""

from stream_processors.core.stall import Progress, StallDetector

P = ("features", 0)
OURS = frozenset({P})


def judged(detector: StallDetector, end: int, committed: int, now_s: float, **other: bool) -> bool:
    progress = {P: Progress(end=end, committed=committed)}
    may_stand = other.get("may_stand", False)
    ours = OURS if other.get("ours", True) else frozenset[tuple[str, int]]({("features", 1)})
    return detector.judge(progress, ours, now_s, may_stand=may_stand) is not None


def test_a_partition_that_moves_or_has_no_work_is_well() -> None:
    detector = StallDetector(patience_s=10)
    assert not any(judged(detector, 100 + t, 50 + t, float(t)) for t in range(60))
    assert not any(judged(detector, 160, 160, 60.0 + t) for t in range(60))


def test_a_partition_with_work_that_stands_still_is_told_once_patience_ends() -> None:
    detector = StallDetector(patience_s=10)
    assert not judged(detector, 100, 50, 0.0)
    assert not judged(detector, 110, 50, 10.0)
    assert judged(detector, 120, 50, 10.5)


def test_while_the_store_is_away_standing_is_right() -> None:
    detector = StallDetector(patience_s=10)
    assert not any(judged(detector, 100, 50, float(t), may_stand=True) for t in range(60))
    assert not judged(detector, 100, 50, 65.0)


def test_another_workers_partition_is_not_ours_to_judge() -> None:
    detector = StallDetector(patience_s=10)
    assert not any(judged(detector, 100, 50, float(t), ours=False) for t in range(60))


def test_a_group_no_one_is_let_into_is_noticed_with_more_patience() -> None:
    detector = StallDetector(patience_s=10)
    found = [
        detector.judge({P: Progress(end=9, committed=1)}, frozenset(), float(t), may_stand=False)
        for t in range(40)
    ]
    assert found[30] is None
    assert found[31] is not None


def test_a_log_that_shrank_was_lost() -> None:
    detector = StallDetector(patience_s=10)
    assert not judged(detector, 100, 100, 0.0)
    assert judged(detector, 3, 0, 1.0)
