"""What the servers are told: access lists, passwords, package sources, settings."""

import base64
import hashlib
from pathlib import Path

import pytest

from deploy.local.servers.account import Account, is_reachable
from deploy.local.servers.apache_kafka import KafkaNode, find_apache_kafka, server_properties
from deploy.local.servers.cache import cache_folder, reachable_copy
from deploy.local.servers.debian import Source, parse_classic, parse_deb822
from deploy.local.servers.mosquitto_access import access_list, draw_passwords, password_file
from deploy.local.servers.ports import accepts_connections, free_port, is_free
from wardstream.contracts.errors import ConfigurationError, OutOfRangeError
from wardstream.contracts.topics import MQTT_TOPICS

NOBODY = Account(65534, 65534)


def test_every_topic_of_the_contracts_has_its_rule_for_devices() -> None:
    lines = access_list().splitlines()
    for topic in MQTT_TOPICS:
        direction = "write" if topic.from_device else "read"
        assert f"pattern {direction} wardstream/v1/+/%u/{topic.suffix}" in lines
    assert "pattern read wardstream/v1/+/fleet/model" in lines
    assert len([line for line in lines if line.startswith("pattern")]) == len(MQTT_TOPICS) + 1


def test_no_service_may_say_what_only_a_device_can_know() -> None:
    written = [line for line in access_list().splitlines() if line.startswith("topic write")]
    from_devices = {topic.suffix for topic in MQTT_TOPICS if topic.from_device}
    assert written
    assert not [line for line in written if line.rsplit("/+/", 1)[1] in from_devices]


def test_a_password_is_kept_as_salted_pbkdf2() -> None:
    user, stored = password_file({"bed-01": "secret"}).strip().split(":")
    _, kind, rounds, salt, digest = stored.split("$")
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", base64.b64decode(salt), int(rounds))
    assert (user, kind) == ("bed-01", "7")
    assert base64.b64decode(digest) == expected
    assert password_file({"bed-01": "secret"}) != password_file({"bed-01": "secret"})


def test_passwords_once_drawn_are_kept() -> None:
    first = draw_passwords({}, ["bed-01"])
    second = draw_passwords(first, ["bed-01", "bed-02"])
    assert second["bed-01"] == first["bed-01"]
    assert set(second) - set(first) == {"bed-02"}
    assert len(set(second.values())) == len(second)


@pytest.mark.parametrize("name", ["cloud", "fleet"])
def test_a_device_may_not_bear_a_services_name(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        draw_passwords({}, [name])


def test_a_device_id_cannot_break_out_of_the_password_file() -> None:
    with pytest.raises(OutOfRangeError):
        draw_passwords({}, ["bed:01\nops"])


def test_classic_sources_are_read_with_their_options() -> None:
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb http://a.example/debian bookworm main contrib # here\n"
        "deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://b.example/debian trixie main\n"
        "deb [ signed-by=/k.gpg ] http://c.example/debian sid main\n"
        "deb-src http://a.example/debian bookworm main\n"
        "\n"
    )
    assert parse_classic(text) == [
        Source("http://a.example/debian", ("bookworm",), ""),
        Source("http://b.example/debian", ("trixie",), "/usr/share/keyrings/k.gpg"),
        Source("http://c.example/debian", ("sid",), "/k.gpg"),
    ]


def test_deb822_sources_are_read_stanza_by_stanza() -> None:
    text = (
        "Types: deb deb-src\n# snapshot\nURIs: http://a.example/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n"
        "Types: deb-src\nURIs: http://b.example/debian\nSuites: bookworm\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://c.example/debian\nSuites: bookworm\n\n"
        "Types: deb\nURIs: http://d.example/debian\nSuites: sid\nSigned-By:\n -----BEGIN\n .\n"
    )
    assert parse_deb822(text) == [
        Source("http://a.example/debian", ("bookworm", "bookworm-updates"), "/k.gpg"),
        Source("http://d.example/debian", ("sid",), ""),
    ]


def test_three_kafka_nodes_replicate_and_one_does_not() -> None:
    nodes = tuple(KafkaNode(node_id=i, port=9000 + i, controller_port=9100 + i) for i in (1, 2, 3))
    three = server_properties(nodes[0], nodes, Path("/data"))
    assert "default.replication.factor=3\nmin.insync.replicas=2\n" in three
    assert "1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103" in three
    one = server_properties(nodes[0], nodes[:1], Path("/data"))
    assert "default.replication.factor=1\nmin.insync.replicas=1\n" in one
    assert "listeners=PLAINTEXT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9101\n" in one


def test_absent_kafka_jars_are_told_with_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="WARDSTREAM_KAFKA_DIR"):
        find_apache_kafka({"WARDSTREAM_KAFKA_DIR": str(tmp_path)})


def test_a_folder_below_a_locked_one_is_out_of_reach_for_others_only(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    (locked / "open").mkdir(parents=True)
    locked.chmod(0o700)
    assert is_reachable(locked / "open", None)
    assert not is_reachable(locked / "open", NOBODY)
    assert is_reachable(Path("/usr/bin"), NOBODY)


def test_what_an_account_cannot_read_is_copied_to_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "server").write_text("program")
    (home / "bin" / "server").chmod(0o700)
    monkeypatch.setenv("WARDSTREAM_CACHE_DIR", str(tmp_path / "cache"))
    assert reachable_copy(home, "bin/server", None) == home
    # pytest's own folders may be entered by their owner alone, so the copy cannot be either.
    with pytest.raises(ConfigurationError, match="WARDSTREAM_CACHE_DIR"):
        reachable_copy(home, "bin/server", NOBODY)
    copies = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(copies) == 1
    assert (copies[0] / "bin" / "server").stat().st_mode & 0o777 == 0o755


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert cache_folder({"WARDSTREAM_CACHE_DIR": str(tmp_path / "c")}) == tmp_path / "c"


def test_a_free_port_is_free_and_silent() -> None:
    port = free_port()
    assert is_free(port)
    assert not accepts_connections(port)
