"""When a numeric was determined, whatever the device's clock says."""

from edge_agent.core.arrivals import NumericArrival
from edge_agent.core.numeric_clock import NumericClock
from edge_agent.core.ports import SourceEventKind
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.units import Unit

NOW = 1_800_000_000


def value(arrived_s: float, device_s: float | None, *, utc: bool = False) -> NumericArrival:
    return NumericArrival(
        code="MDC_PULS_OXIM_SAT_O2",
        value=97.0,
        unit=Unit.PERCENT,
        arrived_ns=round((NOW + arrived_s) * NS_PER_S),
        device_time_ns=None if device_s is None else round((NOW + device_s) * NS_PER_S),
        clock_is_utc=utc,
    )


def placed_s(clock: NumericClock, arrival: NumericArrival) -> float | None:
    at_ns = clock.place(arrival)
    return None if at_ns is None else round(at_ns / NS_PER_S - NOW, 3)


def test_without_a_device_time_it_is_when_it_came() -> None:
    assert placed_s(NumericClock(), value(5, None)) == 5


def test_a_monitor_whose_clock_is_wrong_is_corrected_by_its_quickest_value() -> None:
    clock = NumericClock()
    assert placed_s(clock, value(10.4, 3610)) == 10.4
    assert placed_s(clock, value(11.1, 3611)) == 11.1
    assert placed_s(clock, value(14.0, 3612)) == 12.1, "the network was slow, not the monitor"
    assert clock.take_events() == []


def test_a_clock_set_forward_or_back_is_told_once_and_followed() -> None:
    for step_s in (3600, -3600):
        clock = NumericClock()
        for second in range(5):
            clock.place(value(second, second))
        for second in range(5, 30):
            clock.place(value(second, second + step_s))
        kinds = [event.kind for event in clock.take_events()]
        assert kinds.count(SourceEventKind.CLOCK_STEP) == 1
        assert placed_s(clock, value(30, 30 + step_s)) == 30


def test_a_backlog_is_no_step_and_an_old_value_does_not_replace_a_new_one() -> None:
    clock = NumericClock()
    clock.place(value(0, 0))
    clock.place(value(100, 100))
    for second in range(10, 90, 10):
        assert placed_s(clock, value(101, second)) is None
    assert {event.kind for event in clock.take_events()} == {SourceEventKind.LATE}
    assert placed_s(clock, value(102, 102)) == 102


def test_a_network_clock_keeps_the_age_of_a_value() -> None:
    clock = NumericClock()
    assert placed_s(clock, value(1000, 100, utc=True)) == 100
    assert placed_s(clock, value(1000, 400, utc=True)) == 400
    assert placed_s(clock, value(1001, 9000, utc=True)) == 1001
    (event,) = clock.take_events()
    assert event.kind is SourceEventKind.CLOCK_STEP
