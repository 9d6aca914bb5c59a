"""Every board has a profile, and what is installed beside it says the same and holds water."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from edge_agent.bootstrap.thermal import thresholds
from edge_agent.core.thermal import Shed, ThermalGovernor
from edge_agent.settings import load_settings, read_profile
from edge_agent.settings.platform import Board
from wardstream.contracts.errors import ConfigurationError

CONFIGS = Path(__file__).resolve().parents[3] / "firmware_configs"
BOARDS = [board for board in get_args(Board) if board != "generic"]
UNITS = CONFIGS / "systemd"
IDENTITY = {
    "EDGE_SITE_ID": "s1",
    "EDGE_UNIT_ID": "icu",
    "EDGE_BED_ID": "b1",
    "EDGE_DEVICE_ID": "d1",
    "EDGE_STATE_DIR": "/var/lib/edge",
    "EDGE_GENERATION_MODE": "demo",
    "EDGE_SOURCE__KIND": "simulator",
}


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


def assignments(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if "=" in line and line[0] != "#")
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_s_profile_drop_in_and_power_agree(board: str) -> None:
    platform = load_settings(read_profile(CONFIGS / "profiles" / f"{board}.yaml")).platform
    assert platform.board == board
    drop_in = (UNITS / "boards" / f"{board}.conf").read_text()
    assert f"profiles/{board}.yaml" in drop_in
    assert f"OMP_NUM_THREADS={platform.threads}" in drop_in
    assert f"MemoryMax={platform.memory_max_mb}M" in drop_in
    assert f"WatchdogSec={platform.watchdog_s}" in drop_in
    power = assignments(CONFIGS / "power" / f"{board}.env")
    mode = platform.power.nvpmodel
    assert power["NVPMODEL"] == ("" if mode is None else str(mode))
    assert (mode is not None) == board.startswith("jetson")
    assert power["JETSON_CLOCKS"] == str(platform.power.jetson_clocks).lower()
    assert power["CPU_GOVERNOR"] == platform.power.cpu_governor


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_sheds_everything_it_may_in_order(board: str) -> None:
    platform = load_settings(read_profile(CONFIGS / "profiles" / f"{board}.yaml")).platform
    stated = thresholds(platform.thermal)
    assert set(stated) == set(Shed)
    ThermalGovernor(stated)  # raises where the order is wrong


def test_a_wrong_profile_lists_all_its_problems_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_SOURCE__KIND")
    wrong = {
        "platform": {"board": "toaster", "threads": 0, "thermal": {"strips_celsius": 300}},
        "source": {
            "kind": "serial",
            "port": "/dev/x",
            "sampling_rate_hz": 9e9,
            "channels": [
                {"input": 0, "code": "MDC_ECG_ELEC_POTL_II", "unit": "furlong", "scale": 1},
                {"input": 1, "code": "MDC_MOOD", "unit": "mV", "scale": 1},
                {"input": 2, "code": "MDC_ECG_ELEC_POTL_V", "unit": "mV", "scale": 1},
            ],
        },
        "outbox": {"max_bites": 1},
        "colour": "green",
    }
    with pytest.raises(ConfigurationError) as caught:
        load_settings(wrong)
    found = "\n".join(caught.value.problems)
    for expected in (
        "EDGE_PLATFORM__BOARD",
        "EDGE_PLATFORM__THREADS",
        "EDGE_PLATFORM__THERMAL__STRIPS_CELSIUS",
        "EDGE_SOURCE__SAMPLING_RATE_HZ",
        "EDGE_SOURCE__CHANNELS__0: Value error, unit 'furlong'",
        "EDGE_SOURCE__CHANNELS__1: Value error, code 'MDC_MOOD'",
        "EDGE_OUTBOX__MAX_BITES",
        "EDGE_COLOUR",
    ):
        assert expected in found, found
    assert len(caught.value.problems) == 8, found


def test_the_agent_ends_with_78_and_names_every_problem(tmp_path: Path) -> None:
    profile = tmp_path / "wrong.yaml"
    profile.write_text(
        yaml.safe_dump(
            {
                "platform": {"thermal": {"live_view_celsius": 90, "strips_celsius": 60}},
                "judgement": {"spo2_lower_percent": 400},
                "kolour": 1,
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "--profile", profile],
        cwd=CONFIGS.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    for name in ("THERMAL", "SPO2_LOWER_PERCENT", "KOLOUR"):
        assert f"{name}" in done.stderr


def test_a_front_end_must_fit_its_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_SOURCE__KIND")
    profile = read_profile(CONFIGS / "profiles" / "raspberry-pi-5.yaml")
    channel = {"input": 0, "code": "MDC_ECG_ELEC_POTL_II", "unit": "mV", "scale": 1e-4}
    profile["source"] = {
        "kind": "serial",
        "port": "/dev/wardstream/front-end-1",
        "sampling_rate_hz": 1000,
        "channels": [channel],
    }
    with pytest.raises(ConfigurationError, match=r"1000 Hz, but platform\.max_rate_hz is 500"):
        load_settings(profile)


# ---- what is installed beside a profile ------------------------------------------------------


def unit_tree(folder: Path, board: str) -> Path:
    """The unit of one bed with a board's drop-in, its programs replaced by one that exists."""
    unit = folder / "wardstream-edge@bed-01.service"
    text = (UNITS / "wardstream-edge@.service").read_text()
    text = text.replace("/opt/wardstream/.venv/bin/python", "/bin/true")
    unit.write_text(text.replace("WorkingDirectory=/opt/wardstream", "WorkingDirectory=/"))
    drop_ins = folder / f"{unit.name}.d"
    drop_ins.mkdir()
    shutil.copy(UNITS / "boards" / f"{board}.conf", drop_ins / "board.conf")
    for driver in (UNITS / "drivers").glob("*.conf"):
        shutil.copy(driver, drop_ins / driver.name)
    shutil.copy(UNITS / "wardstream-power.service", folder)
    return unit


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
@pytest.mark.parametrize("board", BOARDS)
def test_systemd_takes_the_units_without_a_complaint(board: str, tmp_path: Path) -> None:
    unit = unit_tree(tmp_path, board)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit, tmp_path / "wardstream-power.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )
    ours = [line for line in done.stderr.splitlines() if "wardstream" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


@needs_systemd
def test_the_sandbox_is_as_tight_as_it_was(tmp_path: Path) -> None:
    """systemd's own score, 0 (closed) to 10 (open); a unit without any of it has 9.6."""
    unit = unit_tree(tmp_path, "jetson-orin-nano")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-600:]


def test_every_udev_rule_is_well_formed() -> None:
    rules = (CONFIGS / "udev" / "99-wardstream.rules").read_text().splitlines()
    pair = r'[A-Z_]+(\{[^}]+\})?(==|!=|=|\+=|:=)"[^"]*"'
    for rule in (line for line in rules if line and not line.startswith("#")):
        assert re.fullmatch(rf"{pair}(, {pair})*", rule), rule
        assert "==" in rule, "a rule without a match would take every device"
    joined = "\n".join(rules)
    assert 'SYMLINK+="wardstream/front-end-$attr{serial}"' in joined
    assert joined.count('GROUP="dialout"') == joined.count('SUBSYSTEM=="tty"')
