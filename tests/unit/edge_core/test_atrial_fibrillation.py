"""Atrial fibrillation at the bed, from beats to the alert and its end."""

import numpy as np
from fakes.bedside import LEAD_II, chunks, ecg, regular

from wardstream.contracts.alert import AlertPriority, Condition


def _irregular(start_s: float, end_s: float) -> list[float]:
    generator = np.random.default_rng(5)
    beats = [start_s]
    while beats[-1] < end_s - 1.2:
        beats.append(beats[-1] + float(generator.uniform(0.42, 1.1)))
    return beats


def test_an_irregular_rhythm_is_told_within_the_disclosed_time_and_its_end_is_told(bed) -> None:
    beats = [*regular(70, 0.3, 40), *_irregular(40.4, 130), *regular(70, 130, 230)]
    bed.push(chunks({LEAD_II: ecg(beats, 230)}, packet_s=0.2))
    [(began_s, onset), (ended_s, ended)] = bed.story(Condition.ATRIAL_FIBRILLATION)
    assert (onset, ended) == ("onset", "ended")
    assert 50 <= began_s <= 40.4 + 53 + 1
    assert 130 < ended_s <= 130 + 90  # memory of the half minutes before, then three denials
    assert bed.events(Condition.ATRIAL_FIBRILLATION)[0].priority is AlertPriority.MEDIUM
    assert bed.events(Condition.ATRIAL_FIBRILLATION)[0].evidence["probability_af"] > 0.5
    [over, *_] = bed.events(Condition.ATRIAL_FIBRILLATION_ENDED)
    assert over.priority is AlertPriority.LOW


def test_beats_of_an_ecg_that_cannot_be_believed_say_nothing(bed) -> None:
    beats = [*regular(70, 0.3, 30), *_irregular(30.4, 110)]
    curve = ecg(beats, 110)
    curve[31 * 250 :] += np.random.default_rng(1).normal(0, 2.0, curve.size - 31 * 250)
    bed.push(chunks({LEAD_II: curve.astype(np.float32)}, packet_s=0.2))
    assert bed.events(Condition.ATRIAL_FIBRILLATION) == []


def test_a_regular_rhythm_stays_untold(bed) -> None:
    bed.push(chunks({LEAD_II: ecg(regular(80, 0.3, 120), 120)}, packet_s=0.2))
    assert bed.events(Condition.ATRIAL_FIBRILLATION) == []
