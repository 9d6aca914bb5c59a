"""Orders of people reach the bed's judgement, and outlive a restart."""

import json
import math
from typing import Any
from uuid import uuid4

import pytest
from fakes.bedside import START_NS
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.bed import Bed
from edge_agent.core.numerics_watch import NumericsWatch
from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.engine import EngineSnapshot, Finding
from wardstream.alerting.numerics import (
    DEFAULT_LIMITS,
    Measure,
    NumericsState,
    Source,
    observe_measure,
)
from wardstream.contracts.alert import AlertEvent, Condition, SignalState, Transition
from wardstream.contracts.authority import (
    Authority,
    LimitPair,
    PatientLimitsCommand,
    SilenceCommand,
)
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import NumericObservation

NURSE = Holder(str(uuid4()), "nurse")


def at(second: float) -> TimestampNs:
    return TimestampNs(START_NS + round(second * NS_PER_S))


def spo2(percent: float, second: float) -> NumericObservation:
    return NumericObservation(
        code="MDC_PULS_OXIM_SAT_O2",
        value=percent,
        unit=Unit.PERCENT,
        determination_time_ns=at(second),
    )


def limits(**changes: Any) -> PatientLimitsCommand:
    fields: dict[str, Any] = {
        "command_id": str(uuid4()),
        "device_id": "bed-1",
        "author": "physician",
        "limits": {"spo2_percent": LimitPair(lower=85.0)},
        "issued_time_ns": at(0),
        "expires_time_ns": at(3600),
    }
    return PatientLimitsCommand(**(fields | changes))


def pause(bed: Any) -> SilenceCommand:
    return SilenceCommand(
        command_id=str(uuid4()),
        silence_id=str(uuid4()),
        device_id="bed-1",
        kind=Condition.AUDIO_PAUSED,
        author="nurse",
        authority=Authority.CARE,
        station_id=NURSE.station_id,
        issued_time_ns=at(20),
        expires_time_ns=at(140),
        seen={alert.alert_id: alert.revision for alert in bed.pipeline.snapshot().alerts},
    )


def saturate(bed: Any, percent: float, begin: int, end: int) -> None:
    for second in range(begin, end):
        bed.pipeline.observe(spo2(percent, second))
        bed.outputs.extend(bed.pipeline.tick(at(second), at(second)))


def test_a_patients_limits_are_in_force_until_they_expire(bed) -> None:
    told = bed.pipeline.order(limits(expires_time_ns=at(60)), at(0))
    assert [(one.condition, one.actor) for one in told] == [(Condition.PATIENT_LIMITS, "physician")]
    assert told[0].evidence == {"spo2_percent_lower": 85.0}
    saturate(bed, 87.0, 0, 60)
    assert not bed.events(Condition.DESATURATION)
    saturate(bed, 87.0, 60, 75)
    [event] = bed.events(Condition.DESATURATION)
    assert event.evidence["limit_spo2_percent"] == 90.0
    assert bed.events(Condition.PATIENT_LIMITS)[-1].reason == "they expired"


def test_limits_survive_a_restart(bed, make_bed) -> None:
    bed.pipeline.order(limits(), at(0))
    snapshot = decode(encode(bed.pipeline.snapshot()), EngineSnapshot)
    again = make_bed(None, snapshot)
    saturate(again, 87.0, 0, 20)
    assert not again.events(Condition.DESATURATION)


def test_limits_that_cannot_be_meant_are_refused_and_change_nothing(bed) -> None:
    with pytest.raises(OutOfRangeError):
        bed.pipeline.order(limits(limits={"spo2_percent": LimitPair(lower=8.5)}), at(0))
    saturate(bed, 87.0, 0, 15)
    assert bed.events(Condition.DESATURATION)


@given(
    st.lists(st.sampled_from([math.nan, 40.0, 44.0, 46.0, 80.0, 128.0, 131.0]), max_size=60),
    st.lists(st.sampled_from([math.nan, 50.0, 61.0, 80.0, 121.0]), min_size=60, max_size=60),
)
def test_what_is_uneventful_is_skipped_without_a_difference(rates, pressures) -> None:
    standing: set[Condition] = set()
    watch = NumericsWatch(DEFAULT_LIMITS, lambda: frozenset(standing), lambda _: False)
    state, bed = NumericsState(), Bed()
    present: dict[Condition, bool] = {}
    for second, (rate, mean) in enumerate(zip(rates, pressures, strict=False)):
        values = {"heart_rate_per_min": rate, "abp_mean_mmhg": mean}
        for found in watch.second(values, bed, at(second)):
            (standing.add if found.present else standing.discard)(found.condition)
        for measure, value in ((Measure.HEART_RATE, rate), (Measure.MEAN, mean)):
            state, findings = observe_measure(
                DEFAULT_LIMITS, state, measure, value, at(second), Source.CURVE
            )
            present |= {found.condition: bool(found.present) for found in findings}
        assert standing == {condition for condition, there in present.items() if there}


def test_a_silence_works_only_while_it_is_held(bed) -> None:
    saturate(bed, 85.0, 0, 15)
    [alert] = bed.pipeline.snapshot().alerts

    def audible() -> SignalState:
        return bed.pipeline.snapshot().alerts[0].signal.audible

    told: list[AlertEvent] = [*bed.pipeline.order(pause(bed), at(20))]
    assert audible() is SignalState.ON
    told += bed.pipeline.hold(frozenset({NURSE}), at(21))
    assert audible() is SignalState.PAUSED
    told += bed.pipeline.hold(frozenset(), at(23))
    assert audible() is SignalState.ON
    assert [one.transition for one in told if one.condition is Condition.AUDIO_PAUSED] == [
        Transition.ONSET,
        Transition.LEASE_HELD,
        Transition.LEASE_LOST,
    ]
    assert [one.transition for one in told if one.alert_id == alert.alert_id] == [
        Transition.AUDIO_PAUSED,
        Transition.AUDIO_RESUMED,
    ]
    assert bed.pipeline.report is not None


def test_a_new_alert_of_high_priority_breaks_a_pause(bed) -> None:
    saturate(bed, 85.0, 0, 15)
    bed.pipeline.hold(frozenset({NURSE}), at(19))
    bed.pipeline.order(pause(bed), at(20))
    asystole = Finding(condition=Condition.ASYSTOLE, present=True, time_ns=at(22))
    told = bed.pipeline.report_condition(asystole, at(22))
    assert [(one.condition, one.transition) for one in told] == [
        (Condition.ASYSTOLE, Transition.ONSET),
        (Condition.AUDIO_PAUSED, Transition.ENDED),
        (Condition.DESATURATION, Transition.AUDIO_RESUMED),
    ]
    assert told[0].signal.audible is SignalState.ON
    assert told[1].reason == "asystole"


def test_a_snapshot_and_an_event_of_before_are_still_read(bed) -> None:
    saturate(bed, 85.0, 0, 15)
    [event] = bed.events(Condition.DESATURATION)
    old_event = json.loads(encode(event))
    for name in ("revision", "actor", "reason", "terms"):
        del old_event[name]
    assert decode(json.dumps(old_event).encode(), AlertEvent).revision == 0
    old = json.loads(encode(bed.pipeline.snapshot()))
    for name in ("silences", "limits"):
        del old[name]
    for alert in old["alerts"]:
        for name in ("revision", "activated_revision", "signal"):
            del alert[name]
    restored = decode(json.dumps(old).encode(), EngineSnapshot)
    assert restored.alerts[0].alert_id == event.alert_id
