"""What people do with what was held back: say what it is, refuse it, have it replayed."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from psycopg import AsyncConnection

from stream_processors.core.harmonising import Mapped, harmonise
from stream_processors.core.observation import PatientFacts
from stream_processors.core.terminology import LocalMapping
from stream_processors.harmonise.harmoniser import Harmoniser
from stream_processors.harmonise.store import (
    HeldRow,
    TerminologyKeeper,
    keep_local_mapping,
    read_held,
    read_one_held,
    write_harmonised,
)
from wardstream.contracts.errors import ConfigurationError, OutOfRangeError

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did; ``n_looked_at == n_replayed + n_still_held``.

    Attributes
    ----------
    n_looked_at : int
        Rows tried.
    n_replayed : int
        Observations now.
    n_still_held : int
        Held still, with the reason of now.
    """

    n_looked_at: int
    n_replayed: int
    n_still_held: int


async def map_held(
    connection: AsyncConnection[Any],
    harmoniser: Harmoniser,
    held: HeldRow,
    *,
    concept: str,
    unit: str | None,
    decided_by: str,
    this_only: bool,
    this_source: bool,
) -> int:
    """Say that `held`, or everything with its code, unit and sender, is of `concept`.

    Parameters
    ----------
    connection : AsyncConnection
        In a transaction.
    harmoniser : Harmoniser
        Knows the concepts.
    held : HeldRow
        What was looked at.
    concept : str
        Name of a concept of the graph.
    unit : str or None
        UCUM unit of such values; None: as stated.
    decided_by : str
        Who says so.
    this_only : bool
        This one row and no rule.
    this_source : bool
        A rule for its sender alone.

    Returns
    -------
    int
        Waiting rows it speaks of.

    Raises
    ------
    ConfigurationError
        No such concept, or the unit does not measure it.
    OutOfRangeError
        The row is decided already.
    """
    if held.state not in ("waiting", "mapped"):
        raise OutOfRangeError(f"{held.quarantine_id} is {held.state}; only what waits is mapped")
    harmoniser.check_mapping(concept, unit)
    if this_only:
        await connection.execute(
            "UPDATE quarantine SET state = 'mapped', decided_by = %s, decided_time = now(),"
            " decided_concept = %s, decided_unit = %s WHERE quarantine_id = %s",
            (decided_by, concept, unit, held.quarantine_id),
        )
        return 1
    stated = held.observation
    mapping = LocalMapping(
        code_system=stated.code_system,
        code=stated.code,
        code_text=stated.code_text,
        stated_unit=stated.unit or "",
        source=stated.source if this_source else "",
        concept=concept,
        unit=unit,
    )
    return await keep_local_mapping(connection, mapping, decided_by)


async def refuse_held(connection: AsyncConnection[Any], held: HeldRow, decided_by: str) -> None:
    """Say that `held` is no observation of that patient; it stays on record.

    Raises
    ------
    OutOfRangeError
        It was replayed already.
    """
    if held.state == "replayed":
        raise OutOfRangeError(f"{held.quarantine_id} was replayed and is an observation now")
    await connection.execute(
        "UPDATE quarantine SET state = 'refused', decided_by = %s, decided_time = now()"
        " WHERE quarantine_id = %s",
        (decided_by, held.quarantine_id),
    )


async def replay_held(
    connection: AsyncConnection[Any], harmoniser: Harmoniser, received_time_ns: int
) -> ReplayReport:
    """Harmonise again all that waits or was mapped; what maps now becomes an observation.

    Each batch is one transaction; a replay that was cut off goes on where it stopped, and one
    that runs twice changes nothing.
    """
    keeper = TerminologyKeeper(harmoniser)
    after: str | None = None
    n_looked_at = n_replayed = 0
    while True:
        async with connection.transaction():
            await keeper.refresh(connection)
            rows = await read_held(connection, ("waiting", "mapped"), _BATCH, after)
            for row in rows:
                n_replayed += await _replay_one(connection, harmoniser, row, received_time_ns)
        n_looked_at += len(rows)
        if len(rows) < _BATCH:
            return ReplayReport(n_looked_at, n_replayed, n_looked_at - n_replayed)
        after = rows[-1].quarantine_id


async def _replay_one(
    connection: AsyncConnection[Any], harmoniser: Harmoniser, row: HeldRow, received_time_ns: int
) -> bool:
    # Locked, for a person may decide the same row at this moment.
    locked = await read_one_held(connection, row.quarantine_id)
    if locked is None or locked.state not in ("waiting", "mapped"):
        return False
    facts = await patient_facts(connection, locked.observation.pseudonym)
    result = harmonise(harmoniser.terminology, locked.observation, facts, locked.decision)
    if not isinstance(result, Mapped):
        await connection.execute(
            "UPDATE quarantine SET reason = %s, reason_text = %s, concept = %s"
            " WHERE quarantine_id = %s AND reason_text <> %s",
            (
                result.reason.value, result.text, result.concept,
                row.quarantine_id, result.text,
            ),
        )  # fmt: skip
        return False
    await write_harmonised(connection, [result], received_time_ns)
    await connection.execute(
        "UPDATE quarantine SET state = 'replayed', observation_id = %s WHERE quarantine_id = %s",
        (result.observation_id, row.quarantine_id),
    )
    return True


async def patient_facts(connection: AsyncConnection[Any], pseudonym: str) -> PatientFacts:
    """Birth year and sex as the record last said; a year is its middle."""
    cursor = await connection.execute(
        "SELECT context ->> 'birth_year', context ->> 'sex' FROM patient_context"
        " WHERE pseudonym = %s ORDER BY effective_time_ns DESC, recorded_time_ns DESC LIMIT 1",
        (pseudonym,),
    )
    row = await cursor.fetchone()
    if row is None:
        return PatientFacts()
    born = date(int(row[0]), 7, 1) if row[0] is not None else None
    return PatientFacts(birth_date=born, sex=None if row[1] in (None, "unknown") else str(row[1]))


async def decide_contradiction(
    connection: AsyncConnection[Any], observation_id: str, *, use: bool, decided_by: str
) -> int:
    """Say of a contradicted observation whether it is to be used; returns 0 if there is none.

    Using one refuses those of the same patient, concept and time that nobody has decided.

    Raises
    ------
    ConfigurationError
        The identity is ambiguous: more digits are needed.
    """
    cursor = await connection.execute(
        "SELECT observation_id::text, pseudonym, concept, time_ns, time FROM observations"
        " WHERE observation_id::text LIKE %s || '%%' AND contradicted LIMIT 2",
        (observation_id,),
    )
    rows = await cursor.fetchall()
    if len(rows) > 1:
        raise ConfigurationError([f"{observation_id} begins more than one identity"])
    if not rows:
        return 0
    identity, pseudonym, concept, time_ns, time = rows[0]
    decision = "use" if use else "refuse"
    cursor = await connection.execute(
        "UPDATE observations SET decision = CASE WHEN observation_id = %s THEN %s"
        " ELSE 'refuse' END, decided_by = %s, decided_time = now()"
        " WHERE pseudonym = %s AND concept = %s AND time = %s AND time_ns = %s AND contradicted"
        " AND (observation_id = %s OR (%s AND decision IS NULL))",
        (identity, decision, decided_by, pseudonym, concept, time, time_ns, identity, use),
    )
    return cursor.rowcount
