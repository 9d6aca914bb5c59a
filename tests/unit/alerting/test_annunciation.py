import numpy as np
import pytest

from wardstream.alerting.annunciation import (
    BURSTS,
    FLASHES,
    burst_samples,
    is_lit,
    most_urgent_heard,
    most_urgent_seen,
)
from wardstream.contracts.alert import AlertPriority, AlertSignal, SignalState

RATE_HZ = 22_050
N_PULSES = {AlertPriority.HIGH: 10, AlertPriority.MEDIUM: 3, AlertPriority.LOW: 2}


@pytest.mark.parametrize("priority", AlertPriority)
def test_the_sound_has_the_pulses_of_its_table(priority: AlertPriority) -> None:
    burst = BURSTS[priority]
    samples = burst_samples(priority, RATE_HZ).astype(float)
    loud = np.abs(samples) > 0.05 * 32767
    # Between two pulses it is silent for at least 30 ms: that is where one ends.
    gaps = np.flatnonzero(np.diff(np.flatnonzero(loud)) > 0.03 * RATE_HZ)
    assert gaps.size + 1 == N_PULSES[priority] == len(burst.pulses)
    assert samples.max() <= 0.8 * 32767 + 1
    onsets_s = [onset for onset, _ in burst.pulses]
    assert min(np.diff(onsets_s)) > burst.pulse_s  # no pulse overlaps the next
    assert burst.length_s < burst.every_s


@pytest.mark.parametrize("priority", AlertPriority)
def test_the_figures_lie_in_the_ranges_that_the_module_states(priority: AlertPriority) -> None:
    burst, flash = BURSTS[priority], FLASHES[priority]
    shortest, longest = (0.075, 0.2) if priority is AlertPriority.HIGH else (0.125, 0.25)
    assert shortest <= burst.effective_pulse_s <= longest
    rise_s = 0.8 * 0.02  # from 10 % to 90 %
    assert 0.1 <= rise_s / burst.effective_pulse_s <= 0.2
    assert all(150 <= hz <= 1000 for _, hz in burst.pulses)
    pause_s = burst.every_s - burst.length_s
    ranges = {
        AlertPriority.HIGH: ((2.5, 15), (1.4, 2.8)),
        AlertPriority.MEDIUM: ((2.5, 30), (0.4, 0.8)),
        AlertPriority.LOW: ((15, 60), (0, 0)),
    }
    (least_s, most_s), (slowest, fastest) = ranges[priority]
    assert least_s <= pause_s <= most_s
    assert slowest <= flash.rate_hz <= fastest


def test_pulses_are_spaced_as_the_table_of_the_standard_has_it() -> None:
    high = BURSTS[AlertPriority.HIGH].spacings_s
    assert len(high) == 9
    x = high[0]
    assert 0.05 <= x <= 0.125
    wide = 2 * x + BURSTS[AlertPriority.HIGH].effective_pulse_s
    assert high[:4] == pytest.approx((x, x, wide, x))
    assert 0.35 <= high[4] <= 1.3
    assert high[5:] == pytest.approx(high[:4])
    for priority in (AlertPriority.MEDIUM, AlertPriority.LOW):
        spacings_s = BURSTS[priority].spacings_s
        assert all(0.125 <= spacing_s <= 0.25 for spacing_s in spacings_s)
        assert spacings_s == pytest.approx((spacings_s[0],) * len(spacings_s))


@pytest.mark.parametrize("priority", AlertPriority)
def test_each_pulse_can_be_located_by_its_harmonics(priority: AlertPriority) -> None:
    burst = BURSTS[priority]
    onset_s, hz = burst.pulses[0]
    begin, end = (round((onset_s + part) * RATE_HZ) for part in (0.02, burst.pulse_s - 0.03))
    tone = burst_samples(priority, RATE_HZ)[begin:end].astype(float)
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(tone.size), 2**16))
    at = [spectrum[round(n * hz / RATE_HZ * 2**16)] for n in range(1, 6)]
    decibels = 20 * np.log10(np.array(at) / at[0])
    assert np.all(np.abs(decibels) <= 15)


def test_the_loudest_of_what_is_not_silenced_is_heard_and_the_first_of_what_is_lit_is_seen() -> (
    None
):
    paused = AlertSignal(audible=SignalState.PAUSED, visible=SignalState.ON)
    shown = AlertSignal(audible=SignalState.ON, visible=SignalState.ON)
    gone = AlertSignal(audible=SignalState.OFF, visible=SignalState.OFF)
    standing = [
        (AlertPriority.HIGH, paused),
        (AlertPriority.LOW, shown),
        (AlertPriority.MEDIUM, gone),
    ]
    assert most_urgent_heard(standing) is AlertPriority.LOW
    assert most_urgent_seen(standing) is AlertPriority.HIGH
    assert most_urgent_heard([]) is None


def test_lights_flash_at_their_rates() -> None:
    steps = np.arange(0, 10, 0.01)
    for priority, cycles in ((AlertPriority.HIGH, 20), (AlertPriority.MEDIUM, 6)):
        lit = np.array([is_lit(priority, step) for step in steps])
        assert abs((np.diff(lit.astype(int)) == 1).sum() + 1 - cycles) <= 1
        assert 0.2 <= lit.mean() <= 0.6
    assert all(is_lit(AlertPriority.LOW, step) for step in steps)


def test_a_rate_that_cannot_carry_the_harmonics_is_refused() -> None:
    with pytest.raises(ValueError, match="8000"):
        burst_samples(AlertPriority.HIGH, 4000)
