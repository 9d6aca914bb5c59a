"""Judgement and what follows from it, in the order that matters: sound first, disk second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.core.ports import Judge, Measurements, Output, Packet
from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.engine import Finding
from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand
from wardstream.contracts.timebase import TimestampNs


class Store(Protocol):
    """Where outputs go; never waits."""

    def submit(
        self,
        outputs: Sequence[Output],
        snapshot: bytes | None = None,
        command_id: str | None = None,
        accept: Callable[[], None] | None = None,
    ) -> None:
        """Queue `outputs` for the outbox."""
        ...


@dataclass(frozen=True, slots=True)
class Bedside:
    """One bed's judge, and whom it tells.

    Everything here runs on the event loop and returns at once: annunciation and storing only
    queue.

    Attributes
    ----------
    judge : Judge
        The pipeline.
    snapshot : callable
        Encoded state of its alert engine.
    annunciate : callable
        Shows an event at the bed.
    store : Store
        Keeps outputs for the cloud.
    clock_ns : callable
        Wall clock of the device, the same that the pipeline reads.
    measurements : Measurements
        Counters.
    """

    judge: Judge
    snapshot: Callable[[], bytes]
    annunciate: Callable[[AlertEvent], None]
    store: Store
    clock_ns: Callable[[], int]
    measurements: Measurements

    def take(self, packet: Packet) -> None:
        """Judge what has just been received."""
        received_time_ns = self.clock_ns()
        for observation in packet.observations:
            self.judge.observe(observation)
        for chunk in packet.chunks:
            outputs = self.judge.push(chunk, received_time_ns)
            if outputs:
                self._tell(outputs)
        decision_ms = (self.clock_ns() - received_time_ns) / 1e6
        self.measurements.note_packet(decision_ms, packet.lag_s * 1000)

    def tick(self, now_ns: TimestampNs) -> None:
        """Judge the passing of time; `now_ns` is on the clock of the data."""
        outputs = self.judge.tick(now_ns, self.clock_ns())
        if outputs:
            self._tell(outputs)

    def report(self, finding: Finding) -> None:
        """Judge what the agent found about itself."""
        outputs = self.judge.report_condition(finding, self.clock_ns())
        if outputs:
            self._tell(outputs)

    def acknowledge(self, command: AcknowledgeCommand, accept: Callable[[], None]) -> None:
        """Carry out `command`; `accept` is called once its effect is on disk."""
        outputs = self.judge.acknowledge(command, self.clock_ns())
        self._tell(outputs, command.command_id, accept)

    def order(
        self, command: SilenceCommand | PatientLimitsCommand, accept: Callable[[], None]
    ) -> None:
        """Carry out a person's order; `accept` is called once its effect is on disk.

        Raises
        ------
        OutOfRangeError
            It is for another device, or cannot be meant.
        """
        outputs = self.judge.order(command, self.clock_ns())
        self._tell(outputs, command.command_id, accept)

    def hold(self, holders: frozenset[Holder]) -> None:
        """Judge that exactly `holders` are proven to be at their stations."""
        outputs = self.judge.hold(holders, self.clock_ns())
        if outputs:
            self._tell(outputs)

    def _tell(
        self,
        outputs: Sequence[Output],
        command_id: str | None = None,
        accept: Callable[[], None] | None = None,
    ) -> None:
        events = [output for output in outputs if isinstance(output, AlertEvent)]
        for event in events:
            self.annunciate(event)
        self.measurements.n_alert_events += len(events)
        snapshot = self.snapshot() if events else None
        self.store.submit(outputs, snapshot, command_id, accept)
