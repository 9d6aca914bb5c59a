"""What the alert engine remembers and says, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wardstream.contracts.alert import (
    AlertPriority,
    AlertSignal,
    Condition,
    OrderTerms,
    Presence,
    SignalState,
    Transition,
)
from wardstream.contracts.timebase import TimestampNs

RANK: Final = {AlertPriority.LOW: 0, AlertPriority.MEDIUM: 1, AlertPriority.HIGH: 2}
"""To compare priorities."""

SHOWN: Final = AlertSignal(audible=SignalState.ON, visible=SignalState.ON)
GONE: Final = AlertSignal(audible=SignalState.OFF, visible=SignalState.OFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector holds of one condition at one moment.

    Attributes
    ----------
    condition : Condition
        Which.
    present : bool or None
        None: it cannot be told (no usable signal); nothing changes.
    time_ns : TimestampNs
        Last sample that was judged.
    since_ns : TimestampNs or None
        When it began, where the detector knows better than `time_ns`; never later.
    evidence : mapping of str to float
        The figures that decided, finite, unit in the name.
    priority : AlertPriority or None
        Where the depth of the finding raises the table's priority.
    judged_by_model : bool
        Whether a model had a say in it.
    """

    condition: Condition
    present: bool | None
    time_ns: TimestampNs
    since_ns: TimestampNs | None = None
    evidence: Mapping[str, float] = field(default_factory=dict[str, float])
    priority: AlertPriority | None = None
    judged_by_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert that is not over.

    Attributes
    ----------
    alert_id : str
        The same for life, restarts of the agent included.
    condition, priority, presence
        What, how urgent now, how it stands.
    active : bool
        Whether the condition is there; False only while latched.
    onset_time_ns, changed_time_ns : TimestampNs
        When the condition began; when the alert last changed.
    evidence : mapping of str to float
        Of the last onset or reactivation.
    model_version : str
        Model that judged then; ``none`` for a rule alone.
    acknowledged_by : str or None
        Author of the live acknowledgement.
    acknowledgement_expires_ns : TimestampNs or None
        When it lapses.
    revision : int
        1 at birth, one more with every change.
    activated_revision : int
        Revision of the last onset, reactivation or rise: who saw an earlier one has not seen
        this activation.
    signal : AlertSignal
        How it was last told to show.
    """

    alert_id: str
    condition: Condition
    priority: AlertPriority
    presence: Presence
    active: bool
    onset_time_ns: TimestampNs
    changed_time_ns: TimestampNs
    evidence: dict[str, float]
    model_version: str
    acknowledged_by: str | None = None
    acknowledgement_expires_ns: TimestampNs | None = None
    revision: int = 1
    activated_revision: int = 1
    signal: AlertSignal = SHOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionState:
    """What is remembered of one condition between findings.

    Attributes
    ----------
    condition : Condition
        Which.
    present_since_ns, absent_since_ns : TimestampNs or None
        Begin of the unbroken present or absent findings; at most one is set.
    alert : Alert or None
        The alert that is not over.
    ended : (alert id, revision) or None
        Of the last one that is over: an alert of the very same onset goes on counting.
    """

    condition: Condition
    present_since_ns: TimestampNs | None = None
    absent_since_ns: TimestampNs | None = None
    alert: Alert | None = None

    @property
    def is_idle(self) -> bool:
        """Whether a finding that the condition is absent would change nothing."""
        return self.alert is None and self.present_since_ns is None

    ended: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """One silence that is not over.

    Attributes
    ----------
    silence_id : str
        UUID, also the id of the alert that tells of it.
    kind : Condition
        One of the four of `wardstream.contracts.alert.SILENCES`.
    scope : Condition or None
        What it is about; None: the whole bed.
    author, station_id, reason
        Who gave it, where, why.
    granted_time_ns, expires_time_ns : TimestampNs
        Wall clock of the device.
    reminded_time_ns : TimestampNs
        Last reminder, or the grant.
    ceiling : AlertPriority
        A new alert above it breaks a timed silence; so does any new one of high priority.
    held : bool
        Whether a live lease of the author's station holds it up. Without, it does nothing.
    revision : int
        Of its own story.
    """

    silence_id: str
    kind: Condition
    author: str
    station_id: str
    granted_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    reminded_time_ns: TimestampNs
    ceiling: AlertPriority
    scope: Condition | None = None
    reason: str | None = None
    held: bool = False
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsInForce:
    """Limits a person ordered for this patient, until they expire.

    Attributes
    ----------
    command_id : str
        UUID, also the id of the alert that discloses them.
    author, reason
        Who, why.
    limits : mapping of measure to (lower, upper)
        As ordered.
    granted_time_ns, expires_time_ns : TimestampNs
        Wall clock of the device.
    """

    command_id: str
    author: str
    limits: dict[str, tuple[float | None, float | None]]
    granted_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """Everything the engine must find again after a restart; encodes as JSON.

    Attributes
    ----------
    alerts : tuple of Alert
        All that are not over.
    applied_commands : tuple of str
        Ids of the last commands, so that a repeat changes nothing.
    silences : tuple of Silence
        All that are not over. After a restart none of them is held until a new lease comes.
    limits : LimitsInForce or None
        Of this patient.
    """

    alerts: tuple[Alert, ...] = ()
    applied_commands: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()
    limits: LimitsInForce | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition of one alert, to be told to the world."""

    transition: Transition
    alert: Alert
    """As it stands after it."""
    time_ns: TimestampNs
    actor: str | None = None
    """The person who brought it about, where one did."""
    reason: str | None = None
    terms: OrderTerms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Birthplace:
    """Where an alert is born: its id derives from this."""

    device_id: str
    boot_id: str
    model_version: str = "none"
