"""One row of the table of alert conditions, and short ways to write one.

`delay_s` is how long a finding must hold before it is raised; what the detector itself needs
to be sure (4 s of asystole, 17 beats of tachycardia) is in `disclosed_delay_s`, the longest
time from the patient's onset to the alert, which the standard wants stated above 10 s.
`clear_s` is how long a finding must be gone before the alert clears.
"""

from dataclasses import dataclass
from typing import Final

from wardstream.contracts.alert import AlertKind, AlertPriority, Condition

DISCLOSED_ABOVE_S: Final = 10.0
"""IEC 60601-1-8 wants a sum of delays above this stated to the operator."""


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
    hysteresis : str
        How far it must have gone back before it counts as gone.
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
    hysteresis: str = "none"

    @property
    def is_delay_disclosed(self) -> bool:
        """Whether its delay must be disclosed to whoever relies on it."""
        return self.disclosed_delay_s > DISCLOSED_ABOVE_S


def patient(
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
    hysteresis: str = "none",
) -> ConditionRule:
    """A row about the patient."""
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
        hysteresis=hysteresis,
    )


def technical(
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
    """A row about the equipment, or about an order at the bed. Never latches."""
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
