"""The state folder: one stack at a time, private files, and nobody's process by mistake."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.environment import load_secrets
from deploy.local.layout import (
    AlreadyRunningError,
    ProcessId,
    StackLock,
    StateFolder,
    lock_holder,
)
from deploy.local.servers.account import Account
from deploy.local.stack import end_leftovers


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_second_stack_in_the_same_folder_is_refused_with_what_to_do(state: StateFolder) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from deploy.local.layout import StackLock, StateFolder\n"
        f"with StackLock(StateFolder(pathlib.Path({str(state.path)!r}))):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert lock_holder(state) == holder.pid
        with pytest.raises(AlreadyRunningError, match=rf"process {holder.pid}.*wardstream down"):
            StackLock(state).__enter__()
        holder.kill()
        holder.wait()
    assert lock_holder(state) is None
    with StackLock(state):
        pass


def test_what_holds_secrets_is_readable_by_its_owner_alone(state: StateFolder) -> None:
    drawn = load_secrets(state)
    state.write_stack({"database_url": "postgresql://with:password@host/db"})
    for path in (state.secrets_file, state.stack_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secrets(state) == drawn
    assert drawn.admin_password != drawn.nurse_password


def test_wiping_forgets_everything_but_the_lock(state: StateFolder) -> None:
    with StackLock(state):
        load_secrets(state)
        state.part("beds", "bed-01")
        state.wipe()
        assert [path.name for path in state.path.iterdir()] == ["lock"]


def test_an_unreadable_or_absent_stack_file_is_no_stack(state: StateFolder) -> None:
    assert state.read_stack() == {}
    state.part("logs")
    state.stack_file.write_text("{half a fi")
    assert state.read_stack() == {}


def test_the_servers_data_lie_inside_where_their_account_may_go(tmp_path: Path) -> None:
    assert StateFolder(tmp_path / "state").servers(None) == tmp_path / "state" / "servers"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps servers' data elsewhere")
def test_the_servers_data_lie_outside_a_folder_only_root_may_enter(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o700)
    state = StateFolder(tmp_path / "locked" / "state")
    outside = state.servers(Account(65534, 65534))
    assert outside.parent == Path("/var/lib/wardstream")
    assert state.servers(Account(65534, 65534)) == outside
    (outside / "postgres").mkdir()
    state.wipe()
    assert not outside.exists()


def test_a_process_is_known_by_its_start_as_well_as_its_id() -> None:
    with sleeper() as process:
        found = ProcessId.of(process.pid)
        assert found is not None
        assert found.lives
        other_life = ProcessId(found.pid, found.start_ticks - 1)
        assert not other_life.lives
        other_life.signal(9)
        assert process.poll() is None
        found.signal(9)
        process.wait()
        assert found.wait(5)
    assert ProcessId.of(process.pid) is None


def test_leftovers_of_a_crash_are_ended_and_strangers_left_alone() -> None:
    with sleeper() as left, sleeper() as stranger:
        ours, theirs = ProcessId.of(left.pid), ProcessId.of(stranger.pid)
        assert ours is not None
        assert theirs is not None
        told: list[str] = []
        end_leftovers(
            {
                "programs": {
                    "worker": {"process": {"pid": ours.pid, "start_ticks": ours.start_ticks}},
                    "bed-01": {"process": {"pid": theirs.pid, "start_ticks": 1}},
                    "api": {"process": None},
                }
            },
            told.append,
        )
        assert left.wait(5) == -15
        assert stranger.poll() is None
        stranger.kill()
    assert len(told) == 1
    assert "worker" in told[0]
