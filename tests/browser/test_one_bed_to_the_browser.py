"""The whole way, with nothing made up: a recording at a bed becomes an alarm in a browser, and the
answer given there reaches the bed.

The stack is the one of ``wardstream up``: PostgreSQL, Mosquitto, Kafka, bridge, worker, API, agent.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(420)]

START_LIMIT_S = 180.0
ALARM_LIMIT_S = 120.0
STRIP_LIMIT_S = 45.0


@dataclass(frozen=True, slots=True)
class RunningStack:
    """What one needs to look at a stack from outside."""

    state: Path
    url: str
    database_url: str
    nurse_password: str

    def edge_alert_lines(self) -> list[dict[str, Any]]:
        """What the agents annunciated, as their logs have it."""
        lines: list[dict[str, Any]] = []
        for log in sorted((self.state / "logs").glob("*bed*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if line.startswith("{"):
                    entry = json.loads(line)
                    if entry.get("event") == "alert":
                        lines.append(entry)
        return lines


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """`wardstream up --beds 1` in a folder of its own; ended as Ctrl-C ends it."""
    state = tmp_path_factory.mktemp("stack") / "state"
    output = state.parent / "up.log"
    command = [sys.executable, "-m", "deploy.local.cli", "up", "--beds", "1"]
    with output.open("w") as log:
        process = subprocess.Popen(
            [*command, "--state-dir", str(state)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield _wait_until_ready(process, state, output)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_until_ready(
    process: "subprocess.Popen[bytes]", state: Path, output: Path
) -> RunningStack:
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, f"the stack ended:\n{output.read_text()[-4000:]}"
        found = _read_json(state / "stack.json")
        secrets = _read_json(state / "secrets.json")
        if (
            "api_url" in found
            and "nurse_password" in secrets
            and _may_sign_in(found["api_url"], secrets["nurse_password"])
        ):
            return RunningStack(
                state=state,
                url=found["api_url"],
                database_url=found["database_url"],
                nurse_password=secrets["nurse_password"],
            )
        time.sleep(0.2)
    raise AssertionError(f"no stack within {START_LIMIT_S} s:\n{output.read_text()[-4000:]}")


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _may_sign_in(url: str, password: str) -> bool:
    # The users of a first start appear a moment after the API is ready, and who fails must wait.
    try:
        if httpx.get(f"{url}/api/ready", timeout=2).status_code != 200:
            return False
        login = {"username": "nurse", "password": password}
        answer = httpx.post(f"{url}/api/session", json=login, timeout=15)
    except httpx.TransportError:
        return False
    if answer.status_code != 200:
        time.sleep(float(answer.headers.get("Retry-After", "2")))
    return answer.status_code == 200


@dataclass(slots=True)
class StreamEar:
    """Listens to the event stream as another program would, with a token instead of a cookie."""

    url: str
    password: str
    alerts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _stopped: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Collect alert events until `stop`."""
        login = {"username": "nurse", "password": self.password}
        with httpx.Client(base_url=self.url, timeout=httpx.Timeout(10, read=8)) as client:
            token = client.post("/api/session", json=login).raise_for_status().json()
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            with client.stream("GET", "/api/stream", headers=headers) as response:
                event = ""
                for line in response.iter_lines():
                    if self._stopped.is_set():
                        return
                    name, _, value = line.partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data" and event == "alert":
                        self.alerts.append(json.loads(value))

    def stop(self) -> None:
        """End at the next line; a heartbeat comes every few seconds."""
        self._stopped.set()


@pytest.fixture
def ear(stack: RunningStack) -> Iterator[StreamEar]:
    """An ear that listens."""
    listening = StreamEar(stack.url, stack.nurse_password)
    thread = threading.Thread(target=listening.listen)
    thread.start()
    yield listening
    listening.stop()
    thread.join(15)


def _eventually(
    what: str, find: Callable[[], list[dict[str, Any]]], limit_s: float
) -> dict[str, Any]:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if found := find():
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {limit_s} s")


def _rows(stack: RunningStack, query: str, alert_id: str) -> list[dict[str, Any]]:
    with psycopg.connect(stack.database_url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(query, [alert_id]).fetchall()


def test_fibrillation_at_the_bed_is_seen_and_answered_in_the_browser(
    page: Page, stack: RunningStack, ear: StreamEar
) -> None:
    page.goto(stack.url)
    page.fill("#username", "nurse")
    page.fill("#password", stack.nurse_password)
    page.click("button[type=submit]")
    page.wait_for_selector("[data-testid=link-state][data-link=live]")
    tile = page.locator("[data-testid=tile]").first
    expect(tile).to_be_visible(timeout=30_000)

    # The alarm, seen in the page.
    calling = page.locator(
        "[data-testid=alarm-card][data-condition=ventricular_fibrillation][data-priority=high]"
    ).first
    expect(calling).to_be_visible(timeout=ALARM_LIMIT_S * 1000)
    alert_id = calling.get_attribute("data-alert-id")
    assert alert_id is not None
    card = page.locator(f"[data-testid=alarm-card][data-alert-id='{alert_id}']")
    expect(tile).to_have_attribute("data-alert-id", alert_id)
    expect(tile.locator("[data-testid=mode]")).to_have_text("DEMO")

    # The same alert at the bed, in the database and on the stream.
    onset = _eventually(
        "onset in the agent's log",
        lambda: [line for line in stack.edge_alert_lines() if line["alert_id"] == alert_id],
        5,
    )
    assert onset["condition"] == "ventricular_fibrillation"
    assert onset["priority"] == "high"
    assert onset["transition"] == "onset"
    stored = _rows(stack, "SELECT * FROM alert WHERE alert_id = %s::uuid", alert_id)
    assert [row["device_id"] for row in stored] == [onset["device_id"]]
    heard = _eventually(
        "alert on the stream",
        lambda: [alert for alert in ear.alerts if alert["alert_id"] == alert_id],
        5,
    )
    assert heard["transition"] == "onset"
    assert heard["model_version"] != "none"

    # The answer, given in the page, reaches the bed, and the page says so.
    card.locator("[data-testid=acknowledge]").click()
    expect(card).to_have_attribute("data-acknowledgement-state", "confirmed", timeout=15_000)
    expect(card.locator("[data-testid=answer]")).to_contain_text("acknowledged by nurse at")
    at_the_bed = _eventually(
        "acknowledgement in the agent's log",
        lambda: [
            line
            for line in stack.edge_alert_lines()
            if line["alert_id"] == alert_id and line["transition"] == "acknowledged"
        ],
        5,
    )
    assert at_the_bed["device_id"] == onset["device_id"]
    answers = _rows(
        stack, "SELECT author, state FROM acknowledgement WHERE alert_id = %s::uuid", alert_id
    )
    assert answers == [{"author": "nurse", "state": "confirmed"}]

    # The curves around it arrive, and a verdict is kept for training.
    card.locator("[data-testid=alarm-band]").click()
    dialog = page.locator("[data-testid=alert-dialog]")
    expect(dialog.locator("[data-testid=strip] canvas").first).to_be_visible(
        timeout=STRIP_LIMIT_S * 1000
    )
    dialog.locator("[data-testid=verdict-true]").click()
    expect(dialog.locator("[data-testid=verdicts]")).to_contain_text("True alarm — nurse")
    verdicts = _rows(stack, "SELECT verdict FROM verdict WHERE alert_id = %s::uuid", alert_id)
    assert verdicts == [{"verdict": "true"}]


def test_numerics_arrive_by_the_other_way_and_stay_fresh(page: Page, stack: RunningStack) -> None:
    page.goto(stack.url)
    page.fill("#username", "nurse")
    page.fill("#password", stack.nurse_password)
    page.click("button[type=submit]")
    tile = page.locator("[data-testid=tile]").first
    expect(tile).to_have_attribute("data-stale", "false", timeout=30_000)
    stale_seen = page.evaluate(
        """async () => {
            const tile = document.querySelector('[data-testid=tile]');
            let seen = 0;
            for (let n = 0; n < 100; n += 1) {
                if (tile.dataset.stale !== 'false') seen += 1;
                await new Promise((next) => setTimeout(next, 100));
            }
            return seen;
        }"""
    )
    assert stale_seen == 0, f"stale in {stale_seen} of 100 looks over 10 s"
    expect(tile.locator("[data-testid=patient]")).not_to_have_text("no record linked")
