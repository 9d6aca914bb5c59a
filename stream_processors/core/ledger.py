"""What the record gateway needs of its store, and what it puts there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_processors.core.intake import Refusal
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.registry import Changes, Registry
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.topics import KafkaTopic


@dataclass(frozen=True, slots=True)
class StatedObservation:
    """A Kafka record of ``observations``: what was stated, and what plausibility may know."""

    observation: Observation
    facts: PatientFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageKey:
    """Which message that is: its sender's number for it, and a keyed hash of its bytes.

    A sender that numbers two messages alike loses neither.
    """

    sender: str
    control_id: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a message was answered.

    Attributes
    ----------
    code : str
        AA, AE or AR.
    text : str
        What a person should know; without patient data.
    condition : str
        HL7 table 0357.
    """

    code: str
    text: str = ""
    condition: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """A record for Kafka, kept until what it becomes is stored.

    Attributes
    ----------
    row_id : str
        Identity of the row it becomes.
    kind : str
        ``bed``, ``context``, ``observation`` or ``letter``.
    topic : KafkaTopic
        Where to.
    partition_key : str
        What chooses the partition.
    payload : bytes
        The record's value.
    timestamp_ms : int
        The record's time.

    Raises
    ------
    OutOfRangeError
        The kind is none of those.
    """

    row_id: str
    kind: str
    topic: KafkaTopic
    partition_key: str
    payload: bytes
    timestamp_ms: int

    def __post_init__(self) -> None:
        if self.kind not in ("bed", "context", "observation", "letter"):
            raise OutOfRangeError(f"an outbox keeps no {self.kind!r}")


class RecordLedger(Protocol):
    """Where the gateway's memory is kept. Every method raises `TransientError` while it is away."""

    async def load(self) -> Registry:
        """The registry as stored."""
        ...

    async def answered(self, key: MessageKey) -> Answer | None:
        """What that message was answered before, None if it is new."""
        ...

    async def keep(
        self, key: MessageKey, answer: Answer, changes: Changes, rows: Sequence[OutboxRow]
    ) -> None:
        """All of it in one transaction; repeats do no harm."""
        ...

    async def keep_rows(self, changes: Changes, rows: Sequence[OutboxRow]) -> None:
        """Store what was said without a message of its own."""
        ...

    async def unconfirmed(self, limit: int) -> Sequence[OutboxRow]:
        """Rows in the outbox that did not become theirs yet, oldest first; drops those that did."""
        ...

    async def cursor(self, server: str, resource_type: str) -> str | None:
        """How far that server was read."""
        ...

    async def move_cursor(self, server: str, resource_type: str, last_updated: str) -> None:
        """Note how far it was read."""
        ...


def merged(changes: Sequence[Changes]) -> Changes:
    """The changes of several intakes of one message, in order."""
    total = Changes()
    for part in changes:
        total.movements += part.movements
        total.points += part.points
        total.patients += part.patients
        total.events += part.events
        total.observations += part.observations
        total.refusals += part.refusals
    return total


def told_text(n_taken: int, refusals: Sequence[Refusal]) -> str:
    """What was taken and what is kept for a person, for the sender's log."""
    if not refusals:
        return ""
    reasons = sorted({f"{r.part}: {r.text}" for r in refusals})
    more = "" if len(reasons) <= 2 else f" and {len(reasons) - 2} more"
    return f"{n_taken} taken, {len(refusals)} kept for review ({'; '.join(reasons[:2])}{more})"
