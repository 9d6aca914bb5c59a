"""What the bedside services need from the world, said without naming who provides it.

Adapters implement these; services receive them. Nothing here waits, sleeps or reads a clock.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.engine import Finding
from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand
from wardstream.contracts.errors import TransientError, WardstreamError
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import AlertStrip, NumericObservation, WaveformChunk

Output = AlertEvent | FeatureFrame | AlertStrip
"""What the judgement of a bed says; each is numbered on its own lane."""


class UnreadableSourceError(WardstreamError):
    """The recording or device cannot be read, or nothing in it can be judged."""


class ModelUnreachableError(TransientError):
    """The model repository did not answer; trying again later may help."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A channel or a message of the source that nobody judges, and why.

    Attributes
    ----------
    channel : str
        Which one, in the words of the source; never a patient's.
    reason : str
        Why, for people.
    count : int
        How often, for what comes again and again.
    """

    channel: str
    reason: str
    count: int = 1


class SourceEventKind(StrEnum):
    """What can happen to a source that is no sample."""

    QUARANTINED = "quarantined"
    """Something malformed, unknown or unstated came for the first time."""
    CLOCK_STEP = "clock_step"
    """The device set its clock, or began to count anew."""
    GAP = "gap"
    """Samples the device took never came; they are NaN."""
    OVERFLOW = "overflow"
    """More came than can be taken in; the oldest was dropped."""
    LATE = "late"
    """Something came after its place in time had passed."""
    LOST = "lost"
    """The device does not answer any more."""
    BACK = "back"
    """It answers again."""
    DEVICE_ALERT = "device_alert"
    """The device says that an alert condition of its own began (amount 1) or ended (0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvent:
    """Something about the source that people or counters should know.

    Attributes
    ----------
    kind : SourceEventKind
        What happened.
    channel : str
        To which stream or channel.
    text : str
        In words.
    time_ns : TimestampNs
        When, on the host's clock.
    amount : float
        Samples of a gap or overflow, seconds of a clock step; 0 otherwise.
    """

    kind: SourceEventKind
    channel: str
    text: str
    time_ns: TimestampNs
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Packet:
    """What a source delivered at once: the same stretch of time of every channel.

    Attributes
    ----------
    chunks : tuple of WaveformChunk
        One per sampling rate and unit; empty where the device delivered no sample at all.
    observations : tuple of NumericObservation
        Monitor numerics determined in this stretch.
    end_time_ns : TimestampNs
        End of the stretch on the clock of the data.
    lag_s : float
        How long after its due time the packet was handed over; 0 where it is not paced.
    events : tuple of SourceEvent
        What happened to the source since the packet before.
    """

    chunks: tuple[WaveformChunk, ...]
    observations: tuple[NumericObservation, ...]
    end_time_ns: TimestampNs
    lag_s: float = 0.0
    events: tuple[SourceEvent, ...] = ()


class WaveformSource(AbstractAsyncContextManager["WaveformSource"], Protocol):
    """Curves and numerics of one bed, as they come."""

    @property
    def description(self) -> str:
        """What it is, for people, for example ``wfdb:cu01``."""
        ...

    @property
    def codes(self) -> tuple[str, ...]:
        """Reference ids of the channels it delivers."""
        ...

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Channels it has but does not deliver."""
        ...

    def packets(self) -> AsyncIterator[Packet]:
        """Packets in time order; ends where the recording ends.

        Raises
        ------
        UnreadableSourceError
            The source failed.
        """
        ...

    def data_time_ns(self) -> TimestampNs:
        """Now, on the clock of the data: wall time for a live bed, newest sample for a replay."""
        ...


class Judge(Protocol):
    """The judgement of one bed, as the services see it (`edge_agent.core.pipeline`)."""

    def push(self, chunk: WaveformChunk, received_time_ns: int) -> Sequence[Output]:
        """What `chunk` makes true."""
        ...

    def observe(self, observation: NumericObservation) -> None:
        """Take note of a monitor's numeric."""
        ...

    def tick(self, now_ns: TimestampNs, received_time_ns: int) -> Sequence[Output]:
        """What the passing of time alone makes true."""
        ...

    def acknowledge(self, command: AcknowledgeCommand, received_time_ns: int) -> Sequence[Output]:
        """What an acknowledgement changes."""
        ...

    def order(
        self, command: SilenceCommand | PatientLimitsCommand, received_time_ns: int
    ) -> Sequence[Output]:
        """What a person's order changes."""
        ...

    def hold(self, holders: frozenset[Holder], received_time_ns: int) -> Sequence[Output]:
        """What changes now that exactly `holders` are proven to be at their stations."""
        ...

    def report_condition(self, finding: Finding, received_time_ns: int) -> Sequence[Output]:
        """What a finding of the agent about itself changes: link, storage, clock."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReport:
    """What has been judged since boot.

    Attributes
    ----------
    n_windows_judged, n_windows_unjudged : int
        Windows a model judged, and windows that were due while none could.
    last_sample_time_ns : TimestampNs
        Clock of the data at the newest sample; 0 before the first.
    """

    n_windows_judged: int
    n_windows_unjudged: int
    last_sample_time_ns: TimestampNs


class LinkEvent(StrEnum):
    """What the link tells."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that came in.

    Attributes
    ----------
    topic : str
        Where it was published.
    payload : bytes
        As it came.
    accept : callable
        Tell the broker that it was carried out; safe to call from any thread, once or never.
    """

    topic: str
    payload: bytes
    accept: Callable[[], None]


@dataclass(slots=True)
class LinkHandlers:
    """Whom the link calls, on its own thread; none of them may wait."""

    on_event: Callable[[LinkEvent], None]
    on_published: Callable[[int, bool], None]
    """(message id, whether the broker took it)."""
    on_delivery: Callable[[Delivery], None]


class Link(Protocol):
    """A connection to the broker that heals itself. It keeps nothing that matters."""

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        ...

    @property
    def window(self) -> int:
        """How many messages may be unconfirmed at once."""
        ...

    def start(self, handlers: LinkHandlers, subscriptions: Sequence[str]) -> None:
        """Begin to connect, and keep connecting."""
        ...

    def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> int | None:
        """Hand one message to the broker; return its id, None if it cannot go now."""
        ...

    def publish_once(self, topic: str, payload: bytes) -> bool:
        """Send `payload` now or never; False: it was left out, for too much waits already."""
        ...

    def is_alive(self) -> bool:
        """Whether the link's own thread still runs."""
        ...

    def restart(self) -> None:
        """Begin again with a new connection; unconfirmed messages are forgotten."""
        ...

    def stop(self, deadline_s: float) -> None:
        """Disconnect."""
        ...


class AlertHook(Protocol):
    """The site's own command that is run with every alert."""

    def run(self, event: AlertEvent) -> None:
        """Run it, at most until its deadline. Failures are logged, never raised."""
        ...


class ModelRepository(Protocol):
    """Where signed models come from."""

    def fetch(self, version: int, into: Path) -> None:
        """Write the verified files of `version` into the existing folder `into`.

        Raises
        ------
        ModelRefusedError
            Not signed, tampered with, expired, or not there.
        ModelUnreachableError
            The repository did not answer.
        """
        ...


class ModelShelf(Protocol):
    """Models kept on the device: the one that judges, and the one before it."""

    def current(self) -> Path | None:
        """Folder of the installed model, None if only the shipped one is there."""
        ...

    def previous(self) -> Path | None:
        """Folder of the last known good model before the current one, None: the shipped one."""
        ...

    def incoming(self, version: int) -> Path:
        """An empty folder in which `version` may be put together."""
        ...

    def install(self, version: int) -> Path:
        """Make what is in `incoming` the current model, in one step that a crash cannot halve.

        Raises
        ------
        StorageError
            The disk refused; what was current still is.
        """
        ...

    def roll_back(self) -> None:
        """Make the previous model the current one; without one, the shipped model is.

        Raises
        ------
        StorageError
            The disk refused; what was current still is.
        """
        ...


@dataclass(slots=True)
class Measurements:
    """Counters of one life of the agent, for status, logs and metrics."""

    n_packets: int = 0
    n_alert_events: int = 0
    n_log_lines_dropped: int = 0
    n_hook_runs: int = 0
    n_hooks_dropped: int = 0
    n_refused_messages: int = 0
    n_resent: int = 0
    n_storage_failures: int = 0
    n_ring_chunks_lost: int = 0
    n_ring_failures: int = 0
    n_live_sent: int = 0
    n_live_left_out: int = 0
    source_events: dict[str, int] = field(default_factory=dict[str, int])
    """How often each `SourceEventKind` happened."""
    decision_ms: list[float] = field(default_factory=list[float])
    """The newest `RECENT` times from packet in hand to packet judged, in milliseconds."""
    lag_ms: list[float] = field(default_factory=list[float])
    """The newest `RECENT` times from packet due to packet in hand, in milliseconds."""

    RECENT = 4096

    def note_packet(self, decision_ms: float, lag_ms: float) -> None:
        """Count one packet."""
        at = self.n_packets % Measurements.RECENT
        self.n_packets += 1
        if len(self.decision_ms) < Measurements.RECENT:
            self.decision_ms.append(decision_ms)
            self.lag_ms.append(lag_ms)
        else:
            self.decision_ms[at] = decision_ms
            self.lag_ms[at] = lag_ms


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The `percent` percentile of `values` (nearest rank), None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
