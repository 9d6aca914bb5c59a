"""Check-up of the machine: disk, permissions, clock, memory. Nothing here changes anything."""

import ctypes
import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from edge_agent.adapters.outbox_file import FILE_NAME
from edge_agent.core.checkup import Check, failed, passed, warned

_LEAST_FREE_BYTES: Final = 200_000_000
_NEEDED_MEMORY_BYTES: Final = 250_000_000
_LEAST_YEAR: Final = 2025
_STA_UNSYNC: Final = 0x0040
_SLOW_SYNC_S: Final = 0.25


def check_disk(state_dir: Path, wanted_bytes: int) -> Check:
    """Whether the state folder takes a file for good, how fast, and has room.

    Parameters
    ----------
    state_dir : Path
        State folder of the device.
    wanted_bytes : int
        What outbox and ring may grow to.
    """
    name = "disk"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        with tempfile.NamedTemporaryFile(dir=state_dir, prefix=".doctor-") as file:
            file.write(bytes(65_536))
            file.flush()
            os.fsync(file.fileno())
        took_s = time.monotonic() - began_s
        free = shutil.disk_usage(state_dir).free
    except OSError as error:
        return failed(
            name,
            f"{state_dir} cannot be written: {error.strerror or error}",
            "make it writable for the agent's user, or set EDGE_STATE_DIR to a folder that is",
        )
    used = sum(path.stat().st_size for path in state_dir.rglob("*") if path.is_file())
    found = f"{free / 1e9:.1f} GB free, 64 kB synced in {took_s * 1e3:.0f} ms"
    if free < _LEAST_FREE_BYTES:
        return failed(name, found, "free some space: at least 0.2 GB must be left for alerts")
    if free + used < wanted_bytes:
        return warned(
            name,
            f"{found}; outbox and ring may grow to {wanted_bytes / 1e9:.1f} GB",
            "lower EDGE_RING__MAX_BYTES or EDGE_OUTBOX__MAX_BYTES, or free some space",
        )
    if took_s > _SLOW_SYNC_S:
        return warned(name, found, "the disk is slow: alerts wait that long until they are sent")
    return passed(name, found)


def check_outbox(state_dir: Path) -> Check:
    """Whether the outbox file is whole."""
    path = state_dir / FILE_NAME
    if not path.exists():
        return passed("outbox", "none yet; the first start makes it")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            (n_waiting,) = connection.execute("SELECT count(*) FROM message").fetchone()
    except sqlite3.Error as error:
        verdict, n_waiting = str(error), 0
    if verdict != "ok":
        return warned(
            "outbox",
            f"{path} is damaged: {verdict}",
            "nothing: the agent sets it aside, saves the alerts in it and begins a new one",
        )
    return passed("outbox", f"whole, {n_waiting} messages wait for the cloud")


def check_permissions(state_dir: Path) -> Check:
    """Whether others on this machine can read what the device keeps."""
    name = "permissions"
    try:
        status = state_dir.stat()
    except OSError as error:
        return failed(name, f"{state_dir}: {error.strerror or error}", "make the folder")
    found = f"{state_dir} belongs to user {status.st_uid}, mode {status.st_mode & 0o777:04o}"
    if status.st_uid != os.geteuid():
        return warned(name, found, f"we are user {os.geteuid()}: run the agent as the owner")
    if status.st_mode & 0o027:
        return warned(
            name, found, f"curves and alerts of a patient lie there: chmod 0700 {state_dir}"
        )
    return passed(name, found)


def check_clock() -> Check:
    """Whether the clock is plausible, kept by NTP, and runs evenly."""
    name = "clock"
    year = time.gmtime().tm_year
    if year < _LEAST_YEAR:
        return failed(name, f"the year is {year}", "set the clock, and have NTP keep it")
    before = time.time_ns() - time.monotonic_ns()
    time.sleep(0.3)
    drift_ns = time.time_ns() - time.monotonic_ns() - before
    if abs(drift_ns) > 50_000_000:
        return warned(
            name,
            f"it was set by {drift_ns / 1e9:+.3f} s while we looked",
            "wait until NTP has settled; the agent marks the step as a technical alert",
        )
    status = _kernel_clock_status()
    if status is None:
        return warned(name, "the kernel does not say whether NTP keeps it", "see that it does")
    if status & _STA_UNSYNC:
        return warned(
            name,
            "no NTP client keeps it (the kernel says unsynchronised)",
            "enable chrony or systemd-timesyncd; above 1 s of skew the cloud raises an alert",
        )
    return passed(name, "kept by NTP, no step while we looked")


def _kernel_clock_status() -> int | None:
    class Timex(ctypes.Structure):
        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 256),
        )

    with suppress(OSError, AttributeError):
        asked = Timex()
        if ctypes.CDLL(None).adjtimex(ctypes.byref(asked)) >= 0:
            return int(asked.status)
    return None


def check_time_zone() -> Check:
    """Which zone people read times in; everything stored and sent is UTC."""
    zone, offset_s = time.strftime("%Z"), time.localtime().tm_gmtoff
    found = f"{zone or '?'}, UTC{offset_s / 3600:+g} h; data are UTC whatever it is"
    if os.environ.get("TZ", "").strip(":") and not zone:
        return warned("time zone", found, "TZ names a zone this machine does not know")
    return passed("time zone", found)


def check_memory() -> Check:
    """Whether a bed fits into what is free and into the limit of its control group."""
    name = "memory"
    available = _meminfo("MemAvailable")
    limit = _group_limit()
    if available is None:
        return warned(name, "this system does not say", "a bed needs 0.25 GB")
    found = f"{available / 1e9:.1f} GB available"
    if limit is not None:
        found += f", the group may use {limit / 1e9:.1f} GB"
    if min(available, limit or available) < _NEEDED_MEMORY_BYTES:
        return failed(name, found, "a bed needs 0.25 GB: raise MemoryMax of the unit, or free some")
    return passed(name, found)


def _meminfo(key: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def _group_limit() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().strip().splitlines()[-1].split(":")[2]
        path = Path("/sys/fs/cgroup") / group.lstrip("/") / "memory.max"
        return int(path.read_text())
    return None


def check_kernel_cache() -> Check:
    """Whether compiled kernels outlive the process: without them a start takes a minute."""
    name = "kernel cache"
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder is None:
        return warned(name, "NUMBA_CACHE_DIR is not set", "set it to a folder the agent may write")
    path = Path(folder)
    n_files = sum(1 for _ in path.rglob("*.nbc")) if path.is_dir() else 0
    writable = os.access(path if path.is_dir() else path.parent, os.W_OK)
    if n_files == 0 and not writable:
        return failed(
            name,
            f"{path} is empty and cannot be written",
            "let the agent's user write there: each start would compile for a minute",
        )
    if n_files == 0:
        return warned(name, f"{path} is empty", "the first start compiles for about half a minute")
    return passed(name, f"{n_files} kernels in {path}")
