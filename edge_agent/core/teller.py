"""From findings to numbered alert events: the engine's state, and everything said of it."""

from collections.abc import Callable, Iterable, Set

from edge_agent.core.pipeline_types import PipelineIdentity
from wardstream.alerting.conditions import RULE_VERSION, RULES
from wardstream.alerting.engine import (
    Birthplace,
    Change,
    ConditionState,
    EngineSnapshot,
    Finding,
    Outcome,
    acknowledge,
    expire,
    observe,
    signal_of,
)
from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent, AlertKind, Condition
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs

_REMEMBERED_COMMANDS = 256


class AlertTeller:
    """Runs the engine for one device and numbers what it says on the alert lane."""

    def __init__(
        self,
        identity: PipelineIdentity,
        clock_ns: Callable[[], int],
        state: EngineSnapshot | None,
    ) -> None:
        self._identity = identity
        self._clock_ns = clock_ns
        self._next_number = 0
        self._states = {condition: ConditionState(condition=condition) for condition in Condition}
        self._concerned: set[Condition] = set()
        self._applied: list[str] = []
        if state is not None:
            self._applied.extend(state.applied_commands)
            for alert in state.alerts:
                self._states[alert.condition] = ConditionState(
                    condition=alert.condition, alert=alert
                )
                self._concerned.add(alert.condition)

    @property
    def concerned(self) -> Set[Condition]:
        """Conditions of which it matters to hear that they are absent."""
        return self._concerned

    @property
    def n_active(self) -> int:
        """Alerts that are not over."""
        return sum(state.alert is not None for state in self._states.values())

    def is_active(self, condition: Condition) -> bool:
        """Whether an alert of that condition is on and its condition still there."""
        alert = self._states[condition].alert
        return alert is not None and alert.active

    def snapshot(self) -> EngineSnapshot:
        """What must be found again after a restart."""
        alerts = (state.alert for state in self._states.values())
        return EngineSnapshot(
            alerts=tuple(alert for alert in alerts if alert is not None),
            applied_commands=tuple(self._applied),
        )

    def observe(
        self, findings: Iterable[Finding], model_version: str, received_time_ns: int
    ) -> list[AlertEvent]:
        """What changes with `findings`."""
        events: list[AlertEvent] = []
        for finding in findings:
            state = self._states[finding.condition]
            if not finding.present and finding.condition not in self._concerned:
                continue  # the usual case, many times a second
            birthplace = Birthplace(
                device_id=self._identity.device_id,
                boot_id=self._identity.boot_id,
                model_version=model_version if finding.judged_by_model else "none",
            )
            outcome = observe(RULES[finding.condition], state, finding, birthplace)
            events.extend(self._tell(outcome, received_time_ns))
        return events

    def acknowledge(
        self, command: AcknowledgeCommand, time_ns: TimestampNs, received_time_ns: int
    ) -> list[AlertEvent]:
        """What changes with a clinician's command; nothing if it is a repeat.

        Raises
        ------
        OutOfRangeError
            The command is for another device.
        """
        if command.device_id != self._identity.device_id:
            raise OutOfRangeError(f"acknowledgement for {command.device_id} came to another device")
        if command.command_id in self._applied:
            return []
        self._applied = [*self._applied, command.command_id][-_REMEMBERED_COMMANDS:]
        return [
            event
            for state in list(self._states.values())
            for event in self._tell(acknowledge(state, command, time_ns), received_time_ns)
        ]

    def expire(self, time_ns: TimestampNs, received_time_ns: int) -> list[AlertEvent]:
        """What lapses at `time_ns`."""
        return [
            event
            for state in list(self._states.values())
            if state.alert is not None
            for event in self._tell(expire(state, time_ns), received_time_ns)
        ]

    def _tell(self, outcome: Outcome, received_time_ns: int) -> list[AlertEvent]:
        state, changes = outcome
        self._states[state.condition] = state
        if state.alert is None and state.present_since_ns is None:
            self._concerned.discard(state.condition)
        else:
            self._concerned.add(state.condition)
        return [self._event(change, received_time_ns) for change in changes]

    def _event(self, change: Change, received_time_ns: int) -> AlertEvent:
        alert = change.alert
        rule = RULES[alert.condition]
        number = self._next_number
        self._next_number += 1
        decided_time_ns = max(self._clock_ns(), received_time_ns)
        return AlertEvent(
            device_id=self._identity.device_id,
            boot_id=self._identity.boot_id,
            sequence_number=number,
            alert_id=alert.alert_id,
            condition=alert.condition,
            kind=AlertKind(rule.kind),
            priority=alert.priority,
            transition=change.transition,
            presence=alert.presence,
            signal=signal_of(alert.presence),
            onset_time_ns=alert.onset_time_ns,
            event_time_ns=change.time_ns,
            received_time_ns=TimestampNs(received_time_ns),
            decided_time_ns=TimestampNs(decided_time_ns),
            model_version=alert.model_version,
            rule_version=RULE_VERSION,
            generation_mode=self._identity.generation_mode,
            evidence=alert.evidence,
            acknowledged_by=alert.acknowledged_by,
            acknowledgement_expires_ns=alert.acknowledgement_expires_ns,
        )
