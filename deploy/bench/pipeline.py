"""Frames over MQTT to committed rows, through every tier, on this machine.

Protocol: first as many frames as the pipeline takes, then half of the load it is to reach, for
the waiting time. Each frame carries as its time the moment it was due to be published; a row's
time is when PostgreSQL committed its transaction (``track_commit_timestamp``). Devices resend
what no watermark covers, as beds do, and hold back while too much is under way, as a bed's
window does. Who publishes runs on the same cores.
"""

import asyncio
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from deploy.load.devices import LoadDevice, LoadWard, boot_id_of
from deploy.load.rig import PipelineRig, RigOptions, asked
from deploy.local.scorecard import memory_mb
from wardstream.contracts.errors import TransientError

TARGET_FRAMES_PER_S: Final = {1: 6_000, 16: 25_000}
"""By frames a message; the waiting time is measured at half of it."""

_UNDER_WAY: Final = {1: 6_000, 16: 24_000}
"""Frames between publication and watermark at most: about a second's worth."""

_TICK_S: Final = 0.01
_SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineLoad:
    """What is measured.

    Attributes
    ----------
    seconds : float
        Of both phases together: two thirds as much as goes, one third at half the target.
    frames_per_message : int
        1, or 16 as a backlog is sent.
    devices : int
        That publish.
    kafka : str
        ``tansu`` or ``apache``.
    """

    seconds: float = 60.0
    frames_per_message: int = 1
    devices: int = 200
    kafka: str = "tansu"


async def measure_pipeline(load: PipelineLoad, folder: Path) -> dict[str, Any]:
    """Run the load on a rig of its own in `folder`; the figures.

    Raises
    ------
    StartError, ConfigurationError
        Something would not start.
    TransientError
        The pipeline never took the first frame.
    """
    device_ids = tuple(f"load-{number:03}" for number in range(1, load.devices + 1))
    options = RigOptions(folder=folder, device_ids=device_ids, kafka=load.kafka, commit_times=True)
    async with PipelineRig(options) as rig:
        devices = [
            LoadDevice(rig.mqtt_url(name), name, f"bed-{name}", boot_id_of(name), time.monotonic)
            for name in device_ids
        ]
        async with LoadWard(devices) as ward:
            await _begin(rig, ward)
            return await _phases(load, rig, ward)


async def _begin(rig: PipelineRig, ward: LoadWard) -> None:
    # Until it is known where each device stands, and its first frame is a row: everything is
    # connected and compiled, and nothing is left to be joined again.
    await ward.until_connected()
    for device in ward.devices:
        device.say_status(time.time_ns())
    async with asyncio.timeout(_SETTLE_S):
        known = "SELECT count(*) FROM device_bed"
        while await asked(rig.database_url, known) != [(len(ward.devices),)]:  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # rows have no event to wait for
    for device in ward.devices:
        device.say_frames(1, time.time_ns(), 0, per_message=1)
    if not await ward.until_covered(90):
        raise TransientError("the pipeline did not commit its first frames within 90 s")


async def _phases(load: PipelineLoad, rig: PipelineRig, ward: LoadWard) -> dict[str, Any]:
    memory_start = memory_mb(rig.pids)
    cpu_before = _cpu_s(rig)
    begun_ns, said_before = time.time_ns(), ward.n_said
    await _saturate(load, ward, load.seconds * 2 / 3)
    published_s = (time.time_ns() - begun_ns) / 1e9
    covered = await ward.until_covered(_SETTLE_S)
    spent_s = {name: s - cpu_before.get(name, 0.0) for name, s in _cpu_s(rig).items()}
    n_saturated = ward.n_said - said_before
    committed_s = await _last_commit_s(rig, begun_ns)
    resent_in_saturation = ward.n_resent
    rate = TARGET_FRAMES_PER_S[load.frames_per_message] / 2
    paced_ns = time.time_ns()
    await _pace(load, ward, rate, load.seconds / 3)
    n_paced = ward.n_said - said_before - n_saturated
    paced_s = (time.time_ns() - paced_ns) / 1e9
    covered = await ward.until_covered(_SETTLE_S) and covered
    n_rows, n_distinct = await _rows(rig)
    memory_end = memory_mb(rig.pids)
    return {
        "frames_per_message": load.frames_per_message,
        "devices": load.devices,
        "kafka": load.kafka,
        "seconds": load.seconds,
        "frames_per_s": round(n_saturated / committed_s, 1),
        "published_per_s": round(n_saturated / published_s, 1),
        "frame_to_row_ms": await _waits_ms(rig, paced_ns),
        "cpu_us_a_frame": {
            name: round(s / n_saturated * 1e6, 1)
            for name, s in {**spent_s, "sum": sum(spent_s.values())}.items()
        },
        "paced_frames_per_s": round(n_paced / paced_s, 1),
        "frames": ward.n_said,
        "lost": ward.n_said - n_distinct,
        "duplicated": n_rows - n_distinct,
        "all_covered": covered,
        "messages_resent": {"saturated": resent_in_saturation, "all": ward.n_resent},
        "rss_mb": {
            name: {"start": start, "end": memory_end.get(name)}
            for name, start in memory_start.items()
        },
    }


async def _saturate(load: PipelineLoad, ward: LoadWard, seconds: float) -> None:
    window = _UNDER_WAY[load.frames_per_message] // len(ward.devices)
    at_once = max(1, min(window // 4, 64) // load.frames_per_message) * load.frames_per_message
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for device in ward.devices:
            if device.n_uncovered() + at_once <= max(window, at_once) and device.link.is_up:
                device.say_frames(at_once, time.time_ns(), 1, per_message=load.frames_per_message)
        await asyncio.sleep(_TICK_S)


async def _pace(load: PipelineLoad, ward: LoadWard, rate: float, seconds: float) -> None:
    # Due times come from the rate alone, so that a slow pipeline cannot slow its own clock.
    per_message = load.frames_per_message
    interval_ns = round(per_message / rate * 1e9)
    due_ns = time.time_ns()
    end_ns = due_ns + round(seconds * 1e9)
    number = 0
    while due_ns < end_ns:
        now_ns = time.time_ns()
        while due_ns <= now_ns and due_ns < end_ns:
            device = ward.devices[number % len(ward.devices)]
            device.say_frames(per_message, due_ns, 1, per_message=per_message)
            due_ns += interval_ns
            number += 1
        await asyncio.sleep(_TICK_S / 2)


async def _last_commit_s(rig: PipelineRig, since_ns: int) -> float:
    ((moment,),) = await asked(
        rig.database_url,
        "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8"
        " FROM feature_frame WHERE start_time_ns >= %s",
        since_ns,
    )
    return float(str(moment)) - since_ns / 1e9


async def _waits_ms(rig: PipelineRig, since_ns: int) -> dict[str, float]:
    ((p50, p99, slowest),) = await asked(
        rig.database_url,
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms),"
        " percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), max(ms) FROM (SELECT"
        " extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 * 1e3 - start_time_ns / 1e6"
        " AS ms FROM feature_frame WHERE start_time_ns >= %s) AS waits",
        since_ns,
    )
    return {
        "p50": round(float(str(p50)), 1),
        "p99": round(float(str(p99)), 1),
        "max": round(float(str(slowest)), 1),
    }


def _cpu_s(rig: PipelineRig) -> dict[str, float]:
    # Processor time tells what a shared machine's wall clock cannot: what the frames cost.
    found = {"load": time.process_time()}
    for name, pid in rig.pids.items():
        if pid is None:
            continue
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            found[name] = sum(sum(member.cpu_times()[:4]) for member in family)
    return found


async def _rows(rig: PipelineRig) -> tuple[int, int]:
    ((n_rows, n_distinct),) = await asked(
        rig.database_url,
        "SELECT count(*), count(DISTINCT (device_id, boot_id, sequence_number)) FROM feature_frame",
    )
    return int(str(n_rows)), int(str(n_distinct))


def measure(load: PipelineLoad) -> dict[str, Any]:
    """`measure_pipeline` in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="wardstream-bench-"))
    folder.chmod(0o755)  # the servers' unprivileged account must pass
    try:
        return asyncio.run(measure_pipeline(load, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
