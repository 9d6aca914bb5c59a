"""A new model reaches a running bed only if everything about it is right."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fakes.edge_cloud import CloudSide
from fakes.edge_process import CHECKOUT, AgentProcess, agent_environment

from deploy.local.servers.mosquitto import MosquittoServer
from models.delivery.repository import SignedRepository
from wardstream.contracts.codec import decode
from wardstream.contracts.device import DeviceStatus, ModelAction, ModelCommand, ModelState
from wardstream.contracts.model_manifest import ModelManifest
from wardstream.contracts.timebase import TimestampNs

SHIPPED = CHECKOUT / "models" / "artifacts" / "rhythm"

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not (SHIPPED / "manifest.json").exists(), reason="no shipped model"),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def bundle(folder: Path, version: int, **changes: Any) -> Path:
    shutil.copytree(SHIPPED, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(version=version, **changes)
    path.write_text(json.dumps(manifest))
    return folder


def publish(repository: SignedRepository, folder: Path) -> None:
    manifest = decode((folder / "manifest.json").read_bytes(), ModelManifest)
    repository.publish(manifest, folder, datetime.now(UTC))


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    made = SignedRepository(tmp_path / "repository", tmp_path / "keys")
    made.initialise(datetime.now(UTC))
    return made


@pytest.fixture
def cloud(mosquitto: MosquittoServer) -> Iterator[CloudSide]:
    side = CloudSide({u: mosquitto.url(u) for u in ("cloud", "bridge", "worker")}, "bed-01")
    yield side
    side.close()


def shipped_version() -> int:
    return json.loads((SHIPPED / "manifest.json").read_text())["version"]


def command(action: ModelAction, version: int = 0) -> ModelCommand:
    return ModelCommand(
        command_id=str(uuid4()),
        action=action,
        version=version,
        issued_time_ns=TimestampNs(time.time_ns()),
        author="ops",
        device_id="bed-01",
    )


def after(cloud: CloudSide, sent: ModelCommand) -> DeviceStatus:
    begun_ns = time.time_ns()
    cloud.say(sent)
    time.sleep(0.3)

    def answered(side: CloudSide) -> bool:
        newest = side.statuses[-1]
        return newest.reported_time_ns > begun_ns + 3 * 10**8 and (
            newest.model.state is not ModelState.INSTALLING
        )

    assert cloud.wait_for(answered, 60)
    return cloud.statuses[-1]


def test_a_model_is_installed_refused_and_taken_back_while_the_bed_is_judged(
    mosquitto: MosquittoServer, cloud: CloudSide, repository: SignedRepository, tmp_path: Path
) -> None:
    v0 = shipped_version()
    wrong = json.loads((SHIPPED / "manifest.json").read_text())["inputs"]
    wrong[0]["shape"] = [2, 500]
    publish(repository, bundle(tmp_path / "good", v0 + 1))
    publish(repository, bundle(tmp_path / "wrong", v0 + 2, inputs=wrong))
    publish(repository, bundle(tmp_path / "tampered", v0 + 3))
    publish(repository, bundle(tmp_path / "late", v0 + 4, min_agent_version="99.0.0"))
    (target,) = (tmp_path / f"repository/targets/rhythm/{v0 + 3}").glob("*.onnx")
    target.write_bytes(target.read_bytes()[:-1] + b"!")
    with served(tmp_path / "repository") as url:
        environment = agent_environment(
            tmp_path / "state",
            EDGE_MQTT__URL=mosquitto.url("bed-01"),
            EDGE_MODEL__REPOSITORY_URL=url,
            EDGE_MODEL__TRUSTED_ROOT=str(repository.trusted_root),
        )
        with AgentProcess(environment) as agent:
            assert cloud.wait_for(lambda c: c.statuses, 30)
            agent.wait_for(lambda a: a.events("link_connected"))
            time.sleep(6)
            model = after(cloud, command(ModelAction.INSTALL, v0 + 1)).model
            assert (model.state, model.version) == (ModelState.RUNNING, v0 + 1)
            assert model.backend in " ".join(model.backends)
            assert len(model.backends) == 4  # all were tried, and each says how it did
            assert model.latency_p50_ms is not None
            assert 0 < model.latency_p50_ms < 5
            assert model.golden_error is not None
            for version, reason in (
                (v0 + 2, "input shapes"),
                (v0 + 3, "not the one that was signed"),
                (v0 + 4, "needs agent 99.0.0"),
                (v0 + 9, "not in the signed repository"),
                (v0, "is older than"),
            ):
                model = after(cloud, command(ModelAction.INSTALL, version)).model
                assert (model.state, model.refused_version) == (ModelState.REFUSED, version)
                assert reason in model.reason
                assert model.version == v0 + 1
            assert model.n_windows_unjudged == 0
            assert model.n_windows_judged > 0
            agent.kill()
        with AgentProcess(environment) as agent:
            assert cloud.wait_for(
                lambda c: (
                    c.statuses[-1].model.version == v0 + 1
                    and c.statuses[-1].reported_time_ns > time.time_ns() - 10**9
                ),
                30,
            )
            model = after(cloud, command(ModelAction.ROLLBACK)).model
            assert (model.state, model.version) == (ModelState.RUNNING, v0)
            model = after(cloud, command(ModelAction.ROLLBACK)).model
            assert model.state is ModelState.REFUSED
            agent.stop()


def test_a_repository_signed_by_others_is_refused(
    mosquitto: MosquittoServer, cloud: CloudSide, repository: SignedRepository, tmp_path: Path
) -> None:
    v0 = shipped_version()
    other = SignedRepository(tmp_path / "other", tmp_path / "other-keys")
    other.initialise(datetime.now(UTC))
    publish(other, bundle(tmp_path / "good", v0 + 1))
    with served(tmp_path / "other") as url:
        environment = agent_environment(
            tmp_path / "state",
            EDGE_MQTT__URL=mosquitto.url("bed-01"),
            EDGE_MODEL__REPOSITORY_URL=url,
            EDGE_MODEL__TRUSTED_ROOT=str(repository.trusted_root),
        )
        with AgentProcess(environment) as agent:
            agent.wait_for(lambda a: a.events("link_connected"))
            assert cloud.wait_for(lambda c: c.statuses, 30)
            model = after(cloud, command(ModelAction.INSTALL, v0 + 1)).model
            assert model.state is ModelState.REFUSED
            assert "not signed by the trusted keys" in model.reason
            agent.stop()
