"""What loading a patient's bundle for a bed says to the streams."""

from uuid import UUID, uuid5

from stream_processors.record_gateway.fhir_bundle import PatientRecord
from stream_processors.record_gateway.pseudonym import pseudonym_of
from wardstream.contracts.record import RecordEvent, RecordEventKind
from wardstream.contracts.timebase import TimestampNs

_NAMESPACE = UUID("6a7a5f42-3df0-5a6c-8c0b-2f5cf0a1f5de")


def admission(
    record: PatientRecord,
    site_secret: bytes,
    *,
    bed_id: str,
    effective_time_ns: TimestampNs,
    recorded_time_ns: TimestampNs,
) -> tuple[RecordEvent, RecordEvent]:
    """The patient is in the bed, and this is known of them, from `effective_time_ns` on.

    The same admission said twice has the same event ids and happens once.

    Raises
    ------
    OutOfRangeError
        The bed id is malformed.
    """
    pseudonym = pseudonym_of(site_secret, record.identifier_system, record.identifier)

    def event(kind: RecordEventKind) -> RecordEvent:
        name = f"{kind}/{bed_id}/{pseudonym}/{effective_time_ns}"
        return RecordEvent(
            event_id=str(uuid5(_NAMESPACE, name)),
            kind=kind,
            bed_id=bed_id,
            pseudonym=pseudonym,
            effective_time_ns=effective_time_ns,
            recorded_time_ns=recorded_time_ns,
            context=record.context if kind is RecordEventKind.CONTEXT else None,
        )

    return event(RecordEventKind.ASSIGNED), event(RecordEventKind.CONTEXT)


def release(
    *, bed_id: str, effective_time_ns: TimestampNs, recorded_time_ns: TimestampNs
) -> RecordEvent:
    """The bed is empty from `effective_time_ns` on.

    Raises
    ------
    OutOfRangeError
        The bed id is malformed.
    """
    return RecordEvent(
        event_id=str(uuid5(_NAMESPACE, f"released/{bed_id}/{effective_time_ns}")),
        kind=RecordEventKind.RELEASED,
        bed_id=bed_id,
        pseudonym="",
        effective_time_ns=effective_time_ns,
        recorded_time_ns=recorded_time_ns,
    )
