"""What a run amounted to: alerts, frames, latencies, memory; every figure from its source."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

import httpx
import numpy as np
import psutil
import psycopg
from psycopg import sql

from deploy.local.layout import CHECKOUT
from wardstream.contracts.alert import Transition
from wardstream.contracts.identity import Lane
from wardstream.contracts.storage import Table

logger = logging.getLogger(__name__)


class DashboardEar(threading.Thread):
    """Logs in at the API as a dashboard does, and notes when each alert arrives on SSE."""

    def __init__(self, api_url: str, user: str, password: str) -> None:
        super().__init__(name="dashboard ear", daemon=True)
        self._api_url = api_url
        self._login = {"username": user, "password": password}
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._latencies_ms: list[float] = []
        self._seen: set[str | tuple[str, int]] = set()
        self._last_id = ""
        self.n_connections = 0

    @property
    def latencies_ms(self) -> list[float]:
        """Decision at the bed to arrival here, of every alert event that came live."""
        with self._lock:
            return list(self._latencies_ms)

    def end(self) -> None:
        """Stop listening."""
        self._ending.set()

    def run(self) -> None:
        """Listen until `end`, connecting again when the stream breaks."""
        while not self._ending.is_set():
            try:
                with httpx.Client(base_url=self._api_url, timeout=httpx.Timeout(5, read=2)) as api:
                    self._listen(api)
            except (httpx.HTTPError, KeyError, ValueError) as error:
                logger.debug("SSE ended: %r", error)
            self._ending.wait(0.5)

    def _listen(self, api: httpx.Client) -> None:
        answer = api.post("/api/session", json=self._login).raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        timeout = httpx.Timeout(5, read=60)
        with api.stream("GET", "/api/stream", headers=headers, timeout=timeout) as stream:
            stream.raise_for_status()
            since_ns = time.time_ns()
            self.n_connections += 1
            fields: dict[str, str] = {}
            for line in stream.iter_lines():
                arrived_ns = time.time_ns()
                if self._ending.is_set():
                    return
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                self._note(fields, arrived_ns, since_ns)
                fields = {}

    def _note(self, event: Mapping[str, str], arrived_ns: int, since_ns: int) -> None:
        self._last_id = event.get("id", self._last_id)
        if event.get("event") != "alert":
            return
        alert = json.loads(event["data"])
        decided_ns = int(alert["decided_time_ns"])
        # What was decided before we listened is replayed, not live; and a note of the cloud
        # (a call to the next in line) shows the alert once more as it was decided long ago.
        known_by = {event.get("id", ""), (str(alert["alert_id"]), decided_ns)}
        if decided_ns < since_ns or not known_by.isdisjoint(self._seen):
            return
        self._seen |= known_by
        with self._lock:
            self._latencies_ms.append((arrived_ns - decided_ns) / 1e6)


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """What became of the messages of one lane of some devices."""

    published: int
    committed: int
    gaps: int
    duplicated: int
    waiting: int = 0

    @property
    def lost(self) -> int:
        """Given a number, but neither stored nor recorded as given up."""
        return self.published - self.committed - self.gaps


@dataclass(slots=True)
class Measurements:
    """What a run yields, before it becomes the scorecard."""

    seconds: float = 0.0
    alerts_raised: int = 0
    alert_conditions: dict[str, int] = field(default_factory=dict[str, int])
    frames: LaneCounts = field(default_factory=lambda: LaneCounts(0, 0, 0, 0))
    alert_events: LaneCounts = field(default_factory=lambda: LaneCounts(0, 0, 0, 0))
    edge_decision_ms: list[float] = field(default_factory=list[float])
    dashboard_ms: list[float] = field(default_factory=list[float])
    rss_mb: dict[str, float] = field(default_factory=dict[str, float])

    def as_dict(self) -> dict[str, Any]:
        """The keys every reader of the scorecard relies on."""
        frames = self.frames
        return {
            "seconds": round(self.seconds, 1),
            "alerts": {
                "raised": self.alerts_raised,
                "by_condition": self.alert_conditions,
                "events": self.alert_events.published,
                "lost": self.alert_events.lost,
                "duplicated": self.alert_events.duplicated,
            },
            "frames": {
                "published": frames.published,
                "committed": frames.committed,
                "lost": frames.lost,
                "duplicated": frames.duplicated,
                "gaps": frames.gaps,
                "waiting": frames.waiting,
            },
            "latency_ms": {
                "edge_decision": percentiles(self.edge_decision_ms),
                "dashboard": percentiles(self.dashboard_ms),
            },
            "rss_mb": self.rss_mb,
        }


def percentiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median and 99th percentile of `values`; None where there are none."""
    if not values:
        return {"p50": None, "p99": None, "n": 0}
    p50, p99 = np.percentile(np.asarray(values, dtype=np.float64), [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "n": len(values)}


class StoreReader:
    """Counts in the database, by SQL names the tiers share."""

    def __init__(self, url: str, device_ids: Sequence[str]) -> None:
        self._url = url
        self._devices = list(device_ids)
        self._boots: list[str] | None = None

    def count_only(self, boot_ids: Sequence[str]) -> None:
        """Count what was born in these lives of the beds: the cloud adds events of its own."""
        self._boots = list(boot_ids)

    def committed(self, lane: Lane) -> tuple[int, int, int]:
        """Rows of `lane`, distinct identities among them, and numbers recorded as gaps."""
        table, born_here = _STORED_LANES[lane]
        row = self._one(
            "SELECT count(*), count(DISTINCT (device_id, boot_id, sequence_number)) "
            "FROM {} WHERE device_id = ANY(%s) AND (%s::text[] IS NULL OR "
            "boot_id::text = ANY(%s)) AND " + born_here,
            table,
            self._boots,
            self._boots,
        )
        gap = self._one(
            "SELECT coalesce(sum(last_sequence_number - first_sequence_number + 1), 0) "
            "FROM {} WHERE device_id = ANY(%s) AND lane = %s",
            Table.FRAME_GAP,
            lane.value,
        )
        return int(row[0]), int(row[1]), int(gap[0])

    def decision_latencies_ms(self, since_ns: int) -> list[float]:
        """What frames and alert onsets since `since_ns` say of the edge's decisions."""
        frames = self._all(
            "SELECT decision_latency_ms FROM {} WHERE device_id = ANY(%s) "
            "AND start_time_ns >= %s AND decision_latency_ms IS NOT NULL",
            Table.FEATURE_FRAME,
            since_ns,
        )
        onsets = self._all(
            "SELECT (decided_time_ns - received_time_ns) / 1e6 FROM {} "
            "WHERE device_id = ANY(%s) AND decided_time_ns >= %s AND transition = %s",
            Table.ALERT_EVENT,
            since_ns,
            Transition.ONSET.value,
        )
        return [float(row[0]) for row in (*frames, *onsets)]

    def alerts_raised(self, since_ns: int) -> dict[str, int]:
        """Onsets since `since_ns`, by condition."""
        rows = self._all(
            "SELECT condition, count(DISTINCT alert_id) FROM {} WHERE device_id = ANY(%s) "
            "AND decided_time_ns >= %s AND transition = %s GROUP BY condition ORDER BY condition",
            Table.ALERT_EVENT,
            since_ns,
            Transition.ONSET.value,
        )
        return {str(row[0]): int(row[1]) for row in rows}

    def _one(self, statement: LiteralString, table: Table, *parameters: object) -> tuple[Any, ...]:
        return self._all(statement, table, *parameters)[0]

    def _all(self, statement: Any, table: Table, *parameters: object) -> list[tuple[Any, ...]]:
        query = sql.SQL(statement).format(sql.Identifier(table.value))
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as link:
            return link.execute(query, (self._devices, *parameters)).fetchall()


_STORED_LANES: Final[Mapping[Lane, tuple[Table, LiteralString]]] = {
    Lane.FRAME: (Table.FEATURE_FRAME, "true"),
    # The cloud raises this one itself; no bed ever numbered it.
    Lane.ALERT: (Table.ALERT_EVENT, "condition <> 'device_silent'"),
}


def outbox_counts(
    environments: Sequence[Mapping[str, str]],
) -> tuple[dict[Lane, tuple[int, int]], list[str]]:
    """Messages ever numbered and still waiting, by lane, over the agents' outboxes; their lives.

    Raises
    ------
    subprocess.SubprocessError
        An agent could not be asked.
    """
    counts: dict[Lane, tuple[int, int]] = dict.fromkeys(Lane, (0, 0))
    boots: list[str] = []
    for environment in environments:
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", "outbox", "--json"],
            env=dict(environment),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        told = json.loads(done.stdout)
        boots.extend(told["boots"])
        for lane, (numbered, waiting) in counts.items():
            counts[lane] = (
                numbered + int(told["numbered"].get(lane, 0)),
                waiting + int(told["waiting"].get(lane, 0)),
            )
    return counts, boots


async def settled_lanes(
    environments: Sequence[Mapping[str, str]], store: StoreReader, deadline_s: float
) -> dict[Lane, LaneCounts]:
    """Counts by lane once everything published is committed, or at the deadline."""
    outboxes, boots = await asyncio.to_thread(outbox_counts, environments)
    store.count_only(boots)
    end = time.monotonic() + deadline_s
    return {lane: await _settled(lane, outboxes[lane], store, end) for lane in _STORED_LANES}


async def _settled(
    lane: Lane, outbox: tuple[int, int], store: StoreReader, end: float
) -> LaneCounts:
    numbered, waiting = outbox
    while True:
        committed, distinct, gaps = 0, 0, 0
        with suppress(psycopg.OperationalError):
            committed, distinct, gaps = await asyncio.to_thread(store.committed, lane)
        if committed + gaps >= numbered or time.monotonic() > end:
            return LaneCounts(numbered, distinct, gaps, committed - distinct, waiting)
        await asyncio.sleep(0.5)


def memory_mb(pids: Mapping[str, int | None]) -> dict[str, float]:
    """Resident memory by program, children included.

    A program of several processes counts pages they share once (proportional set size),
    where the system lets us see that.
    """
    found: dict[str, float] = {}
    for name, pid in pids.items():
        if pid is None:
            continue
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            measure = _resident if len(family) == 1 else _proportional
            found[name] = round(sum(measure(member) for member in family) / 1e6, 1)
    return found


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss)


def _proportional(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return _resident(process)
