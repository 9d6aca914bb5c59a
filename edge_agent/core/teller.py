"""From findings and orders to numbered alert events."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from edge_agent.core.pipeline_types import PipelineIdentity
from wardstream.alerting.bed_alerts import BedAlerts, Holder
from wardstream.alerting.conditions import RULES, ConditionRule, rule_version
from wardstream.alerting.engine import Birthplace, Change, EngineSnapshot, Finding
from wardstream.alerting.state import LimitsInForce
from wardstream.contracts.alert import (
    DISCLOSURES,
    AcknowledgeCommand,
    AlertEvent,
    AlertKind,
    Condition,
)
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs


class AlertTeller:
    """Runs the alert engine for one device and numbers what it says on the alert lane."""

    def __init__(
        self,
        identity: PipelineIdentity,
        clock_ns: Callable[[], int],
        state: EngineSnapshot | None,
        rules: Mapping[Condition, ConditionRule] = RULES,
    ) -> None:
        self._identity = identity
        self._clock_ns = clock_ns
        self._rules = rules
        self._rule_version = rule_version(rules)
        self._next_number = 0
        self._bed = BedAlerts(rules, state)

    @property
    def concerned(self) -> frozenset[Condition]:
        """Conditions of which it matters to hear that they are absent."""
        return self._bed.concerned

    @property
    def n_active(self) -> int:
        """Alerts that are not over; what people ordered is none."""
        return self._bed.n_standing

    @property
    def limits(self) -> LimitsInForce | None:
        """Of this patient, where somebody ordered any."""
        return self._bed.limits

    def is_active(self, condition: Condition) -> bool:
        """Whether an alert of that condition is on and its condition still there."""
        alert = self._bed.state_of(condition).alert
        return alert is not None and alert.active

    def snapshot(self) -> EngineSnapshot:
        """What must be found again after a restart."""
        return self._bed.snapshot()

    def observe(
        self, findings: Iterable[Finding], model_version: str, received_time_ns: int
    ) -> list[AlertEvent]:
        """What changes with `findings`."""
        events: list[AlertEvent] = []
        for finding in findings:
            state = self._bed.state_of(finding.condition)
            if not finding.present and state.is_idle:
                continue  # the usual case, many times a second
            birthplace = Birthplace(
                device_id=self._identity.device_id,
                boot_id=self._identity.boot_id,
                model_version=model_version if finding.judged_by_model else "none",
            )
            events.extend(self._tell(self._bed.observe(finding, birthplace), received_time_ns))
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
        self._check_addressee(command.device_id, "acknowledgement")
        return self._tell(self._bed.acknowledge(command, time_ns), received_time_ns)

    def order(
        self, command: SilenceCommand | PatientLimitsCommand, received_time_ns: int
    ) -> list[AlertEvent]:
        """What changes with a person's order; nothing if it is a repeat.

        Raises
        ------
        OutOfRangeError
            The order is for another device.
        """
        self._check_addressee(command.device_id, "order")
        now_ns = TimestampNs(received_time_ns)
        if isinstance(command, SilenceCommand):
            return self._tell(self._bed.order_silence(command, now_ns), received_time_ns)
        return self._tell(self._bed.order_limits(command, now_ns), received_time_ns)

    def hold(self, holders: frozenset[Holder], received_time_ns: int) -> list[AlertEvent]:
        """What changes now that exactly `holders` are proven to be at their stations."""
        return self._tell(self._bed.hold(holders, TimestampNs(received_time_ns)), received_time_ns)

    def expire(self, time_ns: TimestampNs, received_time_ns: int) -> list[AlertEvent]:
        """What lapses at `time_ns`, or by the clock of the device at `received_time_ns`."""
        return self._tell(
            self._bed.elapse(time_ns, TimestampNs(received_time_ns)), received_time_ns
        )

    def _check_addressee(self, device_id: str, what: str) -> None:
        if device_id != self._identity.device_id:
            raise OutOfRangeError(f"{what} for {device_id} came to another device")

    def _tell(self, changes: Sequence[Change], received_time_ns: int) -> list[AlertEvent]:
        return [self._event(change, received_time_ns) for change in changes]

    def _event(self, change: Change, received_time_ns: int) -> AlertEvent:
        alert = change.alert
        number = self._next_number
        self._next_number += 1
        decided_time_ns = max(self._clock_ns(), received_time_ns)
        disclosed = alert.condition in DISCLOSURES
        return AlertEvent(
            device_id=self._identity.device_id,
            boot_id=self._identity.boot_id,
            sequence_number=number,
            alert_id=alert.alert_id,
            condition=alert.condition,
            kind=AlertKind.TECHNICAL if disclosed else self._rules[alert.condition].kind,
            priority=alert.priority,
            transition=change.transition,
            presence=alert.presence,
            signal=alert.signal,
            onset_time_ns=alert.onset_time_ns,
            event_time_ns=change.time_ns,
            received_time_ns=TimestampNs(received_time_ns),
            decided_time_ns=TimestampNs(decided_time_ns),
            model_version=alert.model_version,
            rule_version=self._rule_version,
            generation_mode=self._identity.generation_mode,
            evidence=alert.evidence,
            acknowledged_by=alert.acknowledged_by,
            acknowledgement_expires_ns=alert.acknowledgement_expires_ns,
            revision=alert.revision,
            actor=change.actor,
            reason=change.reason,
            terms=change.terms,
        )
