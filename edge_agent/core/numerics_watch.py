"""Once a second: numerics against the limits in force, breathing, pauses, ends of fibrillation."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from edge_agent.core.bed import Bed
from edge_agent.core.ectopy_watch import EctopyWatch
from edge_agent.core.tracks import USABLE_SCORE
from wardstream.alerting.ectopy import pause
from wardstream.alerting.numerics import (
    APNOEA_S,
    Limits,
    Measure,
    NumericsState,
    Source,
    apnoea,
    is_uneventful,
    noted,
    observe_measure,
    with_limits,
)
from wardstream.alerting.state import Finding, LimitsInForce
from wardstream.contracts.alert import AlertEvent, Condition, Transition
from wardstream.contracts.authority import LimitPair
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

_OF_MONITOR: Final = {
    "MDC_PULS_OXIM_SAT_O2": Measure.SPO2,
    "MDC_ECG_HEART_RATE": Measure.HEART_RATE,
    "MDC_PULS_OXIM_PULS_RATE": Measure.HEART_RATE,
    "MDC_RESP_RATE": Measure.RESPIRATION_RATE,
    "MDC_PRESS_BLD_ART_SYS": Measure.SYSTOLIC,
    "MDC_PRESS_BLD_ART_MEAN": Measure.MEAN,
    "MDC_PRESS_BLD_ART_DIA": Measure.DIASTOLIC,
}

_OF_CURVES: Final = tuple(measure for measure in Measure if measure is not Measure.SPO2)
_PULSE_RATES: Final = ("pulse_rate_abp_per_min", "pulse_rate_ppg_per_min")
_RECENT_S: Final = 10.0
_END_SHOWN_NS: Final = 60 * NS_PER_S

_SAY_MORE: Final = {
    Condition.VENTRICULAR_RUN: (
        Condition.VENTRICULAR_TACHYCARDIA,
        Condition.VENTRICULAR_FIBRILLATION,
    ),
    Condition.HIGH_HEART_RATE: (
        Condition.EXTREME_TACHYCARDIA,
        Condition.VENTRICULAR_TACHYCARDIA,
        Condition.VENTRICULAR_FIBRILLATION,
    ),
    Condition.LOW_HEART_RATE: (Condition.EXTREME_BRADYCARDIA, Condition.ASYSTOLE),
}
"""One arrest, one alarm: beside these the other is not raised."""


class NumericsWatch:
    """What numerics say of the conditions of a bed.

    Parameters
    ----------
    limits : Limits
        Of the site.
    concerned : callable
        Conditions that are alerted on or about to be; of the others an absence is no news.
    is_active : callable
        Whether a condition is alerted on and there.
    """

    def __init__(
        self,
        limits: Limits,
        concerned: Callable[[], frozenset[Condition]],
        is_active: Callable[[Condition], bool],
    ) -> None:
        self._of_site = limits
        self._limits = limits
        self._ordered: LimitsInForce | None = None
        self._state = NumericsState()
        self._ectopy = EctopyWatch()
        self._concerned = concerned
        self._is_active = is_active
        self._fibrillation_ended_ns: TimestampNs | None = None

    def set_site_limits(self, limits: Limits) -> None:
        """Put `limits` in force from the next value on."""
        self._of_site = limits
        self._apply()

    def follow(self, ordered: LimitsInForce | None) -> None:
        """Let the limits of this patient be those `ordered`, or the site's."""
        if ordered is not self._ordered:
            self._ordered = ordered
            self._apply()

    def check(self, pairs: Mapping[str, LimitPair]) -> None:
        """Return if `pairs` can be limits of a patient.

        Raises
        ------
        OutOfRangeError
            They cannot.
        """
        with_limits(self._of_site, pairs)

    def observe(self, code: str, value: float, time_ns: TimestampNs) -> list[Finding]:
        """What a monitor's numeric says."""
        measure = _OF_MONITOR.get(code)
        if measure is None:
            return []
        return self._news(self._judge(measure, value, time_ns, Source.MONITOR))

    def second(self, values: Mapping[str, float], bed: Bed, time_ns: TimestampNs) -> list[Finding]:
        """What the second that ended at `time_ns` says; only what is news."""
        findings: list[Finding] = []
        concerned = self._concerned()
        uneventful: list[Measure] = []
        for measure in _OF_CURVES:
            value = values.get(measure.value, math.nan)
            if measure is Measure.HEART_RATE and math.isnan(value):
                rates = [values.get(name, math.nan) for name in _PULSE_RATES]
                value = next((rate for rate in rates if not math.isnan(rate)), math.nan)
            derived = not values.get("quality_resp", math.nan) >= USABLE_SCORE
            if measure is Measure.RESPIRATION_RATE and derived:
                value = math.nan  # from beats alone: it informs, and is too rough to alarm on
            of = self._limits[measure]
            if (
                is_uneventful(self._limits, self._state, measure, value)
                and of.below not in concerned
                and of.above not in concerned
            ):
                uneventful.append(measure)
            else:
                findings += self._judge(measure, value, time_ns, Source.CURVE)
        if uneventful:
            self._state = noted(self._state, uneventful, time_ns)
        breath_age_s = bed.breath_age_s(time_ns)
        if breath_age_s >= APNOEA_S or Condition.APNOEA in concerned:
            findings.append(apnoea(breath_age_s, time_ns))
        findings.append(_pause(bed, time_ns))
        frequent = Condition.FREQUENT_PVC in concerned
        findings += self._ectopy.second(bed, time_ns, frequent_is_active=frequent)
        over = Condition.ATRIAL_FIBRILLATION_ENDED
        if self._fibrillation_ended_ns is not None or over in concerned:
            findings.append(self._fibrillation_end(time_ns))
        return self._news(findings)

    def note(self, events: Iterable[AlertEvent]) -> None:
        """Take note of what was alerted on."""
        for event in events:
            if event.condition is Condition.ATRIAL_FIBRILLATION:
                over = event.transition is Transition.ENDED
                self._fibrillation_ended_ns = event.event_time_ns if over else None

    def _news(self, findings: Iterable[Finding]) -> list[Finding]:
        concerned = self._concerned()
        told: list[Finding] = []
        for one in findings:
            if any(self._is_active(more) for more in _SAY_MORE.get(one.condition, ())):
                one = replace(one, present=False)
            if one.present or one.condition in concerned:
                told.append(one)
        return told

    def _judge(
        self, measure: Measure, value: float, time_ns: TimestampNs, source: Source
    ) -> list[Finding]:
        self._state, findings = observe_measure(
            self._limits, self._state, measure, value, time_ns, source
        )
        return findings

    def _fibrillation_end(self, time_ns: TimestampNs) -> Finding:
        ended_ns = self._fibrillation_ended_ns
        return Finding(
            condition=Condition.ATRIAL_FIBRILLATION_ENDED,
            present=ended_ns is not None and 0 <= time_ns - ended_ns < _END_SHOWN_NS,
            time_ns=time_ns,
            since_ns=ended_ns,
        )

    def _apply(self) -> None:
        if self._ordered is None:
            self._limits = self._of_site
            return
        pairs = {
            name: LimitPair(lower=lower, upper=upper)
            for name, (lower, upper) in self._ordered.limits.items()
        }
        self._limits = with_limits(self._of_site, pairs)


def _pause(bed: Bed, time_ns: TimestampNs) -> Finding:
    ecg = bed.ecg(time_ns)
    if ecg is None or ecg.usable_since_ns is None:
        return pause(math.nan, time_ns)
    recent = ecg.recent_rr_ms(_RECENT_S)
    return pause(float(recent.max()) if recent.size else math.nan, ecg.time_ns)
