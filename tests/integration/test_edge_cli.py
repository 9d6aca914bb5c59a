"""The command line, as people and the stack use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.edge_process import CHECKOUT, SCENARIOS, AgentProcess, agent_environment

KEYS = {"condition", "priority", "time_s", "decision_latency_ms", "transition"}


def edge(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_")}
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments],
        cwd=CHECKOUT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.data
def test_a_replayed_recording_gives_one_json_line_an_alert(recordings: Path) -> None:
    done = edge("replay", str(recordings / "cudb" / "cu01"), "--json")
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert all(alert.keys() >= KEYS for alert in alerts)
    assert any(
        a["condition"] == "ventricular_fibrillation" and a["priority"] == "high" for a in alerts
    )
    assert all(0 <= alert["time_s"] <= 510 for alert in alerts)


def test_a_simulated_arrest_is_found_where_the_script_puts_it() -> None:
    done = edge("simulate", str(SCENARIOS / "arrest.yaml"), "--json", "--seconds", "60")
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    fibrillation = [a for a in alerts if a["condition"] == "ventricular_fibrillation"]
    assert done.returncode == 0
    assert 15 < fibrillation[0]["time_s"] < 25


def test_an_unreadable_record_ends_with_65_and_a_sentence(tmp_path: Path) -> None:
    done = edge("replay", str(tmp_path / "nothing"), "--json")
    assert done.returncode == 65
    assert done.stderr.startswith("no readable WFDB record")
    assert "Traceback" not in done.stderr


def test_wrong_settings_end_with_78_and_every_problem(tmp_path: Path) -> None:
    environment = agent_environment(tmp_path, EDGE_TYPO="1", EDGE_BED_ID="no bed")
    done = edge("run", **environment)
    assert done.returncode == 78
    assert "EDGE_TYPO" in done.stderr
    assert "EDGE_BED_ID" in done.stderr


def test_a_source_that_is_not_there_ends_with_65(tmp_path: Path) -> None:
    environment = agent_environment(tmp_path, EDGE_SOURCE__SCRIPT=str(tmp_path / "none.yaml"))
    assert edge("run", **environment).returncode == 65


def test_a_second_agent_on_the_same_state_ends_with_69(tmp_path: Path) -> None:
    environment = agent_environment(tmp_path)
    with AgentProcess(environment) as agent:
        agent.wait_for(lambda a: a.events("started"))
        done = edge("run", **environment)
        assert done.returncode == 69
        assert "another agent" in done.stderr
        assert agent.stop() == 0


def test_the_outbox_of_no_device_is_a_sentence(tmp_path: Path) -> None:
    done = edge("outbox", "--json", "--state-dir", str(tmp_path))
    assert done.returncode == 69
    assert "no outbox" in done.stderr


@pytest.mark.parametrize("command", [(), ("run",), ("replay",), ("outbox",), ("simulate",)])
def test_help_teaches(command: tuple[str, ...]) -> None:
    done = edge(*command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 300


def test_one_agent_needs_little_memory_and_decides_in_time(tmp_path: Path) -> None:
    with AgentProcess(agent_environment(tmp_path)) as agent:
        agent.wait_for(lambda a: a.events("measurements"))
        assert agent.rss_mb() < 300
        (first, *_) = agent.events("measurements")
        assert first["decision_ms_p50"] < 5
        agent.stop()
