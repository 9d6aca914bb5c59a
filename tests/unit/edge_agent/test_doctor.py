"""The check-up finds what is wrong, says what to do, and never ends early."""

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.edge_process import CHECKOUT, agent_environment

from edge_agent.adapters.machine_checks import check_disk, check_outbox, check_permissions
from edge_agent.adapters.network_checks import check_root
from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.outbox_file import FILE_NAME
from edge_agent.core.checkup import Verdict
from edge_agent.core.outbox_port import OutboxLimits

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_folder_that_cannot_be_one_fails_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = check_disk(tmp_path / "file" / "state", 1)
    assert check.verdict is Verdict.FAIL
    assert "EDGE_STATE_DIR" in check.advice


def test_more_wanted_than_there_is_warns(tmp_path: Path) -> None:
    assert check_disk(tmp_path, 1).verdict is not Verdict.FAIL
    assert check_disk(tmp_path, 10**18).verdict is Verdict.WARN


def test_a_damaged_outbox_is_found_and_left_alone(tmp_path: Path) -> None:
    assert check_outbox(tmp_path).verdict is Verdict.PASS
    SqliteOutbox(tmp_path, "bed-1", OutboxLimits()).close()
    assert check_outbox(tmp_path).verdict is Verdict.PASS
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    assert check_outbox(tmp_path).verdict is Verdict.WARN
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / FILE_NAME).execute("SELECT * FROM message")


def test_a_folder_others_may_read_warns(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert check_permissions(tmp_path).verdict is Verdict.WARN
    tmp_path.chmod(0o700)
    assert check_permissions(tmp_path).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("days", "verdict"), [(-1, Verdict.FAIL), (3, Verdict.WARN), (90, Verdict.PASS)]
)
def test_a_root_of_trust_is_judged_by_its_age(tmp_path: Path, days: int, verdict: Verdict) -> None:
    root = tmp_path / "root.json"
    expires = (NOW + timedelta(days=days)).isoformat().replace("+00:00", "Z")
    root.write_text(json.dumps({"signed": {"expires": expires}}))
    assert check_root(root, NOW).verdict is verdict


def test_without_a_broker_the_command_fails_that_line_and_prints_the_others(tmp_path: Path) -> None:
    environment = agent_environment(tmp_path / "state", EDGE_MQTT__URL="mqtt://127.0.0.1:1")
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "doctor", "--json"],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    checks = {line["name"]: line for line in json.loads(done.stdout)["checks"]}
    assert checks["broker"]["verdict"] == "fail"
    assert checks["broker"]["advice"]
    assert checks["model"]["verdict"] == "pass"
    assert {"source", "disk", "clock", "time zone", "memory", "permissions"} <= set(checks)
    assert all(line["advice"] for line in checks.values() if line["verdict"] != "pass")
