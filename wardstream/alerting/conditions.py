"""The table of alert conditions: what each is, how urgent, how it behaves. Nothing else decides.

`delay_s` is how long a finding must hold before it is raised; what the detector itself needs
to be sure (4 s of asystole, 17 beats of tachycardia) is in `disclosed_delay_s`, the longest
time from the patient's onset to the alert, which the standard wants stated above 10 s.
`clear_s` is how long a finding must be gone before the alert clears.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wardstream.contracts.alert import AlertKind, AlertPriority, Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRule:
    """One row of the table.

    Attributes
    ----------
    condition : Condition
        Which.
    label : str
        Short English name for people.
    definition : str
        What it means, with its figures.
    source : str
        What it is decided from.
    kind : AlertKind
        Patient or equipment.
    priority : AlertPriority
        At onset; a finding may raise it, never lower it.
    latching : bool
        Whether it stays shown after it is gone, until acknowledged.
    delay_s, clear_s, disclosed_delay_s : float
        See the module.
    silenced_by : str
        What keeps it from being raised, or ends it.
    """

    condition: Condition
    label: str
    definition: str
    source: str
    kind: AlertKind
    priority: AlertPriority
    latching: bool
    delay_s: float
    clear_s: float
    disclosed_delay_s: float
    silenced_by: str


def _patient(
    condition: Condition,
    label: str,
    priority: AlertPriority,
    *,
    definition: str,
    source: str,
    silenced_by: str,
    disclosed_delay_s: float,
    latching: bool = False,
    delay_s: float = 0.0,
    clear_s: float = 3.0,
) -> ConditionRule:
    return ConditionRule(
        condition=condition,
        label=label,
        definition=definition,
        source=source,
        kind=AlertKind.PHYSIOLOGICAL,
        priority=priority,
        latching=latching,
        delay_s=delay_s,
        clear_s=clear_s,
        disclosed_delay_s=disclosed_delay_s,
        silenced_by=silenced_by,
    )


def _technical(
    condition: Condition,
    label: str,
    priority: AlertPriority,
    *,
    definition: str,
    source: str,
    silenced_by: str = "nothing but its end",
    delay_s: float = 0.0,
    clear_s: float = 2.0,
    disclosed_delay_s: float | None = None,
) -> ConditionRule:
    return ConditionRule(
        condition=condition,
        label=label,
        definition=definition,
        source=source,
        kind=AlertKind.TECHNICAL,
        priority=priority,
        latching=False,
        delay_s=delay_s,
        clear_s=clear_s,
        disclosed_delay_s=delay_s if disclosed_delay_s is None else disclosed_delay_s,
        silenced_by=silenced_by,
    )


_HIGH, _MEDIUM, _LOW = AlertPriority.HIGH, AlertPriority.MEDIUM, AlertPriority.LOW

_TABLE: Final[tuple[ConditionRule, ...]] = (
    _patient(
        Condition.ASYSTOLE,
        "Asystole",
        _HIGH,
        definition="no QRS and no pulse for 4 s or longer",
        source="ECG; contradicted by a pulse in PPG or arterial pressure",
        silenced_by="no usable ECG lead (then lead off stands)",
        disclosed_delay_s=4.5,
        latching=True,
    ),
    _patient(
        Condition.VENTRICULAR_FIBRILLATION,
        "Ventricular fibrillation",
        _HIGH,
        definition="fibrillatory, flutter or oscillatory waveform for 4 s or longer",
        source="ECG (model), every usable lead; against a regular pulse it must hold for 5 s more",
        silenced_by="no usable ECG lead; model unavailable",
        disclosed_delay_s=8.0,
        latching=True,
    ),
    _patient(
        Condition.VENTRICULAR_TACHYCARDIA,
        "Ventricular tachycardia",
        _HIGH,
        definition="5 or more ventricular beats at more than 100 /min",
        source="ECG (model and beats)",
        silenced_by="no usable ECG lead; model unavailable",
        disclosed_delay_s=8.0,
        latching=True,
    ),
    _patient(
        Condition.EXTREME_BRADYCARDIA,
        "Extreme bradycardia",
        _HIGH,
        definition="rate below 40 /min over 5 consecutive beats",
        source="ECG beats; contradicted by a faster pulse in PPG or arterial pressure",
        silenced_by="no usable ECG lead; ends at 45 /min",
        disclosed_delay_s=9.0,
        latching=True,
    ),
    _patient(
        Condition.EXTREME_TACHYCARDIA,
        "Extreme tachycardia",
        _HIGH,
        definition="rate above 140 /min over 17 consecutive beats",
        source="ECG beats; contradicted by a slower pulse in PPG or arterial pressure",
        silenced_by="no usable ECG lead; not raised beside fibrillation; ends at 135 /min",
        disclosed_delay_s=8.0,
        latching=True,
    ),
    _patient(
        Condition.ATRIAL_FIBRILLATION,
        "Atrial fibrillation",
        _MEDIUM,
        definition="irregularly irregular rhythm for 30 s or longer",
        source="ECG (model) and RR intervals",
        silenced_by="no usable ECG lead; model unavailable",
        delay_s=30.0,
        clear_s=30.0,
        disclosed_delay_s=38.0,
    ),
    _patient(
        Condition.DESATURATION,
        "Desaturation",
        _MEDIUM,
        definition="SpO2 below its limit (90 % by default) for 10 s; high priority below 80 %",
        source="SpO2 of the monitor",
        silenced_by="no SpO2 value; ends 2 % above the limit",
        clear_s=0.0,
        disclosed_delay_s=12.0,
    ),
    _patient(
        Condition.HYPOTENSION,
        "Hypotension",
        _MEDIUM,
        definition="mean arterial pressure below its limit for 10 s",
        source="arterial pressure",
        silenced_by="no usable arterial pressure",
        delay_s=10.0,
        disclosed_delay_s=14.0,
    ),
    _patient(
        Condition.HYPERTENSION,
        "Hypertension",
        _MEDIUM,
        definition="systolic arterial pressure above its limit for 10 s",
        source="arterial pressure",
        silenced_by="no usable arterial pressure",
        delay_s=10.0,
        disclosed_delay_s=14.0,
    ),
    _patient(
        Condition.APNOEA,
        "Apnoea",
        _MEDIUM,
        definition="no breath for 20 s or longer",
        source="respiration",
        silenced_by="no usable respiration curve",
        disclosed_delay_s=21.0,
    ),
    _technical(
        Condition.LEAD_OFF,
        "Lead or sensor off",
        _LOW,
        definition="a channel is flat, at its rail or missing for 3 s; medium with no ECG left",
        source="signal quality",
        delay_s=1.0,
        disclosed_delay_s=5.2,
    ),
    _technical(
        Condition.NO_DATA,
        "No data",
        _MEDIUM,
        definition="no sample of any channel for 5 s or longer",
        source="watchdog",
        clear_s=1.0,
        disclosed_delay_s=5.3,
    ),
    _technical(
        Condition.ARTEFACT,
        "Artefact",
        _LOW,
        definition="no ECG lead fit to judge, or a silent ECG contradicted by a pulse, for 15 s",
        source="signal quality",
        delay_s=15.0,
        clear_s=5.0,
    ),
    _technical(
        Condition.MODEL_UNAVAILABLE,
        "Model unavailable",
        _MEDIUM,
        definition="no model judges rhythm; the rules alarm alone",
        source="agent",
        clear_s=0.0,
    ),
    _technical(
        Condition.CLOCK_SKEW,
        "Clock skew",
        _LOW,
        definition="the clock of the data jumped or is off by more than 1 s",
        source="agent; cloud",
        clear_s=60.0,
    ),
    _technical(
        Condition.STORAGE_FAILING,
        "Storage failing",
        _MEDIUM,
        definition="the outbox cannot be written",
        source="agent",
    ),
    _technical(
        Condition.LINK_LOST,
        "Link lost",
        _MEDIUM,
        definition="no connection to the broker for 10 s",
        source="agent and cloud, each at its own end",
        delay_s=10.0,
    ),
    _technical(
        Condition.DEVICE_SILENT,
        "Device silent",
        _MEDIUM,
        definition="nothing heard of a device for 10 s",
        source="cloud",
        delay_s=10.0,
    ),
)

RULES: Final[Mapping[Condition, ConditionRule]] = {rule.condition: rule for rule in _TABLE}
"""Every condition of `wardstream.contracts.alert`, once."""

DETECTOR_VERSION: Final = 1
"""Raised by hand when `wardstream.alerting.detection` decides differently."""


def rule_version(rules: Mapping[Condition, ConditionRule] = RULES) -> str:
    """Version of a table: the detectors' number and a digest of every row.

    A site's override or an edited figure changes it without anyone having to remember.
    """
    text = "\n".join(repr(rules[condition]) for condition in sorted(rules))
    return f"{DETECTOR_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


RULE_VERSION: Final = rule_version()
