"""One lead by itself: what it may say for or against an alert on all leads together."""

import math

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.lead_witness import LeadWitness
from wardstream.alerting.detection import BedSigns, find_all
from wardstream.alerting.lead_signs import LeadSigns, beating_lead, slower_lead
from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import TimestampNs

RATE_HZ = 250
BEATING = LeadSigns(
    quality=1.0,
    rate_per_min=75.0,
    interval_s=0.8,
    since_beat_s=0.4,
    regular=True,
    height_mv=1.2,
    likeness=0.97,
)


def beats(
    rate_per_min: float, *, height_mv: float = 1.0, until_s: float = 8.0
) -> NDArray[np.float32]:
    time_s = np.arange(8 * RATE_HZ) / RATE_HZ
    lead = np.zeros(time_s.size)
    for at in np.arange(0.3, until_s, 60 / rate_per_min):
        lead += height_mv * np.exp(-(((time_s - at) / 0.012) ** 2))
        lead -= 0.25 * height_mv * np.exp(-(((time_s - at - 0.03) / 0.012) ** 2))
    return lead.astype(np.float32)


def noise(sd_mv: float) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, sd_mv, 8 * RATE_HZ).astype(np.float32)


def witnessed(*leads: NDArray[np.float32]) -> tuple[LeadSigns, ...]:
    return LeadWitness().signs(np.stack(leads), np.ones(len(leads)))


def bed(leads: tuple[LeadSigns, ...], *, rr_ms: float, silent_s: float = 0.3) -> BedSigns:
    now = TimestampNs(10**11)
    return BedSigns(
        time_ns=now,
        has_ecg=True,
        usable_since_ns=TimestampNs(0),
        all_leads_flat_since_ns=None,
        last_beat_ns=TimestampNs(now - round(silent_s * 1e9)),
        rr_ms=np.full(20, rr_ms),
        pulses=[],
        rhythm=None,
        model_available=False,
        channels_off_s={},
        leads_alone=lambda: leads,
    )


def found(signs: BedSigns, condition: Condition, *, standing: bool = False) -> bool | None:
    findings = find_all(signs, lambda one: standing and one is condition, {condition})
    return findings[0].present


def test_a_lead_that_beats_by_itself_is_found_beside_one_of_noise() -> None:
    good, bad = witnessed(beats(75), noise(0.3))
    assert abs(good.rate_per_min - 75) < 2
    assert good.regular
    assert beating_lead((bad, good)) is good
    assert good.worth > bad.worth


def test_a_lead_that_fell_silent_does_not_beat() -> None:
    (silent,) = witnessed(beats(75, until_s=4.0))
    assert beating_lead((silent,)) is None


def test_p_waves_of_a_standstill_are_no_beats() -> None:
    (p_waves,) = witnessed(beats(75, height_mv=0.2))
    assert beating_lead((p_waves,)) is None


def test_noise_alone_does_not_beat() -> None:
    for sd_mv in (0.02, 0.1, 0.5):
        assert beating_lead(witnessed(noise(sd_mv))) is None


def test_too_few_beats_say_nothing() -> None:
    (flat,) = witnessed(np.zeros(8 * RATE_HZ, dtype=np.float32))
    assert math.isnan(flat.rate_per_min)
    assert flat.worth == 0.0
    assert slower_lead((flat,), 180.0) is None


def test_asystole_is_not_called_while_one_lead_beats_and_artefact_is_told() -> None:
    silent_s = 5.0
    assert found(bed((), rr_ms=800, silent_s=silent_s), Condition.ASYSTOLE)
    contradicted = bed((BEATING,), rr_ms=800, silent_s=silent_s)
    assert found(contradicted, Condition.ASYSTOLE) is False
    assert found(contradicted, Condition.ARTEFACT) is True
    assert found(bed((BEATING,), rr_ms=800), Condition.ARTEFACT) is False


def test_tachycardia_of_an_artefact_is_not_called_but_one_that_stands_goes_on() -> None:
    artefact = LeadSigns(quality=1.0, rate_per_min=180.0, interval_s=0.33, likeness=0.3)
    both = bed((artefact, BEATING), rr_ms=333)
    assert found(both, Condition.EXTREME_TACHYCARDIA) is False
    assert found(both, Condition.EXTREME_TACHYCARDIA, standing=True) is True
    agreeing = bed((artefact, artefact), rr_ms=333)
    assert found(agreeing, Condition.EXTREME_TACHYCARDIA) is True


def test_a_lead_that_is_not_to_be_judged_is_not_asked() -> None:
    assert LeadWitness().signs(beats(75)[None], np.zeros(1)) == ()
