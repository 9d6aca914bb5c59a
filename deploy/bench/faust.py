"""The Faust tier alone, from Kafka to rows ready for COPY; two peers at the same keyed join.

Protocol: a broker on loopback holds the records before the clock starts. Ours: records as the
bridge writes them, 512 frames of 200 beds each, decoded, joined with bed and patient, scored
(NEWS2) and built into rows, by the worker's own code with the database left out. Peers: their
idiom, one frame a record keyed by bed, decoded with `struct`, joined with a dictionary, scored by
the same bands in plain Python, built into a tuple. Frames over processor time of the process.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.load.devices import boot_id_of, frame_template
from deploy.local import environment
from deploy.local.layout import CHECKOUT
from deploy.local.servers.kafka import TansuServer
from wardstream.contracts.topics import FEATURES

_DEVICES: Final = 200
_FRAMES: Final = 400_000
_FRAMES_A_RECORD: Final = 512
_PEER_FRAMES: Final = 60_000
_PEER_TOPIC: Final = "single-frames"
_PARTITIONS: Final = 4
_PEERS_PYTHON: Final = CHECKOUT / ".venv-peers" / "bin" / "python"
_PEERS: Final = ("quixstreams", "bytewax")


def measure() -> dict[str, Any]:
    """Frames a second and core of the tier, and peers beside it."""
    folder = Path(tempfile.mkdtemp(prefix="wardstream-bench-"))
    folder.chmod(0o755)  # the servers' unprivileged account must pass
    try:
        with TansuServer(folder / "kafka") as kafka:
            asyncio.run(_fill(kafka.bootstrap))
            ours = _ours(kafka.bootstrap, folder)
            peers = {name: _peer(name, kafka.bootstrap, ours) for name in _PEERS}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**ours, "frames_a_record": _FRAMES_A_RECORD, "devices": _DEVICES, "peers": peers}


async def _fill(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(n, _PARTITIONS, 1) for n in (FEATURES.name, _PEER_TOPIC)])
    await admin.close()
    templates = [
        frame_template(name, boot_id_of(name))
        for name in (f"load-{number:03}" for number in range(_DEVICES))
    ]
    now_ns = time.time_ns()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=262_144)
    await producer.start()
    try:
        per_partition = _DEVICES // _PARTITIONS
        for at in range(0, _FRAMES, _FRAMES_A_RECORD):
            partition = at // _FRAMES_A_RECORD % _PARTITIONS
            payload = b"".join(
                templates[partition * per_partition + n % per_partition].at(at + n, now_ns)
                for n in range(min(_FRAMES_A_RECORD, _FRAMES - at))
            )
            await producer.send(FEATURES.name, payload, partition=partition)
        for n in range(_PEER_FRAMES):
            device = n % _DEVICES
            await producer.send(
                _PEER_TOPIC,
                templates[device].at(n, now_ns),
                key=f"load-{device:03}".encode(),
                partition=device % _PARTITIONS,
            )
    finally:
        await producer.stop()


def _ours(bootstrap: str, folder: Path) -> dict[str, Any]:
    devices = folder / "devices.json"
    names = [f"load-{number:03}" for number in range(_DEVICES)]
    devices.write_text(json.dumps([[name, boot_id_of(name)] for name in names]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stream_processors", "measure"),
            *("--frames", str(_FRAMES), "--devices", str(devices)),
        ],
        env={
            **environment.common(),
            "STREAM_KAFKA_BOOTSTRAP": bootstrap,
            "STREAM_STATE_DIR": str(folder / "state"),
            "STREAM_PARTITIONS": str(_PARTITIONS),
        },
        cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True, timeout=360,
    )  # fmt: skip
    return json.loads(done.stdout)


def _peer(name: str, bootstrap: str, ours: dict[str, Any]) -> dict[str, Any]:
    if not _PEERS_PYTHON.is_file():
        return {"skipped": "not installed; make setup-peers"}
    script = Path(__file__).with_name("peers") / f"{name}_task.py"
    done = subprocess.run(
        [str(_PEERS_PYTHON), str(script), bootstrap, _PEER_TOPIC, str(_PEER_FRAMES)],
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": tempfile.gettempdir()},
        cwd=script.parent, capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip
    if done.returncode:
        return {"skipped": f"failed: {done.stderr.strip().splitlines()[-1:]}"}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    rate = found["frames"] / found["cpu_s"]
    return {
        **found,
        "frames_per_s_per_core": round(rate, 1),
        "ratio": round(ours["frames_per_s_per_core"] / rate, 2),
    }
