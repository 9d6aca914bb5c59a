"""One message of a record system at a time: understood, stored, said to Kafka, then answered.

What cannot be taken is kept with its reason, and the sender is told. The order makes it safe to
die anywhere: the ledger first (one transaction, with what is to be said), Kafka second, the answer
last. A sender that got no answer sends again, and gets the answer that the ledger remembers.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from stream_processors.core.intake import Intake, Refusal
from stream_processors.core.ledger import (
    Answer,
    MessageKey,
    OutboxRow,
    RecordLedger,
    StatedObservation,
    merged,
    told_text,
)
from stream_processors.core.letters import dead_letter
from stream_processors.core.observation import PatientFacts
from stream_processors.core.ports import OutgoingRecord, RecordSink
from stream_processors.core.registry import Changes, Registry
from stream_processors.core.routing import partition_of
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.hl7_adt import read_adt
from stream_processors.record_gateway.hl7_oru import read_oru
from stream_processors.record_gateway.hl7_text import (
    CONDITIONS,
    DATA_TYPE,
    INTERNAL,
    UNKNOWN_KEY,
    UNSUPPORTED_TYPE,
    Header,
    Hl7Error,
    acknowledgement,
    parse,
    read_header,
)
from stream_processors.record_gateway.redaction import without_identifiers
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import TransientError
from wardstream.contracts.record import RecordEventKind
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S
from wardstream.contracts.topics import DEAD_LETTER, OBSERVATIONS, RECORD_EVENTS

logger = logging.getLogger(__name__)

_YEAR_NS: Final = 365 * 86_400 * NS_PER_S
_RESENT: Final = 500
"""Most rows of the outbox that are sent again at once."""


@dataclass(slots=True)
class GatewayCounts:
    """Since start; exported as metrics."""

    messages: int = 0
    repeats: int = 0
    refused_messages: int = 0
    movements: int = 0
    observations: int = 0
    refused_parts: int = 0
    said_again: int = 0
    defects: int = 0


class Gateway:
    """The record gateway without its sockets.

    Parameters
    ----------
    ledger : RecordLedger
        Its memory.
    sink : RecordSink
        Kafka.
    conventions : Conventions
        How the hospital writes.
    clock_ns : callable
        Wall clock.
    n_partitions : int
        Of the Kafka topics.
    """

    def __init__(
        self,
        ledger: RecordLedger,
        sink: RecordSink,
        conventions: Conventions,
        *,
        clock_ns: Callable[[], int],
        n_partitions: int,
    ) -> None:
        self.conventions = conventions
        self.counts = GatewayCounts()
        self._ledger = ledger
        self._sink = sink
        self._clock_ns = clock_ns
        self._n_partitions = n_partitions
        self._lock = asyncio.Lock()
        self._registry: Registry | None = None
        self._unsaid: list[OutboxRow] = []

    async def take_hl7(self, payload: bytes) -> bytes | None:
        """The answer to one HL7 message, None where its sender wants none.

        Raises
        ------
        TransientError
            Ledger or Kafka is away: give no answer, so that the sender sends again.
        """
        header = read_header(payload)
        answer = await self.take(
            self._key(header.sender, header.control_id, payload),
            lambda: self._read_hl7(payload, header),
            origin=f"record/hl7/{header.message_type}^{header.trigger}"[:60],
            kept=lambda: without_identifiers(payload),
        )
        return acknowledgement(
            header,
            answer.code,
            own_id=uuid4().hex[:20],
            now_ns=self._clock_ns(),
            text=answer.text,
            condition=(answer.condition, CONDITIONS[answer.condition]),
        )

    async def take(
        self,
        key: MessageKey,
        read: Callable[[], Sequence[Intake]],
        *,
        origin: str,
        kept: Callable[[], bytes],
    ) -> Answer:
        """The answer to one message of any kind.

        Parameters
        ----------
        key : MessageKey
            Which message; a repeat gets the same answer and is applied once.
        read : callable
            What it says; raises `Hl7Error` if it cannot be taken.
        origin : str
            Of its letter, should it become one.
        kept : callable
            What of the message may be kept in that letter.

        Raises
        ------
        TransientError
            Ledger or Kafka is away.
        """
        async with self._lock:
            try:
                registry = await self._ready()
                known = await self._ledger.answered(key)
                if known is not None:
                    self.counts.repeats += 1
                    return known
                now_ns = self._clock_ns()
                try:
                    answer, changes = self._understood(registry, read, now_ns)
                    rows = self._rows(changes, now_ns, f"{key.sender} {key.control_id}")
                    if answer.code != "AA" and not changes.refusals:
                        rows.append(self._letter(origin, answer.text, kept(), now_ns))
                    await self._ledger.keep(key, answer, changes, rows)
                except TransientError:
                    raise
                except Exception as error:  # noqa: BLE001 - one message never ends the others' way
                    self._registry = None  # half taken in: the ledger is the truth
                    answer, changes = self._defect(error), Changes()
                    rows = [self._letter(origin, answer.text, kept(), now_ns)]
                    await self._ledger.keep(key, answer, changes, rows)
                self._unsaid += rows
                await self._say()
            except BaseException:
                self._registry = None  # it may be ahead of the ledger
                raise
            self._count(answer, changes)
            return answer

    async def say_again(self) -> None:
        """Send again what did not become a row in the store: a broker may have lost it.

        Raises
        ------
        TransientError
            Ledger or Kafka is away.
        """
        async with self._lock:
            await self._ready()
            rows = await self._ledger.unconfirmed(_RESENT)
            limit_ms = self._clock_ns() // NS_PER_MS - 10_000
            late = [row for row in rows if row.timestamp_ms < limit_ms]
            if late:
                self.counts.said_again += len(late)
                await self._sink.send_all([self._record(row) for row in late])

    async def cursor(self, server: str, resource_type: str) -> str | None:
        """How far that FHIR server was read."""
        return await self._ledger.cursor(server, resource_type)

    async def move_cursor(self, server: str, resource_type: str, last_updated: str) -> None:
        """Note how far it was read."""
        await self._ledger.move_cursor(server, resource_type, last_updated)

    def now_ns(self) -> int:
        """The wall clock."""
        return self._clock_ns()

    def key(self, sender: str, control_id: str, payload: bytes) -> MessageKey:
        """Key of a message that came otherwise than by MLLP."""
        return self._key(sender, control_id, payload)

    # ---- inside ---------------------------------------------------------------------------

    async def _ready(self) -> Registry:
        if self._registry is None:
            registry = await self._ledger.load()
            now_ns = self._clock_ns()
            changes = registry.tell_again(now_ns)
            rows = self._rows(changes, now_ns)
            await self._ledger.keep_rows(changes, rows)
            self._unsaid = list(await self._ledger.unconfirmed(100_000))
            self._registry = registry
        await self._say()
        return self._registry

    async def _say(self) -> None:
        if self._unsaid:
            await self._sink.send_all([self._record(row) for row in self._unsaid])
            self._unsaid = []

    def _read_hl7(self, payload: bytes, header: Header) -> Sequence[Intake]:
        conventions = self.conventions
        message = parse(payload, header, conventions.processing_id, open_end=conventions.open_end)
        if header.message_type == "ADT":
            return read_adt(message, header, self.conventions)
        if header.message_type == "ORU":
            return read_oru(message, header, self.conventions)
        text = "its type (MSH-9.1) is neither ADT nor ORU"
        raise Hl7Error("message_type", text, UNSUPPORTED_TYPE)

    def _understood(
        self, registry: Registry, read: Callable[[], Sequence[Intake]], now_ns: int
    ) -> tuple[Answer, Changes]:
        try:
            intakes = read()
        except Hl7Error as error:
            text = f"{error.reason_code}: {error}"
            return Answer(code=error.answer, text=text, condition=error.condition[0]), Changes()
        except Exception as error:  # noqa: BLE001 - one message never ends the others' way
            return self._defect(error), Changes()
        changes = merged([registry.take(intake, now_ns) for intake in intakes])
        n_taken = len(changes.observations) + len(changes.movements)
        text = told_text(n_taken, changes.refusals)
        if changes.refusals and not n_taken:
            wrong_patient = any("patient" in r.reason_code for r in changes.refusals)
            condition = UNKNOWN_KEY if wrong_patient else DATA_TYPE
            return Answer(code="AE", text=text, condition=condition[0]), changes
        return Answer(code="AA", text=text), changes

    def _defect(self, error: Exception) -> Answer:
        # The error's own text may quote a patient: its kind and place have to do.
        self.counts.defects += 1
        logger.error("a message could not be taken: %s %s", type(error).__name__, _place(error))
        text = f"defect: {type(error).__name__} at {_place(error)}; please report it"
        return Answer(code="AE", text=text, condition=INTERNAL[0])

    def _rows(self, changes: Changes, now_ns: int, message: str = "") -> list[OutboxRow]:
        rows: list[OutboxRow] = []
        for event in changes.events:
            kind = "context" if event.kind is RecordEventKind.CONTEXT else "bed"
            stamp_ms = now_ns // NS_PER_MS
            rows.append(OutboxRow(
                row_id=event.event_id, kind=kind, topic=RECORD_EVENTS,
                partition_key=event.bed_id, payload=encode(event), timestamp_ms=stamp_ms,
            ))  # fmt: skip
        for observation, facts in changes.observations:
            told = StatedObservation(observation, _coarse(facts, observation.time_ns))
            rows.append(OutboxRow(
                row_id=observation.message_id, kind="observation", topic=OBSERVATIONS,
                partition_key=observation.pseudonym, payload=encode(told),
                timestamp_ms=now_ns // NS_PER_MS,
            ))  # fmt: skip
        rows += [self._refused(refusal, now_ns, message) for refusal in changes.refusals]
        return rows

    def _refused(self, refusal: Refusal, now_ns: int, message: str) -> OutboxRow:
        origin = f"record/part/{refusal.part.split('[', maxsplit=1)[0]}"
        reason = f"{refusal.reason_code}: {refusal.text}"
        kept = f"{message} {refusal.part}\n{refusal.kept}"
        return self._letter(origin, reason, kept.encode("utf-8", "replace"), now_ns)

    def _letter(self, origin: str, reason: str, payload: bytes, now_ns: int) -> OutboxRow:
        letter = dead_letter(
            origin=origin, device_id="", reason=reason, payload=payload, received_time_ns=now_ns
        )
        return OutboxRow(
            row_id=letter.letter_id, kind="letter", topic=DEAD_LETTER, partition_key="",
            payload=encode(letter), timestamp_ms=now_ns // NS_PER_MS,
        )  # fmt: skip

    def _record(self, row: OutboxRow) -> OutgoingRecord:
        # Only beds are keys: no key names a patient.
        return OutgoingRecord(
            topic=row.topic.name,
            value=row.payload,
            timestamp_ms=row.timestamp_ms,
            key=row.partition_key.encode() if row.kind in ("bed", "context") else None,
            partition=partition_of(row.partition_key, self._n_partitions),
        )

    def _key(self, sender: str, control_id: str, payload: bytes) -> MessageKey:
        # Keyed: an unkeyed hash of a short message could be searched for its patient.
        digest = hmac.new(self.conventions.site_secret, payload, hashlib.sha256).digest()
        sender, control_id = (t[:200].replace("\x00", "?") for t in (sender, control_id))
        return MessageKey(sender=sender, control_id=control_id, digest=digest)

    def _count(self, answer: Answer, changes: Changes) -> None:
        self.counts.messages += 1
        self.counts.movements += len(changes.movements)
        self.counts.observations += len(changes.observations)
        self.counts.refused_parts += len(changes.refusals)
        if answer.code != "AA" and not changes.refusals:
            self.counts.refused_messages += 1


def _coarse(facts: PatientFacts, time_ns: int) -> PatientFacts:
    """`facts` as they may leave the gateway: of who is over two, only the year of birth."""
    born = facts.birth_date
    if born is None:
        return facts
    age_ns = time_ns - (born.toordinal() - 719_163) * 86_400 * NS_PER_S
    return (
        facts if age_ns < 2 * _YEAR_NS else replace(facts, birth_date=born.replace(month=7, day=1))
    )


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"


class SayAgain:
    """Sends again, until it is confirmed, what the streams were told and did not store."""

    name = "say again"

    def __init__(self, gateway: Gateway, every_s: float = 5.0) -> None:
        self._gateway = gateway
        self._every_s = every_s

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                await self._gateway.say_again()
            except TransientError as error:
                logger.warning("what is unconfirmed waits: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await stop.wait()
