"""One batch of device messages, one transaction."""

import base64
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString, TypeVar

from cloud_api.adapters.database import Connection, KeptConnection
from cloud_api.adapters.device_writer import StatusReport, write_statuses
from cloud_api.adapters.event_writer import (
    SitedEvent,
    alert_owners,
    announce_journal,
    hold_intake_lock,
    write_events,
)
from cloud_api.core.intake import OWN_LANES, Accepted, DeviceMessage, Refused, refuse
from cloud_api.core.ports import CommitResult
from wardstream.contracts.alert import AlertEvent
from wardstream.contracts.device import DeviceStatus
from wardstream.contracts.identity import CommitWatermark, GapNotice, Lane, StreamKey
from wardstream.contracts.timebase import TimestampNs, to_datetime
from wardstream.contracts.waveform import AlertStrip

M = TypeVar("M", bound=DeviceMessage)

_INSERT_STRIP: Final[LiteralString] = """
    INSERT INTO alert_strip (alert_id, device_id, boot_id, sequence_number, payload, stored_time_ns)
    SELECT %s, %s, %s, %s, %s, %s
    WHERE NOT EXISTS (SELECT FROM alert_strip
                      WHERE (device_id, boot_id, sequence_number) = (%s, %s, %s))
"""

_INSERT_LETTER: Final[LiteralString] = """
    INSERT INTO dead_letter
        (letter_id, origin, device_id, reason, payload, received_time, received_time_ns)
    VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (letter_id) DO NOTHING
"""

_INSERT_GAP: Final[LiteralString] = """
    INSERT INTO frame_gap
        (device_id, boot_id, lane, first_sequence_number, last_sequence_number, reason)
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


@dataclass(slots=True)
class _Handled:
    """Numbers of each stream that are settled by this batch."""

    ranges: dict[tuple[str, StreamKey], list[str]] = field(
        default_factory=lambda: defaultdict[tuple[str, StreamKey], list[str]](list)
    )

    def add(self, site_id: str, stream: StreamKey, first: int, last: int | None = None) -> None:
        self.ranges[site_id, stream].append(f"[{first},{first if last is None else last}]")


class PostgresIntakeStore:
    """The writing side of the alarm path."""

    def __init__(self, connection: KeptConnection) -> None:
        self._connection = connection

    async def commit(
        self, accepted: Sequence[Accepted], refused: Sequence[Refused], now_ns: int
    ) -> CommitResult:
        """Write all of it in one transaction, each message once for ever.

        Raises
        ------
        StoreAwayError
            Nothing is known of the outcome; the same batch again does no harm.
        ContractError
            One of the messages cannot be stored, whatever is tried; nothing was written.
        """
        async with self._connection.use() as connection, connection.transaction():
            return await _write(connection, accepted, refused, now_ns)


async def _write(
    connection: Connection, accepted: Sequence[Accepted], refused: Sequence[Refused], now_ns: int
) -> CommitResult:
    handled = _Handled()
    statuses = [
        StatusReport(one.message, one.inbound.retained, one.inbound.received_time_ns)
        for one in accepted
        if isinstance(one.message, DeviceStatus)
    ]
    await write_statuses(connection, statuses)
    if any(isinstance(one.message, AlertEvent | AlertStrip) for one in accepted):
        await hold_intake_lock(connection)
    events, strays = await _own_events(connection, accepted)
    strips = [one for one in accepted if isinstance(one.message, AlertStrip)]
    n_new_events = await write_events(
        connection, [SitedEvent(site, event) for site, event in events], now_ns
    )
    for site, event in events:
        stream = StreamKey(event.device_id, event.boot_id, Lane.ALERT)
        handled.add(site, stream, event.sequence_number)
    n_new_strips = await _write_strips(connection, strips, handled, now_ns)
    await _write_gaps(connection, accepted, handled)
    n_letters = await _write_letters(connection, [*refused, *strays], handled)
    watermarks = await _advance(connection, handled)
    if n_new_events or n_new_strips:
        await announce_journal(connection)
    return CommitResult(watermarks=watermarks, n_new_events=n_new_events, n_new_letters=n_letters)


async def _own_events(
    connection: Connection, accepted: Sequence[Accepted]
) -> tuple[list[tuple[str, AlertEvent]], list[Refused]]:
    # An alert belongs to the device that raised it; another device that names it is refused.
    events: list[tuple[str, AlertEvent]] = []
    strays: list[Refused] = []
    offered = [(one, one.message) for one in accepted if isinstance(one.message, AlertEvent)]
    if not offered:
        return events, strays
    owners = await alert_owners(connection, (event.alert_id for _, event in offered))
    for one, event in offered:
        owner = owners.setdefault(event.alert_id, event.device_id)
        if owner == event.device_id:
            events.append((one.site_id, event))
        else:
            strays.append(refuse(one, f"alert {event.alert_id} is of device {owner!r}"))
    return events, strays


async def _write_strips(
    connection: Connection, strips: Sequence[Accepted], handled: _Handled, now_ns: int
) -> int:
    n_new = 0
    for one in strips:
        strip = one.message
        if not isinstance(strip, AlertStrip):
            continue
        identity = (strip.device_id, strip.boot_id, strip.sequence_number)
        cursor = await connection.execute(
            _INSERT_STRIP, (strip.alert_id, *identity, one.inbound.payload, now_ns, *identity)
        )
        n_new += cursor.rowcount
        await connection.execute(
            "UPDATE alert SET has_strip = true"
            " WHERE alert_id = %s AND device_id = %s AND NOT has_strip",
            (strip.alert_id, strip.device_id),
        )
        stream = StreamKey(strip.device_id, strip.boot_id, Lane.STRIP)
        handled.add(one.site_id, stream, strip.sequence_number)
    return n_new


async def _write_gaps(
    connection: Connection, accepted: Sequence[Accepted], handled: _Handled
) -> None:
    for one in accepted:
        gap = one.message
        if not isinstance(gap, GapNotice) or gap.lane not in OWN_LANES:
            continue  # gaps of frames are the stream tier's
        first, last = gap.first_sequence_number, gap.last_sequence_number
        await connection.execute(
            _INSERT_GAP, (gap.device_id, gap.boot_id, gap.lane.value, first, last, gap.reason)
        )
        handled.add(one.site_id, StreamKey(gap.device_id, gap.boot_id, gap.lane), first, last)


async def _write_letters(
    connection: Connection, refused: Sequence[Refused], handled: _Handled
) -> int:
    n_new = 0
    for one in refused:
        letter = one.letter
        cursor = await connection.execute(
            _INSERT_LETTER,
            (
                letter.letter_id,
                letter.origin,
                letter.device_id,
                letter.reason,
                base64.b64decode(letter.payload_base64),
                to_datetime(TimestampNs(letter.received_time_ns)),
                letter.received_time_ns,
            ),
        )
        n_new += cursor.rowcount
        if one.stream is not None:
            number = one.sequence_number
            handled.add(one.site_id, one.stream, number)
            await connection.execute(
                _INSERT_GAP,
                (
                    one.stream.device_id,
                    one.stream.boot_id,
                    one.stream.lane.value,
                    number,
                    number,
                    f"dead letter {letter.letter_id}",
                ),
            )
    return n_new


async def _advance(connection: Connection, handled: _Handled) -> list[tuple[str, CommitWatermark]]:
    watermarks: list[tuple[str, CommitWatermark]] = []
    for (site_id, stream), ranges in sorted(handled.ranges.items()):
        cursor = await connection.execute(
            "SELECT commit_handled(%s, %s::uuid, %s, %s::int8multirange) AS reached",
            (stream.device_id, stream.boot_id, stream.lane.value, "{" + ",".join(ranges) + "}"),
        )
        row = await cursor.fetchone()
        if row is not None and row["reached"] >= 0:
            watermark = CommitWatermark(
                device_id=stream.device_id,
                boot_id=stream.boot_id,
                lane=stream.lane,
                sequence_number=row["reached"],
            )
            watermarks.append((site_id, watermark))
    return watermarks
