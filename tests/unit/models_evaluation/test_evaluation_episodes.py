"""Episodes against alarms, worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from models.evaluation.agent_replay import (
    ReplayedEvent,
    UnreadableRecordError,
    active_spans,
    parse_events,
    source_digest,
)
from models.evaluation.beat_truth import is_true, justified
from models.evaluation.beats import ReferenceBeats
from models.evaluation.episode_protocol import EpisodeRecord, episode_rate, prediction_table
from models.evaluation.episodes import Alarm, Episode, answer, false_alarms, seconds_outside
from models.evaluation.quiet_protocol import QuietRecord


def _episode(start_s: float, end_s: float, kind: str = "vf") -> Episode:
    return Episode(record="vfdb/1", patient="vfdb/1", kind=kind, start_s=start_s, end_s=end_s)


def _alarm(
    start_s: float, end_s: float = 1e9, condition: str = "ventricular_fibrillation"
) -> Alarm:
    return Alarm(condition=condition, start_s=start_s, end_s=end_s)


def _line(time_s: float, transition: str, condition: str = "ventricular_fibrillation") -> bytes:
    return (
        f'{{"condition": "{condition}", "priority": "high", "transition": "{transition}", '
        f'"time_s": {time_s}, "decision_latency_ms": 0.5, "evidence": {{"x": 1}}}}\n'
    ).encode()


def test_an_alarm_within_ten_seconds_counts_and_a_later_one_is_late() -> None:
    assert answer(_episode(100, 200), [_alarm(108)]).delay_s == 8
    assert answer(_episode(100, 200), [_alarm(110)]).is_found
    late = answer(_episode(100, 200), [_alarm(110.1)])
    assert not late.is_found
    assert late.delay_s == pytest.approx(10.1)


def test_an_alarm_that_already_sounds_has_no_delay() -> None:
    assert answer(_episode(100, 200), [_alarm(40, 120)]).delay_s == 0
    assert answer(_episode(100, 200), [_alarm(92, 96)]).delay_s == 0  # the mark came late
    assert math.isnan(answer(_episode(100, 200), [_alarm(40, 60)]).delay_s)


def test_an_alarm_that_calls_for_other_hands_does_not_answer() -> None:
    alarm = _alarm(102, condition="extreme_bradycardia")
    assert math.isnan(answer(_episode(100, 200), [alarm]).delay_s)
    assert answer(_episode(100, 200, "asystole"), [alarm]).is_found


def test_short_and_slow_episodes_are_not_asked_for_yet_excuse_an_alarm() -> None:
    short, slow = _episode(100, 103), _episode(500, 600, "other")
    assert not short.is_asked
    assert not slow.is_asked
    alarms = [_alarm(112), _alarm(490), _alarm(300)]
    assert false_alarms(alarms, [short, slow]) == [_alarm(300)]


def test_time_around_episodes_is_not_counted_twice() -> None:
    assert seconds_outside(1000, []) == 1000
    # 90-120 and 115-140 overlap: 50 s are out.
    assert seconds_outside(1000, [_episode(100, 110), _episode(125, 130)]) == 950
    assert seconds_outside(100, [_episode(0, 95)]) == 0


def test_events_are_read_and_a_stray_line_is_refused() -> None:
    events = parse_events(_line(10, "onset") + b"\n" + _line(20, "cleared"))
    assert [event.time_s for event in events] == [10, 20]
    assert events[0].is_high_onset
    assert not events[1].begins
    with pytest.raises(UnreadableRecordError):
        parse_events(b"Traceback (most recent call last):\n")


def test_an_alert_is_there_until_its_condition_is_gone() -> None:
    lines = _line(10, "onset") + _line(20, "cleared") + _line(30, "reactivated")
    events = parse_events(lines + _line(5, "onset", "asystole"))
    assert active_spans(events, "ventricular_fibrillation", 99) == [(10, 20), (30, 99)]
    assert active_spans(events, "asystole", 99) == [(5, 99)]
    assert active_spans(events, "lead_off", 99) == []


def test_a_record_knows_its_answers_and_its_false_alarms() -> None:
    events = parse_events(_line(50, "onset") + _line(52, "cleared") + _line(204, "reactivated"))
    record = EpisodeRecord(
        path=Path("vfdb/1"),
        patient="vfdb/1",
        length_s=600,
        episodes=(_episode(200, 260),),
        events=tuple(events),
    )
    assert [found.delay_s for found in record.answers] == [4]
    assert [alarm.start_s for alarm in record.false] == [50]
    rows = prediction_table([("vfdb/1", record.events)]).rows
    assert rows == [
        ("vfdb/1", "ventricular_fibrillation", "high", 50.0),
        ("vfdb/1", "ventricular_fibrillation", "high", 204.0),
    ]


def test_the_rate_of_an_episode_is_that_of_its_waves() -> None:
    time_s = np.arange(5000) / 250
    lead = np.sin(2 * np.pi * 3.0 * time_s).astype(np.float32)
    assert episode_rate([lead], _episode(2, 12, "rapid_vt")) == pytest.approx(180, rel=0.03)
    assert math.isnan(episode_rate([lead], _episode(18, 30, "rapid_vt")))


def _reference(times_s: list[float], symbols: str) -> ReferenceBeats:
    return ReferenceBeats(
        samples=np.round(np.array(times_s) * 100).astype(np.int64),
        symbols=np.array(list(symbols)),
        excluded=(),
    )


def test_five_ventricular_beats_in_a_row_justify_an_alarm_and_four_do_not() -> None:
    times = [0.0, 1.0, 2.0, 2.4, 2.8, 3.2, 3.6, 4.6]
    five = justified(_reference(times, "NNVVVVVN"), 100.0)
    four = justified(_reference(times, "NNVVVVNN"), 100.0)
    assert is_true("ventricular_tachycardia", 5.0, five)
    assert not is_true("ventricular_tachycardia", 5.0, four)
    assert not is_true("ventricular_tachycardia", 30.0, five)
    assert not is_true("asystole", 5.0, five)


def test_a_pause_and_a_slow_heart_justify_their_alarms() -> None:
    pause = justified(_reference([0, 1, 2, 6.5, 7.5], "NNNNN"), 100.0)
    assert is_true("asystole", 6.0, pause)
    slow = justified(_reference([0, 1.7, 3.4, 5.1, 6.8, 8.5], "NNNNNN"), 100.0)
    assert is_true("extreme_bradycardia", 7.0, slow)
    assert not is_true("asystole", 7.0, slow)


def test_seventeen_fast_beats_justify_tachycardia() -> None:
    fast = [0.4 * i for i in range(20)]
    found = justified(_reference(fast, "N" * 20), 100.0)
    assert is_true("extreme_tachycardia", 7.0, found)
    steady = justified(_reference([0.6 * i for i in range(20)], "N" * 20), 100.0)
    assert not is_true("extreme_tachycardia", 7.0, steady)


def test_only_high_priority_alarms_without_a_reason_are_false() -> None:
    record = QuietRecord(
        path=Path("mitdb/1"),
        dataset="mitdb",
        patient="mitdb/1",
        length_s=100,
        justified={"asystole": [(10.0, 15.0)]},
    )
    lines = _line(12, "onset", "asystole") + _line(60, "onset", "asystole")
    lines += _line(130, "onset", "asystole") + _line(61, "cleared", "asystole")
    assert [event.time_s for event in record.false(parse_events(lines))] == [60]


def test_the_digest_of_the_sources_changes_with_any_of_them(tmp_path: Path) -> None:
    for package in ("edge_agent", "wardstream"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    before = source_digest(tmp_path)
    (tmp_path / "wardstream" / "a.py").write_text("x = 2\n")
    assert source_digest(tmp_path) != before


def test_an_event_is_a_value() -> None:
    assert parse_events(_line(1, "onset")) == [
        ReplayedEvent(
            condition="ventricular_fibrillation",
            priority="high",  # type: ignore[arg-type]
            transition="onset",  # type: ignore[arg-type]
            time_s=1.0,
            decision_latency_ms=0.5,
        )
    ]
