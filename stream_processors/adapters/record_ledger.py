"""The record gateway's memory in PostgreSQL."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Json

from stream_processors.adapters.store import Store
from stream_processors.core.ledger import Answer, MessageKey, OutboxRow
from stream_processors.core.occupancy import Movement, MovementKind
from stream_processors.core.registry import BedPoint, Changes, KnownPatient, Registry
from wardstream.contracts.record import PatientContext, Problem
from wardstream.contracts.topics import DEAD_LETTER, OBSERVATIONS, RECORD_EVENTS

_TOPICS: Final = {topic.name: topic for topic in (RECORD_EVENTS, OBSERVATIONS, DEAD_LETTER)}
_FORGET: Final = (
    "DELETE FROM record_message WHERE received_time < now() - interval '14 days'",
    "DELETE FROM record_observed WHERE stored_time < now() - interval '14 days'",
)
_CONFIRMED: Final = """
    DELETE FROM record_outbox o WHERE
        (kind = 'bed' AND EXISTS (SELECT FROM bed_assignment b WHERE b.event_id = o.row_id))
        OR (kind = 'context'
            AND EXISTS (SELECT FROM patient_context c WHERE c.event_id = o.row_id))
        OR (kind = 'letter'
            AND EXISTS (SELECT FROM dead_letter d WHERE d.letter_id = o.row_id::uuid))
        OR (kind = 'observation'
            AND EXISTS (SELECT FROM record_observed s WHERE s.message_id = o.row_id::uuid))
"""


class _Known(msgspec.Struct):
    """`KnownPatient` as stored: of the day of birth only the year."""

    birth_year: int | None
    sex: str | None
    problems: tuple[Problem, ...]
    charted: tuple[PatientContext, ...]


class StoredLedger:
    """See `ledger.RecordLedger`; borrows its connections from `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self) -> Registry:
        """The registry as stored."""
        async with self._store.connection() as connection:
            return Registry(
                await _movements(connection),
                await _points(connection),
                await _patients(connection),
            )

    async def answered(self, key: MessageKey) -> Answer | None:
        """What that message was answered before, None if it is new."""
        async with self._store.connection() as connection:
            cursor = await connection.execute(
                "SELECT answer, answer_text, condition_code FROM record_message"
                " WHERE sender = %s AND control_id = %s AND digest = %s",
                (key.sender, key.control_id, key.digest),
            )
            row = await cursor.fetchone()
        return None if row is None else Answer(code=row[0], text=row[1], condition=row[2])

    async def keep(
        self, key: MessageKey, answer: Answer, changes: Changes, rows: Sequence[OutboxRow]
    ) -> None:
        """All of it in one transaction; repeats do no harm."""
        async with self._store.connection() as connection:
            await connection.execute(
                "INSERT INTO record_message"
                " (sender, control_id, digest, answer, answer_text, condition_code)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (key.sender, key.control_id, key.digest, answer.code, answer.text,
                 answer.condition),
            )  # fmt: skip
            await _keep(connection, changes, rows)

    async def keep_rows(self, changes: Changes, rows: Sequence[OutboxRow]) -> None:
        """Store what was said without a message of its own."""
        async with self._store.connection() as connection:
            await _keep(connection, changes, rows)

    async def unconfirmed(self, limit: int) -> Sequence[OutboxRow]:
        """Rows in the outbox that did not become theirs yet, oldest first; drops those that did."""
        async with self._store.connection() as connection:
            await connection.execute(_CONFIRMED)
            for statement in _FORGET:
                await connection.execute(statement)
            cursor = await connection.execute(
                "SELECT row_id, kind, topic, partition_key, payload, timestamp_ms"
                " FROM record_outbox ORDER BY position LIMIT %s",
                (limit,),
            )
            rows = await cursor.fetchall()
        return [OutboxRow(
            row_id=row[0], kind=row[1], topic=_TOPICS[row[2]], partition_key=row[3],
            payload=bytes(row[4]), timestamp_ms=row[5],
        ) for row in rows]  # fmt: skip

    async def cursor(self, server: str, resource_type: str) -> str | None:
        """How far that server was read."""
        async with self._store.connection() as connection:
            found = await connection.execute(
                "SELECT last_updated FROM fhir_cursor WHERE server = %s AND resource_type = %s",
                (server, resource_type),
            )
            row = await found.fetchone()
        return None if row is None else str(row[0])

    async def move_cursor(self, server: str, resource_type: str, last_updated: str) -> None:
        """Note how far it was read."""
        async with self._store.connection() as connection:
            await connection.execute(
                "INSERT INTO fhir_cursor (server, resource_type, last_updated) VALUES (%s, %s, %s)"
                " ON CONFLICT (server, resource_type)"
                " DO UPDATE SET last_updated = excluded.last_updated, stored_time = now()",
                (server, resource_type, last_updated),
            )


async def _keep(
    connection: AsyncConnection[Any], changes: Changes, rows: Sequence[OutboxRow]
) -> None:
    cursor = connection.cursor()
    if changes.movements:
        await cursor.executemany(
            "INSERT INTO record_movement (movement_id, kind, pseudonym, encounter_id, bed_id,"
            " effective_time_ns, recorded_time_ns, merged_into)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (m.movement_id, m.kind.value, m.pseudonym, m.encounter_id, m.bed_id,
                 m.effective_time_ns, m.recorded_time_ns, m.merged_into)
                for m in changes.movements
            ],
        )  # fmt: skip
    if changes.points:
        await cursor.executemany(
            "INSERT INTO record_bed_point AS told"
            " (bed_id, effective_time_ns, pseudonym, recorded_time_ns) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (bed_id, effective_time_ns) DO UPDATE"
            " SET pseudonym = excluded.pseudonym, recorded_time_ns = excluded.recorded_time_ns"
            " WHERE told.recorded_time_ns < excluded.recorded_time_ns",
            [
                (p.bed_id, p.effective_time_ns, p.pseudonym, p.recorded_time_ns)
                for p in changes.points
            ],
        )
    if changes.patients:
        await cursor.executemany(
            "INSERT INTO record_patient (pseudonym, known) VALUES (%s, %s)"
            " ON CONFLICT (pseudonym) DO UPDATE SET known = excluded.known, stored_time = now()",
            [(p.pseudonym, Json(msgspec.to_builtins(_stored(p)))) for p in changes.patients],
        )
    if rows:
        await cursor.executemany(
            "INSERT INTO record_outbox (row_id, kind, topic, partition_key, payload, timestamp_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (r.row_id, r.kind, r.topic.name, r.partition_key, r.payload, r.timestamp_ms)
                for r in rows
            ],
        )


def _stored(known: KnownPatient) -> _Known:
    return _Known(
        birth_year=known.birth_date.year if known.birth_date else None,
        sex=known.sex,
        problems=known.problems,
        charted=known.charted,
    )


async def _movements(connection: AsyncConnection[Any]) -> list[Movement]:
    cursor = await connection.execute(
        "SELECT movement_id, kind, pseudonym, encounter_id, bed_id, effective_time_ns,"
        " recorded_time_ns, merged_into FROM record_movement"
    )
    return [
        Movement(
            movement_id=row[0],
            kind=MovementKind(row[1]),
            pseudonym=row[2],
            encounter_id=row[3],
            bed_id=row[4],
            effective_time_ns=row[5],
            recorded_time_ns=row[6],
            merged_into=row[7],
        )
        for row in await cursor.fetchall()
    ]


async def _points(connection: AsyncConnection[Any]) -> list[BedPoint]:
    cursor = await connection.execute(
        "SELECT bed_id, effective_time_ns, pseudonym, recorded_time_ns FROM record_bed_point"
    )
    return [
        BedPoint(bed_id=r[0], effective_time_ns=r[1], pseudonym=r[2], recorded_time_ns=r[3])
        for r in await cursor.fetchall()
    ]


async def _patients(connection: AsyncConnection[Any]) -> list[KnownPatient]:
    cursor = await connection.execute("SELECT pseudonym, known FROM record_patient")
    found: list[KnownPatient] = []
    for pseudonym, raw in await cursor.fetchall():
        known = msgspec.convert(raw, _Known)
        found.append(
            KnownPatient(
                pseudonym=pseudonym,
                birth_date=None if known.birth_year is None else date(known.birth_year, 7, 1),
                is_day_known=known.birth_year is None,
                sex=known.sex,
                problems=known.problems,
                charted=known.charted,
            )
        )
    return found
