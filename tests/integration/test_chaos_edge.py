"""The campaign itself, in small: three agents killed, nothing lost, nothing twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
def test_three_killed_agents_lose_nothing_and_judge_again_soon(server_folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WARDSTREAM_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "deploy.local.cli", "chaos", "edge"),
            *("--kills", "3", "--json", "--keep", str(server_folder / "chaos")),
        ],
        cwd=_CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["kills"] == 3
    assert found["alerts"]["events"] > 0
    assert found["alerts"]["lost"] == 0
    assert found["alerts"]["duplicated"] == 0
    assert found["frames"]["lost"] == 0
    assert found["frames"]["duplicated"] == 0
    assert found["restart_to_first_judged_s"]["n"] == 3
    # The command itself holds to 3 s; here other tests share the machine.
    assert found["restart_to_first_judged_s"]["max"] < 15
    assert found["blind_s"] > 0
