"""From a bundle to a device: what is signed arrives, what was touched does not."""

import dataclasses
import functools
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from fakes.tiny_model import tiny_bundle
from paho.mqtt.enums import CallbackAPIVersion
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError
from tuf.ngclient import Updater

from models.delivery.publishing import check_bundle, sign_and_lay_out
from models.delivery.repository import Expiry, SignedRepository
from models.evaluation.gates import Gates, Limit
from models.registry.bundle import write_manifest
from wardstream.contracts.codec import decode
from wardstream.contracts.device import ModelAction, ModelCommand
from wardstream.contracts.errors import ConfigurationError, RefusedError
from wardstream.contracts.topics import FLEET, MODEL_COMMAND
from wardstream.inference.bundle import qualify
from wardstream.inference.registry import load_runtime

pytestmark = pytest.mark.integration

OPEN_GATES = Gates(manifest={}, artifact={}, max_artifact_bytes=300_000)
FILES = ("manifest.json", "rhythm.onnx", "golden.npz")


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`folder` over HTTP on a free port of loopback, as the API serves it."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def repository(tmp_path: Path) -> SignedRepository:
    made = SignedRepository(tmp_path / "repository", tmp_path / "keys")
    made.initialise(datetime.now(UTC))
    return made


@pytest.fixture
def fetch(tmp_path: Path, repository: SignedRepository) -> Callable[..., Path]:
    """Fetch a version as a device does, trusting only the root it was given; its bundle."""

    def fetch(version: int, *, root: bytes | None = None, device: str = "device") -> Path:
        own = tmp_path / device
        bundle = own / f"bundle-{version}"
        bundle.mkdir(parents=True, exist_ok=True)
        (own / "metadata").mkdir(exist_ok=True)
        with served(tmp_path / "repository") as url:
            updater = Updater(
                str(own / "metadata"),
                f"{url}/metadata/",
                str(bundle),
                f"{url}/targets/",
                bootstrap=root or repository.trusted_root.read_bytes(),
            )
            updater.refresh()
            for name in FILES:
                target = updater.get_targetinfo(f"rhythm/{version}/{name}")
                assert target is not None, f"rhythm/{version}/{name} is no target"
                updater.download_target(target, str(bundle / name))
        return bundle

    return fetch


def publish(bundle_dir: Path, repository: SignedRepository, gates: Gates = OPEN_GATES) -> None:
    publication = check_bundle(bundle_dir, gates, repository.newest(), None)
    sign_and_lay_out(publication, bundle_dir, repository, datetime.now(UTC))


def test_what_was_published_arrives_and_answers_its_golden_vectors(
    tmp_path: Path, repository: SignedRepository, fetch: Callable[..., Path]
) -> None:
    manifest = tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    bundle = fetch(1)
    runtime = load_runtime(bundle)
    assert runtime.manifest == manifest
    assert qualify(runtime, bundle) == 0.0
    tiny_bundle(tmp_path / "b2", 2, seed=1)
    publish(tmp_path / "b2", repository)
    assert load_runtime(fetch(2)).manifest.version == 2
    assert load_runtime(fetch(1)).manifest.version == 1  # kept for who goes back


def test_a_target_that_was_touched_is_refused(
    tmp_path: Path, repository: SignedRepository, fetch: Callable[..., Path]
) -> None:
    tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    (graph,) = (tmp_path / "repository" / "targets" / "rhythm" / "1").glob("*.rhythm.onnx")
    payload = bytearray(graph.read_bytes())
    payload[len(payload) // 2] ^= 1
    graph.write_bytes(payload)
    with pytest.raises(RepositoryError):
        fetch(1)


def test_metadata_that_was_touched_is_refused(
    tmp_path: Path, repository: SignedRepository, fetch: Callable[..., Path]
) -> None:
    tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    path = tmp_path / "repository" / "metadata" / "2.targets.json"
    changed = json.loads(path.read_text())
    changed["signed"]["targets"]["rhythm/1/rhythm.onnx"]["hashes"]["sha256"] = "0" * 64
    path.write_text(json.dumps(changed))
    with pytest.raises(RepositoryError):
        fetch(1)


def test_an_old_repository_put_back_is_refused_by_a_device_that_saw_the_new_one(
    tmp_path: Path, repository: SignedRepository, fetch: Callable[..., Path]
) -> None:
    tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    timestamp = tmp_path / "repository" / "metadata" / "timestamp.json"
    old = timestamp.read_bytes()
    tiny_bundle(tmp_path / "b2", 2, seed=1)
    publish(tmp_path / "b2", repository)
    fetch(2)
    timestamp.write_bytes(old)
    with pytest.raises((RepositoryError, AssertionError)):
        fetch(2)


def test_a_repository_nobody_refreshed_is_refused_until_somebody_does(
    tmp_path: Path, repository: SignedRepository, fetch: Callable[..., Path]
) -> None:
    tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    long_ago = datetime.now(UTC) - timedelta(days=2)
    repository.refresh(long_ago, Expiry(timestamp=timedelta(days=1)))
    assert repository.status(datetime.now(UTC)).expired == ["timestamp"]
    with pytest.raises(ExpiredMetadataError):
        fetch(1)
    repository.refresh(datetime.now(UTC))
    assert fetch(1).is_dir()


def test_another_ones_repository_is_refused(
    tmp_path: Path, repository: SignedRepository, fetch: Callable[..., Path]
) -> None:
    tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    foreign = SignedRepository(tmp_path / "foreign", tmp_path / "foreign-keys")
    foreign.initialise(datetime.now(UTC))
    with pytest.raises(RepositoryError):
        fetch(1, root=foreign.trusted_root.read_bytes())


def test_a_version_is_published_once_and_never_below_the_newest(
    tmp_path: Path, repository: SignedRepository
) -> None:
    tiny_bundle(tmp_path / "b5", 5)
    publish(tmp_path / "b5", repository)
    for version in (5, 4):
        tiny_bundle(tmp_path / f"again{version}", version, seed=2)
        with pytest.raises(RefusedError, match="not above the newest"):
            publish(tmp_path / f"again{version}", repository)
    assert repository.status(datetime.now(UTC)).versions == [5]


def test_a_bundle_of_another_shape_is_not_signed(
    tmp_path: Path, repository: SignedRepository
) -> None:
    manifest = tiny_bundle(tmp_path / "b1", 1)
    wrong = dataclasses.replace(
        manifest, inputs=(dataclasses.replace(manifest.inputs[0], shape=(1, 500)),)
    )
    write_manifest(wrong, tmp_path / "b1")
    with pytest.raises(RefusedError, match="input shapes"):
        publish(tmp_path / "b1", repository)
    assert repository.newest() is None


def test_a_bundle_whose_graph_answers_otherwise_than_its_golden_vectors_is_not_signed(
    tmp_path: Path, repository: SignedRepository
) -> None:
    manifest = tiny_bundle(tmp_path / "b1", 1)
    other = tiny_bundle(tmp_path / "b2", 1, seed=9)
    graph = (tmp_path / "b2" / "rhythm.onnx").read_bytes()
    (tmp_path / "b1" / "rhythm.onnx").write_bytes(graph)
    with pytest.raises(RefusedError, match="sha256"):
        publish(tmp_path / "b1", repository)
    lying = dataclasses.replace(manifest, sha256=other.sha256, n_bytes=other.n_bytes)
    write_manifest(lying, tmp_path / "b1")
    with pytest.raises(RefusedError, match="golden vectors are off"):
        publish(tmp_path / "b1", repository)


def test_every_gate_that_is_missed_is_named(tmp_path: Path, repository: SignedRepository) -> None:
    gates = Gates(
        manifest={"shockable.se": Limit(at_least=0.9), "shockable.sp": Limit(at_least=0.9)},
        artifact={},
        max_artifact_bytes=10,
    )
    tiny_bundle(tmp_path / "b1", 1, shockable__se=0.5)
    with pytest.raises(RefusedError, match=r"se is 0\.5.*does not state shockable\.sp.*at most 10"):
        publish(tmp_path / "b1", repository, gates)


def test_a_successor_may_not_be_much_worse(tmp_path: Path, repository: SignedRepository) -> None:
    gates = Gates(
        manifest={}, artifact={}, max_artifact_bytes=300_000, max_loss_points={"shockable.se": 3.0}
    )
    tiny_bundle(tmp_path / "b1", 1, shockable__se=0.95)
    publish(tmp_path / "b1", repository, gates)
    tiny_bundle(tmp_path / "b2", 2, seed=1, shockable__se=0.90)
    with pytest.raises(RefusedError, match="more than 3 points below"):
        publish(tmp_path / "b2", repository, gates)


def test_keys_are_for_their_owner_alone_and_the_root_key_is_not_needed_to_publish(
    tmp_path: Path, repository: SignedRepository
) -> None:
    keys = tmp_path / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys.iterdir()} == {0o600}
    (keys / "root.pem").unlink()
    tiny_bundle(tmp_path / "b1", 1)
    publish(tmp_path / "b1", repository)
    (keys / "targets.pem").chmod(0o644)
    tiny_bundle(tmp_path / "b2", 2, seed=1)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        publish(tmp_path / "b2", repository)


def test_the_commands_publish_and_roll_back_over_a_real_broker(
    tmp_path: Path, mosquitto: Any
) -> None:
    tiny_bundle(tmp_path / "b1", 3)
    gates = tmp_path / "gates.yaml"
    gates.write_text("manifest: {}\nartifact: {}\nmax_artifact_bytes: 300000\n")
    environment = {
        **os.environ,
        "WARDSTREAM_MODEL_REPOSITORY_DIR": str(tmp_path / "repo"),
        "WARDSTREAM_MODEL_KEYS_DIR": str(tmp_path / "keys2"),
        "WARDSTREAM_MQTT_URL": mosquitto.url("ops"),
        "WARDSTREAM_SITE_ID": "site-m",
        "WARDSTREAM_AUTHOR": "op",
    }

    def models(*arguments: str) -> dict[str, Any]:
        finished = subprocess.run(
            [sys.executable, "-m", "models", *arguments, "--json"],
            env=environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    assert models("init-repository")["created"] is True
    assert models("init-repository")["created"] is False
    published = models("publish", str(tmp_path / "b1"), "--gates", str(gates))
    assert published["published"] == 3
    assert published["announced"] == MODEL_COMMAND.address("site-m", FLEET)
    assert models("status")["published"] == [3]
    rolled = models("rollback", "bed-1")
    commands = retained(mosquitto.url("ops"), [published["announced"], rolled["announced"]])
    assert [c.action for c in commands] == [ModelAction.INSTALL, ModelAction.ROLLBACK]
    assert commands[0].version == 3
    assert commands[0].author == "op"
    assert commands[1].device_id == "bed-1"


def retained(url: str, topics: list[str]) -> list[ModelCommand]:
    """The retained command of each topic, as a device that connects later gets it."""
    user, _, rest = url.removeprefix("mqtt://").partition(":")
    password, _, address = rest.partition("@")
    host, _, port = address.partition(":")
    found: dict[str, ModelCommand] = {}
    complete = threading.Event()

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        found[message.topic] = decode(message.payload, ModelCommand)
        if set(topics) <= set(found):
            complete.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.username_pw_set(user, password)
    client.on_message = on_message
    client.connect(host, int(port))
    client.loop_start()
    for topic in topics:
        client.subscribe(topic, qos=1)
    arrived = complete.wait(10)
    client.disconnect()
    client.loop_stop()
    assert arrived, f"only {sorted(found)} of {topics}"
    return [found[topic] for topic in topics]
