"""Stored observations, quarantine and local mappings: all SQL of the harmoniser.

Every write is idempotent, by identities made of what was stated: a message that comes again, or
a batch written again after a crash, changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from stream_processors.core.harmonising import Harmonised, Mapped, Quarantined
from stream_processors.core.observation import Observation
from stream_processors.core.terminology import LocalMapping
from stream_processors.harmonise.harmoniser import Harmoniser
from wardstream.contracts.timebase import TimestampNs, to_datetime

_OBSERVATION_COLUMNS: Final = (
    "observation_id, time, time_ns, pseudonym, encounter_id, kind, concept, code_system, code,"
    " value, value_text, unit, flags, stated_code_system, stated_code, stated_value, stated_unit,"
    " source, message_id"
)
_QUARANTINE_COLUMNS: Final = (
    "quarantine_id, received_time, reason, reason_text, concept, pseudonym, encounter_id, time,"
    " time_ns, code_system, code, code_text, value_text, value_is_number, unit, source, message_id"
)
_SEVENTEEN: Final = "%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s"
# Statements of constants only; what is stated goes as parameters.
_STAGE: Final = (
    f"CREATE TEMP TABLE IF NOT EXISTS observation_stage AS"  # noqa: S608
    f" SELECT {_OBSERVATION_COLUMNS} FROM observations WITH NO DATA"
)
_INSERT: Final = (
    f"INSERT INTO observations ({_OBSERVATION_COLUMNS})"  # noqa: S608
    f" SELECT {_OBSERVATION_COLUMNS} FROM observation_stage ON CONFLICT DO NOTHING"
)
_HOLD: Final = (
    f"INSERT INTO quarantine ({_QUARANTINE_COLUMNS})"  # noqa: S608
    f" VALUES ({_SEVENTEEN}) ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class WrittenObservations:
    """What a batch changed.

    Attributes
    ----------
    n_stored, n_held : int
        New rows of ``observations`` and of ``quarantine``.
    n_repeated : int
        Statements that were there already.
    n_contradicted : int
        Rows, new or old, that are marked as contradicted from now on.
    """

    n_stored: int
    n_held: int
    n_repeated: int
    n_contradicted: int


async def write_harmonised(
    connection: AsyncConnection[Any], results: Sequence[Harmonised], received_time_ns: int
) -> WrittenObservations:
    """Store a batch, mapped and held back, in the transaction of `connection`.

    Raises
    ------
    psycopg.Error
        The transaction is lost as a whole; the batch can be written again.
    """
    mapped = {one.observation_id: one for one in results if isinstance(one, Mapped)}
    held = {one.quarantine_id: one for one in results if isinstance(one, Quarantined)}
    n_stored, n_contradicted = await _write_mapped(connection, list(mapped.values()))
    n_held = await _write_held(connection, list(held.values()), received_time_ns)
    n_repeated = len(results) - n_stored - n_held
    return WrittenObservations(n_stored, n_held, n_repeated, n_contradicted)


async def _write_mapped(
    connection: AsyncConnection[Any], mapped: Sequence[Mapped]
) -> tuple[int, int]:
    if not mapped:
        return 0, 0
    # Two writers that contradict one another must see each other: one patient at a time.
    await connection.execute(
        "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT hashtextextended(name, 6) AS key"
        " FROM unnest(%s::text[]) AS name ORDER BY key) AS patients",
        ([_clean(one.observation.pseudonym) for one in mapped],),
    )
    await connection.execute(_STAGE)
    await connection.execute("TRUNCATE observation_stage")
    cursor = connection.cursor()
    async with cursor.copy(f"COPY observation_stage ({_OBSERVATION_COLUMNS}) FROM STDIN") as copy:
        for one in mapped:
            await copy.write_row(_mapped_row(one))
    await cursor.execute(_INSERT)
    n_stored = cursor.rowcount
    if n_stored == 0:
        return 0, 0
    await cursor.execute(
        "SELECT mark_contradictions(array_agg(pseudonym), array_agg(concept), array_agg(time))"
        " FROM observation_stage"
    )
    row = await cursor.fetchone()
    return n_stored, int(row[0]) if row is not None else 0


def _mapped_row(one: Mapped) -> tuple[object, ...]:
    stated = one.observation
    return (
        one.observation_id,
        to_datetime(stated.time_ns),
        stated.time_ns,
        _clean(stated.pseudonym),
        _clean(stated.encounter_id),
        one.concept.kind.value,
        one.concept.name,
        one.concept.code_system,
        one.concept.code,
        one.value,
        _clean(one.text),
        one.unit,
        [flag.value for flag in one.flags],
        _clean(stated.code_system),
        _clean(stated.code),
        None if stated.value is None else _clean(str(stated.value)),
        _clean(stated.unit),
        _clean(stated.source),
        _clean(stated.message_id),
    )


async def _write_held(
    connection: AsyncConnection[Any], held: Sequence[Quarantined], received_time_ns: int
) -> int:
    if not held:
        return 0
    received = to_datetime(TimestampNs(received_time_ns))
    cursor = connection.cursor()
    await cursor.executemany(
        _HOLD,
        [_held_row(one, received) for one in held],
    )
    return cursor.rowcount


def _held_row(one: Quarantined, received: object) -> tuple[object, ...]:
    stated = one.observation
    return (
        one.quarantine_id,
        received,
        one.reason.value,
        _clean(one.text),
        one.concept,
        _clean(stated.pseudonym),
        _clean(stated.encounter_id),
        to_datetime(stated.time_ns),
        stated.time_ns,
        _clean(stated.code_system),
        _clean(stated.code),
        _clean(stated.code_text),
        None if stated.value is None else _clean(str(stated.value)),
        isinstance(stated.value, float | int),
        _clean(stated.unit),
        _clean(stated.source),
        _clean(stated.message_id),
    )


def _clean(text: str | None) -> Any:
    # What PostgreSQL's text cannot hold is shown as what it is: a character that was lost.
    if text is None:
        return None
    return text.replace("\x00", "�").encode("utf-8", "replace").decode()


class TerminologyKeeper:
    """Keeps a harmoniser's local mappings those of the database."""

    def __init__(self, harmoniser: Harmoniser) -> None:
        self._harmoniser = harmoniser
        self._version = -1

    async def refresh(self, connection: AsyncConnection[Any]) -> bool:
        """Read the mappings if they changed; to be called before each batch. Costs one row."""
        cursor = await connection.execute("SELECT last_value, is_called FROM terminology_version")
        row = await cursor.fetchone()
        version = 0 if row is None or not row[1] else int(row[0])
        if version == self._version:
            return False
        self._harmoniser.learn(await read_local_mappings(connection))
        self._version = version
        return True


async def read_local_mappings(connection: AsyncConnection[Any]) -> list[LocalMapping]:
    """What people said of this site's codes."""
    cursor = await connection.execute(
        "SELECT code_system, code, code_text, stated_unit, source, concept, unit"
        " FROM local_mappings ORDER BY decided_time"
    )
    return [
        LocalMapping(
            code_system=row[0], code=row[1], code_text=row[2], stated_unit=row[3],
            source=row[4], concept=row[5], unit=row[6],
        )
        for row in await cursor.fetchall()
    ]  # fmt: skip


async def keep_local_mapping(
    connection: AsyncConnection[Any], mapping: LocalMapping, decided_by: str
) -> int:
    """Store what a person said; returns how many waiting observations it speaks of.

    A mapping of the same key is replaced.
    """
    code_system, code, words, stated_unit, source = mapping.key
    key = (code_system, code, words, stated_unit)
    await connection.execute(
        "INSERT INTO local_mappings (code_system, code, code_text, stated_unit, source, concept,"
        " unit, decided_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (code_system, code, code_text, stated_unit, source) DO UPDATE"
        " SET concept = excluded.concept, unit = excluded.unit,"
        " decided_by = excluded.decided_by, decided_time = now()",
        (*key, source, mapping.concept, mapping.unit, decided_by),
    )
    cursor = await connection.execute(
        "UPDATE quarantine SET state = 'mapped', decided_by = %s, decided_time = now()"
        " WHERE state = 'waiting' AND code_system = %s AND code = %s"
        " AND (code <> '' OR code_text = %s) AND coalesce(unit, '') = %s"
        " AND (%s = '' OR source = %s)",
        (decided_by, code_system, code, mapping.code_text, stated_unit, source, source),
    )
    return cursor.rowcount


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """One row of the quarantine.

    Attributes
    ----------
    quarantine_id, state, reason, reason_text : str
        As stored.
    concept : str or None
        Where it was found.
    observation : Observation
        As it was stated.
    decided_by, decided_concept, decided_unit : str or None
        Who decided, and what was decided of this row alone.
    """

    quarantine_id: str
    state: str
    reason: str
    reason_text: str
    concept: str | None
    observation: Observation
    decided_by: str | None
    decided_concept: str | None
    decided_unit: str | None

    @property
    def decision(self) -> LocalMapping | None:
        """What a person said of this row alone."""
        if self.decided_concept is None:
            return None
        stated = self.observation
        return LocalMapping(
            code_system=stated.code_system,
            code=stated.code,
            code_text=stated.code_text,
            stated_unit=stated.unit or "",
            source=stated.source,
            concept=self.decided_concept,
            unit=self.decided_unit,
        )


_HELD: Final = (
    "SELECT quarantine_id::text, state, reason, reason_text, concept, pseudonym, encounter_id,"
    " time_ns, code_system, code, code_text, value_text, value_is_number, unit, source,"
    " message_id, decided_by, decided_concept, decided_unit FROM quarantine"
)


async def read_held(
    connection: AsyncConnection[Any], states: Sequence[str], limit: int, after: str | None = None
) -> list[HeldRow]:
    """Rows in `states`, in order of identity from `after` on."""
    cursor = await connection.execute(
        _HELD + " WHERE state = ANY(%s) AND quarantine_id > %s ORDER BY quarantine_id LIMIT %s",
        (list(states), after or "00000000-0000-0000-0000-000000000000", limit),
    )
    return [_held(row) for row in await cursor.fetchall()]


async def read_one_held(connection: AsyncConnection[Any], beginning: str) -> HeldRow | None:
    """The row whose identity begins so; None if there is none, or more than one."""
    cursor = await connection.execute(
        _HELD + " WHERE quarantine_id::text LIKE %s || '%%' LIMIT 2 FOR UPDATE", (beginning,)
    )
    rows = await cursor.fetchall()
    return _held(rows[0]) if len(rows) == 1 else None


def _held(row: tuple[Any, ...]) -> HeldRow:
    value: float | str | None = float(row[11]) if row[12] else row[11]
    return HeldRow(
        quarantine_id=row[0],
        state=row[1],
        reason=row[2],
        reason_text=row[3],
        concept=row[4],
        observation=Observation(
            pseudonym=row[5],
            encounter_id=row[6],
            time_ns=TimestampNs(row[7]),
            code_system=row[8],
            code=row[9],
            code_text=row[10],
            value=value,
            unit=row[13],
            source=row[14],
            message_id=row[15],
        ),
        decided_by=row[16],
        decided_concept=row[17],
        decided_unit=row[18],
    )
