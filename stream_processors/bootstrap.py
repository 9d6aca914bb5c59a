"""The only place that knows both what the services need and who provides it."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from prometheus_client import start_http_server

from stream_processors.adapters.housekeeping import Retention, StoreHousekeeper
from stream_processors.adapters.kafka_progress import KafkaProgress
from stream_processors.adapters.kafka_sink import KafkaSink, ensure_topics
from stream_processors.adapters.letter_box import LetterBox
from stream_processors.adapters.metrics import export_counts
from stream_processors.adapters.mqtt_inbox import MqttInbox
from stream_processors.adapters.only_one import OnlyOne
from stream_processors.adapters.record_ledger import StoredLedger
from stream_processors.adapters.score_store import LoadedModel, ScoreStore
from stream_processors.adapters.store import MARK_VALIDITY_S, Store
from stream_processors.adapters.watermark_publisher import MqttWatermarkPublisher
from stream_processors.agents.faust_worker import FaustSettings, FaustWorker
from stream_processors.agents.frame_writer import FrameWriter
from stream_processors.agents.measurement import NoPublisher, RowsOnly, measure_worker
from stream_processors.agents.patience import Patience
from stream_processors.agents.record_keeper import RecordKeeper
from stream_processors.agents.scoring import Scoring
from stream_processors.agents.watch import Housekeeping, Watchdog
from stream_processors.bridge.service import Bridge
from stream_processors.core.context import ContextTable
from stream_processors.core.ports import OutgoingRecord
from stream_processors.core.replay import KeptLetter, replayed
from stream_processors.core.routing import partition_of
from stream_processors.core.warm_up import warm_up
from stream_processors.harmonise.harmoniser import load_harmoniser
from stream_processors.harmonise.keeper import ObservationKeeper
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.fhir_poll import FhirPoller
from stream_processors.record_gateway.fhir_push import PushServer, push_app
from stream_processors.record_gateway.fuzz import run_fuzz
from stream_processors.record_gateway.gateway import Gateway, SayAgain
from stream_processors.record_gateway.mllp_server import MllpPlan, MllpServer
from stream_processors.record_gateway.pseudonym import site_secret
from stream_processors.settings import GatewaySettings, StreamSettings
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import ConfigurationError, ContractError, TransientError
from wardstream.contracts.record import RecordEvent
from wardstream.contracts.timebase import NS_PER_MS
from wardstream.contracts.topics import RECORD_EVENTS
from wardstream.inference.deterioration.model import MANIFEST_FILE, load_model

logger = logging.getLogger(__name__)


class Service(Protocol):
    """Works until `stop` is set; returning earlier, or raising, is a crash."""

    @property
    def name(self) -> str:
        """How logs call it."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Work."""
        ...


class ServiceEndedError(Exception):
    """A service returned although nobody asked it to: the most dangerous state of a monitor."""


async def run_bridge(settings: StreamSettings) -> None:
    """Run a bridge until SIGTERM or SIGINT."""
    stop = _stop_on_signals(settings.grace_s)
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(
            KafkaSink(
                settings.kafka_bootstrap,
                n_partitions=settings.partitions,
                replication=settings.replication,
            )
        )
        inbox = await stack.enter_async_context(
            MqttInbox(settings.require_mqtt_url(), settings.instance)
        )
        bridge = Bridge(
            inbox,
            sink,
            n_partitions=settings.partitions,
            linger_s=settings.linger_ms / 1000,
            max_messages=settings.batch_messages,
        )
        export_counts("bridge", bridge.counts)
        _serve_metrics(settings)
        logger.info("bridge ready")
        await _supervise([bridge], stop)


async def run_worker(settings: StreamSettings) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    stop = _stop_on_signals(settings.grace_s)
    table = ContextTable()
    (settings.state_dir / "faust").mkdir(parents=True, exist_ok=True)
    warm_up()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            Store(settings.require_database_url(), application_name="wardstream-worker")
        )
        publisher = await stack.enter_async_context(
            MqttWatermarkPublisher(settings.require_mqtt_url(), settings.instance)
        )
        progress = await stack.enter_async_context(
            KafkaProgress(settings.kafka_bootstrap, settings.group, settings.partitions)
        )
        writer = FrameWriter(
            store,
            publisher,
            table,
            clock_ns=time.time_ns,
            monotonic_s=time.monotonic,
            mark_validity_s=MARK_VALIDITY_S - 5,  # margin for the transaction itself
        )
        services = _worker_services(settings, store, table, writer, progress)
        export_counts("worker", writer.counts)
        _serve_metrics(settings)
        await _first_contact(settings, store, writer)
        logger.info("worker ready, context version %d", table.version)
        await _supervise(services, stop)


async def run_gateway(settings: StreamSettings) -> None:
    """Run the record gateway until SIGTERM or SIGINT; a second one waits until it is needed."""
    stop = _stop_on_signals(settings.grace_s)
    conventions = gateway_conventions(settings)
    url = settings.require_database_url()
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(
            KafkaSink(
                settings.kafka_bootstrap,
                n_partitions=settings.partitions,
                replication=settings.replication,
            )
        )
        store = await stack.enter_async_context(Store(url, application_name="wardstream-gateway"))
        gateway = Gateway(
            StoredLedger(store),
            sink,
            conventions,
            clock_ns=time.time_ns,
            n_partitions=settings.partitions,
        )
        await _migrated(store)
        alone = OnlyOne(url)
        if not await alone.obtain(stop):
            return
        services, counts = _gateway_services(settings.gateway, gateway)
        for part, counted in {"gateway": gateway.counts, **counts}.items():
            export_counts(part, counted)
        _serve_metrics(settings)
        logger.info("record gateway ready")
        await _supervise([*services, SayAgain(gateway), alone], stop)


def fuzz_gateway(n_messages: int, seed: int) -> dict[str, Any]:
    """What became of `n_messages` damaged messages: see `record_gateway.fuzz`."""
    return run_fuzz(n_messages, seed, load_harmoniser())


def gateway_conventions(settings: StreamSettings) -> Conventions:
    """How the site writes its messages.

    Raises
    ------
    ConfigurationError
        The kept site secret is damaged.
    """
    of_gateway = settings.gateway
    secret = settings.site_secret.get_secret_value() if settings.site_secret else None
    zone = of_gateway.hl7_time_zone
    return Conventions(
        site_secret=site_secret(settings.state_dir, secret),
        bed_template=of_gateway.bed_template,
        bed_names=of_gateway.bed_names,
        authorities=of_gateway.authorities,
        time_zone=None if zone is None else ZoneInfo(zone),
        processing_id=of_gateway.hl7_processing_id,
        open_end=of_gateway.hl7_open_end,
        trust_beds=of_gateway.trust_beds,
    )


def _gateway_services(
    settings: GatewaySettings, gateway: Gateway
) -> tuple[list[Service], dict[str, object]]:
    services: list[Service] = []
    counts: dict[str, object] = {}
    if settings.hl7_port:
        plan = MllpPlan(
            host=settings.hl7_host,
            port=settings.hl7_port,
            max_bytes=settings.hl7_max_bytes,
            idle_s=settings.hl7_idle_s,
            answer_within_s=settings.answer_within_s,
            certificate=settings.hl7_certificate,
            key=settings.hl7_key,
            authority=settings.hl7_authority,
        )
        server = MllpServer(plan, gateway.take_hl7)
        services.append(server)
        counts["gateway_mllp"] = server.counts
    if settings.fhir_port and settings.fhir_token is not None:
        app = push_app(gateway, settings.fhir_token.get_secret_value())
        services.append(PushServer(app, settings.fhir_port))
    if settings.fhir_poll_url is not None:
        token = settings.fhir_poll_token
        poller = FhirPoller(
            gateway,
            settings.fhir_poll_url,
            every_s=settings.fhir_poll_s,
            token=None if token is None else token.get_secret_value(),
        )
        services.append(poller)
        counts["gateway_poll"] = poller.counts
    if not services:
        ways = ("HL7_PORT", "FHIR_PORT", "FHIR_POLL_URL")
        text = ", ".join(f"STREAM_GATEWAY__{way}" for way in ways)
        raise ConfigurationError([f"the gateway has nothing to do: set one of {text}"])
    return services, counts


async def say_record_events(settings: StreamSettings, events: Sequence[RecordEvent]) -> None:
    """Write `events` to the log the workers read.

    Raises
    ------
    TransientError
        Kafka is away.
    """
    async with KafkaSink(
        settings.kafka_bootstrap,
        n_partitions=settings.partitions,
        replication=settings.replication,
    ) as sink:
        await sink.send_all(
            [
                OutgoingRecord(
                    topic=RECORD_EVENTS.name,
                    key=event.bed_id.encode(),
                    value=encode(event),
                    partition=partition_of(event.bed_id, settings.partitions),
                    timestamp_ms=event.recorded_time_ns // NS_PER_MS,
                )
                for event in events
            ]
        )


async def kept_letters(
    settings: StreamSettings, *, device_id: str | None, limit: int
) -> list[KeptLetter]:
    """The oldest dead letters, of one device or of all.

    Raises
    ------
    TransientError
        The database is away.
    """
    url = settings.require_database_url()
    async with Store(url, application_name="wardstream-letters") as store:
        return await LetterBox(store).letters(letter_ids=None, device_id=device_id, limit=limit)


async def replay_letters(
    settings: StreamSettings, letter_ids: Sequence[str] | None, *, device_id: str | None, limit: int
) -> list[tuple[str, str | None]]:
    """Say dead letters once more; each with why it stays, None where it went.

    A letter leaves the store after Kafka has its message: killed in between, it is said twice,
    which the store takes once.

    Raises
    ------
    TransientError
        The database or Kafka is away; what was not said stays.
    """
    told: list[tuple[str, str | None]] = []
    async with (
        Store(settings.require_database_url(), application_name="wardstream-letters") as store,
        KafkaSink(
            settings.kafka_bootstrap,
            n_partitions=settings.partitions,
            replication=settings.replication,
        ) as sink,
    ):
        box = LetterBox(store)
        found = await box.letters(letter_ids=letter_ids, device_id=device_id, limit=limit)
        for letter in found:
            try:
                records = replayed(letter, settings.partitions)
            except ContractError as error:
                told.append((letter.letter_id, str(error)))
                continue
            async with box.taking(letter.letter_id):
                await sink.send_all(records)
            told.append((letter.letter_id, None))
    return told


async def measure_faust(
    settings: StreamSettings, devices: Sequence[tuple[str, str]], n_frames: int
) -> dict[str, float]:
    """What the tier does with the `n_frames` that stand in Kafka, the database left out.

    Raises
    ------
    TransientError
        Kafka is away.
    TimeoutError
        It took longer than 5 minutes.
    """
    (settings.state_dir / "faust").mkdir(parents=True, exist_ok=True)
    warm_up()
    await ensure_topics(settings.kafka_bootstrap, settings.partitions, settings.replication)
    store = RowsOnly(devices)
    writer = FrameWriter(
        store,
        NoPublisher(),
        ContextTable(),
        clock_ns=time.time_ns,
        monotonic_s=time.monotonic,
        mark_validity_s=MARK_VALIDITY_S - 5,
    )

    async def forget(_: object) -> None:
        return

    keeper = RecordKeeper(store, writer, clock_ns=time.time_ns, keep_stated=forget)
    return await measure_worker(
        FaustWorker(_faust_settings(settings), writer, keeper), writer, n_frames
    )


def _faust_settings(settings: StreamSettings) -> FaustSettings:
    return FaustSettings(
        bootstrap=settings.kafka_bootstrap,
        group=settings.group,
        n_partitions=settings.partitions,
        datadir=str(settings.state_dir / "faust"),
        take_records=settings.take_records,
        take_within_s=settings.take_within_ms / 1000,
    )


async def current_beds(settings: StreamSettings) -> list[dict[str, str | None]]:
    """Who is in which bed now.

    Raises
    ------
    TransientError
        The database is away.
    """
    url = settings.require_database_url()
    async with Store(url, application_name="wardstream-records") as store:
        return await store.current_beds()


def _worker_services(
    settings: StreamSettings,
    store: Store,
    table: ContextTable,
    writer: FrameWriter,
    progress: KafkaProgress,
) -> list[Service]:
    stated = ObservationKeeper(store.connection, load_harmoniser(), time.time_ns)
    keeper = RecordKeeper(store, writer, clock_ns=time.time_ns, keep_stated=stated.keep)
    faust_worker = FaustWorker(
        _faust_settings(settings),
        writer,
        keeper,
    )
    retention = Retention(
        frames_days=settings.keep_frames_days,
        rollups_days=settings.keep_rollups_days,
        letters_days=settings.keep_letters_days,
        fine_rollups_days=settings.keep_fine_rollups_days,
        compress_after_days=settings.compress_after_days,
    )
    scorer = ScoreStore(store, table, _deterioration(settings), settings.rollup_after_s)
    scoring = Scoring(scorer, clock_ns=time.time_ns)
    export_counts("scoring", scoring.counts)
    return [
        faust_worker,
        Housekeeping(
            StoreHousekeeper(store, retention, settings.rollup_after_s),
            writer,
            table,
            clock_ns=time.time_ns,
            monotonic_s=time.monotonic,
        ),
        scoring,
        Watchdog(
            progress,
            assignment=lambda: faust_worker.assignment,
            may_stand=lambda: writer.patience.waiting or keeper.patience.waiting,
            monotonic_s=time.monotonic,
        ),
    ]


def _deterioration(settings: StreamSettings) -> LoadedModel | None:
    # A bundle that is there and damaged ends the worker; one that is not there is said once.
    if not (settings.deterioration_bundle / MANIFEST_FILE).exists():
        logger.warning("no deterioration score in %s: none is said", settings.deterioration_bundle)
        return None
    return LoadedModel(*load_model(settings.deterioration_bundle))


async def _first_contact(settings: StreamSettings, store: Store, writer: FrameWriter) -> None:
    await _migrated(store)
    await Patience("the store").until_done(writer.refresh_context)
    await Patience("Kafka").until_done(
        lambda: ensure_topics(settings.kafka_bootstrap, settings.partitions, settings.replication)
    )


async def _migrated(store: Store) -> None:
    async def migrated() -> None:
        if not await store.is_migrated():
            raise TransientError("the database has no schema yet (python -m deploy.database)")

    await Patience("the store").until_done(migrated)


def _serve_metrics(settings: StreamSettings) -> None:
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")


def _stop_on_signals(grace_s: float) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_stop() -> None:
        if not stop.is_set():
            _kill_after(grace_s)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_stop)
    return stop


def _kill_after(grace_s: float) -> None:
    # Faust is known to hang on exit (faust#324). What matters is committed, so a hard end after
    # the grace is safe; a daemon timer does not keep a process alive that ends in time.
    timer = threading.Timer(grace_s, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


async def _supervise(services: Sequence[Service], stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(_run_one(service, stop), name=service.name)


async def _run_one(service: Service, stop: asyncio.Event) -> None:
    try:
        await service.run(stop)
    except Exception:
        if not stop.is_set():
            _kill_after(5)
        stop.set()
        raise
    if not stop.is_set():
        _kill_after(5)
        stop.set()
        raise ServiceEndedError(f"{service.name} ended without being asked to")
