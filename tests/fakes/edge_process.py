"""An agent as it is run: a process of its own, with its log read back."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

CHECKOUT = Path(__file__).resolve().parents[2]
SCENARIOS = CHECKOUT / "firmware_configs" / "scenarios"


def agent_environment(state_dir: Path, device_id: str = "bed-01", **more: str) -> dict[str, str]:
    return {
        "EDGE_SITE_ID": "site-1",
        "EDGE_UNIT_ID": "icu",
        "EDGE_BED_ID": "icu-1",
        "EDGE_DEVICE_ID": device_id,
        "EDGE_STATE_DIR": str(state_dir),
        "EDGE_GENERATION_MODE": "demo",
        "EDGE_SOURCE__KIND": "simulator",
        "EDGE_SOURCE__SCRIPT": str(SCENARIOS / "arrest.yaml"),
        **more,
    }


class AgentProcess:
    """``python -m edge_agent run``; ended by its own pid when left."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115

    def __enter__(self) -> Self:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run"],
            cwd=CHECKOUT,
            env={**kept, **self._environment},
            stderr=self._log,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.last_lines = self.lines
        self._log.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    @property
    def text(self) -> str:
        return Path(self._log.name).read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        whole = (line for line in self.text.splitlines() if line.endswith("}"))
        return [json.loads(line) for line in whole if line.startswith("{")]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == event]

    def alerts(self, condition: str) -> list[dict[str, Any]]:
        return [line for line in self.events("alert") if line["condition"] == condition]

    def wait_for(self, condition: Callable[[Self], Any], timeout_s: float = 30.0) -> None:
        until_s = time.monotonic() + timeout_s
        while not condition(self):
            assert self.process.poll() is None, f"the agent ended:\n{self.text[-3000:]}"
            assert time.monotonic() < until_s, f"waited {timeout_s} s in vain:\n{self.text[-3000:]}"
            time.sleep(0.05)

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def outbox_counters(state_dir: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "outbox", "--json", "--state-dir", str(state_dir)],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)
