"""One bed's agent, wired and run."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from edge_agent.adapters.memory import give_back
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.state_lock import StateLock
from edge_agent.bootstrap.assembly import Wiring, make_bed, make_ground, make_link, services_of
from edge_agent.bootstrap.reload import Reload
from edge_agent.core.ports import JudgeReport, Measurements
from edge_agent.services.pulse import Vitals
from edge_agent.services.supervisor import Service, supervise
from edge_agent.services.uplink import Uplink
from edge_agent.settings import EdgeSettings
from wardstream.contracts.device import ModelReport

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0

SWITCH_INTERVAL_S: Final = 0.0005
"""How long another thread may keep the judgement from the interpreter (default: 5 ms)."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A wired agent: services in the order of their dependence."""

    services: tuple[Service, ...]
    reload: Callable[[Callable[[], EdgeSettings]], Reload]
    vitals: Callable[[], Vitals]
    outbox: SqliteOutbox
    uplink: Uplink | None
    judged: Callable[[], JudgeReport]
    model: Callable[[], ModelReport]
    measurements: Measurements


async def run_agent(
    settings: EdgeSettings,
    measurements: Measurements,
    read_again: Callable[[], EdgeSettings] | None = None,
) -> None:
    """Run one bed's agent until SIGTERM or SIGINT; SIGHUP has the limits read again.

    Raises
    ------
    UnreadableSourceError
        The source has nothing that can be judged.
    StorageError
        The state folder cannot be written, or another agent uses it.
    ExceptionGroup
        What failed services raised.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_default_executor(ThreadPoolExecutor(2, "reader"))
    with StateLock(settings.state_dir), ExitStack() as resources:
        agent = build(settings, measurements, loop)
        if read_again is not None:
            loop.add_signal_handler(signal.SIGHUP, agent.reload(read_again).ask)
        resources.enter_context(_quick_decisions())
        give_back()
        if settings.metrics_port:
            resources.enter_context(_metrics(settings, agent))
        logger.info(
            "watching bed %s from %s",
            settings.bed_id,
            settings.source.kind,
            extra={"fields": {"event": "started", "device_id": settings.device_id}},
        )
        await supervise(agent.services, stop, grace_s=GRACE_S)
    logger.info("stopped", extra={"fields": {"event": "stopped", "device_id": settings.device_id}})


def build(
    settings: EdgeSettings, measurements: Measurements, loop: asyncio.AbstractEventLoop
) -> Agent:
    """The whole agent, nothing of it started, its kernels compiled and its model qualified.

    Raises
    ------
    UnreadableSourceError
        The source has nothing that can be judged.
    StorageError
        The state folder cannot be written.
    """
    wiring = Wiring()
    ground = make_ground(settings, measurements, loop)
    bed = make_bed(ground, wiring)
    link = make_link(ground, bed, wiring)
    return Agent(
        vitals=link.pulse.vitals,
        reload=lambda read: Reload(settings, read, bed.pipeline, ground.outbox, bed.curves.ring),
        services=services_of(ground, bed, link),
        outbox=ground.outbox,
        uplink=link.uplink,
        judged=link.status.judged,
        model=link.status.model,
        measurements=measurements,
    )


@contextmanager
def _quick_decisions() -> Generator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def _metrics(settings: EdgeSettings, agent: Agent) -> Generator[None]:
    from edge_agent.adapters.metrics import AgentCollector
    from edge_agent.adapters.status_server import StatusServer

    uplink = agent.uplink
    collector = AgentCollector(
        agent.measurements,
        agent.outbox.stats,
        agent.judged,
        lambda: uplink is not None and uplink.connected,
        agent.model,
    )
    server = StatusServer(
        settings.metrics_host,
        settings.metrics_port,
        collector,
        health=lambda: (agent.vitals().alive, agent.vitals().details),
        ready=lambda: (agent.vitals().watched, agent.vitals().details),
    )
    server.start()
    try:
        yield
    finally:
        server.stop()
