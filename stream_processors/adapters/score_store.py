"""The database side of scoring: what is due, what the store holds of it, and the answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection, sql
from psycopg.types.json import Json

from stream_processors.adapters.context_rows import read_context_changes
from stream_processors.adapters.store import Store
from stream_processors.core.alert_support import JUDGED, support_of
from stream_processors.core.context import ContextTable, JoinedContext
from stream_processors.core.patient_scores import (
    N_HOURS,
    VITALS,
    MinuteScores,
    Usual,
    judge_deterioration,
    score_minutes,
    usual_of,
)
from stream_processors.core.record_inputs import RECORD_INPUTS, Stated, stated
from wardstream.alerting.drift import N_BINS, counts_of, largest_gap, stability_index
from wardstream.contracts.alert import Condition
from wardstream.contracts.timebase import NS_PER_S
from wardstream.inference.deterioration.features import FEATURES
from wardstream.inference.deterioration.model import (
    DeteriorationManifest,
    DeteriorationModel,
    Judgements,
)

Floats = NDArray[np.float64]

_MINUTES_A_TURN: Final = 200
_ALERTS_A_TURN: Final = 50
_ALERT_FRAMES_S: Final = 20
_FRAMES_ARRIVE_S: Final = 8
_N_TOP: Final = 5
_MINUTE: Final = timedelta(minutes=1)
_ABSTAINED: Final = "nothing but demographics is known"

_CLAIM: Final = (
    "DELETE FROM score_due WHERE (device_id, time) IN (SELECT device_id, time FROM score_due"
    " WHERE marked_time < now() - make_interval(secs => %s) ORDER BY time, device_id LIMIT %s"
    " FOR UPDATE SKIP LOCKED) RETURNING device_id, time"
)
_MINUTES: Final = (
    "SELECT f.device_id, due.time, f.bed_id, f.pseudonym, count(*)::integer,"
    " avg(coalesce(f.heart_rate_per_min, f.pulse_rate_ppg_per_min, f.pulse_rate_abp_per_min)),"
    " avg(f.respiration_rate_per_min), avg(f.spo2_percent), avg(f.temperature_celsius),"
    " avg(f.abp_systolic_mmhg), avg(f.abp_diastolic_mmhg), avg(f.abp_mean_mmhg)"
    " FROM unnest(%s::text[], %s::timestamptz[]) AS due(device_id, time)"
    " JOIN feature_frame f ON f.device_id = due.device_id"
    " AND f.time >= due.time AND f.time < due.time + interval '1 minute'"
    " WHERE f.time >= %s AND f.time < %s AND f.pseudonym IS NOT NULL AND f.bed_id IS NOT NULL"
    " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)
_FORGET: Final = (
    "DELETE FROM patient_score s USING unnest(%s::text[], %s::timestamptz[]) AS due(device_id, time)"
    " WHERE s.device_id = due.device_id AND s.time = due.time AND s.time >= %s AND s.time < %s"
)
_INSERT: Final = (
    "INSERT INTO patient_score (device_id, time, bed_id, pseudonym, n_frames, vitals,"
    " news2_low, news2_high, mews_low, mews_high, qsofa_low, qsofa_high, shock_index)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
# One patient watched by two devices has the mean of both.
_HOURS: Final = (
    "SELECT asked.number, floor(extract(epoch FROM asked.time - s.time) / 3600)::integer AS hour,"
    " avg(s.vitals[1]), avg(s.vitals[2]), avg(s.vitals[3]), avg(s.vitals[4]), avg(s.vitals[5]),"
    " avg(s.vitals[6]), avg(s.vitals[7])"
    " FROM unnest(%s::text[], %s::timestamptz[]) WITH ORDINALITY AS asked(pseudonym, time, number)"
    " JOIN patient_score s ON s.pseudonym = asked.pseudonym"
    " AND s.time <= asked.time AND s.time > asked.time - interval '48 hours'"
    " WHERE s.time <= %s AND s.time > %s GROUP BY 1, 2"
)
_RECORD: Final = (
    "SELECT asked.number, o.concept, o.unit,"
    " extract(epoch FROM asked.time + interval '1 minute' - o.time)::float8 / 3600, o.value"
    " FROM unnest(%s::text[], %s::timestamptz[]) WITH ORDINALITY AS asked(pseudonym, time, number)"
    " JOIN observation_usable o ON o.pseudonym = asked.pseudonym AND o.kind = 'quantity'"
    " AND o.time <= asked.time + interval '1 minute' AND o.time > asked.time - interval '48 hours'"
    " WHERE o.concept = ANY(%s)"
)
_UPDATE: Final = (
    "UPDATE patient_score SET deterioration = %s, contributions = %s, deterioration_version = %s,"
    " abstained = %s, usual = %s, usual_low = %s, usual_high = %s, trend_per_h = %s"
    " WHERE device_id = %s AND time = %s AND bed_id = %s AND pseudonym = %s"
)
_FRAME_NAMES: Final = (
    "abp_systolic_mmhg", "abp_diastolic_mmhg", "time_since_pulse_s", "probability_paced",
    "quality_ecg1", "quality_ppg", "quality_abp",
)  # fmt: skip
_ALERTS: Final = (
    "SELECT e.alert_id, e.device_id, e.condition, e.onset_time_ns, e.evidence, a.bed_id"
    " FROM alert_event e JOIN alert a ON a.alert_id = e.alert_id"
    " WHERE e.transition = 'onset' AND e.condition = ANY(%s)"
    " AND e.stored_time_ns > %s AND e.stored_time_ns < %s"
    " AND NOT EXISTS (SELECT FROM alert_support s WHERE s.alert_id = e.alert_id)"
    " ORDER BY e.event_id LIMIT %s"
)
_FRAMES: Final = (
    "SELECT avg(abp_systolic_mmhg), avg(abp_diastolic_mmhg), min(time_since_pulse_s),"
    " avg(probability_paced), avg(quality_ecg1), avg(quality_ppg), avg(quality_abp)"
    " FROM feature_frame WHERE device_id = %s AND time > %s AND time <= %s"
)
_DRIFT: Final = (
    "INSERT INTO drift_statistic (model, model_version, subject, time, feature, n_rows,"
    " stability_index, largest_gap) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
_COUNTS: Final = sql.SQL(
    "SELECT device_id, CASE WHEN {} IS NULL THEN %s"
    " ELSE %s - width_bucket(-{}::float8, %s::float8[]) END AS bin, count(*)"
    " FROM feature_frame WHERE time >= %s AND time < %s GROUP BY 1, 2"
)
_FRAME_OF: Final[dict[str, str]] = {
    "heart_rate_per_min": "heart_rate_per_min",
    "respiration_rate_per_min": "respiration_rate_per_min",
    "spo2_percent": "spo2_percent",
    "temperature_celsius": "temperature_celsius",
    "systolic_mmhg": "abp_systolic_mmhg",
    "diastolic_mmhg": "abp_diastolic_mmhg",
    "mean_pressure_mmhg": "abp_mean_mmhg",
}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The deterioration score in force."""

    model: DeteriorationModel
    manifest: DeteriorationManifest


class ScoreStore:
    """Scores what is due, from what the store holds; see `agents.scoring`.

    Parameters
    ----------
    store : Store
        Where.
    table : ContextTable
        Follows the store.
    loaded : LoadedModel or None
        None: no deterioration is said.
    score_after_s : float
        Age of a mark at which its minute is scored; longer than a writer relies on a mark.
    """

    def __init__(
        self,
        store: Store,
        table: ContextTable,
        loaded: LoadedModel | None,
        score_after_s: float,
    ) -> None:
        self._store = store
        self._table = table
        self._loaded = loaded
        self._score_after_s = score_after_s

    async def score_minutes(self) -> int:
        """Score what is due; returns how many minutes were."""
        async with self._store.connection() as connection:
            cursor = await connection.execute(_CLAIM, (self._score_after_s, _MINUTES_A_TURN))
            due: list[tuple[str, datetime]] = await cursor.fetchall()
            if not due:
                return 0
            await self._follow(connection)
            devices, times = [d for d, _ in due], [t for _, t in due]
            reach = (min(times), max(times) + _MINUTE)
            await connection.execute("SELECT ensure_chunks('patient_score', %s, %s)", reach)
            await connection.execute(_FORGET, (devices, times, *reach))
            cursor = await connection.execute(_MINUTES, (devices, times, *reach))
            minutes = await cursor.fetchall()
            if minutes:
                await self._score(connection, minutes)
            return len(due)

    async def _score(
        self, connection: AsyncConnection[Any], minutes: Sequence[tuple[Any, ...]]
    ) -> None:
        vitals = np.array([row[5:12] for row in minutes], dtype=np.float64)  # None becomes NaN
        contexts = [self._context(row[2], row[3], row[1]) for row in minutes]
        scores = score_minutes(vitals, contexts)
        await connection.cursor().executemany(
            _INSERT,
            [(*row[:5], _array(vitals[i]), *_points(scores, i)) for i, row in enumerate(minutes)],
        )
        hours = await _hours(connection, minutes)
        answers = None
        if self._loaded is not None:
            record = await _record(connection, minutes)
            answers, _ = judge_deterioration(self._loaded.model, hours, contexts, record)
        version = None if self._loaded is None else self._loaded.manifest.version
        usual = usual_of(hours)
        await connection.cursor().executemany(
            _UPDATE,
            [
                (*_answer(answers, i, version), *_usual(usual, i), *row[:4])
                for i, row in enumerate(minutes)
            ],
        )

    async def support_alerts(self, now_ns: int) -> int:
        """Say of new alerts what frames and record add; returns of how many."""
        async with self._store.connection() as connection:
            cursor = await connection.execute(
                _ALERTS,
                (
                    [str(condition) for condition in sorted(JUDGED)],
                    now_ns - 3600 * NS_PER_S,
                    now_ns - _FRAMES_ARRIVE_S * NS_PER_S,
                    _ALERTS_A_TURN,
                ),
            )
            alerts = await cursor.fetchall()
            if alerts:
                await self._follow(connection)
            for alert_id, device_id, condition, onset_ns, evidence, bed_id in alerts:
                onset = datetime.fromtimestamp(onset_ns / NS_PER_S, UTC)
                since = onset - timedelta(seconds=_ALERT_FRAMES_S)
                cursor = await connection.execute(_FRAMES, (device_id, since, onset))
                row = await cursor.fetchone() or ()
                frame = {
                    name: math.nan if value is None else float(value)
                    for name, value in zip(_FRAME_NAMES, row, strict=False)
                }
                found = support_of(
                    Condition(condition), evidence, frame, self._table.at(bed_id, onset_ns)
                )
                await connection.execute(
                    "INSERT INTO alert_support (alert_id, verdict, probability,"
                    " verifier_probability, reasons) VALUES (%s, %s, %s, %s, %s)"
                    " ON CONFLICT DO NOTHING",
                    (
                        alert_id,
                        str(found.verdict),
                        found.probability,
                        found.verifier_probability,
                        list(found.reasons),
                    ),
                )
            return len(alerts)

    async def measure_drift(self, hour: datetime) -> int:
        """Compare the hour that begins at `hour` with what the score was learned on.

        Returns how many figures were stored; none where an hour has too few rows, or is done.
        """
        if self._loaded is None:
            return 0
        model, manifest = self._loaded.model, self._loaded.manifest
        end = hour + timedelta(hours=1)
        rows: list[tuple[Any, ...]] = []
        async with self._store.connection() as connection:
            for vital in VITALS:
                place = FEATURES.index(f"{vital}_last")
                counts = await _counts(connection, vital, model.reference_edges[place], hour, end)
                for device_id, counted in counts.items():
                    rows += _figures(
                        counted[None, :], model.reference_shares[[place]], (vital,), device_id
                    )
            cursor = await connection.execute(
                "SELECT ln(deterioration / (1 - deterioration)) FROM patient_score"
                " WHERE time >= %s AND time < %s AND deterioration > 0 AND deterioration < 1",
                (hour, end),
            )
            answers = np.array(await cursor.fetchall(), dtype=np.float64).reshape(-1, 1)
            counted = counts_of(answers, model.reference_edges[[-1]])
            rows += _figures(counted, model.reference_shares[[-1]], ("answer_log_odds",), "")
            await connection.cursor().executemany(
                _DRIFT,
                [
                    (manifest.name, manifest.version, subject, hour, feature, n, psi, gap)
                    for subject, feature, n, psi, gap in rows
                ],
            )
        return len(rows)

    def _context(self, bed_id: str, pseudonym: str, minute: datetime) -> JoinedContext:
        # As at the end of the minute; of whoever left within it only who it was is known.
        end_ns = int(minute.timestamp() + 59) * NS_PER_S
        for time_ns in (end_ns, end_ns - 59 * NS_PER_S):
            context = self._table.at(bed_id, time_ns)
            if context.pseudonym == pseudonym:
                return context
        return JoinedContext(bed_id=bed_id, pseudonym=pseudonym)

    async def _follow(self, connection: AsyncConnection[Any]) -> None:
        changes = await read_context_changes(connection, self._table.version)
        self._table.follow(changes.version, changes.devices, changes.assignments, changes.knowledge)


async def _hours(connection: AsyncConnection[Any], minutes: Sequence[tuple[Any, ...]]) -> Floats:
    times = [row[1] for row in minutes]
    cursor = await connection.execute(
        _HOURS,
        ([row[3] for row in minutes], times, max(times), min(times) - timedelta(hours=N_HOURS)),
    )
    hours = np.full((len(minutes), N_HOURS, len(VITALS)), math.nan)
    for number, hour, *means in await cursor.fetchall():
        hours[number - 1, hour] = np.array(means, dtype=np.float64)
    return hours


async def _record(
    connection: AsyncConnection[Any], minutes: Sequence[tuple[Any, ...]]
) -> list[Stated]:
    cursor = await connection.execute(
        _RECORD,
        ([row[3] for row in minutes], [row[1] for row in minutes], list(RECORD_INPUTS)),
    )
    found = [
        stated(number - 1, concept, unit, hours_ago, value)
        for number, concept, unit, hours_ago, value in await cursor.fetchall()
    ]
    return [one for one in found if one is not None]


async def _counts(
    connection: AsyncConnection[Any],
    vital: str,
    edges: Floats,
    hour: datetime,
    end: datetime,
) -> dict[str, NDArray[np.int64]]:
    if not np.isfinite(edges).all():
        return {}
    # The server counts from the other side, so both are turned round: see drift.counts_of.
    statement = _COUNTS.format(sql.Identifier(_FRAME_OF[vital]), sql.Identifier(_FRAME_OF[vital]))
    cursor = await connection.execute(
        statement, (N_BINS, N_BINS - 1, (-edges[::-1]).tolist(), hour, end)
    )
    counts: dict[str, NDArray[np.int64]] = {}
    for device_id, place, n in await cursor.fetchall():
        counts.setdefault(device_id, np.zeros(N_BINS + 1, dtype=np.int64))[place] = n
    return counts


def _figures(
    counts: NDArray[np.int64], shares: Floats, features: Sequence[str], subject: str
) -> list[tuple[Any, ...]]:
    index, gap = stability_index(counts, shares), largest_gap(counts, shares)
    return [
        (subject, feature, int(counts[i].sum()), float(index[i]), _or_none(gap[i]))
        for i, feature in enumerate(features)
        if math.isfinite(index[i])
    ]


def _points(scores: MinuteScores, i: int) -> tuple[Any, ...]:
    others = scores.others
    return (
        int(scores.news2_low[i]),
        int(scores.news2_high[i]),
        int(others.mews_low[i]),
        int(others.mews_high[i]),
        int(others.qsofa_low[i]),
        int(others.qsofa_high[i]),
        _or_none(others.shock_index[i]),
    )


def _answer(answers: Judgements | None, i: int, version: int | None) -> tuple[Any, ...]:
    if answers is None:
        return None, None, None, "no score is installed"
    if math.isnan(answers.probability[i]):
        return None, None, version, _ABSTAINED
    top = {c.subject: round(c.log_odds, 4) for c in answers.top(i, _N_TOP)}
    return float(answers.probability[i]), Json(top), version, None


def _usual(usual: Usual, i: int) -> tuple[Any, ...]:
    return tuple(
        _array(values[i]) for values in (usual.centre, usual.low, usual.high, usual.trend_per_h)
    )


def _array(values: Floats) -> list[float | None]:
    return [_or_none(value) for value in values]


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
