from dataclasses import replace

import numpy as np
import pytest
from fakes.bedside import (
    ABP,
    LEAD_II,
    LEAD_V,
    PLETH,
    START_NS,
    chunks,
    ecg,
    fibrillation,
    merged,
    pulse,
    regular,
)
from fakes.rhythm_runtime import FakeRhythmRuntime

from wardstream.contracts.alert import AlertPriority, Condition, Presence
from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import NumericObservation


def test_a_quiet_bed_stays_quiet(bed) -> None:
    beats = regular(75, 0.3, 60)
    bed.push(
        merged(
            chunks({LEAD_II: ecg(beats, 60), LEAD_V: 0.7 * ecg(beats, 60)}),
            chunks({PLETH: pulse(beats, 60)}, unit=Unit.ARBITRARY, rate_hz=125.0),
        )
    )
    assert bed.onsets == set()


def test_asystole_is_raised_four_seconds_after_the_last_beat(bed) -> None:
    bed.push(chunks({LEAD_II: ecg(regular(75, 0.3, 20), 30)}))
    last_beat = regular(75, 0.3, 20)[-1]
    [(second, transition)] = bed.story(Condition.ASYSTOLE)
    assert transition == "onset"
    assert 4.0 <= second - last_beat <= 4.3
    [event] = bed.events(Condition.ASYSTOLE)
    assert event.priority is AlertPriority.HIGH
    assert (event.onset_time_ns - START_NS) / NS_PER_S == pytest.approx(last_beat, abs=0.05)
    assert event.evidence["ecg_silence_s"] >= 4.0
    assert event.model_version == "none"


def test_asystole_clears_but_stays_latched_when_beats_return(bed) -> None:
    beats = [*regular(75, 0.3, 20), *regular(75, 30, 50)]
    bed.push(chunks({LEAD_II: ecg(beats, 50)}))
    story = bed.story(Condition.ASYSTOLE)
    assert [transition for _, transition in story] == ["onset", "cleared"]
    assert bed.events(Condition.ASYSTOLE)[-1].presence is Presence.LATCHED


def test_a_pulse_contradicts_asystole_and_the_bed_says_so(bed) -> None:
    beats = regular(75, 0.3, 60)
    low = ecg([b for b in beats if b < 20], 60)  # the lead loses its QRS, the patient does not
    bed.push(
        merged(
            chunks({LEAD_II: low}),
            chunks({PLETH: pulse(beats, 60)}, unit=Unit.ARBITRARY, rate_hz=125.0),
        )
    )
    assert Condition.ASYSTOLE not in bed.onsets
    assert bed.events(Condition.ARTEFACT)[0].evidence["n_pulses_4s"] >= 4


def test_a_flat_line_with_the_pulse_gone_is_asystole_not_a_lead_off(bed) -> None:
    beats = regular(75, 0.3, 20)
    line = ecg(beats, 40)
    line[20 * 250 :] = 0.0
    bed.push(
        merged(
            chunks({LEAD_II: line}),
            chunks({PLETH: pulse(beats, 40)}, unit=Unit.ARBITRARY, rate_hz=125.0),
        )
    )
    assert Condition.ASYSTOLE in bed.onsets


def test_a_flat_lead_alone_is_a_lead_off_and_no_asystole(bed) -> None:
    line = ecg(regular(75, 0.3, 20), 40)
    line[20 * 250 :] = 0.0
    bed.push(chunks({LEAD_II: line}))
    assert Condition.ASYSTOLE not in bed.onsets
    [event] = bed.events(Condition.LEAD_OFF)
    assert event.priority is AlertPriority.MEDIUM
    assert event.evidence["off_ii_s"] >= 3.0


def test_one_lead_off_of_two_is_low_and_the_other_still_judges(bed) -> None:
    beats = [*regular(75, 0.3, 30)]
    dead = np.full(45 * 250, np.nan, dtype=np.float32)
    bed.push(chunks({LEAD_II: dead, LEAD_V: ecg(beats, 45)}))
    [event] = bed.events(Condition.LEAD_OFF)
    assert event.priority is AlertPriority.LOW
    assert Condition.ASYSTOLE in bed.onsets


@pytest.mark.parametrize(
    ("rate_per_min", "condition"),
    [
        (35.0, Condition.EXTREME_BRADYCARDIA),
        (45.0, None),
        (129.0, None),
        (135.0, Condition.HIGH_HEART_RATE),
        (160.0, Condition.EXTREME_TACHYCARDIA),
    ],
)
def test_extreme_rates(bed, rate_per_min: float, condition: Condition | None) -> None:
    beats = [*regular(75, 0.3, 20), *regular(rate_per_min, 20.5, 60)]
    bed.push(chunks({LEAD_II: ecg(beats, 60)}))
    assert bed.onsets == ({condition} if condition else set())


def test_bradycardia_needs_five_beats(bed) -> None:
    beats = [*regular(75, 0.3, 20), *regular(35, 20.5, 60)]
    bed.push(chunks({LEAD_II: ecg(beats, 60)}))
    [(second, _)] = bed.story(Condition.EXTREME_BRADYCARDIA)
    assert 20.5 + 4 * 60 / 35 <= second <= 20.5 + 4 * 60 / 35 + 0.3


def test_fibrillation_is_raised_once_it_is_confirmed(make_bed) -> None:
    bed = make_bed(FakeRhythmRuntime(_wide_is_vf))
    curve = np.concatenate([ecg(regular(75, 0.3, 20), 20), fibrillation(20)])
    bed.push(chunks({LEAD_II: curve}))
    [event] = bed.events(Condition.VENTRICULAR_FIBRILLATION)
    second = (event.event_time_ns - START_NS) / NS_PER_S
    assert 21.5 < second < 27.0
    assert event.model_version == "rhythm-1"
    assert event.evidence["probability_vf"] == pytest.approx(0.94)
    # What the detector counts in fibrillation is no rate: one arrest, one alarm.
    assert Condition.EXTREME_TACHYCARDIA not in bed.onsets


def test_against_a_regular_pulse_fibrillation_must_hold_longer_but_is_not_silenced(
    make_bed,
) -> None:
    beats = regular(75, 0.3, 60)
    curve = np.concatenate([ecg(regular(75, 0.3, 20), 20), fibrillation(40)])
    alone = make_bed(FakeRhythmRuntime(_wide_is_vf)).push(chunks({LEAD_II: curve}))
    pulsed = make_bed(FakeRhythmRuntime(_wide_is_vf)).push(
        merged(
            chunks({LEAD_II: curve}),
            chunks({PLETH: pulse(beats, 60)}, unit=Unit.ARBITRARY, rate_hz=125.0),
        )
    )
    [(first, _)] = alone.story(Condition.VENTRICULAR_FIBRILLATION)
    [(second, _)] = pulsed.story(Condition.VENTRICULAR_FIBRILLATION)
    assert 2.5 <= second - first <= 3.5
    [event] = pulsed.events(Condition.VENTRICULAR_FIBRILLATION)
    assert event.evidence["pulse_rate_per_min"] == pytest.approx(75, abs=3)


def _wide_is_vf(window: np.ndarray) -> str:
    return "vf" if np.abs(window).max() < 3 else "sinus_like"


def test_without_a_model_the_rules_alarm_alone_and_say_so(make_bed) -> None:
    bed = make_bed(None).push(chunks({LEAD_II: ecg(regular(75, 0.3, 20), 30)}))
    assert bed.onsets == {Condition.MODEL_UNAVAILABLE, Condition.ASYSTOLE}
    assert bed.pipeline.report.n_windows_unjudged > 0
    bed.pipeline.swap_runtime(FakeRhythmRuntime())
    bed.push(
        replace(c, sequence_number=c.sequence_number + 750)
        for c in chunks(
            {LEAD_II: ecg(regular(75, 0.3, 20), 20)},
            start_ns=TimestampNs(START_NS + 30 * NS_PER_S),
        )
    )
    assert bed.story(Condition.MODEL_UNAVAILABLE)[-1][1] == "ended"


def test_a_model_that_fails_in_use_is_a_technical_alert_and_the_bed_goes_on(make_bed) -> None:
    class Dying(FakeRhythmRuntime):
        def infer(self, windows):
            if self.n_windows >= 3:
                raise TransientError("the accelerator is gone")
            return super().infer(windows)

    bed = make_bed(Dying()).push(chunks({LEAD_II: ecg(regular(75, 0.3, 20), 30)}))
    assert bed.onsets == {Condition.MODEL_UNAVAILABLE, Condition.ASYSTOLE}


def test_noise_without_end_is_an_artefact(bed) -> None:
    noise = np.random.default_rng(0).standard_normal(40 * 250).astype(np.float32)
    bed.push(chunks({LEAD_II: noise}))
    assert Condition.ARTEFACT in bed.onsets
    assert Condition.ASYSTOLE not in bed.onsets


def _spo2(value: float, second: float, unit: Unit = Unit.PERCENT) -> NumericObservation:
    time_ns = TimestampNs(START_NS + round(second * NS_PER_S))
    return NumericObservation(
        code="MDC_PULS_OXIM_SAT_O2", value=value, unit=unit, determination_time_ns=time_ns
    )


def test_desaturation_is_raised_after_ten_seconds_and_ends_above_the_limit(bed) -> None:
    values = [97.0] * 10 + [86.0] * 15 + [75.0] * 5 + [91.0] * 3 + [95.0] * 5
    for second, value in enumerate(values):
        bed.pipeline.observe(_spo2(value, second))
        bed.tick(second)
    story = bed.story(Condition.DESATURATION)
    assert story == [(20.0, "onset"), (25.0, "reactivated"), (33.0, "ended")]
    events = bed.events(Condition.DESATURATION)
    assert [event.priority for event in events][:2] == [AlertPriority.MEDIUM, AlertPriority.HIGH]


def test_a_numeric_in_a_wrong_unit_is_quarantined_with_the_reason(bed) -> None:
    bed.pipeline.observe(_spo2(50.0, 0, Unit.MMHG))
    assert "cannot be converted" in bed.pipeline.report.quarantined["MDC_PULS_OXIM_SAT_O2"]


def test_silence_is_raised_by_the_watchdog_and_ended_by_data(bed) -> None:
    beats = regular(75, 0.3, 30)
    first = list(chunks({LEAD_II: ecg(beats, 10)}))
    bed.push(first)
    for second in np.arange(10, 18, 0.25):
        bed.tick(second)
    assert bed.story(Condition.NO_DATA) == [(15.0, "onset")]
    bed.push(
        replace(c, sequence_number=c.sequence_number + 250)
        for c in chunks({LEAD_II: ecg(beats, 5)}, start_ns=TimestampNs(START_NS + 18 * NS_PER_S))
    )
    assert [transition for _, transition in bed.story(Condition.NO_DATA)] == ["onset", "ended"]


def test_pressure_in_kilopascal_is_converted_not_guessed(bed) -> None:
    beats = regular(75, 0.3, 30)
    pressure_kpa = (80 + 40 * pulse(beats, 30)) * 0.133322
    bed.push(chunks({ABP: pressure_kpa}, unit=Unit.KILOPASCAL, rate_hz=125.0))
    frame = bed.outputs[-1]
    assert frame["abp_systolic_mmhg"] == pytest.approx(120, abs=4)
    assert frame["abp_diastolic_mmhg"] == pytest.approx(80, abs=4)
    assert frame["pulse_rate_abp_per_min"] == pytest.approx(75, abs=2)
