"""Scores of a minute, support of alerts and drift on real servers, from frames as beds send them."""

import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from fakes.stream_beds import make_frame

from stream_processors.adapters.score_store import LoadedModel, ScoreStore
from stream_processors.adapters.store import Store
from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.agents.scoring import Scoring
from stream_processors.core.context import ContextTable, DeviceBed
from stream_processors.core.fusion import LogRecord
from wardstream.contracts.frame import encode_frame
from wardstream.contracts.identity import CommitWatermark
from wardstream.contracts.record import Consciousness, PatientContext, RecordEvent, RecordEventKind
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.inference.deterioration.model import load_model

BOOT = str(uuid4())
START = 1_793_000_000 // 3600 * 3600 * NS_PER_S  # a full hour
SHIPPED = Path(__file__).resolve().parents[2] / "models" / "artifacts" / "deterioration"
HOUR = datetime.fromtimestamp(START // NS_PER_S, UTC)

SICK = {
    "heart_rate_per_min": 118.0,
    "respiration_rate_per_min": 26.0,
    "spo2_percent": 93.0,
    "abp_systolic_mmhg": 88.0,
    "abp_diastolic_mmhg": 50.0,
    "abp_mean_mmhg": 62.0,
    "temperature_celsius": 38.7,
}


class Nowhere:
    """Watermarks are not looked at here."""

    def publish(self, site_id: str, watermark: CommitWatermark) -> None:
        """Forget it."""


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store(database_url, application_name="test") as store:
        yield store


@pytest.fixture
def table() -> ContextTable:
    return ContextTable()


@pytest.fixture
def writer(store: Store, table: ContextTable) -> FrameWriter:
    return FrameWriter(
        store, Nowhere(), table, clock_ns=lambda: START + 86_400 * NS_PER_S,
        monotonic_s=time.monotonic, mark_validity_s=0.0,
    )  # fmt: skip


@pytest.fixture
def scorer(store: Store, table: ContextTable) -> ScoreStore:
    return ScoreStore(store, table, LoadedModel(*load_model(SHIPPED)), score_after_s=0.0)


async def admit(store: Store, pseudonym: str, context: PatientContext | None = None) -> None:
    await store.keep_device_bed(
        DeviceBed(device_id="dev-1", boot_id=BOOT, bed_id="bed-1", unit_id="icu", site_id="site-a")
    )
    await store.keep_record_event(
        RecordEvent(
            event_id=str(uuid4()), kind=RecordEventKind.ASSIGNED, bed_id="bed-1",
            pseudonym=pseudonym, effective_time_ns=TimestampNs(START - NS_PER_S),
            recorded_time_ns=TimestampNs(START - NS_PER_S), context=context,
        )
    )  # fmt: skip


def frames(first: int, n: int, step: int = 1, **features: float) -> LogRecord:
    made = [
        encode_frame(make_frame("dev-1", BOOT, i, START + i * NS_PER_S, **features))
        for i in range(first, first + n * step, step)
    ]
    return LogRecord(b"".join(made), START)


def asked(url: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as link:
        return link.execute(statement.encode(), parameters or None).fetchall()


KNOWN = PatientContext(
    birth_year=1950, sex="male", consciousness=Consciousness.VOICE, supplemental_oxygen=True,
    observed_time_ns=TimestampNs(START - 60 * NS_PER_S),
)  # fmt: skip


async def test_a_minute_is_scored_with_what_the_record_knows(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    await writer.write([frames(0, 120, **SICK)])
    assert await scorer.score_minutes() == 2
    assert await scorer.score_minutes() == 0
    rows = asked(
        database_url,
        "SELECT pseudonym, n_frames, vitals, news2_low, news2_high, mews_low, mews_high, qsofa_low,"
        " qsofa_high, shock_index, deterioration, contributions, abstained FROM patient_score"
        " ORDER BY time",
    )
    assert len(rows) == 2
    pseudonym, n_frames, vitals, *scores = rows[0]
    assert (pseudonym, n_frames) == ("patient-a", 60)
    assert vitals == pytest.approx([118.0, 26.0, 93.0, 38.7, 88.0, 50.0, 62.0])
    # RR 26: 3, SpO2 93: 2, oxygen 2, systolic 88: 3, pulse 118: 2, voice 3, 38.7 °C: 1.
    assert scores[:2] == [16, 16]
    # MEWS: systolic 1, pulse 2, respiration 2, temperature 2, voice 1. qSOFA: all three.
    assert scores[2:6] == [8, 8, 3, 3]
    assert scores[6] == pytest.approx(118 / 88, rel=1e-6)
    probability, contributions = scores[7], scores[8]
    assert isinstance(probability, float)
    assert 0 < probability < 1
    assert isinstance(contributions, dict)
    assert 0 < len(contributions) <= 5
    assert scores[9] is None


async def test_an_empty_bed_has_no_score(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await store.keep_device_bed(
        DeviceBed(device_id="dev-1", boot_id=BOOT, bed_id="bed-1", unit_id="icu", site_id="site-a")
    )
    await writer.write([frames(0, 60, **SICK)])
    assert await scorer.score_minutes() == 1
    assert asked(database_url, "SELECT count(*) FROM patient_score") == [(0,)]


async def test_without_any_measurement_it_abstains_and_says_so(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    await writer.write([frames(0, 60, heart_rate_per_min=math.nan, spo2_percent=math.nan)])
    await scorer.score_minutes()
    assert asked(
        database_url, "SELECT deterioration, abstained, news2_low < news2_high FROM patient_score"
    ) == [(None, "nothing but demographics is known", True)]


async def test_the_laboratory_moves_the_score(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    await writer.write([frames(0, 60, **SICK)])
    await scorer.score_minutes()
    of = "SELECT deterioration, contributions ? 'lactate_mmol_per_l' FROM patient_score"
    before = asked(database_url, of)[0]
    with psycopg.connect(database_url, autocommit=True) as link:
        for concept, value, unit in (
            ("lactate", 11.0, "mmol/L"), ("urea", 32.0, "mmol/L"), ("platelets", 30.0, "10*9/L"),
            ("lactate", 1.0, "mg/dL"),  # another unit than it is stored in: not taken
        ):  # fmt: skip
            link.execute(
                "INSERT INTO observations (observation_id, time, time_ns, pseudonym, kind, concept,"
                " code_system, code, value, unit, flags, stated_code_system, stated_code, source,"
                " message_id) VALUES (gen_random_uuid(), %s, %s, 'patient-a', 'quantity', %s, 'LN',"
                " 'x', %s, %s, '{}', 'LN', 'x', 'test', 'm')",
                (HOUR - timedelta(hours=1), START - 3600 * NS_PER_S, concept, value, unit),
            )
    await writer.write([frames(60, 60, **SICK)])
    await scorer.score_minutes()
    after = asked(database_url, of + " ORDER BY time DESC")[0]
    assert before[1] is False
    assert after[1] is True
    assert isinstance(before[0], float)
    assert isinstance(after[0], float)
    assert after[0] > before[0] + 0.1


async def test_late_frames_score_their_minute_again(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    await writer.write([frames(0, 30, **SICK)])
    await scorer.score_minutes()
    await writer.write([frames(30, 30, **SICK | {"heart_rate_per_min": 60.0})])
    assert await scorer.score_minutes() == 1
    rows = asked(database_url, "SELECT n_frames, vitals[1] FROM patient_score")
    assert rows == [(60, pytest.approx(89.0))]


async def test_what_is_usual_comes_from_the_hours_before(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    for hour, rate in enumerate((70.0, 72.0, 74.0, 76.0, 78.0)):
        await writer.write([frames(3600 * hour, 2, 30, **SICK | {"heart_rate_per_min": rate})])
        await scorer.score_minutes()
    usual, low, high, trend = asked(
        database_url,
        "SELECT usual[1], usual_low[1], usual_high[1], trend_per_h[1] FROM patient_score"
        " ORDER BY time DESC LIMIT 1",
    )[0]
    assert usual == pytest.approx(74.0)
    assert trend == pytest.approx(2.0)
    assert low == pytest.approx(64.0)  # a band is never narrower than ten beats to each side
    assert high == pytest.approx(84.0)


async def test_an_alert_is_supported_or_contradicted_once_and_never_removed(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    flowing = {"time_since_pulse_s": 0.6, "quality_ppg": 0.9, "quality_ecg1": 0.9}
    await writer.write([frames(0, 60, **SICK | flowing)])
    alert_id = str(uuid4())
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute(
            "INSERT INTO alert_event (event_id, device_id, boot_id, sequence_number, alert_id,"
            " condition, kind, priority, transition, presence, audible, visible, onset_time_ns,"
            " event_time_ns, received_time_ns, decided_time_ns, stored_time_ns, model_version,"
            " rule_version, generation_mode, evidence) VALUES (1, 'dev-1', %(boot)s, 0, %(id)s,"
            " 'asystole', 'physiological', 'high', 'onset', 'on', 'on', 'on', %(t)s, %(t)s, %(t)s,"
            " %(t)s, %(t)s, '1', '1', 'real', '{}')",
            {"boot": BOOT, "id": alert_id, "t": START + 50 * NS_PER_S},
        )
        link.execute(
            "INSERT INTO alert (alert_id, device_id, boot_id, site_id, unit_id, bed_id, condition,"
            " kind, priority, presence, onset_time_ns, model_version, generation_mode,"
            " last_event_id) VALUES (%s, 'dev-1', %s, 'site-a', 'icu', 'bed-1', 'asystole',"
            " 'physiological', 'high', 'on', %s, '1', 'real', 1)",
            (alert_id, BOOT, START + 50 * NS_PER_S),
        )
    now_ns = START + 60 * NS_PER_S
    assert await scorer.support_alerts(now_ns) == 1
    assert await scorer.support_alerts(now_ns) == 0
    verdict, reasons = asked(database_url, "SELECT verdict, reasons FROM alert_support")[0]
    assert verdict == "contradicts"
    assert reasons == ["the pulse goes on"]
    assert asked(database_url, "SELECT presence, priority FROM alert") == [("on", "high")]


async def test_an_hour_is_compared_with_what_was_learned_on(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    draw = np.random.default_rng(3)
    rates = draw.normal(180.0, 3.0, size=300)  # no ward's heart rates
    for start in range(0, 300, 100):
        record = b"".join(
            frames(i * 10, 1, heart_rate_per_min=float(rates[i])).payload
            for i in range(start, start + 100)
        )
        await writer.write([LogRecord(record, START)])
    assert await scorer.measure_drift(HOUR) > 0
    found = {
        feature: (n, psi, gap)
        for feature, n, psi, gap in asked(
            database_url,
            "SELECT feature, n_rows, stability_index, largest_gap FROM drift_statistic"
            " WHERE subject = 'dev-1' AND time = %s",
            HOUR,
        )
    }
    n, psi, gap = found["heart_rate_per_min"]
    assert n == 300
    assert psi > 1.0
    assert gap == pytest.approx(0.9, abs=0.05)
    before = asked(database_url, "SELECT count(*) FROM drift_statistic")
    await scorer.measure_drift(HOUR)
    assert asked(database_url, "SELECT count(*) FROM drift_statistic") == before


async def test_the_loop_does_all_of_it(
    database_url: str, store: Store, writer: FrameWriter, scorer: ScoreStore
) -> None:
    await admit(store, "patient-a", KNOWN)
    await writer.write([frames(0, 150, **SICK)])
    later = HOUR + timedelta(hours=1, minutes=6)
    scoring = Scoring(scorer, clock_ns=lambda: int(later.timestamp()) * NS_PER_S)
    assert await scoring.turn()
    assert not await scoring.turn()
    assert scoring.counts.n_minutes == 3
    assert scoring.counts.n_drift_figures > 0
    assert asked(database_url, "SELECT count(*) FROM patient_score") == [(3,)]
